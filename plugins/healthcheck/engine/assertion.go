// Assertions: one language for all types that says what must be so of what a run measured.
//
//	{"path": "status", "op": "in", "value": [200, 204]}
//	{"path": "latencyMs", "op": "lt", "value": 500, "severity": "degraded"}
//	{"path": "json.$.queues[*].length", "op": "exists"}
//
// A path is one of the type's own; latencyMs, which every type has, in whole milliseconds as they are kept and shown; or one below a
// family: header.content-type (the first value, whatever its case) and json.$.a.b, a JSON path in the body. Numbers are
// compared exactly, and in a text that the other side wrote, such as a header, 12 is 12.0.
//
// The hard case is a value that is not there. A monitor must not be green because what it looks at has gone, so an absent value
// passes nothing but "exists" false and "empty", not even "ne"; and what is said of a JSON body fails, whatever it says, where the
// body is not JSON.

package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"checkstack/plugins"
)

// Assertion says what must be so of what a run measured.
type Assertion struct {
	Path     string          `json:"path"`               // one of the type's paths, latencyMs, or below a family: "header.content-type", "json.$.a.b"
	Op       string          `json:"op"`                 // eq ne lt le gt ge in contains matches exists empty
	Value    json.RawMessage `json:"value,omitempty"`    // what it is compared with; for exists and empty true, by default, or false
	Severity string          `json:"severity,omitempty"` // "degraded" or, by default, "unhealthy": what the run is if it is not so
}

// AssertionResult is what became of an assertion in one run.
type AssertionResult struct {
	Assertion
	OK     bool   `json:"ok"`
	Actual any    `json:"actual"`          // at most 200 characters of a text, the last of which is … if it was longer; null where nothing was measured
	Error  string `json:"error,omitempty"` // why it could not be compared
}

// Assertions are compiled assertions.
type Assertions []compiledAssertion

type compiledAssertion struct {
	Assertion        // as it was written, with its placeholders
	source    source // where the value is
	name      string // in what was measured, or of a header
	json      jsonPath
	want      any    // of eq, ne and contains, as encoding/json decodes it with numbers kept as they are; of exists and empty a bool
	wants     []any  // of in
	limit     number // of lt, le, gt, ge
	loose     bool   // whether a text that holds a number equals that number
	pattern   *regexp.Regexp
}

type source uint8

const (
	fromMeasured source = iota
	fromLatency
	fromHeader
	fromJSON
	fromBody
)

const (
	latencyPath     = "latencyMs"
	maxAssertions   = 50
	maxValue        = 4096 // bytes of the value of an assertion
	maxAlternatives = 100  // entries of the list of in
	maxPattern      = 1000 // characters of a regular expression
	maxProgram      = 2000 // instructions of one, each of which may cost a step for every character it looks at
)

