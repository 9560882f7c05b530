// A plan is all that one run of a check needs, compiled once and run many times: the check itself, what is asserted of what it
// measures, and how long it may take.
//
//	Spec ── placeholders, the type's Compile, assertions ──► Plan ── Run ──► Report
//
// A type may come from anywhere, so nothing of what a run returns is taken on trust. The hard case is a type that panics or says
// neither healthy nor unhealthy: that is a fault of ours, not an outage.

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"checkstack/plugins"
)

// Spec is what a plan is made of.
type Spec struct {
	Type       Type
	Config     json.RawMessage // as the type's Compile takes it, or with placeholders; see [Expand]
	Assertions []Assertion
	Timeout    time.Duration // for all of one run; 0 sets no limit

	// Values are what placeholders such as ${system.name} stand for, by their names. A nil map leaves no placeholder but
	// ${ENV:NAME} allowed.
	Values map[string]string
	Policy *Policy

	// Template says that the configuration is for many systems, so that there are no Values to check it with. See [Validate].
	Template bool
}

// Plan is a compiled [Spec]. It is used by several goroutines at once.
type Plan struct {
	kind       string
	check      Check
	assertions Assertions
	timeout    time.Duration
	late       error  // what ends a run that takes longer
	secrets    *hider // of what the configuration holds in secret
}

// Report is how one run ended, as it is kept.
type Report struct {
	Status     plugins.Status
	Latency    *time.Duration
	Message    string              // at most 500 characters
	Result     json.RawMessage     // one object of at most 16 KiB: what was measured, and the assertions
	Assertions []AssertionResult   // every assertion, in order; none where the run failed before there was anything to assert
	Fault      error               // an error of ours: the other fields say nothing of the target
	Panic      *plugins.PanicError // what the type panicked with, for the log; there is a fault then too
	TimedOut   bool                // the run took all of its time
	At         time.Time           // when the run ended
	Measured   Measured            // what is in Result, without what assertions said; the body and the headers are let go
}

// Compile makes a plan. An error of the configuration names its field as "config.url", one of an assertion "assertions[0].value".
// A [Fault] says that it cannot be run here and now, as when a variable is not set.
func Compile(s Spec) (*Plan, error) {
	var secrets []string
	expanded := expander(s.Values, s.Policy)
	check, assertions, err := s.compile(func(field, name string) (string, error) {
		value, err := expanded(field, name)
		if strings.HasPrefix(name, "ENV:") && err == nil {
			secrets = append(secrets, value)
		}
		return value, err
	})
	if err != nil {
		return nil, err
	}
	if config, err := expand("", orEmpty(s.Config), expanded); err == nil {
		secrets = secretsIn(config, secrets)
	}
	return &Plan{s.Type.Type(), check, assertions, s.Timeout, fmt.Errorf("timed out after %s", s.Timeout), newHider(secrets)}, nil
}

// Validate checks a spec that is to be saved, and returns the configuration to save: what the type understood of it, with its
// placeholders. Variables are not read, since the machine that runs the check may be another one, but must be allowed. In a
// template, placeholders of a system stand for samples. Errors are those of [Compile].
func Validate(s Spec) (normal json.RawMessage, err error) {
	tried := make(map[string]int) // by field, how many samples did not fit in it
	for {
		sampled := make(map[string]bool)
		sample := func(field, name string) string {
			sampled[field] = true
			if n := tried[field]; n > 0 {
				return samples[n-1]
			}
			return Sample(name)
		}
		check, _, failed := s.compile(func(field, name string) (string, error) {
			values := s.Values
			if s.Template {
				values = map[string]string{name: sample(field, name)}
			}
			return fromSystemOr(field, name, values, func(variable string) (string, error) {
				if err := s.Policy.mayRead(variable); err != nil {
					return "", plugins.Invalid(field, "%v", err)
				}
				return sample(field, name), nil
			})
		})
		if failed == nil {
			return withPlaceholders(check.Normal(), orEmpty(s.Config))
		}
		if err == nil {
			err = failed // of the sample that fits the name best
		}
		if !tryNext(tried, sampled, failed) {
			return nil, err
		}
	}
}

// tryNext goes on to the next sample in the field that an error is about. It reports whether there is one.
func tryNext(tried map[string]int, sampled map[string]bool, err error) (ok bool) {
	e, is := errors.AsType[*plugins.Error](err)
	if !is {
		return false
	}
	for field := range sampled {
		rest, within := strings.CutPrefix(field, e.Field)
		if within && (rest == "" || rest[0] == '.' || rest[0] == '[') && tried[field] < len(samples) {
			tried[field]++
			ok = true
		}
	}
	return ok
}

