// What becomes of assertions in a run: each is looked at, also after one that failed, so that the list of results is complete.
//
// Results are for those who may see runs and hold what was measured. The message is for everybody, also on a public status page: it
// may hold numbers, true and false, but never a text that the other side sent, and of a value with placeholders what was written.

package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"checkstack/plugins"
)

const (
	maxActual    = 200 // characters of a text in a result
	maxComposite = 500 // bytes of a list or an object in a result; of a longer one there is the beginning, as a text
	maxShown     = 100 // characters of a path or a value in a message
)

// Evaluate says of each assertion what became of it; how bad that is in all, which is Healthy if everything is so; and, if it is
// not, what was expected, of the worst that failed the first. latency is nil where none was measured.
func (list Assertions) Evaluate(m *Measured, latency *time.Duration) (results []AssertionResult, worst plugins.Status, message string) {
	worst = plugins.Healthy
	if len(list) == 0 {
		return nil, worst, ""
	}
	results = make([]AssertionResult, len(list))
	run := evaluation{m: m, latency: latency}
	failed, first := 0, 0
	var shown actual
	for i := range list {
		a := &list[i]
		value := run.find(a)
		ok, problem := a.holds(value)
		results[i] = AssertionResult{Assertion: a.Assertion, OK: ok, Actual: value.shown(), Error: problem}
		if ok {
			continue
		}
		failed++
		severity := plugins.Unhealthy
		if a.Severity == "degraded" {
			severity = plugins.Degraded
		}
		if rank(severity) > rank(worst) {
			worst, first, shown = severity, i, value
		}
	}
	if failed > 0 {
		message = list[first].expectation(shown, results[first].Error)
	}
	if failed > 1 {
		message += fmt.Sprintf(" (and %d more)", failed-1)
	}
	return results, worst, message
}

// rank orders statuses from good to bad.
func rank(s plugins.Status) int {
	return slices.Index([]plugins.Status{plugins.Healthy, plugins.Degraded, plugins.Unhealthy}, s)
}

// evaluation is what one run measured, with its body read at most once.
type evaluation struct {
	m       *Measured
	latency *time.Duration

	text     *string
	document any
	problem  string // why there is no document
	decoded  bool
}

// actual is what a path led to.
type actual struct {
	value   any // a bool, a string, a []string, a number of Go or of JSON, and of JSON nil, []any and map[string]any
	present bool
	problem string // why it could not be looked for
}

func (e *evaluation) find(a *compiledAssertion) actual {
	switch a.source {
	case fromLatency:
		if e.latency == nil {
			return actual{}
		}
		return actual{value: milliseconds(*e.latency), present: true}
	case fromHeader:
		if values := e.m.Header[a.name]; len(values) > 0 {
			return actual{value: values[0], present: true}
		}
		return actual{}
	case fromBody:
		if e.m.Body == nil {
			return actual{}
		}
		if e.text == nil {
			e.text = new(string(e.m.Body))
		}
		return actual{value: *e.text, present: true}
	case fromJSON:
		e.decode()
		if e.problem != "" {
			return actual{problem: e.problem}
		}
		value, ok, err := a.json.find(e.document)
		if err != nil {
			return actual{problem: err.Error()}
		}
		return actual{value: value, present: ok}
	}
	value, ok := e.m.Get(a.name)
	return actual{value: value, present: ok}
}

func (e *evaluation) decode() {
	if e.decoded {
		return
	}
	e.decoded = true
	if len(e.m.Body) == 0 {
		e.problem = "there is no body"
		return
	}
	document, err := decodeJSON(e.m.Body)
	if err != nil {
		e.problem = "the body is not JSON"
		return
	}
	e.document = document
}

// milliseconds is a latency as history keeps it.
func milliseconds(d time.Duration) int64 {
	return min(max(d.Round(time.Millisecond).Milliseconds(), 0), math.MaxInt32)
}

// holds reports whether the assertion is so of a value, and why it could not be compared.
func (c *compiledAssertion) holds(v actual) (ok bool, problem string) {
	switch {
	case v.problem != "":
		return false, v.problem
	case c.Op == "exists":
		return v.present == c.want, ""
	case c.Op == "empty":
		return isEmpty(v) == c.want, ""
	case !v.present:
		return false, "there is no such value"
	}
	switch c.Op {
	case "eq":
		return c.equals(v.value, c.want), ""
	case "ne":
		return !c.equals(v.value, c.want), ""
	case "in":
		return slices.ContainsFunc(c.wants, func(want any) bool { return c.equals(v.value, want) }), ""
	case "contains":
		return contains(v.value, c.want)
	case "matches":
		return c.matches(v.value)
	}
	n, isNumber := asNumber(v.value)
	if !isNumber {
		return false, "it is not a number"
	}
	by := n.compare(c.limit)
	switch c.Op {
	case "lt":
		return by < 0, ""
	case "le":
		return by <= 0, ""
	case "gt":
		return by > 0, ""
	}
	return by >= 0, ""
}

