package healthcheck_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
)

// TestREADME has a server of its own, because the examples count systems and keep secrets.
func TestREADME(t *testing.T) {
	s := servertest.Start(t, servertest.Config{Env: map[string]string{"CHECKSTACK_MASTER_KEY": strings.Repeat("5a", 32)}})
	s.README(t)
}

// TestTheExamplesOfTheCheckTypesAreUnderstood gives each command line to the command, which is interrupted before it can
// connect to anything.
func TestTheExamplesOfTheCheckTypesAreUnderstood(t *testing.T) {
	text, err := os.ReadFile("checks/README.md")
	if err != nil {
		t.Fatal(err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	getenv := func(name string) string {
		if strings.HasPrefix(name, "CHECKSTACK_") {
			return ""
		}
		return "sesame"
	}
	examples := regexp.MustCompile(`(?m)^checkstack check .*$`).FindAllString(string(text), -1)
	for _, example := range examples {
		words, err := exec.CommandContext(t.Context(), "bash", "-c", `checkstack() { printf '%s\0' "$@"; }; `+example).Output()
		if err != nil {
			t.Fatalf("%s: %v", example, err)
		}
		args := strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")
		command, flags := healthcheck.Commands()[0], &plugins.Flags{}
		command.Flags(flags)
		if err := flags.Parse(args[1:], getenv); err != nil {
			t.Errorf("%s: %v", example, err)
			continue
		}
		var stderr bytes.Buffer
		code := command.Run(interrupted, plugins.Process{Args: flags.Args(), Getenv: getenv, Stdout: &stderr, Stderr: &stderr})
		if said := stderr.String(); code != 2 || said != "checkstack check: interrupted\n" {
			t.Errorf("%s: exit code %d, %s", example, code, said)
		}
	}
	if len(examples) < 12 {
		t.Errorf("there are only %d examples", len(examples))
	}
}