// compile compiles the configuration and the assertions with the values of their placeholders.
func (s *Spec) compile(value func(field, name string) (string, error)) (Check, Assertions, error) {
	config, err := expand("config", orEmpty(s.Config), value)
	if err != nil {
		return nil, nil, err
	}
	var check Check
	err = plugins.Protect(func() (err error) {
		check, err = s.Type.Compile(config)
		return err
	})
	if err == nil && check == nil {
		err = errors.New("the check type " + s.Type.Type() + " made no check")
	}
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		inner := *e
		inner.Field = join("config", e.Field)
		err = &inner
	}
	if err != nil {
		return nil, nil, err
	}
	expanded := slices.Clone(s.Assertions)
	for i := range expanded {
		if len(expanded[i].Value) == 0 {
			continue
		}
		expanded[i].Value, err = expand(fmt.Sprintf("assertions[%d].value", i), expanded[i].Value, value)
		if err != nil {
			return nil, nil, err
		}
	}
	assertions, err := compileAssertions(s.Type.Paths(), s.Assertions, expanded)
	return check, assertions, err
}

func orEmpty(config json.RawMessage) json.RawMessage {
	if len(config) == 0 {
		return json.RawMessage("{}")
	}
	return config
}

// withPlaceholders puts the texts of given that have placeholders back into normal, which has samples in their place.
func withPlaceholders(normal, given json.RawMessage) (json.RawMessage, error) {
	if !mayHavePlaceholders(given) {
		return normal, nil
	}
	n, err1 := decodeJSON(normal)
	g, err2 := decodeJSON(given)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("write a config: %w", err)
	}
	return json.Marshal(merge(n, g))
}

// merge is normal with the parts of given that have placeholders. Where the type writes such a part in another form, it is as given.
func merge(normal, given any) any {
	if !hasPlaceholder(given) {
		return normal
	}
	switch g := given.(type) {
	case map[string]any:
		n, ok := normal.(map[string]any)
		if !ok {
			return given
		}
		merged := maps.Clone(n)
		for name, value := range g {
			if !hasPlaceholder(value) {
				continue
			}
			if _, ok := n[name]; !ok {
				return given
			}
			merged[name] = merge(n[name], value)
		}
		return merged
	case []any:
		n, ok := normal.([]any)
		if !ok || len(n) != len(g) {
			return given
		}
		merged := make([]any, len(g))
		for i := range g {
			merged[i] = merge(n[i], g[i])
		}
		return merged
	}
	return given
}

func hasPlaceholder(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.Contains(v, "${")
	case []any:
		return slices.ContainsFunc(v, hasPlaceholder)
	case map[string]any:
		for _, value := range v {
			if hasPlaceholder(value) {
				return true
			}
		}
	}
	return false
}

// Target is what the check connects to; see [Check].
func (p *Plan) Target() string { return p.check.Target() }

// Run makes one run. If ctx has ended when it returns, the run was cut short by its caller, and its report is to be thrown away.
func (p *Plan) Run(ctx context.Context) Report {
	timed, cancel := ctx, context.CancelFunc(func() {})
	if p.timeout > 0 {
		timed, cancel = context.WithTimeoutCause(ctx, p.timeout, p.late)
	}
	var out Outcome
	err := plugins.Protect(func() error {
		out = p.check.Run(timed)
		return nil
	})
	overtime := context.Cause(timed) == p.late
	cancel()
	report := Report{At: time.Now().UTC().Truncate(time.Microsecond)} // what PostgreSQL can hold
	switch {
	case err != nil:
		report.Panic, _ = errors.AsType[*plugins.PanicError](err)
		out = Outcome{Fault: &Fault{Reason: "the check itself failed", Err: err}}
	case out.Fault == nil && rank(out.Status) < 0:
		out.Fault = &Fault{Reason: "the check type " + p.kind + " gave no valid status"}
	}
	report.TimedOut = overtime && (out.Fault != nil || out.Status == plugins.Unhealthy)
	if out.Latency != nil {
		report.Latency = new(min(max(*out.Latency, 0), math.MaxInt32*time.Millisecond)) // what history can hold
	}
	if report.Fault = out.Fault; report.Fault != nil {
		report.Message = out.Fault.Error()
	} else {
		report.Status, report.Message = out.Status, out.Message
		p.assert(&report, &out.Measured)
	}
	p.secrets.hide(&report, &out.Measured)
	report.Message = Shorten(report.Message, maxMessage)
	report.Measured = Measured{values: out.Measured.values}
	report.Result = result(report.Measured, report.Assertions)
	return report
}

const maxMessage = 500 // characters

// assert evaluates the assertions where there is something to look at. They can make the status worse, and say why then.
//
// What tells only how far a run came is nothing: a refused connection is the same for a name, which took a moment to look up, as for
// an address.
func (p *Plan) assert(report *Report, m *Measured) {
	something := m.Body != nil || m.Header != nil || report.Latency != nil || slices.ContainsFunc(m.values, func(v measurement) bool {
		return v.path != "error" && v.path != "address" && !strings.HasPrefix(v.path, "phases.")
	})
	if report.Status == plugins.Unhealthy && !something {
		return
	}
	results, worst, message := p.assertions.Evaluate(m, report.Latency)
	report.Assertions = results
	if rank(worst) > rank(report.Status) || worst == report.Status && report.Message == "" {
		report.Status, report.Message = worst, message
	}
}
