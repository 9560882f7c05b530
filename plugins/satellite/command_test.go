package satellite_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/satellite"
)

const agentToken = "sat_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

// command parses a command line of the satellite, with a token if env has none, and returns the command.
func command(t *testing.T, env map[string]string, args ...string) (plugins.Command, *plugins.Flags, error) {
	t.Helper()
	commands := satellite.Commands()
	if len(commands) != 1 || commands[0].Name != "satellite" || commands[0].Validate() != nil {
		t.Fatalf("the commands are %+v", commands)
	}
	flags := &plugins.Flags{}
	commands[0].Flags(flags)
	err := flags.Parse(args, func(name string) string {
		if value, ok := env[name]; ok || name != "CHECKSTACK_SATELLITE_TOKEN" {
			return value
		}
		return agentToken
	})
	return commands[0], flags, err
}

func TestTheCommandLineOfASatelliteIsUnderstoodOrRefused(t *testing.T) {
	const (
		noServer = "expected -server with the origin of the server, such as https://status.example.org"
		origin   = "expected for -server an origin such as https://status.example.org, without a path"
		plain    = "expected https for -server, because the token and secrets of checks are sent; -plain-http is for networks that are secret themselves"
		scheme   = "expected for -server an origin that begins with https:// or http://, such as https://status.example.org"
		noToken  = "expected in CHECKSTACK_SATELLITE_TOKEN the token of a satellite, which begins with sat_"
	)
	for _, test := range []struct {
		args string
		want string
	}{
		{"", noServer},
		{"-server https://status.example.org", ""},
		{"-server https://status.example.org/ -checks 1 -journal-size 1 -listen 127.0.0.1:0 -journal x", ""},
		{"-server https://[2001:db8::1]:8443", ""},
		{"-server http://127.0.0.1:3000", ""},
		{"-server http://127.8.8.8", ""},
		{"-server http://[::1]:3000", ""},
		{"-server http://localhost:3000", ""},
		{"-server http://status.example.org", plain},
		{"-server http://10.0.0.1", plain},
		{"-server http://localhost.example.org", plain},
		{"-server http://status.example.org -plain-http", ""},
		{"-server status.example.org", scheme},
		{"-server localhost:3999", scheme},
		{"-server https://", origin},
		{"-server https://status.example.org/api", origin},
		{"-server https://user:password@status.example.org", origin},
		{"-server https://status.example.org?x=1", origin},
		{"-server ftp://status.example.org", origin},
		{"-server https://x -journal-size 0", `invalid value "0" for flag -journal-size: expected a whole number of MiB from 1 to 1048576`},
		{"-server https://x -checks 1001", `invalid value "1001" for flag -checks: expected a whole number from 1 to 1000`},
		{"-server https://x -listen 3000", `invalid value "3000" for flag -listen: expected host:port such as :3001 or 127.0.0.1:3001`},
		{"-server https://x -journal=", `invalid value "" for flag -journal: expected a folder`},
	} {
		_, _, err := command(t, nil, strings.Fields(test.args)...)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.args, got, test.want)
		}
	}
	if _, _, err := command(t, map[string]string{"CHECKSTACK_SERVER": "https://x", "CHECKSTACK_CHECKS": "7"}); err != nil {
		t.Errorf("from the environment: %v", err)
	}
	const (
		odd   = "expected in CHECKSTACK_SATELLITE_TOKEN a token of letters, digits, - and _ only; a space, a quote or a line break may have come with it"
		short = "expected in CHECKSTACK_SATELLITE_TOKEN a token of 47 characters, not of %d; a part of it may be missing"
	)
	for token, want := range map[string]string{
		"": noToken, "x": noToken, "cs_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG": noToken, "sat_": fmt.Sprintf(short, 4), "sat_short": fmt.Sprintf(short, 9),
		agentToken + "x": fmt.Sprintf(short, 48), agentToken + "\n": odd, agentToken + " x": odd, agentToken[:46] + "\"": odd,
	} {
		_, _, err := command(t, map[string]string{"CHECKSTACK_SATELLITE_TOKEN": token}, "-server=https://x")
		if err == nil || err.Error() != want {
			t.Errorf("the token %q:\n got %v\nwant %s", token, err, want)
		}
	}
}

func TestTheHelpOfASatelliteSaysWhatPlainHTTPRisksAndShowsNoSecret(t *testing.T) {
	_, flags, err := command(t, nil, "-server=https://x")
	if err != nil {
		t.Fatal(err)
	}
	var help strings.Builder
	flags.Usage(&help)
	for _, part := range []string{"whoever is on the way between the two can read the token", "CHECKSTACK_SATELLITE_TOKEN", "(default 256)", "(default 64)"} {
		if !strings.Contains(help.String(), part) {
			t.Errorf("the help does not say %q", part)
		}
	}
	if strings.Contains(help.String(), agentToken) {
		t.Error("the help shows the token")
	}
}

func TestASatelliteEndsWith0AfterAStopAnd1IfItCannotStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for folder, want := range map[string]int{filepath.Join(dir, "new"): 0, file: 1} {
		c, _, err := command(t, nil, "-server=http://127.0.0.1:1", "-journal="+folder)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		code := c.Run(ctx, plugins.Process{Log: slog.New(slog.NewTextHandler(&log, nil)), Version: "v1"})
		if code != want || strings.Contains(log.String(), agentToken) || want == 1 && !strings.Contains(log.String(), "-journal") {
			t.Errorf("with the folder %s it ends with %d\n%s", folder, code, &log)
		}
	}
}