var operators = []string{"eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "matches", "exists", "empty"}

// CompileAssertions understands what is asserted of the paths of a type. An error names the field: "assertions[2].value".
func CompileAssertions(paths []Path, list []Assertion) (Assertions, error) {
	return compileAssertions(paths, list, list)
}

// compileAssertions has them as they were written, for results, and with their placeholders expanded.
func compileAssertions(paths []Path, written, expanded []Assertion) (Assertions, error) {
	if len(written) > maxAssertions {
		return nil, plugins.Invalid("assertions", "expected at most %d assertions, not %d", maxAssertions, len(written))
	}
	if len(written) == 0 {
		return nil, nil
	}
	all := make(Assertions, len(written))
	for i, a := range expanded {
		field := fmt.Sprintf("assertions[%d]", i)
		c := &all[i]
		c.Assertion = a
		kind, err := c.compilePath(field+".path", paths)
		if err != nil {
			return nil, err
		}
		if err := c.compileOp(field+".op", kind); err != nil {
			return nil, err
		}
		if err := c.compileValue(field+".value", kind, written[i].Value); err != nil {
			return nil, err
		}
		if a.Severity != "" && a.Severity != "degraded" && a.Severity != "unhealthy" {
			return nil, plugins.Invalid(field+".severity", "expected degraded or unhealthy, not %s", quoted(a.Severity))
		}
		c.Assertion = written[i]
		c.Value = compact(c.Value)
	}
	return all, nil
}

func (c *compiledAssertion) compilePath(field string, paths []Path) (Kind, error) {
	if c.Path == latencyPath {
		c.source = fromLatency
		return Number, nil
	}
	c.name = c.Path
	known := make([]string, 0, len(paths)+1)
	for _, p := range paths {
		known = append(known, p.Name)
		family, isFamily := strings.CutSuffix(p.Name, "*")
		below, isBelow := strings.CutPrefix(c.Path, family)
		switch {
		case !isFamily && p.Name == c.Path:
			if p.Name == "body" {
				c.source, c.loose = fromBody, true
			}
			c.loose = c.loose || p.Kind == Text
			return p.Kind, nil
		case !isFamily || !isBelow:
		case family == "json.":
			path, err := parseJSONPath(below)
			if err != nil {
				return "", plugins.Invalid(field, "%v", err)
			}
			c.source, c.json = fromJSON, path
			return Any, nil
		case below == "" || len(below) > maxPath || !utf8.ValidString(below) || strings.ContainsFunc(below, func(r rune) bool { return r <= ' ' }):
			return "", plugins.Invalid(field, "expected a name of at most %d characters without spaces after %s", maxPath, family)
		case family == "header.":
			c.source, c.name, c.loose = fromHeader, textproto.CanonicalMIMEHeaderKey(below), true
			return Text, nil
		default:
			c.loose = p.Kind == Text
			return p.Kind, nil
		}
	}
	return "", plugins.Invalid(field, "expected one of %s, not %s", strings.Join(append(known, latencyPath), ", "), quoted(c.Path))
}

// compileOp checks that the operator fits what is compared.
func (c *compiledAssertion) compileOp(field string, kind Kind) error {
	if !slices.Contains(operators, c.Op) {
		return plugins.Invalid(field, "expected one of %s, not %s", strings.Join(operators, ", "), quoted(c.Op))
	}
	sent := c.source == fromHeader || c.source == fromBody // a text that may hold a number
	fitting := slices.DeleteFunc(slices.Clone(operators), func(op string) bool {
		switch op {
		case "lt", "le", "gt", "ge":
			return kind != Number && kind != Any && !sent
		case "in":
			return kind == Texts
		case "contains", "matches", "empty":
			return kind == Number || kind == Bool
		}
		return false
	})
	if !slices.Contains(fitting, c.Op) {
		return plugins.Invalid(field, "expected one of %s for this path, whose values are of the kind %s, not %s", strings.Join(fitting, ", "), kind, quoted(c.Op))
	}
	return nil
}

// compileValue understands the value. Errors repeat it as it was written, because what its placeholders stand for may be secret.
func (c *compiledAssertion) compileValue(field string, kind Kind, written json.RawMessage) error {
	if c.Op == "exists" || c.Op == "empty" {
		c.want = true
		if len(c.Value) > 0 {
			is := string(c.Value) == "true"
			if c.want = is; !is && string(c.Value) != "false" {
				return plugins.Invalid(field, "expected true, false or nothing, not %s", brief(written))
			}
		}
		return nil
	}
	if len(c.Value) > maxValue {
		return plugins.Invalid(field, "expected at most %d bytes, not %d", maxValue, len(c.Value))
	}
	if len(c.Value) == 0 {
		return plugins.Invalid(field, "expected a value to compare with, but it is missing")
	}
	value, err := decodeJSON(c.Value)
	if err != nil {
		return plugins.Invalid(field, "expected one JSON value")
	}
	if hasNUL(value) {
		return plugins.Invalid(field, "expected a text without the character U+0000")
	}
	switch c.Op {
	case "eq", "ne":
		c.want, err = comparable(field, kind, value, written)
	case "in":
		list, isList := value.([]any)
		entries, _ := membersOf(written, '[')
		if !isList {
			return plugins.Invalid(field, "expected a list of 1 to %d values such as [200,204], not %s", maxAlternatives, brief(written))
		}
		if len(list) == 0 || len(list) > maxAlternatives {
			return plugins.Invalid(field, "expected a list of 1 to %d values, not of %d", maxAlternatives, len(list))
		}
		c.wants = make([]any, len(list))
		for i := 0; err == nil && i < len(list); i++ {
			c.wants[i], err = comparable(fmt.Sprintf("%s[%d]", field, i), kind, list[i], entries[i].value)
		}
	case "contains":
		if text, isText := value.(string); isText && text == "" || !isText && kind != Any {
			return plugins.Invalid(field, "expected a text that is not empty")
		}
		c.want = value
	case "matches":
		c.pattern, err = compilePattern(field, value)
	default:
		limit, ok := asNumber(value)
		if !ok {
			return plugins.Invalid(field, "expected a number, not %s", brief(written))
		}
		c.limit = limit
	}
	return err
}

// comparable checks that a value can equal one of a kind. A number may be written as a text, which is all that a placeholder can give.
func comparable(field string, kind Kind, value any, written json.RawMessage) (any, error) {
	_, isText := value.(string)
	_, isBool := value.(bool)
	n, isNumber := asNumber(value)
	switch {
	case kind == Number && isNumber:
		return n, nil
	case kind == Number:
		return nil, plugins.Invalid(field, "expected a number, not %s", brief(written))
	case kind == Text && !isText && !isNumber:
		return nil, plugins.Invalid(field, "expected a text or a number, not %s", brief(written))
	case kind == Bool && !isBool:
		return nil, plugins.Invalid(field, "expected true or false, not %s", brief(written))
	case kind == Texts:
		list, ok := value.([]any)
		if !ok || slices.ContainsFunc(list, func(entry any) bool { _, is := entry.(string); return !is }) {
			return nil, plugins.Invalid(field, "expected a list of texts, not %s", brief(written))
		}
	}
	return value, nil
}

func compilePattern(field string, value any) (*regexp.Regexp, error) {
	text, ok := value.(string)
	if !ok || text == "" || utf8.RuneCountInString(text) > maxPattern {
		return nil, plugins.Invalid(field, "expected a regular expression of 1 to %d characters", maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		detail := "syntax error"
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			detail = e.Code.String()
		}
		return nil, plugins.Invalid(field, "expected a regular expression as RE2 has them: %s", detail)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return nil, plugins.Invalid(field, "expected a regular expression with fewer repetitions")
	}
	return regexp.Compile(text)
}

// decodeJSON decodes one value, with its numbers as they are written.
func decodeJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if len(bytes.TrimLeft(data[d.InputOffset():], " \t\r\n")) > 0 {
		return nil, errors.New("there is more than one JSON value")
	}
	return value, nil
}

