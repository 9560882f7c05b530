package plugins_test

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// settings are what one flag of each kind sets.
type settings struct {
	wait                 time.Duration
	count                int
	on                   bool
	name, format, origin string
	at                   time.Time
	token                string
}

func (s *settings) String() string {
	return fmt.Sprintf("wait=%v count=%d on=%t name=%q format=%q origin=%q at=%s token=%q",
		s.wait, s.count, s.on, s.name, s.format, s.origin, s.at.Format(time.RFC3339), s.token)
}

// declare declares the flags that set s, whose values become the defaults.
func (s *settings) declare(f *plugins.Flags) {
	f.Duration(&s.wait, "max-wait", s.wait, time.Second, time.Hour, "how long to wait")
	f.Number(&s.count, "count", s.count, -1, 9, "how often")
	f.Bool(&s.on, "on", s.on, "whether it is done")
	f.Text(&s.name, "name", s.name, "`word` to say", func(s string) error {
		if strings.Contains(s, " ") {
			return errors.New("expected one word")
		}
		return nil
	})
	f.Choice(&s.format, "format", s.format, "`format` of it: csv, json or text", "csv", "json", "text")
	f.Time(&s.at, "at", "`time` of it (default the beginning)")
	f.Func("origin", "`address` to come from", func(v string) error {
		if !strings.HasPrefix(v, "http") {
			return errors.New("expected an address")
		}
		s.origin = v
		return nil
	})
	f.Secret(&s.token, "CHECKSTACK_TOKEN", "who it is (default nobody)")
	f.Check(func() error {
		if s.count == 0 && s.on {
			return errors.New("expected a -count that is not 0 where it is -on")
		}
		return nil
	})
}

func newSettings() *settings {
	return &settings{wait: time.Minute, count: 1, name: "ho", format: "csv", at: time.Unix(0, 0).UTC()}
}

