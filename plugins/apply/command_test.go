package apply_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins/apply"
	"checkstack/plugins/internal/servertest"
)

// outcome is what a command has printed, and its exit code.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs "checkstack apply" against a server, in a folder, with something on standard input.
func run(t *testing.T, server, token, dir, stdin string, args ...string) (o outcome) {
	t.Helper()
	cmd := servertest.Command(t, []string{"CHECKSTACK_SERVER=" + server, "CHECKSTACK_TOKEN=" + token}, append([]string{"apply"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		o.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	o.stdout, o.stderr = stdout.String(), stderr.String()
	if token != "" && strings.Contains(o.stdout+o.stderr, token) || strings.Contains(o.stdout+o.stderr, "sat_") {
		t.Errorf("the command shows a token: %+v", o)
	}
	return o
}

func (o outcome) is(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if want := (outcome{stdout, stderr, code}); o != want {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheCommandAppliesFilesAndSaysWhatChanged(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	admin, dir := servertest.Admin, t.TempDir()
	page := `{"name":"Front page","type":"http","config":{"url":"%s"},"intervalSeconds":2592000,"timeoutMs":1000}`
	write(t, dir, "checks.json", `{"name":"shop","checks":[`+fmt.Sprintf(page, "http://127.0.0.1:1/")+`]}`)
	write(t, dir, "systems.json", `{"systems":[{"name":"Shop"}],"assignments":[{"check":"Front page","system":"Shop"}]}`)

	if o := run(t, "", "", dir, "", "-schema"); o.stdout != s.Do(t, "GET", "/api/apply/schema", "", nil).Body {
		t.Error("the schema of the command is not that of the server")
	}
	const created = "+ system Shop\n+ check Front page\n+ assignment Front page of Shop\nshop: 3 created, 0 updated, 0 deleted, 0 unchanged"
	run(t, s.URL, admin, dir, "", "-dry-run", ".").is(t, 0, created+" (dry run: nothing was changed)\n", "")
	run(t, s.URL, admin, dir, "", ".").is(t, 0, created+"\n", "")
	run(t, s.URL+"/", admin, dir, "", ".").is(t, 0, "shop: 0 created, 0 updated, 0 deleted, 3 unchanged\n", "")

	write(t, dir, "checks.json", `{"name":"shop","checks":[`+fmt.Sprintf(page, "http://127.0.0.1:2/")+`]}`)
	run(t, s.URL, admin, dir, "", ".").is(t, 0, "~ check Front page (config.url)\nshop: 0 created, 1 updated, 0 deleted, 2 unchanged\n", "")
	run(t, s.URL, admin, dir, "", "checks.json").is(t, 0,
		"! assignment Front page of Shop (not in the document any more)\n! system Shop (not in the document any more)\nshop: 0 created, 0 updated, 0 deleted, 2 orphaned, 1 unchanged\n", "")
	run(t, s.URL, admin, dir, `{"name":"shop"}`, "-prune", "-").is(t, 1, "",
		"checkstack apply: the server refuses it with 400: the document names nothing, and -prune would delete all 3 things that it owns; -prune-all allows it\n")
	run(t, s.URL, admin, dir, `{"name":"shop"}`, "-prune-all", "-json", "-").is(t, 0, `{"name":"shop","dryRun":false,"changes":[`+
		`{"op":"delete","kind":"assignment","name":"Front page","system":"Shop"},{"op":"delete","kind":"check","name":"Front page"},`+
		`{"op":"delete","kind":"system","name":"Shop"}],"created":0,"updated":0,"deleted":3,"orphaned":0,"unchanged":0}`+"\n", "")

	write(t, dir, "z.json", `{"checks":[`+strings.Replace(fmt.Sprintf(page, "http://127.0.0.1:1/"), "Front page", "Second", 1)+`,`+
		strings.Replace(fmt.Sprintf(page, "nonsense"), "Front page", "Third", 1)+`]}`)
	if o := run(t, s.URL, admin, dir, "", "."); o.code != 1 || o.stdout != "" || !strings.HasPrefix(o.stderr, "checkstack apply: z.json: checks[1].config.url: expected ") {
		t.Errorf("what the server refuses: %+v", o)
	}
	run(t, s.URL, s.Token(t, "viewer"), dir, `{}`, "-").is(t, 1, "", "checkstack apply: the server refuses it with 403: this needs the role editor, the token has the role viewer\n")
	if o := run(t, s.URL, "unknown", dir, `{}`, "-"); o.code != 1 || !strings.HasPrefix(o.stderr, "checkstack apply: the server does not take the token in CHECKSTACK_TOKEN: ") {
		t.Errorf("with another token: %+v", o)
	}
	run(t, s.URL, admin, dir, `{"systems":[{"name":"x"},7]}`, "-").is(t, 1, "", "checkstack apply: standard input: systems[1]: expected an object\n")
	run(t, s.URL, admin, dir, "", "none.json").is(t, 1, "", "checkstack apply: stat none.json: no such file or directory\n")
}

func TestTheCommandKeepsTokensInAFileAndShowsNone(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	dir := t.TempDir()
	const one, two = `{"satellites":[{"name":"Berlin"}]}`, `{"satellites":[{"name":"Berlin"},{"name":"Paris"}]}`
	run(t, s.URL, servertest.Admin, dir, one, "-json", "-").is(t, 0,
		`{"name":"default","dryRun":false,"changes":[{"op":"create","kind":"satellite","name":"Berlin"}],"created":1,"updated":0,"deleted":0,"orphaned":0,"unchanged":0}`+"\n",
		"the token of the satellite Berlin is not kept: make another one on the server, or use -keep-tokens\n")
	run(t, s.URL, servertest.Admin, dir, two, "-keep-tokens", "tokens.json", "-dry-run", "-").is(t, 0,
		"+ satellite Paris\ndefault: 1 created, 0 updated, 0 deleted, 1 unchanged (dry run: nothing was changed)\n", "")
	run(t, s.URL, servertest.Admin, dir, `{"satellites":7}`, "-keep-tokens", "tokens.json", "-").is(t, 1, "",
		"checkstack apply: standard input: satellites: expected an array, not number\n")
	if o := run(t, s.URL, s.Token(t, "editor"), dir, two, "-keep-tokens", "tokens.json", "-"); o.code != 1 || !strings.Contains(o.stderr, "satellites[1]: this document changes satellites") {
		t.Errorf("by an editor: %+v", o)
	}
	run(t, s.URL, servertest.Admin, dir, two, "-keep-tokens", "tokens.json", "-").is(t, 0, "+ satellite Paris\ndefault: 1 created, 0 updated, 0 deleted, 1 unchanged\n", "")
	text, err := os.ReadFile(filepath.Join(dir, "tokens.json"))
	var tokens []apply.Token
	if err != nil || json.Unmarshal(text, &tokens) != nil || len(tokens) != 1 || tokens[0].Name != "Paris" || !strings.HasPrefix(tokens[0].Token, "sat_") {
		t.Errorf("the file is %s, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "tokens.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	run(t, s.URL, servertest.Admin, dir, two, "-keep-tokens", "tokens.json", "-").is(t, 1, "", "checkstack apply: open tokens.json: file exists\n")
}

func TestTheCommandLineIsUnderstoodOrRefused(t *testing.T) {
	token := strings.Repeat("x", 40)
	for _, test := range []struct{ server, token, args, want string }{
		{"", token, "", "expected one file or folder, or - for standard input, not 0 arguments"},
		{"", token, "a.json b.json", "expected one file or folder, or - for standard input, not 2 arguments"},
		{"", token, "a.json -dry-run", "expected -dry-run before a.json: flags go before the file"},
		{"", token, "- -prune", "expected -prune before -: flags go before the file"},
		{"", token, "-schema a.json", "expected no argument with -schema"},
		{"", "", "-", "expected an API token in CHECKSTACK_TOKEN, without spaces and line breaks"},
		{"", "two words", "-", "expected an API token in CHECKSTACK_TOKEN, without spaces and line breaks"},
		{"http://status.example.org", token, "-", "expected https for -server, because the token and secrets of checks are sent; -plain-http is for networks that are secret themselves"},
		{"status.example.org", token, "-", "expected for -server an origin that begins with https:// or http://, such as https://status.example.org"},
	} {
		run(t, test.server, test.token, t.TempDir(), "", strings.Fields(test.args)...).is(t, 2, "", "checkstack: "+test.want+"; see checkstack apply -h\n")
	}
	o := run(t, "", "", t.TempDir(), "", "-schema")
	if !json.Valid([]byte(o.stdout)) || !strings.Contains(o.stdout, `"#/$defs/config-http"`) || o.stderr != "" || o.code != 0 {
		t.Errorf("-schema prints %+v", o)
	}
}

func TestAnAnswerThatIsNoneIsSaid(t *testing.T) {
	for _, test := range []struct {
		status   int
		location string
		body     string
		want     string
	}{
		{200, "", "<html>", "the answer is not one of a Checkstack server that applies documents"},
		{200, "", "{}", "the answer is not one of a Checkstack server that applies documents"},
		{502, "", "<html>", "the server answers 502 Bad Gateway"},
		{301, "https://other.example.org/", "", "the server redirects to https://other.example.org/: give its origin as -server"},
		{404, "", `{"error":"Plugin not found","plugin":"apply"}`, "the server refuses it with 404: Plugin not found"},
		{400, "", `{"error":"Invalid input","message":"odd TOKEN","field":"systems[9]"}`, "standard input: systems[9]: odd …"},
	} {
		token := strings.Repeat("t", 40)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "POST" || r.URL.Path != documents || r.Header.Get("Authorization") != "Bearer "+token {
				t.Errorf("the request is %s %s", r.Method, r.URL)
			}
			if test.location != "" {
				w.Header().Set("Location", test.location)
			}
			w.WriteHeader(test.status)
			fmt.Fprint(w, strings.Replace(test.body, "TOKEN", token, 1))
		}))
		run(t, server.URL, token, t.TempDir(), `{}`, "-").is(t, 1, "", "checkstack apply: "+test.want+"\n")
		server.Close()
	}
	server := httptest.NewServer(nil)
	server.Close()
	if o := run(t, server.URL, "token", t.TempDir(), `{}`, "-"); o.code != 1 || !strings.HasPrefix(o.stderr, "checkstack apply: reach the server: ") {
		t.Errorf("no server: %+v", o)
	}
}

func TestTheREADMEListsEveryFlag(t *testing.T) {
	help, err := servertest.Command(t, nil, "apply", "-h").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^  -([a-z-]+).*\n    \t.*\n    \t([A-Z_]+)$`).FindAllSubmatch(help, -1)
	if n := strings.Count(string(help), "\n  -"); n == 0 || n != len(rows) {
		t.Errorf("%d of %d flags are understood in\n%s", len(rows), n, help)
	}
	for _, row := range rows {
		if slices.Contains([]string{"log-level", "log-format"}, string(row[1])) {
			continue
		}
		if want := fmt.Sprintf("\n| `-%s` | `%s` | ", row[1], row[2]); !strings.Contains(string(text), want) {
			t.Errorf("README.md has no row%s", want)
		}
	}
}
