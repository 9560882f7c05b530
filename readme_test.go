package main

// What the README says is true: its commands are run as a reader would run them, against a server that "go run ." started,
// with a private cluster of its own.
//
// A block that counts has a comment before it, which a reader of the page does not see:
//
//	<!-- test: tour -->          run by bash -euo pipefail in the folder where .checkstack is, all blocks of a kind in one shell
//	<!-- test: prints -->        what the block before it prints: spaces do not matter, … stands for anything
//	<!-- test: file <path> -->   the content of a file in a copy of the repository
//
// The only thing that is changed in a command is localhost:3000, which becomes the address that the server listens on: it is
// started with CHECKSTACK_LISTEN=127.0.0.1:0, so that no port has to be free. CHECKSTACK_DATA says where .checkstack is.
// Ctrl-C is what it is at a terminal, SIGINT for the whole process group.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/gen"
	"checkstack/plugins"
	"checkstack/sql/postgres/postgrestest"
)

// block is a marked block of the README.
type block struct {
	mark, text string
	prints     string // what it is said to print; empty: nothing is said
}

// readme returns the marked blocks.
func readme(t *testing.T) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	marks := bytes.Count(text, []byte("<!-- test: "))
	for _, m := range regexp.MustCompile("(?ms)^<!-- test: ([^\n]+) -->\n(?:```[a-z]+\n(.*?)^```|((?:\\|[^\n]*\n)+))$").FindAllSubmatch(text, -1) {
		b := block{mark: string(m[1]), text: string(m[2]) + string(m[3])}
		if b.mark == "prints" && len(blocks) > 0 {
			blocks[len(blocks)-1].prints = b.text
			marks--
			continue
		}
		blocks = append(blocks, b)
	}
	if len(blocks) != marks {
		t.Fatalf("README.md has %d marks, and %d of them have a block", marks, len(blocks))
	}
	return blocks
}

// marked returns the blocks with a mark, of which there must be some.
func marked(t *testing.T, blocks []block, mark string) (found []block) {
	t.Helper()
	for _, b := range blocks {
		if b.mark == mark {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		t.Fatalf("README.md has no block marked %q", mark)
	}
	return found
}

// reader is somebody who follows the README in a folder.
type reader struct {
	dir     string
	env     []string
	address string // of the server, once it is started
}

// newReader makes a folder that a database server, which may run as another user, can reach.
func newReader(t *testing.T) *reader {
	t.Helper()
	dir, err := os.MkdirTemp("", "readme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &reader{dir: dir, env: slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CHECKSTACK_") || strings.HasPrefix(v, "DATABASE_URL=")
	})}
	r.set("CHECKSTACK_LISTEN", "127.0.0.1:0")
	r.set("CHECKSTACK_DATA", filepath.Join(dir, ".checkstack"))
	r.set("CHECKSTACK_DRAIN", "0s") // as at a terminal
	return r
}

func (r *reader) set(name, value string) { r.env = append(r.env, name+"="+value) }

// bash prepares a shell in a process group of its own, which is killed when the test is given up.
func (r *reader) bash(ctx context.Context, dir, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, "localhost:3000", r.address))
	cmd.Dir, cmd.Env = dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// start runs the README's command that starts the server, in the folder with the source, and waits until it listens. What