// quoted and brief repeat what was given, a text and a value, in the message of an error.
func quoted(text string) string          { return strconv.Quote(Cut(text, maxShown)) }
func brief(value json.RawMessage) string { return Cut(string(compact(value)), maxShown) }

// compact writes a value without the space between its parts, for messages.
func compact(data json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(data) == 0 || json.Compact(&b, data) != nil {
		return nil
	}
	return b.Bytes()
}

func hasNUL(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.Contains(v, "\x00")
	case []any:
		return slices.ContainsFunc(v, hasNUL)
	case map[string]any:
		for key, value := range v {
			if hasNUL(key) || hasNUL(value) {
				return true
			}
		}
	}
	return false
}

// AssertionSchema is the JSON Schema (2020-12) of a list of assertions.
func AssertionSchema() json.RawMessage {
	return appendJSON(nil, map[string]any{
		"type": "array", "maxItems": maxAssertions,
		"items": map[string]any{
			"type": "object", "additionalProperties": false, "required": []string{"path", "op"},
			"properties": map[string]any{
				"path": map[string]any{"type": "string", "description": "what is looked at: a path of the check type, latencyMs, header.NAME, or json.PATH " +
					"with a JSON path such as $.items[0].name"},
				"op": map[string]any{"type": "string", "enum": operators},
				"value": map[string]any{"description": "what it is compared with: a number for lt, le, gt and ge; a list for in; a text, or an entry of a list, for contains; " +
					"a regular expression (RE2) for matches; true, by default, or false for exists and empty"},
				"severity": map[string]any{"type": "string", "enum": []string{"unhealthy", "degraded"}, "default": "unhealthy",
					"description": "what a run is if it is not so"},
			},
		},
	})
}

// ParseAssertion reads an assertion from one line: a path, an operator, a value where the operator has one, and perhaps a severity.
// The value is JSON, or else the text as it stands; one that ends with a severity is put in quotes.
//
//	status in [200,204]
//	latencyMs lt 500 degraded
//	body contains "is degraded"
func ParseAssertion(s string) (Assertion, error) {
	path, rest := cutPath(strings.TrimSpace(s))
	op, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
	rest = strings.TrimSpace(rest)
	if known := strings.Join(operators, " "); path == "" || op == "" {
		return Assertion{}, fmt.Errorf("expected a path, one of %s, and a value, such as status in [200,204]", known)
	} else if !slices.Contains(operators, op) {
		return Assertion{}, fmt.Errorf("expected one of %s after %s, not %s", known, Shorten(path, maxShown), quoted(op))
	}
	a := Assertion{Path: path, Op: op}
	unary := op == "exists" || op == "empty"
	for _, severity := range []string{"degraded", "unhealthy"} {
		value, is := strings.CutSuffix(rest, severity)
		if is && (strings.HasSuffix(value, " ") || unary && value == "") {
			a.Severity, rest = severity, strings.TrimSpace(value)
			break
		}
	}
	switch {
	case unary && rest == "":
		return a, nil
	case rest == "":
		return Assertion{}, fmt.Errorf("expected a value after %s %s", Shorten(path, maxShown), op)
	case unary && rest != "true" && rest != "false":
		return Assertion{}, fmt.Errorf("expected true, false or nothing after %s %s, and then perhaps degraded or unhealthy, not %s", Shorten(path, maxShown), op, quoted(rest))
	}
	text := op == "matches" || op == "contains" && !strings.HasPrefix(path, "json.") // of which a number is the text of it
	if a.Value = json.RawMessage(rest); !json.Valid(a.Value) || text && rest[0] != '"' {
		a.Value = appendJSON(nil, rest)
	}
	return a, nil
}

// cutPath returns the path that s begins with, which ends at a space that is not in a name in quotes, and what comes after it.
func cutPath(s string) (path, rest string) {
	var quote byte
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote && s[i-1] != '\\' {
				quote = 0
			}
		case (c == '\'' || c == '"') && i > 0 && s[i-1] == '[':
			quote = c
		case c == ' ':
			return s[:i], s[i:]
		}
	}
	return s, ""
}
