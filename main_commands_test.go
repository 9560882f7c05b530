package main

// The commands: those of the core and those of plugins, called as main calls them.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"checkstack/gen"
	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

func TestTheCommandLineIsCheckedBeforeAnythingIsDone(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  string // NAME=value
		code int
		want string
	}{
		{args: []string{"nonsense"}, code: 2, want: `checkstack: unknown command "nonsense"`},
		{args: []string{"serve", "more"}, code: 2, want: `checkstack: unexpected argument "more"; see checkstack serve -h`},
		{args: []string{"-nonsense"}, code: 2, want: `flag provided but not defined: -nonsense`},
		{args: []string{"version", "-listen=:1"}, code: 2, want: `flag provided but not defined: -listen`},
		{args: []string{"-ready-wait=2h"}, code: 2, want: `invalid value "2h" for flag -ready-wait: expected a duration from 0s to 1h`},
		{args: []string{"-gate-queue=-1"}, code: 2, want: `invalid value "-1" for flag -gate-queue: expected a whole number from 0 to 1000000`},
		{args: []string{"-db-conns=x"}, code: 2, want: `invalid value "x" for flag -db-conns: expected a whole number from 4 to 500`},
		{args: []string{"-base-url=status.example.org"}, code: 2, want: `for flag -base-url: expected an origin`},
		{args: []string{"-base-url=https://a.example/path"}, code: 2, want: `for flag -base-url: expected an origin`},
		{args: []string{"-web=plugins"}, code: 2, want: `invalid value "plugins" for flag -web: expected a folder with a file index.html`},
		{args: []string{"-log-format=xml"}, code: 2, want: `for flag -log-format: expected text or json`},
		{args: []string{"-demo=perhaps"}, code: 2, want: `for -demo: expected true or false`},
		{args: []string{"rollup", "-now=yesterday"}, code: 2, want: `for flag -now: expected a time such as`},
		{args: []string{"rollup", "-now=2999-01-01"}, code: 2, want: `expected a -now that is not in the future, because history would be deleted`},
		{env: "CHECKSTACK_STOP_TIMEOUT=0s", code: 2, want: `invalid value "0s" for CHECKSTACK_STOP_TIMEOUT: expected a duration from 1s to 1h`},
		{args: []string{"-listen=127.0.0.1:99999"}, code: 2, want: `invalid value "127.0.0.1:99999" for flag -listen: expected host:port such as :3000`},
		{args: []string{"-listen=3000"}, code: 2, want: `for flag -listen: expected host:port`},
		{args: []string{"-listen=192.0.2.1:3000"}, code: 1, want: `cannot listen`},
		{args: []string{"-data="}, code: 2, want: `for flag -data: expected a folder`},
		{args: []string{"-log-level=error+4"}, code: 2, want: `for flag -log-level: expected debug, info, warn or error`},
		{args: []string{"rollup", "-data=testdata/none"}, code: 1, want: `there is no private cluster in`},
		{args: []string{"export", "-data=testdata/none"}, code: 1, want: `there is no private cluster in`},
		{args: []string{"export", "-format=xml"}, code: 2, want: `for flag -format: expected csv or json`},
		{args: []string{"export", "-from=2026-02-01", "-to=2026-02-01"}, code: 2, want: `checkstack: expected a -from that is before -to, which is now if it is not given; see checkstack export -h`},
		{env: "CHECKSTACK_MASTER_KEY=c2VjcmV0", code: 2, want: "checkstack: the variable CHECKSTACK_MASTER_KEY is not usable: expected 32 bytes as"},
		{env: "CHECKSTACK_MASTER_KEY_PREVIOUS=c2VjcmV0", code: 2, want: "checkstack: the variable CHECKSTACK_MASTER_KEY_PREVIOUS is not usable: expected 32 bytes as"},
		{args: []string{"-master-key=c2VjcmV0"}, code: 2, want: "flag provided but not defined: -master-key"},
		{args: []string{"version"}, code: 0, want: "checkstack dev "},
		{args: []string{"-h"}, code: 0, want: "CHECKSTACK_READY_WAIT"},
		{args: []string{"rollup", "-h"}, code: 0, want: "CHECKSTACK_NOW"},
	} {
		var out bytes.Buffer
		getenv := func(name string) string {
			if k, v, _ := strings.Cut(c.env, "="); k == name {
				return v
			}
			return ""
		}
		p := plugins.Process{Getenv: getenv, Stdout: &out, Stderr: &out}
		if code := run(t.Context(), c.args, nil, p); code != c.code || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "c2VjcmV0") {
			t.Errorf("%v %s: exit code %d, %s", c.args, c.env, code, &out)
		}
	}
}

