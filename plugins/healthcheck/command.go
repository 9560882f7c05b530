// The command "checkstack check" makes one run from the command line, with the engine of the server:
//
//	checkstack check http https://example.org
//	checkstack check -assert 'status in [200,204]' -assert 'latencyMs lt 500 degraded' http https://example.org
//	checkstack check -set tls.serverName=mail.example.org -set starttls=smtp tls mail.example.org:25
//
// It prints how the target is, what was measured, and every assertion with what there was. The exit code is 0 if it is
// healthy, 1 if it is not, and 2 if nobody can tell: the command was not understood, or the run could not be made here. With a type
// and no target it says what fields the type has.

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/healthcheck/engine"
)

// Commands brings "checkstack check".
func Commands() []plugins.Command {
	var c oneCheck
	return []plugins.Command{{
		Name:    "check",
		Summary: "make one run of a check and print what it finds; <type> -h says what a type knows",
		Flags:   c.flags,
		Args:    "http|tcp|tls|dns|ping|postgres|mysql|redis|ssh|grpc|websocket|exec <target>", // a test compares them with those that there are
		Run: func(ctx context.Context, p plugins.Process) int {
			c.policy.Getenv = p.Getenv
			return c.run(ctx, p)
		},
	}}
}

// oneCheck is a check as the command line says it.
type oneCheck struct {
	policy     engine.Policy
	timeout    time.Duration
	assertions []engine.Assertion
	settings   []setting
	asJSON     bool
}

// setting is a field and its value, which is understood once the type is known.
type setting struct{ name, value string }

func (c *oneCheck) flags(f *plugins.Flags) {
	c.policy.Flags(f)
	c.policy.AllowExec = true // who can start this program can start the command
	f.Duration(&c.timeout, "timeout", 10*time.Second, 100*time.Millisecond, 2*time.Minute, "how long the run may take")
	f.Bool(&c.asJSON, "json", false, "print the run as JSON")
	f.Func("assert", "`assertion` such as 'status in [200,204]', or 'latencyMs lt 500 degraded'; may be given again (default none)", func(s string) error {
		a, err := engine.ParseAssertion(s)
		if err != nil {
			return err
		}
		c.assertions = append(c.assertions, a)
		return nil
	})
	f.Func("set", "`field=value` of the configuration, as tls.verify=false; may be given again (default none)", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return errors.New("expected field=value")
		}
		c.settings = append(c.settings, setting{name, value})
		return nil
	})
}

func (c *oneCheck) run(ctx context.Context, p plugins.Process) int {
	types := checks.BuiltIn(&c.policy)
	var names []string
	for _, t := range types {
		names = append(names, t.Type())
	}
	refuse := func(format string, args ...any) int {
		fmt.Fprintf(p.Stderr, "checkstack check: "+format+"\n", args...)
		return 2
	}
	if len(p.Args) == 0 {
		return refuse("expected a type and a target, as in: checkstack check http https://example.org\nTypes: %s", strings.Join(names, ", "))
	}
	i := slices.Index(names, p.Args[0])
	if i < 0 {
		return refuse("expected a type, one of %s, not %q%s", strings.Join(names, ", "), engine.Cut(p.Args[0], 100), meant(p.Args[0]))
	}
	root, err := fieldsOf(types[i])
	switch {
	case err != nil:
		return refuse("%v", err)
	case len(p.Args) == 1:
		return refuse("expected a target\n\n%s", strings.TrimSuffix(describe(types[i], root), "\n"))
	case slices.Contains([]string{"-h", "-help", "--help"}, p.Args[1]):
		if _, err := io.WriteString(p.Stdout, describe(types[i], root)); err != nil {
			return refuse("%v", err)
		}
		return 0
	}
	plan, err := c.plan(types[i], root, p.Args[1], p.Args[2:])
	if err != nil {
		return refuse("%s", c.said(err))
	}
	report := plan.Run(ctx)
	if ctx.Err() != nil {
		fmt.Fprintln(p.Stderr, "checkstack check: interrupted")
		return 2
	}
	if c.asJSON {
		err = printJSON(p.Stdout, report)
	} else {
		err = printReport(p.Stdout, report)
	}
	switch {
	case err != nil:
		fmt.Fprintf(p.Stderr, "checkstack check: %v\n", err)
		return 2
	case report.Fault != nil:
		return 2
	case report.Status != plugins.Healthy:
		return 1
	}
	return 0
}

// schemes are those of URLs, and the types that have them.
var schemes = map[string]string{"http": "http", "https": "http", "ws": "websocket", "wss": "websocket"}