// is returned is Ctrl-C: the server must then end well, have logged no error, and leave no database running.
func (r *reader) start(t *testing.T, source string) (stop func()) {
	t.Helper()
	// No context: what is killed leaves its database running.
	cmd := r.bash(context.Background(), source, marked(t, readme(t), "start")[0].text)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log, ended := newLogBook(), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewReader(stderr); ; {
			line, err := lines.ReadBytes('\n')
			log.Write(line)
			if err != nil {
				break
			}
		}
		cmd.Wait() // the state says how it ended
		log.end()
	}()
	interrupted := false
	interrupt := func() {
		if !interrupted {
			interrupted = true
			syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			cmd.Cancel()
			<-ended
		}
	}
	t.Cleanup(func() {
		interrupt()
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	r.address = log.wait(t, "listening")["addr"].(string)
	return func() {
		t.Helper()
		interrupt()
		// "go run" ends with 1 after Ctrl-C whatever became of the server, and says "exit status 1" if that was not 0.
		if log.wait(t, "stopped")["clean"] != true || regexp.MustCompile(`exit status|"level":"ERROR"`).MatchString(log.String()) {
			t.Error("the server did not end with 0, or has logged errors")
		}
		if _, err := os.Stat(filepath.Join(r.dir, ".checkstack", "postgres", "postmaster.pid")); err == nil {
			t.Error("the private database server still runs")
		}
	}
}

// follow runs blocks in one shell and compares what each prints.
func (r *reader) follow(t *testing.T, blocks []block) {
	t.Helper()
	const end = "=== the end of a block ==="
	var script strings.Builder
	for _, b := range blocks {
		fmt.Fprintf(&script, "%s\necho '%s'\n", b.text, end)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := r.bash(ctx, r.dir, script.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	printed := strings.Split(string(out), end+"\n")
	for i, b := range blocks {
		if i >= len(printed)-1 {
			t.Fatalf("%v\n%s\nprints\n%s\n%s", err, b.text, printed[len(printed)-1], &stderr)
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(unspaced(b.prints)), "…", ".*?")
		if b.prints != "" && !regexp.MustCompile("^"+pattern+"$").MatchString(unspaced(printed[i])) {
			t.Errorf("%s\nprints\n%s\nand not\n%s\n%s", b.text, printed[i], b.prints, &stderr)
		}
	}
}

func unspaced(s string) string { return strings.Join(strings.Fields(s), "") }

func TestTheTourInTheREADMEIsTrue(t *testing.T) {
	source, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	stop := r.start(t, source)
	db, database := postgrestest.New(t)
	if _, err := db.Exec("DROP SCHEMA checkstack CASCADE"); err != nil { // now it is empty
		t.Fatal(err)
	}
	r.set("DATABASE_URL", database) // where the backup is restored
	r.follow(t, marked(t, readme(t), "tour"))
	stop()

	in := boot(t, gen.Plugins, database)
	in.log.wait(t, "ready")
	for path, want := range map[string]string{
		"/api/catalog/systems":    `"name":"Shop"`,
		"/api/incident/incidents": `"title":"Checkout fails"`,
	} {
		if got := in.get(path); !strings.Contains(got, want) {
			t.Errorf("a server on the restored backup answers %s with %s", path, got)
		}
	}
}

func TestTheGuideForPluginAuthorsInTheREADMEIsTrue(t *testing.T) {
	blocks := readme(t)
	r := newReader(t)
	copySource(t, r.dir)
	for _, b := range blocks {
		if name, ok := strings.CutPrefix(b.mark, "file "); ok {
			write(t, filepath.Join(r.dir, name), []byte(b.text))
		}
	}
	// The server that the plugin's test builds is kept in the user's cache, for every copy of the repository another one.
	r.set("GOCACHE", strings.TrimSpace(goCommand(t, ".", "env", "GOCACHE")))
	r.set("XDG_CACHE_HOME", filepath.Join(r.dir, ".cache"))
	r.follow(t, marked(t, blocks, "guide"))
	if unformatted := output(t, "gofmt", "-l", filepath.Join(r.dir, "plugins", "runbook")); unformatted != "" {
		t.Errorf("not formatted: %s", unformatted)
	}
	goCommand(t, r.dir, "vet", "./plugins/runbook")
	stop := r.start(t, r.dir)
	r.follow(t, marked(t, blocks, "guide server"))
	stop()
}

// copySource copies the repository without what is not part of it.
func copySource(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || !slices.Contains([]string{".go", ".sql", ".json", ".mod", ".sum"}, filepath.Ext(name)):
			return nil
		}
		text, err := os.ReadFile(name)
		if err == nil {
			write(t, filepath.Join(to, name), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestTheREADMEListsEveryFlagAsTheServerDoes(t *testing.T) {
	blocks := readme(t)
	serve := flags(t, "serve")
	tables := map[string][]string{"flags": serve}
	for _, command := range []string{"rollup", "export", "check"} {
		tables[command+" flags"] = slices.DeleteFunc(flags(t, command), func(row string) bool { return slices.Contains(serve, row) })
	}
	for mark, rows := range tables {
		want := "| flag | variable | default | |\n|---|---|---|---|\n" + strings.Join(rows, "")
		if got := marked(t, blocks, mark)[0].text; got != want {
			t.Errorf("the %s are\n%s\nand not\n%s", mark, want, got)
		}
	}
}

// flags returns the flags of a command as rows of a table.
func flags(t *testing.T, command string) (rows []string) {
	t.Helper()
	var help bytes.Buffer
	p := plugins.Process{Getenv: func(string) string { return "" }, Stdout: &help, Stderr: io.Discard}
	if code := run(t.Context(), []string{command, "-h"}, gen.Plugins, p); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	entry := regexp.MustCompile(`(?m)^  -([a-z0-9-]+).*\n    \t(.*?)(?: \(default (.*)\))?\n    \t([A-Z_]+)$`)
	for _, m := range entry.FindAllStringSubmatch(help.String(), -1) {
		def := m[3]
		if def != "" && !strings.Contains(def, " ") {
			def = "`" + def + "`"
		}
		rows = append(rows, fmt.Sprintf("| `-%s` | `%s` | %s | %s |\n", m[1], m[4], def, m[2]))
	}
	if n := strings.Count(help.String(), "\n  -"); n == 0 || n != len(rows) {
		t.Fatalf("%d of %d flags are understood in\n%s", len(rows), n, &help)
	}
	return rows
}

func TestTheREADMENamesEverySecretOfTheServer(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	p := plugins.Process{Getenv: func(string) string { return "" }, Stdout: &help, Stderr: io.Discard}
	if code := run(t.Context(), []string{"serve", "-h"}, gen.Plugins, p); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	_, secret, _ := strings.Cut(help.String(), "\nFrom the environment only, because they are secret:\n")
	names := regexp.MustCompile(`(?m)^  ([A-Z0-9_]+)$`).FindAllStringSubmatch(secret, -1)
	for _, m := range names {
		if !bytes.Contains(text, []byte("`"+m[1]+"`")) {
			t.Errorf("it does not name %s", m[1])
		}
	}
	if len(names) < 4 {
		t.Errorf("only %d secrets were found in\n%s", len(names), &help)
	}
}

func TestTheREADMELinksToWhatExists(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		headings["#"+strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(([^): ]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(m[1]); err != nil && !headings[m[1]] {
			t.Errorf("there is no %s", m[1])
		}
	}
	for _, e := range gen.Plugins {
		if !bytes.Contains(text, []byte("(plugins/"+e.ID+"/README.md)")) {
			t.Errorf("there is no link to the page of the plugin %s", e.ID)
		}
	}
}

func TestWhoeverStopsTheServerGivesItLongerThanItTakes(t *testing.T) {
	c := config{drain: 5 * time.Second}
	var f plugins.Flags
	c.serveFlags(&f)
	if err := f.Parse(nil, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	for file, setting := range map[string]string{
		"deploy/kubernetes.yaml":    `terminationGracePeriodSeconds: (\d+)`,
		"deploy/compose.yaml":       `stop_grace_period: (\d+)s`,
		"deploy/checkstack.service": `TimeoutStopSec=(\d+)`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(setting).FindSubmatch(text)
		if m == nil {
			t.Errorf("%s does not say %s", file, setting)
			continue
		}
		given, _ := strconv.Atoi(string(m[1]))
		if least := c.drain + c.stopTimeout + time.Second; time.Duration(given)*time.Second <= least {
			t.Errorf("%s gives the server %d s to stop, and it may take %v", file, given, least)
		}
	}
}
