package plugins

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Flags are the flags of a [Command], the server among them. Each has a twin in the environment, CHECKSTACK_ and the flag's name in capitals,
// which says the same and which the flag overrides: -ready-wait is CHECKSTACK_READY_WAIT. A variable that is empty is one
// that is not set. What is secret comes from the environment alone, because everybody on a machine can read the command
// lines of its processes.
//
// The methods that declare a flag take where its value goes, its name (lower case letters and digits, in words with one
// dash between them, but not h or help), and its usage, a line for -h in which `back quotes` mark what the value is
// called. They set the default at once; [Flags.Parse] sets what was given. Nothing that cannot be used is ever set. A
// flag that is declared twice or under a name of another form is an error of Parse. The zero Flags has no flags.
//
//	f.Duration(&every, "every", time.Minute, time.Second, time.Hour, "how long to wait between two")
//	f.Choice(&format, "format", "csv", "`format` of the output: csv or json", "csv", "json")
//	f.Secret(&token, "CHECKSTACK_MAIL_TOKEN", "the token of the mail server")
type Flags struct {
	set     flag.FlagSet
	secrets []secret
	checks  []func() error

	variables []string // of all flags and secrets
	err       error    // the first one that is not declared as it must be
}

// secret is a variable of the environment without a flag.
type secret struct {
	v           *string
	name, usage string
}

var (
	flagForm   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	secretForm = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
)

// Duration declares a flag for a length of time from low to high, both included, as [time.ParseDuration] reads it: 1m30s.
func (f *Flags) Duration(v *time.Duration, name string, def, low, high time.Duration, usage string) {
	*v = def
	usage = fmt.Sprintf("%s, a `duration` from %s to %s (default %s)", usage, brief(low), brief(high), brief(def))
	f.Func(name, usage, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return fmt.Errorf("expected a duration from %s to %s", brief(low), brief(high))
		}
		*v = d
		return nil
	})
}

// Number declares a flag for a whole number from low to high, both included.
func (f *Flags) Number(v *int, name string, def, low, high int, usage string) {
	*v = def
	usage = fmt.Sprintf("%s, a `number` from %d to %d (default %d)", usage, low, high, def)
	f.Func(name, usage, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("expected a whole number from %d to %d", low, high)
		}
		*v = n
		return nil
	})
}

// Bool declares a flag that is on or off: -demo is -demo=true, and -demo=false turns it off.
func (f *Flags) Bool(v *bool, name string, def bool, usage string) {
	*v = def
	if !f.declare(name, twin(name), flagForm) {
		return
	}
	f.set.BoolFunc(name, withDefault(usage, strconv.FormatBool(def)), func(s string) error {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("expected true or false")
		}
		*v = on
		return nil
	})
}

// Text declares a flag for a text. check, which may be nil, returns an error that begins with "expected" for one that
// cannot be used; the default is not checked. If that is empty, the usage says what comes in its place, at its end and in
// parentheses: "(default a random one)".
func (f *Flags) Text(v *string, name, def, usage string, check func(string) error) {
	*v = def
	f.Func(name, withDefault(usage, def), func(s string) error {
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		*v = s
		return nil
	})
}

// Choice declares a flag for one of a few words, in capitals or not. v is set to one of the words as they are given here,
// or to the default, which may be empty, as that of a [Flags.Text].
func (f *Flags) Choice(v *string, name, def, usage string, words ...string) {
	*v = def
	f.Func(name, withDefault(usage, def), func(s string) error {
		i := slices.IndexFunc(words, func(word string) bool { return strings.EqualFold(word, s) })
		if i < 0 {
			last := len(words) - 1
			return fmt.Errorf("expected %s or %s", strings.Join(words[:last], ", "), words[last])
		}
		*v = words[i]
		return nil
	})
}