func TestFlagsAndTheirTwinsReachTheServer(t *testing.T) {
	getenv := func(name string) string {
		return map[string]string{"CHECKSTACK_LISTEN": ":1", "CHECKSTACK_GATE_QUEUE": "7", "CHECKSTACK_DEMO": "false", "CHECKSTACK_DRAIN": "3s",
			"CHECKSTACK_BASE_URL": "https://A.example:443/", "DATABASE_URL": "postgres://x"}[name]
	}
	var c config
	var f plugins.Flags
	c.serveFlags(&f)
	if err := f.Parse([]string{"-gate-queue=9", "-data=d"}, getenv); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(c.listen, c.gateQueue, c.demo, c.drain, c.baseURL, c.databaseURL, c.data, c.stopTimeout); got !=
		":1 9 false 3s https://a.example postgres://x d 20s\n" {
		t.Error(got)
	}
}

// allCommands are the names of the commands that this program has.
func allCommands(t *testing.T) (names []string) {
	t.Helper()
	var help bytes.Buffer
	p := plugins.Process{Getenv: func(string) string { return "" }, Stdout: &help, Stderr: &help}
	if code := run(t.Context(), []string{"-h"}, gen.Plugins, p); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &help)
	}
	_, rest, _ := strings.Cut(help.String(), "\nCommands:\n")
	listed, _, _ := strings.Cut(rest, "\n\n")
	for _, line := range strings.Split(listed, "\n") {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

func TestEveryCommandSaysItsFlagsTheirTwinsAndWhatOtherCommandsThereAreAndNoSecret(t *testing.T) {
	names := allCommands(t)
	if core := "serve rollup export version"; !strings.HasPrefix(strings.Join(names, " "), core) {
		t.Errorf("the commands are %s, and begin with %s", names, core)
	}
	const shown = "shown-by-mistake"
	for _, name := range names {
		// What is secret has a variable and no flag. Every variable says something that must not be seen, so help comes
		// first: most of them could not be used.
		p := plugins.Process{Getenv: func(string) string { return shown }}
		var help, unknown bytes.Buffer
		p.Stdout, p.Stderr = &help, &help
		if code := run(t.Context(), []string{name, "-h"}, gen.Plugins, p); code != 0 {
			t.Errorf("%s -h: exit code %d", name, code)
		}
		usage, flags, _ := strings.Cut(help.String(), "\n\nFlags, each with the environment variable that says the same:\n")
		if !strings.HasPrefix(usage, "Usage: checkstack "+name+" [flags]") || strings.Contains(help.String(), shown) {
			t.Errorf("%s -h says\n%s", name, &help)
		}
		for _, flag := range []string{"-log-level level", "-log-format format"} {
			if !strings.Contains(flags, "  "+flag+"\n") {
				t.Errorf("%s -h does not say %s:\n%s", name, flag, &help)
			}
		}
		twins := 0
		for _, m := range regexp.MustCompile(`(?m)^  -([a-z0-9-]+)( \S+)?\n    \t\S.*\n    \t(\S+)$`).FindAllStringSubmatch(flags, -1) {
			twins++
			if want := "CHECKSTACK_" + strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")); m[3] != want {
				t.Errorf("%s -h says %s of -%s, not %s", name, m[3], m[1], want)
			}
		}
		if n := strings.Count(flags, "\n  -") + 1; n != twins { // the first one begins the text
			t.Errorf("%d of %d flags of %s have a twin:\n%s", twins, n, name, &help)
		}
		p.Stdout, p.Stderr = &unknown, &unknown
		if code := run(t.Context(), []string{name + "x"}, gen.Plugins, p); code != 2 || !strings.Contains(usage, strings.TrimSpace(after(unknown.String(), "\n\n"))) {
			t.Errorf("%sx: exit code %d\n%s", name, code, &unknown)
		}
	}
}

func after(s, sep string) string {
	_, rest, _ := strings.Cut(s, sep)
	return rest
}

