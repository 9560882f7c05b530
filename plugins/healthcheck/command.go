// The command "checkstack check" makes one run from the command line, with the engine of the server:
//
//	checkstack check http https://example.org
//	checkstack check -assert 'status in [200,204]' -assert 'latencyMs lt 500 degraded' http https://example.org
//	checkstack check -set tls.serverName=mail.example.org -set starttls=smtp tls mail.example.org:25
//
// It prints how the target is, what was measured, and every assertion with what there was. The exit code is 0 if it is
// healthy, 1 if it is not, and 2 if nobody can tell: the command was not understood, or the run could not be made here.

package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/healthcheck/engine"
)

// Commands brings "checkstack check".
func Commands() []plugins.Command {
	var c oneCheck
	return []plugins.Command{{
		Name:    "check",
		Summary: "make one run of a check and print what it finds",
		Flags:   c.flags,
		Args:    "<type> <target>",
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
	config     map[string]any
	asJSON     bool
}

func (c *oneCheck) flags(f *plugins.Flags) {
	c.policy.Flags(f)
	c.policy.AllowExec = true // who can start this program can start the command
	f.Duration(&c.timeout, "timeout", 10*time.Second, 100*time.Millisecond, 2*time.Minute, "how long the run may take")
	f.Bool(&c.asJSON, "json", false, "print the run as JSON")
	f.Func("assert", "`assertion` such as 'status in [200,204]', or 'latencyMs lt 500 degraded'; may be given again (default none)", func(s string) error {
		a, err := engine.ParseAssertion(s)
		if err != nil {
			return fmt.Errorf("expected an assertion such as 'status in [200,204]': %w", err)
		}
		c.assertions = append(c.assertions, a)
		return nil
	})
	f.Func("set", "`field=value` of the configuration, as tls.verify=false; may be given again (default none)", func(s string) error {
		if c.config == nil {
			c.config = make(map[string]any)
		}
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return fmt.Errorf("expected field=value")
		}
		return put(c.config, strings.Split(name, "."), value)
	})
}

// put sets a field of a configuration. A value is JSON, or a text if it is none.
func put(object map[string]any, path []string, value string) error {
	if len(path) == 1 {
		var v any
		d := json.NewDecoder(strings.NewReader(value))
		d.UseNumber()
		if d.Decode(&v) != nil || d.More() {
			v = value
		}
		object[path[0]] = v
		return nil
	}
	within, ok := object[path[0]].(map[string]any)
	if object[path[0]] == nil {
		within, ok = make(map[string]any), true
		object[path[0]] = within
	}
	if !ok {
		return fmt.Errorf("expected fields below %s, which is a value already", path[0])
	}
	return put(within, path[1:], value)
}

func (c *oneCheck) run(ctx context.Context, p plugins.Process) int {
	types := checks.BuiltIn(&c.policy)
	var names []string
	for _, t := range types {
		names = append(names, t.Type())
	}
	if len(p.Args) < 2 {
		fmt.Fprintf(p.Stderr, "checkstack check: expected a type and a target, as in: checkstack check http https://example.org\nTypes: %s\n", strings.Join(names, ", "))
		return 2
	}
	i := slices.Index(names, p.Args[0])
	if i < 0 {
		fmt.Fprintf(p.Stderr, "checkstack check: expected a type, one of %s, not %q\n", strings.Join(names, ", "), p.Args[0])
		return 2
	}
	plan, err := c.plan(types[i], p.Args[1], p.Args[2:])
	if err != nil {
		fmt.Fprintf(p.Stderr, "checkstack check: %v\n", err)
		return 2
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

// plan compiles what the command line says. The target is the first field that the type requires; what follows it are the
// arguments of a command.
func (c *oneCheck) plan(kind engine.Type, target string, rest []string) (*engine.Plan, error) {
	var schema struct{ Required []string }
	if err := json.Unmarshal(kind.Schema(), &schema); err != nil {
		return nil, err
	}
	config := c.config
	if config == nil {
		config = make(map[string]any)
	}
	if len(schema.Required) > 0 && target != "" {
		config[schema.Required[0]] = target
	}
	if len(rest) > 0 {
		config["args"] = rest
	}
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return engine.Compile(engine.Spec{Type: kind, Config: data, Assertions: c.assertions, Timeout: c.timeout, Policy: &c.policy})
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
		actual, err := json.Marshal(a.Actual)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "  %s %s %s %s, got %s", verdict, a.Path, a.Op, a.Value, actual)
		if a.Error != "" {
			fmt.Fprintf(&b, " (%s)", a.Error)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
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
		text := string(value)
		if s, err := strconv.Unquote(text); err == nil && !strings.ContainsAny(s, "\n\r\t") {
			text = s
		}
		lines = append(lines, [2]string{path, engine.Shorten(text, 200)})
	}
	return lines
}