// Time declares a flag for a moment: RFC 3339, or a date, which is the beginning of that day in UTC. Where nothing is
// given v keeps what it has, and the usage says what that is: "(default now)".
func (f *Flags) Time(v *time.Time, name, usage string) {
	f.Func(name, usage, func(s string) error {
		for _, form := range []string{time.RFC3339, time.DateOnly} {
			if t, err := time.Parse(form, s); err == nil {
				*v = t
				return nil
			}
		}
		return errors.New("expected a time such as 2026-01-31T00:00:00Z, or a date such as 2026-01-31")
	})
}

// Func declares a flag whose value set understands and keeps, or refuses with an error that begins with "expected". It is
// called for the variable first and then for each time the flag is given.
func (f *Flags) Func(name, usage string, set func(string) error) {
	if f.declare(name, twin(name), flagForm) {
		f.set.Func(name, usage, set)
	}
}

// Secret declares a variable of the environment, by its whole name: CHECKSTACK_MAIL_TOKEN. v is set to what it says, empty
// if it is not set, and no error and no -h ever shows that.
func (f *Flags) Secret(v *string, name, usage string) {
	if f.declare(name, name, secretForm) {
		f.secrets = append(f.secrets, secret{v, name, usage})
	}
}

// Check adds a look at all the values together, once each is known to be usable by itself. Its error is one of the
// command line: "expected a -from before the -to".
func (f *Flags) Check(check func() error) { f.checks = append(f.checks, check) }

// Parse reads the environment, then the flags, until the first argument that is none or "--"; [Flags.Args] has the rest. It
// returns [flag.ErrHelp] for -h and -help, whatever else there is. Any other error names the flag or the variable that
// cannot be used and says what was expected; what was set by then is of no use. It is called once.
func (f *Flags) Parse(args []string, getenv func(string) string) error {
	if f.err != nil {
		return f.err
	}
	var invalid error
	f.set.VisitAll(func(d *flag.Flag) {
		name := twin(d.Name)
		if s := getenv(name); s != "" && invalid == nil {
			if err := f.set.Set(d.Name, s); err != nil {
				invalid = fmt.Errorf("invalid value %q for %s: %w", s, name, err)
			}
		}
	})
	for _, s := range f.secrets {
		*s.v = getenv(s.name)
	}
	f.set.SetOutput(io.Discard) // errors are returned, and help is up to the caller
	if err := cmp.Or(f.set.Parse(args), invalid); err != nil {
		return err
	}
	for _, check := range f.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// Args returns what follows the flags, once they are parsed.
func (f *Flags) Args() []string { return f.set.Args() }

// Usage writes what -h says: every flag by its name with its default and its variable, then the secrets as declared.
func (f *Flags) Usage(w io.Writer) {
	fmt.Fprint(w, "Flags, each with the environment variable that says the same:\n")
	f.set.VisitAll(func(d *flag.Flag) {
		value, usage := flag.UnquoteUsage(d)
		fmt.Fprintf(w, "  %s\n    \t%s\n    \t%s\n", strings.TrimSpace("-"+d.Name+" "+value), usage, twin(d.Name))
	})
	if len(f.secrets) > 0 {
		fmt.Fprint(w, "\nFrom the environment only, because they are secret:\n")
	}
	for _, s := range f.secrets {
		fmt.Fprintf(w, "  %s\n    \t%s\n", s.name, s.usage)
	}
}

// declare takes a name, whose variable must be well formed and new. It reports whether it is.
func (f *Flags) declare(name, variable string, form *regexp.Regexp) bool {
	var wrong string
	switch {
	case !form.MatchString(name) || name == "h" || name == "help":
		wrong = "has a name that it cannot have"
	case slices.Contains(f.variables, variable):
		wrong = "is declared twice"
	default:
		f.variables = append(f.variables, variable)
		return true
	}
	f.err = cmp.Or(f.err, fmt.Errorf("the flag or variable %q %s", name, wrong))
	return false
}

// twin is the environment variable that says the same as a flag.
func twin(name string) string {
	return "CHECKSTACK_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// withDefault adds the default to a usage.
func withDefault(usage, def string) string {
	if def == "" {
		return usage
	}
	return usage + " (default " + def + ")"
}

// brief writes a duration without the units that are zero: 1h, not 1h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}