func TestExportWritesTheHoursAndDaysOfARangeToStandardOutputAndSaysWhyItCannot(t *testing.T) {
	db, database := postgrestest.New(t, postgres.Set{ID: coreSchema, Files: coreMigrations()})
	for size, start := range map[string]string{"daily": "2026-01-31", "hourly": "2026-02-01T22:00:00Z"} {
		_, err := db.Exec(`INSERT INTO checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, run_count,
			healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms, p95_latency_ms)
			VALUES ('shop', '00000000-0000-0000-0000-000000000001', $1, $2, 4, 1, 2, 1, 3, 60, 10, 30, 30)`, size, start)
		if err != nil {
			t.Fatal(err)
		}
	}
	const (
		header = "bucketStart,bucketSize,systemId,configurationId,sourceId,runs,healthy,degraded,unhealthy,availability,latencyCount,latencySumMs,averageMs,minMs,maxMs,p95Ms\n"
		day    = "2026-01-31T00:00:00Z,daily,shop,00000000-0000-0000-0000-000000000001,,4,1,2,1,0.75,3,60,20,10,30,30\n"
		hour   = "2026-02-01T22:00:00Z,hourly,shop,00000000-0000-0000-0000-000000000001,,4,1,2,1,0.75,3,60,20,10,30,30\n"
	)
	none := errors.New("nobody reads")
	for _, c := range []struct {
		args   string
		stdout io.Writer
		code   int
		want   string
	}{
		{"", new(bytes.Buffer), 0, header + day + hour},
		{"-from=2026-01-31 -to=2026-02-01T22:00:00Z", new(bytes.Buffer), 0, header + day},
		{"-from=2026-01-31T00:00:01Z", new(bytes.Buffer), 0, header + hour},
		{"-to=2026-01-31 -format=csv", new(bytes.Buffer), 0, header},
		{"-from=2026-02-01T23:00:00+01:00 -format=json", new(bytes.Buffer), 0, `{"bucketStart":"2026-02-01T22:00:00Z","bucketSize":"hourly","systemId":"shop",` +
			`"configurationId":"00000000-0000-0000-0000-000000000001","sourceId":"","runs":4,"healthy":1,"degraded":2,"unhealthy":1,"availability":0.75,` +
			`"latencyCount":3,"latencySumMs":60,"averageMs":20,"minMs":10,"maxMs":30,"p95Ms":30}` + "\n"},
		{"", deaf{none}, 1, ""},
	} {
		var stderr bytes.Buffer
		p := plugins.Process{Stdout: c.stdout, Stderr: &stderr, Getenv: func(name string) string {
			return map[string]string{"DATABASE_URL": database}[name]
		}}
		code := run(t.Context(), append([]string{"export"}, strings.Fields(c.args)...), nil, p)
		if code != c.code {
			t.Errorf("%s: exit code %d\n%s", c.args, code, &stderr)
		}
		if got, ok := c.stdout.(*bytes.Buffer); ok && got.String() != c.want {
			t.Errorf("%s\n%s, want\n%s", c.args, got, c.want)
		} else if !ok && !strings.Contains(stderr.String(), none.Error()) {
			t.Errorf("the log does not say why:\n%s", &stderr)
		}
	}
}

// deaf is a standard output that cannot be written to.
type deaf struct{ error }

func (d deaf) Write([]byte) (int, error) { return 0, d.error }