// environ is an environment of "NAME=value".
func environ(variables ...string) func(string) string {
	return func(name string) string {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestFlagsAreReadFromTheEnvironmentAndThenFromTheCommandLine(t *testing.T) {
	const rest = ` origin="" at=1970-01-01T00:00:00Z token=""`
	for _, test := range []struct {
		args, env string // words
		want      string // the settings and what follows the flags, or the error
	}{
		{"", "", `wait=1m0s count=1 on=false name="ho" format="csv"` + rest + ` []`},
		{"-max-wait=1s -count 9 -on -name=a -format=json", "", `wait=1s count=9 on=true name="a" format="json"` + rest + ` []`},
		{"--count=-1 --on=false", "CHECKSTACK_ON=true", `wait=1m0s count=-1 on=false name="ho" format="csv"` + rest + ` []`},
		{"-max-wait=1h", "CHECKSTACK_MAX_WAIT=2s CHECKSTACK_COUNT=3 CHECKSTACK_NAME=b CHECKSTACK_FORMAT=TEXT CHECKSTACK_ON=1",
			`wait=1h0m0s count=3 on=true name="b" format="text"` + rest + ` []`},
		{"-count=2 -count=3", "CHECKSTACK_COUNT=4", `wait=1m0s count=3 on=false name="ho" format="csv"` + rest + ` []`},
		{"-name=", "CHECKSTACK_COUNT= CHECKSTACK_TOKEN=secret", `wait=1m0s count=1 on=false name="" format="csv" origin="" at=1970-01-01T00:00:00Z token="secret" []`},
		{"-origin=http://a -at=2026-02-28T23:59:59+01:00", "", `wait=1m0s count=1 on=false name="ho" format="csv" origin="http://a" at=2026-02-28T23:59:59+01:00 token="" []`},
		{"-at 2026-02-28", "", `wait=1m0s count=1 on=false name="ho" format="csv" origin="" at=2026-02-28T00:00:00Z token="" []`},
		{"-on a -count=5", "", `wait=1m0s count=1 on=true name="ho" format="csv"` + rest + ` [a -count=5]`},
		{"-count=0 -- -on", "", `wait=1m0s count=0 on=false name="ho" format="csv"` + rest + ` [-on]`},

		{"-h", "", "flag: help requested"},
		{"-count=5 --help", "CHECKSTACK_COUNT=x", "flag: help requested"},
		{"-max-wait=999ms", "", `invalid value "999ms" for flag -max-wait: expected a duration from 1s to 1h`},
		{"-max-wait=1h0m1s", "", `invalid value "1h0m1s" for flag -max-wait: expected a duration from 1s to 1h`},
		{"-max-wait=5", "", `invalid value "5" for flag -max-wait: expected a duration from 1s to 1h`},
		{"-max-wait", "", `flag needs an argument: -max-wait`},
		{"-count=10", "", `invalid value "10" for flag -count: expected a whole number from -1 to 9`},
		{"-count=99999999999999999999", "", `invalid value "99999999999999999999" for flag -count: expected a whole number from -1 to 9`},
		{"-count=1.5", "", `invalid value "1.5" for flag -count: expected a whole number from -1 to 9`},
		{"-count=-2", "CHECKSTACK_ON=x", `invalid value "-2" for flag -count: expected a whole number from -1 to 9`},
		{"", "CHECKSTACK_COUNT=10", `invalid value "10" for CHECKSTACK_COUNT: expected a whole number from -1 to 9`},
		{"-count=5", "CHECKSTACK_COUNT=10", `invalid value "10" for CHECKSTACK_COUNT: expected a whole number from -1 to 9`},
		{"-on=2", "", `invalid boolean value "2" for -on: expected true or false`},
		{"", "CHECKSTACK_ON=2", `invalid value "2" for CHECKSTACK_ON: expected true or false`},
		{"-format=xml", "", `invalid value "xml" for flag -format: expected csv, json or text`},
		{"-at=2026-02-30", "", `invalid value "2026-02-30" for flag -at: expected a time such as 2026-01-31T00:00:00Z, or a date such as 2026-01-31`},
		{"", "CHECKSTACK_ORIGIN=here", `invalid value "here" for CHECKSTACK_ORIGIN: expected an address`},
		{"-count=0", "CHECKSTACK_ON=true", `expected a -count that is not 0 where it is -on`},
		{"-token=secret", "", `flag provided but not defined: -token`},
		{"-COUNT=3", "", `flag provided but not defined: -COUNT`},
		{"---count=3", "", `bad flag syntax: ---count=3`},
	} {
		var f plugins.Flags
		s := newSettings()
		s.declare(&f)
		got := fmt.Sprint(f.Parse(strings.Fields(test.args), environ(strings.Fields(test.env)...)))
		if got == "<nil>" {
			got = fmt.Sprint(s, " ", f.Args())
		}
		if got != test.want {
			t.Errorf("%s %s:\n%s, want\n%s", test.env, test.args, got, test.want)
		}
	}
	var f plugins.Flags
	newSettings().declare(&f)
	if err := f.Parse([]string{"-name", "a b"}, environ()); err == nil || err.Error() != `invalid value "a b" for flag -name: expected one word` {
		t.Error(err)
	}
}

func TestUsageSaysEveryFlagWithItsDefaultAndItsTwinAndEverySecretWithoutItsValue(t *testing.T) {
	var f plugins.Flags
	newSettings().declare(&f)
	if err := f.Parse([]string{"-h"}, environ("CHECKSTACK_TOKEN=secret", "CHECKSTACK_NAME=given")); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	var b strings.Builder
	f.Usage(&b)
	const want = `Flags, each with the environment variable that says the same:
  -at time
    	time of it (default the beginning)
    	CHECKSTACK_AT
  -count number
    	how often, a number from -1 to 9 (default 1)
    	CHECKSTACK_COUNT
  -format format
    	format of it: csv, json or text (default csv)
    	CHECKSTACK_FORMAT
  -max-wait duration
    	how long to wait, a duration from 1s to 1h (default 1m)
    	CHECKSTACK_MAX_WAIT
  -name word
    	word to say (default ho)
    	CHECKSTACK_NAME
  -on
    	whether it is done (default false)
    	CHECKSTACK_ON
  -origin address
    	address to come from
    	CHECKSTACK_ORIGIN

From the environment only, because they are secret:
  CHECKSTACK_TOKEN
    	who it is (default nobody)
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}

	var none plugins.Flags
	b.Reset()
	if err := none.Parse(nil, environ()); err != nil || len(none.Args()) != 0 {
		t.Error(err, none.Args())
	}
	none.Usage(&b)
	if want := "Flags, each with the environment variable that says the same:\n"; b.String() != want {
		t.Errorf("without flags: %q", &b)
	}
}

func TestAFlagThatCannotBeDeclaredIsAnErrorOfParseAndNotOfTheProgram(t *testing.T) {
	for _, test := range []struct {
		flag, secret, want string
	}{
		{"a", "CHECKSTACK_B", ""},
		{"a1-b2", "X", ""},
		{"count", "X", `the flag or variable "count" is declared twice`},
		{"a", "CHECKSTACK_COUNT", `the flag or variable "CHECKSTACK_COUNT" is declared twice`},
		{"a-b", "CHECKSTACK_A_B", `the flag or variable "CHECKSTACK_A_B" is declared twice`},
		{"", "X", `the flag or variable "" has a name that it cannot have`},
		{"h", "X", `the flag or variable "h" has a name that it cannot have`},
		{"help", "X", `the flag or variable "help" has a name that it cannot have`},
		{"-a", "X", `the flag or variable "-a" has a name that it cannot have`},
		{"a-", "X", `the flag or variable "a-" has a name that it cannot have`},
		{"a--b", "X", `the flag or variable "a--b" has a name that it cannot have`},
		{"a_b", "X", `the flag or variable "a_b" has a name that it cannot have`},
		{"a=b", "X", `the flag or variable "a=b" has a name that it cannot have`},
		{"Ab", "X", `the flag or variable "Ab" has a name that it cannot have`},
		{"1a", "X", `the flag or variable "1a" has a name that it cannot have`},
		{"a", "token", `the flag or variable "token" has a name that it cannot have`},
		{"a", "", `the flag or variable "" has a name that it cannot have`},
		{"a", "A=B", `the flag or variable "A=B" has a name that it cannot have`},
		{"A", "B=", `the flag or variable "A" has a name that it cannot have`}, // the first one is told
	} {
		for kind, declare := range map[string]func(*plugins.Flags){
			"Duration": func(f *plugins.Flags) { f.Duration(new(time.Duration), test.flag, 0, 0, 1, "x") },
			"Number":   func(f *plugins.Flags) { f.Number(new(int), test.flag, 0, 0, 1, "x") },
			"Bool":     func(f *plugins.Flags) { f.Bool(new(bool), test.flag, true, "x") },
			"Text":     func(f *plugins.Flags) { f.Text(new(string), test.flag, "", "x", nil) },
			"Choice":   func(f *plugins.Flags) { f.Choice(new(string), test.flag, "", "x", "a", "b") },
			"Time":     func(f *plugins.Flags) { f.Time(new(time.Time), test.flag, "x") },
			"Func":     func(f *plugins.Flags) { f.Func(test.flag, "x", func(string) error { return nil }) },
		} {
			var f plugins.Flags
			f.Number(new(int), "count", 1, 0, 9, "how often")
			declare(&f)
			f.Secret(new(string), test.secret, "who it is")
			got := ""
			if err := f.Parse([]string{"-count=3"}, environ()); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%s %q with the secret %q: %s, want %s", kind, test.flag, test.secret, got, test.want)
			}
		}
	}
}

// FuzzFlags parses any command line in any environment. The oracle of what is set: a flag that is on the command line has
// the value that it has without the environment, another the one that it has without the command line.
func FuzzFlags(f *testing.F) {
	f.Add("", "")
	f.Add("-count=3\x00-on\x00-name\x00a", "CHECKSTACK_COUNT=4\x00CHECKSTACK_FORMAT=Json\x00CHECKSTACK_MAX_WAIT=1m1s")
	f.Add("-on=\x00--max-wait=-1s\x00-format=csv", "CHECKSTACK_ON=F\x00CHECKSTACK_AT=2026-01-31")
	f.Add("-at=2026-01-31T00:00:00Z\x00--\x00-x", "CHECKSTACK_TOKEN=x")
	f.Add("-\x00-help", "CHECKSTACK_ORIGIN=http")
	f.Add("-=\x00-count=", "CHECKSTACK_NAME=a b")
	known := regexp.MustCompile(`(?s)^(invalid value ".*" for (flag -(max-wait|count|name|format|at|origin)|CHECKSTACK_(MAX_WAIT|COUNT|NAME|FORMAT|AT|ORIGIN|ON)): expected .*` +
		`|invalid boolean value ".*" for -on: expected true or false|flag needs an argument: -(max-wait|count|name|format|at|origin)` +
		`|flag provided but not defined: -.*|bad flag syntax: -.*|expected a -count that is not 0 where it is -on|flag: help requested)$`)
	f.Fuzz(func(t *testing.T, line, environment string) {
		const hidden = "#the secret that nobody may see#"
		if strings.Contains(line+environment, hidden) {
			return
		}
		args := strings.Split(line, "\x00")
		variables := append([]string{"CHECKSTACK_TOKEN=" + hidden}, strings.Split(environment, "\x00")...)
		parse := func(s *settings, args, variables []string) (*settings, error) {
			var flags plugins.Flags
			s.declare(&flags)
			err := flags.Parse(args, environ(variables...))
			var usage strings.Builder
			if flags.Usage(&usage); strings.Contains(usage.String()+fmt.Sprint(err), hidden) {
				t.Fatalf("the secret is shown: %v\n%s", err, &usage)
			}
			return s, err
		}
		other := func() *settings {
			return &settings{wait: time.Hour, count: 2, on: true, name: "hey", format: "text", origin: "o", at: time.Unix(1, 0).UTC()}
		}
		both, err := parse(newSettings(), args, variables)
		if err != nil {
			if !known.MatchString(err.Error()) {
				t.Fatalf("%q %q: %v", args, variables, err)
			}
			return
		}
		if both.wait < time.Second || both.wait > time.Hour || both.count < -1 || both.count > 9 || strings.Contains(both.name, " ") ||
			both.format != "csv" && both.format != "json" && both.format != "text" || both.token != hidden {
			t.Fatalf("%q %q: %s", args, variables, both)
		}
		// Checks of all values together may refuse a part, but they do so when everything is set.
		fromLine, _ := parse(newSettings(), args, nil)
		otherwise, _ := parse(other(), args, nil) // a flag that is the same with other defaults is on the command line
		want, _ := parse(newSettings(), nil, variables)
		if fromLine.wait == otherwise.wait {
			want.wait = fromLine.wait
		}
		if fromLine.count == otherwise.count {
			want.count = fromLine.count
		}
		if fromLine.on == otherwise.on {
			want.on = fromLine.on
		}
		if fromLine.name == otherwise.name {
			want.name = fromLine.name
		}
		if fromLine.format == otherwise.format {
			want.format = fromLine.format
		}
		if fromLine.origin == otherwise.origin {
			want.origin = fromLine.origin
		}
		if fromLine.at.Equal(otherwise.at) {
			want.at = fromLine.at
		}
		if both.String() != want.String() {
			t.Fatalf("%q %q: %s, want %s", args, variables, both, want)
		}
	})
}