// equals compares a value with what is wanted; a text from outside JSON, where there are no numbers, also as a number.
func (c *compiledAssertion) equals(value, want any) bool {
	if text, is := value.(string); is && c.loose {
		if wanted, is := numberOf(want); is {
			n, ok := parseNumber(strings.TrimSpace(text))
			return ok && n.compare(wanted) == 0
		}
	}
	return equal(value, want)
}

// asNumber is the number that a value is, or that a text holds.
func asNumber(value any) (number, bool) {
	if text, is := value.(string); is {
		return parseNumber(strings.TrimSpace(text))
	}
	return numberOf(value)
}

// equal compares two values, in which one that was measured may be a []string.
func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case string:
		b, ok := b.(string)
		return ok && a == b
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case []string:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, func(a string, b any) bool { return a == b })
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, value := range a {
			if other, ok := b[name]; !ok || !equal(value, other) {
				return false
			}
		}
		return true
	}
	n, isNumber := numberOf(a)
	m, wanted := numberOf(b)
	return isNumber && wanted && n.compare(m) == 0
}

func contains(value, want any) (ok bool, problem string) {
	switch value := value.(type) {
	case string:
		text, is := want.(string)
		if !is {
			return false, "it is a text, which contains only texts"
		}
		return strings.Contains(value, text), ""
	case []string:
		return slices.ContainsFunc(value, func(entry string) bool { return entry == want }), ""
	case []any:
		return slices.ContainsFunc(value, func(entry any) bool { return equal(entry, want) }), ""
	}
	return false, "it is neither a text nor a list"
}

func (c *compiledAssertion) matches(value any) (ok bool, problem string) {
	switch value := value.(type) {
	case string:
		return c.pattern.MatchString(value), ""
	case []string:
		return slices.ContainsFunc(value, c.pattern.MatchString), ""
	case []any:
		return slices.ContainsFunc(value, func(entry any) bool {
			text, is := entry.(string)
			return is && c.pattern.MatchString(text)
		}), ""
	}
	return false, "it is neither a text nor a list"
}

func isEmpty(v actual) bool {
	switch value := v.value.(type) {
	case nil:
		return true // also what is absent
	case string:
		return value == ""
	case []string:
		return len(value) == 0
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

// shown is the value for a result.
func (v actual) shown() any {
	switch value := v.value.(type) {
	case nil, bool:
		return value
	case string:
		return Cut(value, maxActual)
	case []string, []any, map[string]any:
		data := appendJSON(nil, value)
		if len(data) > maxComposite {
			return Cut(string(data), maxActual)
		}
		return json.RawMessage(data)
	case json.Number:
		if len(value) > maxShown {
			return Cut(string(value), maxActual)
		}
		return value
	}
	if _, ok := numberOf(v.value); !ok {
		return nil // JSON has no word for it
	}
	return v.value
}

// expectation says what was expected and what there is instead.
func (c *compiledAssertion) expectation(v actual, problem string) string {
	s := "expected " + Shorten(c.Path, maxShown) + " " + c.Op
	if c.Value != nil {
		s += " " + Shorten(string(c.Value), maxShown)
	}
	switch {
	case v.problem != "":
		return s + ", but " + v.problem
	case !v.present:
		return s + ", got nothing"
	case problem != "":
		return s + ", but " + problem
	}
	return s + ", got " + c.inWords(v.value)
}

// inWords says what a value is, without a text that the other side sent.
func (c *compiledAssertion) inWords(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(value)
	case string:
		switch {
		case value == "":
			return "an empty text"
		case c.Op == "ne":
			return "this text"
		case c.Op == "exists" || c.Op == "empty":
			return "a text"
		}
		return "another text"
	case []string, []any:
		return fmt.Sprintf("a list of %d", reflect.ValueOf(value).Len())
	case map[string]any:
		return "an object"
	case json.Number:
		if len(value) > maxShown {
			return "another number"
		}
		return string(value)
	}
	return string(appendJSON(nil, value))
}