func TestACommandOfAPluginIsRunWithItsFlagsAndWithoutAServer(t *testing.T) {
	table := []plugins.Entry{entry(new(events), nil, "x"), entry(new(events), nil, "y")}
	table[1].Commands = func() []plugins.Command {
		var times int
		var word, token string
		return []plugins.Command{{
			Name: "say", Summary: "say it", Args: "<word>…",
			Flags: func(f *plugins.Flags) {
				f.Number(&times, "times", 1, 1, 9, "how often")
				f.Choice(&word, "word", "ho", "`word` to say: ho or hey", "ho", "hey")
				f.Secret(&token, "CHECKSTACK_SAY_TOKEN", "who says it")
			},
			Run: func(ctx context.Context, p plugins.Process) int {
				p.Log.Warn("saying", "took", time.Second)
				fmt.Fprintln(p.Stdout, times, word, token, p.Args, p.Version, p.Getenv("HOME"), ctx.Err())
				return 7
			},
		}}
	}
	getenv := func(name string) string {
		return map[string]string{"CHECKSTACK_TIMES": "3", "CHECKSTACK_SAY_TOKEN": "me", "HOME": "/h"}[name]
	}
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"say -word=HEY a b", 7, "3 hey me [a b] dev /h <nil>\n", `"level":"WARN","msg":"saying","took":"1s"}`},
		{"say -times=4 -log-level=error -log-format=text", 7, "4 ho me [] dev /h <nil>\n", ""},
		{"say -log-format=text", 7, "3 ho me [] dev /h <nil>\n", `level=WARN msg=saying took=1s`},
		{"say -times=10", 2, "", `checkstack: invalid value "10" for flag -times: expected a whole number from 1 to 9; see checkstack say -h`},
		{"say -token=me", 2, "", `checkstack: flag provided but not defined: -token; see checkstack say -h`},
		{"says", 2, "", "checkstack: unknown command \"says\"\n\nCommands:\n  serve      run the server until a signal (the default)\n"},
		{"says", 2, "", "\n  say        say it\n"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), table, plugins.Process{Getenv: getenv, Stdout: &stdout, Stderr: &stderr})
		if code != c.code || stdout.String() != c.stdout || !strings.Contains(stderr.String(), c.stderr) || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, &stdout, &stderr)
		}
	}
}

// fakeSettings are what the flags of a plugin of a test say.
type fakeSettings struct {
	issuer, secret string
	least          int
}

// withFlags gives an entry flags with a beginning.
func withFlags(e plugins.Entry, name string) plugins.Entry {
	e.Flags = func(f *plugins.Flags) any {
		var s fakeSettings
		f.Text(&s.issuer, name+"-issuer", "", "`address` of who says who somebody is (default none)", nil)
		f.Number(&s.least, name+"-least", 1, 0, 9, "least of it")
		f.Secret(&s.secret, "CHECKSTACK_"+strings.ToUpper(name)+"_SECRET", "what is shown there")
		f.Check(func() error {
			if s.issuer == "" && s.secret != "" {
				return fmt.Errorf("expected an -%s-issuer for the secret", name)
			}
			return nil
		})
		return &s
	}
	return e
}

func TestTheFlagsOfAPluginReachItsNewAndNoOther(t *testing.T) {
	_, database := postgrestest.New(t)
	seen := new(events)
	hook := func(p *recorder, _ context.Context, phase string) error {
		if phase == "New" {
			seen.add(fmt.Sprintf("%s=%+v", p.id, p.host.Settings))
		}
		return nil
	}
	table := []plugins.Entry{
		withFlags(entry(new(events), hook, "x"), "oidc"),
		entry(new(events), hook, "y"),
		withFlags(entry(new(events), hook, "z"), "saml"),
	}
	var log bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	table[2].New = func(h *plugins.Host, _ plugins.Lookup) plugins.Plugin {
		stop() // it is the last one, and all that this test needs of the boot
		return entry(new(events), hook, "z").New(h, nil)
	}
	getenv := func(name string) string {
		return map[string]string{"DATABASE_URL": database, "CHECKSTACK_OIDC_ISSUER": "a", "CHECKSTACK_OIDC_SECRET": "b",
			"CHECKSTACK_SAML_LEAST": "3"}[name]
	}
	args := []string{"-listen=127.0.0.1:0", "-drain=0s", "-oidc-issuer=c", "-saml-least=4"}
	if code := run(ctx, args, table, plugins.Process{Getenv: getenv, Stdout: io.Discard, Stderr: &log}); code != 0 {
		t.Errorf("exit code %d\n%s", code, &log)
	}
	if want := "x=&{issuer:c secret:b least:1} y=<nil> z=&{issuer: secret: least:4}"; seen.String() != want {
		t.Errorf("New is given %s, want %s\n%s", seen, want, &log)
	}
}

