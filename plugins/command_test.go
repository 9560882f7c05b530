package plugins_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// pingCommands would be the function Commands of a plugin. The variables that Flags sets and Run reads are its own.
func pingCommands() []plugins.Command {
	var (
		server, token string
		times         int
		every         time.Duration
	)
	return []plugins.Command{{
		Name: "ping", Summary: "ask a server whether it is there",
		Flags: func(f *plugins.Flags) {
			f.Text(&server, "server", "http://localhost:3000", "`address` of the server", nil)
			f.Number(&times, "times", 1, 1, 100, "how often to ask")
			f.Duration(&every, "every", time.Second, 0, time.Hour, "how long to wait between two")
			f.Secret(&token, "CHECKSTACK_PING_TOKEN", "the token to show it (default none)")
		},
		Run: func(ctx context.Context, p plugins.Process) int {
			if token == "" {
				p.Log.Warn("there is no token")
			}
			fmt.Fprintf(p.Stdout, "asking %s %d times, every %v\n", server, times, every)
			return 0
		},
	}}
}

// A plugin with this function Commands adds "checkstack ping" to the program. A test calls it as the program does.
func ExampleCommand() {
	environment := map[string]string{"CHECKSTACK_PING_TOKEN": "…", "CHECKSTACK_TIMES": "3"}
	p := plugins.Process{
		Getenv: func(name string) string { return environment[name] },
		Stdout: os.Stdout,
		Stderr: os.Stdout,
	}
	args := []string{"ping", "-server", "http://status.example.org", "-every=500ms"}
	fmt.Println("exit code", plugins.Execute(context.Background(), pingCommands(), args, p))
	fmt.Println("exit code", plugins.Execute(context.Background(), pingCommands(), []string{"ping", "-times=0"}, p))
	fmt.Println("exit code", plugins.Execute(context.Background(), pingCommands(), []string{"ping", "-h"}, p))
	// Output:
	// asking http://status.example.org 3 times, every 500ms
	// exit code 0
	// checkstack: invalid value "0" for flag -times: expected a whole number from 1 to 100; see checkstack ping -h
	// exit code 2
	// Usage: checkstack ping [flags]
	//
	// ping: ask a server whether it is there.
	//
	// Commands:
	//   ping       ask a server whether it is there (the default)
	//
	// Flags, each with the environment variable that says the same:
	//   -every duration
	//     	how long to wait between two, a duration from 0s to 1h (default 1s)
	//     	CHECKSTACK_EVERY
	//   -log-format format
	//     	format of the log: text or json (default text on a terminal, else json)
	//     	CHECKSTACK_LOG_FORMAT
	//   -log-level level
	//     	least level of what is logged: debug, info, warn or error (default info)
	//     	CHECKSTACK_LOG_LEVEL
	//   -server address
	//     	address of the server (default http://localhost:3000)
	//     	CHECKSTACK_SERVER
	//   -times number
	//     	how often to ask, a number from 1 to 100 (default 1)
	//     	CHECKSTACK_TIMES
	//
	// From the environment only, because they are secret:
	//   CHECKSTACK_PING_TOKEN
	//     	the token to show it (default none)
	// exit code 0
}

func do(context.Context, plugins.Process) int { return 0 }