// meant says what somebody may have meant who gave the scheme of a URL, or all of it, for a type.
func meant(s string) string {
	scheme, _, isURL := strings.Cut(s, "://")
	kind, ok := schemes[scheme]
	switch {
	case !ok:
		return ""
	case isURL:
		return "; the type comes before the URL: checkstack check " + kind + " " + scheme + "://…"
	}
	return "; the scheme belongs to the URL: checkstack check " + kind + " " + scheme + "://…"
}

// plan compiles what the command line says. The target is the first field that the type requires; what follows it are the
// arguments of a command, where the type has some.
func (c *oneCheck) plan(kind engine.Type, root *field, target string, rest []string) (*engine.Plan, error) {
	args := root.Properties["args"]
	if strings.HasPrefix(target, "-") || len(rest) > 0 && args == nil {
		return nil, fmt.Errorf("expected one target; flags go before the type, as in checkstack check -assert … http https://…")
	}
	config := make(map[string]any)
	for _, s := range c.settings {
		first, _, _ := strings.Cut(s.name, ".")
		switch {
		case first == root.target():
			return nil, plugins.Invalid("config."+first, "expected it once, but both -set and the target, %q, say what it is", engine.Cut(target, 100))
		case first == "args" && len(rest) > 0:
			return nil, plugins.Invalid("config."+first, "expected it once, but both -set and what follows the target say what it is")
		}
		if err := root.set(config, "config", s.name, s.value); err != nil {
			return nil, err
		}
	}
	config[root.target()] = target
	if len(rest) > 0 {
		config["args"] = rest
	}
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return engine.Compile(engine.Spec{Type: kind, Config: data, Assertions: c.assertions, Timeout: c.timeout, Policy: &c.policy})
}

var valueField = regexp.MustCompile(`^assertions\[(\d+)\]\.value$`)

// said is what an error says, with the field that it is about. A value that is a text may have swallowed a word that was meant as
// a severity.
func (c *oneCheck) said(err error) string {
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok {
		return err.Error()
	}
	message := strings.TrimPrefix(e.Field+": "+e.Message, ": ")
	if at := valueField.FindStringSubmatch(e.Field); at != nil {
		if i, err := strconv.Atoi(at[1]); err == nil && i < len(c.assertions) && strings.HasPrefix(string(c.assertions[i].Value), `"`) {
			message += "; after the value there may be degraded or unhealthy"
		}
	}
	return message
}

func printJSON(w io.Writer, report engine.Report) error {
	m := made{report: report}
	if report.Fault != nil {
		m.fault = report.Fault.Error()
	} else {
		m.run = runOf(check{}, report)
	}
	return json.NewEncoder(w).Encode(m.result())
}

// printReport prints a run for a person: a line that says it all, what was measured, and the assertions.
func printReport(w io.Writer, report engine.Report) error {
	var b strings.Builder
	switch {
	case report.Fault != nil:
		fmt.Fprintf(&b, "not checked: %s\n", report.Fault)
	case report.Latency == nil:
		fmt.Fprintf(&b, "%s: %s\n", report.Status, report.Message)
	default:
		fmt.Fprintf(&b, "%s in %s: %s\n", report.Status, report.Latency.Round(10*time.Microsecond), report.Message)
	}
	for _, line := range measuredLines("", report.Measured.Object()) {
		fmt.Fprintf(&b, "  %-26s %s\n", line[0], line[1])
	}
	for _, a := range report.Assertions {
		verdict := "ok  "
		if !a.OK {
			verdict = "FAIL"
		}
		words := []string{verdict, a.Path, a.Op}
		if len(a.Value) > 0 {
			words = append(words, plain(a.Value))
		}
		fmt.Fprintf(&b, "  %s, got %s", strings.Join(words, " "), plain(a.Actual))
		if a.Error != "" {
			fmt.Fprintf(&b, " (%s)", a.Error)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plain writes a value as JSON in which <, > and & stand for themselves, as they do at a terminal.
func plain(v any) string {
	data, err := json.Marshal(v)
	value, ok := readJSON(string(data))
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err != nil || !ok || e.Encode(value) != nil {
		return string(data)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// measuredLines flattens an object: "phases.dnsMs" and its value.
func measuredLines(prefix string, object json.RawMessage) (lines [][2]string) {
	d := json.NewDecoder(strings.NewReader(string(object)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return lines
		}
		path := prefix + fmt.Sprint(name)
		if len(value) > 0 && value[0] == '{' {
			lines = append(lines, measuredLines(path+".", value)...)
			continue
		}
		text := plain(value)
		if s, err := strconv.Unquote(text); err == nil {
			if text = s; strings.ContainsFunc(s, unicode.IsControl) { // which would mean something to a terminal
				text = strconv.Quote(s)
			}
		}
		lines = append(lines, [2]string{path, engine.Cut(text, 200)})
	}
	return lines
}