func TestTheFlagsOfPluginsAreThoseOfServeAndOfNoOtherCommand(t *testing.T) {
	table := []plugins.Entry{withFlags(entry(new(events), nil, "x"), "oidc"), withFlags(entry(new(events), nil, "y"), "saml")}
	for _, c := range []struct {
		args, env string // env: NAME=value
		code      int
		want      string
	}{
		{args: "-h", want: "  -oidc-least number\n    \tleast of it, a number from 0 to 9 (default 1)\n    \tCHECKSTACK_OIDC_LEAST\n"},
		{args: "-h", want: "  CHECKSTACK_SAML_SECRET\n    \twhat is shown there\n"},
		{args: "-saml-least=x", code: 2, want: `checkstack: invalid value "x" for flag -saml-least: expected a whole number from 0 to 9; see checkstack serve -h`},
		{env: "CHECKSTACK_OIDC_LEAST=10", code: 2, want: `invalid value "10" for CHECKSTACK_OIDC_LEAST: expected a whole number from 0 to 9`},
		{env: "CHECKSTACK_SAML_SECRET=hidden", code: 2, want: "checkstack: expected an -saml-issuer for the secret; see checkstack serve -h\n"},
		{args: "rollup -oidc-least=1", code: 2, want: "flag provided but not defined: -oidc-least"},
		{args: "version", env: "CHECKSTACK_OIDC_LEAST=10", want: "checkstack dev "},
	} {
		var out bytes.Buffer
		getenv := func(name string) string {
			if k, v, _ := strings.Cut(c.env, "="); k == name {
				return v
			}
			return ""
		}
		p := plugins.Process{Getenv: getenv, Stdout: &out, Stderr: &out}
		if code := run(t.Context(), strings.Fields(c.args), table, p); code != c.code || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "hidden") {
			t.Errorf("%s %s: exit code %d, %s", c.args, c.env, code, &out)
		}
	}
}

func TestAFlagOfAPluginThatIsTakenKeepsTheServerFromRunning(t *testing.T) {
	for flag, taken := range map[string]func(f *plugins.Flags){
		"oidc-issuer":            func(f *plugins.Flags) { f.Text(new(string), "oidc-issuer", "", "of another plugin", nil) },
		"listen":                 func(f *plugins.Flags) { f.Text(new(string), "listen", "", "of the core", nil) },
		"log-level":              func(f *plugins.Flags) { f.Text(new(string), "log-level", "", "of every command", nil) },
		"CHECKSTACK_ADMIN_TOKEN": func(f *plugins.Flags) { f.Secret(new(string), "CHECKSTACK_ADMIN_TOKEN", "of the core") },
	} {
		table := []plugins.Entry{withFlags(entry(new(events), nil, "x"), "oidc"), entry(new(events), nil, "y")}
		table[1].Flags = func(f *plugins.Flags) any { taken(f); return new(fakeSettings) }
		var out bytes.Buffer
		p := plugins.Process{Getenv: func(string) string { return "" }, Stdout: &out, Stderr: &out}
		want := fmt.Sprintf("checkstack: the command serve cannot be run: the flag or variable %q is declared twice\n", flag)
		if code := run(t.Context(), []string{"-listen=127.0.0.1:0"}, table, p); code != 1 || out.String() != want {
			t.Errorf("%s: exit code %d, %s", flag, code, &out)
		}
		out.Reset()
		if code := run(t.Context(), []string{"version"}, table, p); code != 0 { // it has no flags of plugins
			t.Errorf("%s: version: exit code %d, %s", flag, code, &out)
		}
	}
}

func TestACommandWhoseNameIsTakenOrMalformedEndsTheProgramWhateverItWasToDo(t *testing.T) {
	do := func(context.Context, plugins.Process) int { return 0 }
	for name, want := range map[string]string{
		"rollup": "checkstack: plugin y: the command rollup is one of the core already\n",
		"greet":  "checkstack: plugin y: the command greet is one of plugin x already\n",
		"Greet":  `checkstack: plugin y: the name of a command is 1 to 20 lower case letters, not "Greet"` + "\n",
	} {
		table := []plugins.Entry{entry(new(events), nil, "x"), entry(new(events), nil, "y")}
		for i, name := range []string{"greet", name} {
			table[i].Commands = func() []plugins.Command { return []plugins.Command{{Name: name, Summary: "greet", Run: do}} }
		}
		for _, args := range [][]string{{"version"}, {"greet"}, {"-h"}} {
			var out bytes.Buffer
			p := plugins.Process{Getenv: func(string) string { return "" }, Stdout: &out, Stderr: &out}
			if code := run(t.Context(), args, table, p); code != 1 || out.String() != want {
				t.Errorf("%s: exit code %d, %s", args, code, &out)
			}
		}
	}
}