func TestTheCommandsOfAProgramAreThoseOfTheCoreAndThenOfThePluginsInTheirOrder(t *testing.T) {
	of := func(commands ...plugins.Command) func() []plugins.Command {
		return func() []plugins.Command { return commands }
	}
	fine := func(names ...string) (commands []plugins.Command) {
		for _, name := range names {
			commands = append(commands, plugins.Command{Name: name, Summary: "do it", Run: do})
		}
		return commands
	}
	for _, test := range []struct {
		core  []plugins.Command
		table []plugins.Entry
		want  string // the names, or the error
	}{
		{nil, nil, ""},
		{fine("serve", "version"), nil, "serve version"},
		{fine("serve"), []plugins.Entry{{ID: "x"}, {ID: "z", Commands: of(fine("zap", "ask")...)}, {ID: "y", Commands: of()}, {ID: "w", Commands: of(fine("b")...)}}, "serve zap ask b"},
		{fine("abcdefghijklmnopqrst"), nil, "abcdefghijklmnopqrst"},
		{fine("serve", "serve"), nil, "the core: the command serve is one of the core already"},
		{fine("serve"), []plugins.Entry{{ID: "x", Commands: of(fine("serve")...)}}, "plugin x: the command serve is one of the core already"},
		{nil, []plugins.Entry{{ID: "x", Commands: of(fine("ask")...)}, {ID: "y", Commands: of(fine("zap", "ask")...)}}, "plugin y: the command ask is one of plugin x already"},
		{nil, []plugins.Entry{{ID: "x", Commands: of(fine("ask", "ask")...)}}, "plugin x: the command ask is one of plugin x already"},
		{fine(""), nil, `the core: the name of a command is 1 to 20 lower case letters, not ""`},
		{nil, []plugins.Entry{{ID: "x", Commands: of(fine("abcdefghijklmnopqrstu")...)}}, `plugin x: the name of a command is 1 to 20 lower case letters, not "abcdefghijklmnopqrstu"`},
		{nil, []plugins.Entry{{ID: "x", Commands: of(fine("ask-it")...)}}, `plugin x: the name of a command is 1 to 20 lower case letters, not "ask-it"`},
		{nil, []plugins.Entry{{ID: "x", Commands: of(fine("-h")...)}}, `plugin x: the name of a command is 1 to 20 lower case letters, not "-h"`},
		{nil, []plugins.Entry{{ID: "x", Commands: of(fine("ask\n")...)}}, `plugin x: the name of a command is 1 to 20 lower case letters, not "ask\n"`},
		{nil, []plugins.Entry{{ID: "x", Commands: of(plugins.Command{Name: "ask", Run: do})}}, "plugin x: the command ask has no summary of one line"},
		{nil, []plugins.Entry{{ID: "x", Commands: of(plugins.Command{Name: "ask", Summary: "a\nb", Run: do})}}, "plugin x: the command ask has no summary of one line"},
		{nil, []plugins.Entry{{ID: "x", Commands: of(plugins.Command{Name: "ask", Summary: "a"})}}, "plugin x: the command ask has no function Run"},
	} {
		commands, err := plugins.Commands(test.core, test.table)
		var names []string
		for _, c := range commands {
			names = append(names, c.Name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got += err.Error()
		}
		if got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// mailSettings are what the flags of a plugin would say.
type mailSettings struct {
	host, token string
	order       int // of its declaration
}

func TestTheFlagsOfPluginsAreDeclaredInTheOrderOfTheTableAndSetWhatTheirFunctionReturned(t *testing.T) {
	declared := 0
	flagsOf := func(name string) func(*plugins.Flags) any {
		return func(f *plugins.Flags) any {
			declared++
			s := &mailSettings{order: declared}
			f.Text(&s.host, name+"-host", "localhost", "`name` of the mail server", nil)
			f.Secret(&s.token, "CHECKSTACK_"+strings.ToUpper(name)+"_TOKEN", "what is shown it")
			return s
		}
	}
	table := []plugins.Entry{{ID: "y", Flags: flagsOf("mail")}, {ID: "z"}, {ID: "x", Flags: flagsOf("sms")}}
	var f plugins.Flags
	settings := plugins.Settings(&f, table)
	if err := f.Parse([]string{"-sms-host=b"}, environ("CHECKSTACK_MAIL_HOST=a", "CHECKSTACK_MAIL_TOKEN=t")); err != nil {
		t.Fatal(err)
	}
	if len(settings) != 2 || *settings["y"].(*mailSettings) != (mailSettings{"a", "t", 1}) || *settings["x"].(*mailSettings) != (mailSettings{"b", "", 2}) {
		t.Errorf("%+v", settings)
	}
	if _, nothing := settings["z"]; nothing {
		t.Error("a plugin without flags has settings")
	}

	table[2].Flags = flagsOf("mail")
	var twice plugins.Flags
	plugins.Settings(&twice, table)
	if err := twice.Parse(nil, environ()); err == nil || err.Error() != `the flag or variable "mail-host" is declared twice` {
		t.Error(err)
	}
}

func TestExecuteRunsTheCommandThatIsNamedOrTheFirst(t *testing.T) {
	var commands []plugins.Command
	for _, name := range []string{"serve", "copy"} {
		c := plugins.Command{Name: name, Summary: "do " + name, Run: func(ctx context.Context, p plugins.Process) int {
			p.Log.Info("it runs", "took", 90*time.Minute)
			fmt.Fprintf(p.Stdout, "%s %q %s %v\n", name, p.Args, p.Version, ctx.Err())
			return 3
		}}
		commands = append(commands, c)
	}
	commands[1].Args = "<from> <to>"
	commands[1].Flags = func(f *plugins.Flags) { f.Bool(new(bool), "log-level", false, "twice") }
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{nil, 3, "serve [] v1 <nil>\n", `"level":"INFO","msg":"it runs","took":"1h30m0s"}` + "\n"},
		{[]string{"-log-format=text"}, 3, "serve [] v1 <nil>\n", "level=INFO msg=\"it runs\" took=1h30m0s\n"},
		{[]string{"serve", "-log-level=warn"}, 3, "serve [] v1 <nil>\n", ""},
		{[]string{"serve", "serve"}, 2, "", "checkstack: unexpected argument \"serve\"; see checkstack serve -h\n"},
		{[]string{""}, 2, "", "checkstack: unknown command \"\"\n\nCommands:\n  serve      do serve (the default)\n  copy       do copy\n"},
		{[]string{"Serve"}, 2, "", "checkstack: unknown command \"Serve\"\n\nCommands:\n  serve      do serve (the default)\n  copy       do copy\n"},
		{[]string{"copy", "a", "b"}, 1, "", "checkstack: the command copy cannot be run: the flag or variable \"log-level\" is declared twice\n"},
	} {
		var stdout, stderr bytes.Buffer
		p := plugins.Process{Getenv: environ(), Stdout: &stdout, Stderr: &stderr, Version: "v1"}
		code := plugins.Execute(t.Context(), commands, test.args, p)
		if code != test.code || stdout.String() != test.stdout || !strings.HasSuffix(stderr.String(), test.stderr) || test.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%q: exit code %d\n%s%s", test.args, code, &stdout, &stderr)
		}
	}

	commands[1].Flags = nil
	var stdout bytes.Buffer
	p := plugins.Process{Getenv: environ(), Stdout: &stdout, Stderr: &bytes.Buffer{}}
	if code := plugins.Execute(t.Context(), commands, []string{"copy", "-log-level=error", "a", "-b"}, p); code != 3 || stdout.String() != "copy [\"a\" \"-b\"]  <nil>\n" {
		t.Errorf("exit code %d, %s", code, &stdout)
	}
	stdout.Reset()
	if plugins.Execute(t.Context(), commands, []string{"copy", "-h"}, p); !strings.HasPrefix(stdout.String(), "Usage: checkstack copy [flags] <from> <to>\n\n") {
		t.Error(&stdout)
	}
}

func TestOnlyACharacterDeviceThatIsNotTheNullDeviceIsATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	device, err := os.Open("/dev/zero") // as near to a terminal as a test has one
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for stream, want := range map[any]bool{
		nil: false, (*os.File)(nil): false, &bytes.Buffer{}: false, null: false, file: false, device: true,
	} {
		if got := plugins.IsTerminal(stream); got != want {
			t.Errorf("%T: %t", stream, got)
		}
	}
}
