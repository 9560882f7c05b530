// JSON paths: the part of RFC 9535 that names values, without the parts that search or compute.
//
//	$                    the whole
//	.name  ['a b']  ["a b"]    a field of an object; the short form for letters, digits and underscores
//	[0]  [-1]            an entry of a list, from its beginning or its end
//	.*  [*]              every field or every entry
//
// A path names one value or none. The hard case is one with a wildcard, which is a list of however many there are; where there
// are none it names nothing, so that "no item has an error" can be told from "the items have errors that are empty".

package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxPath  = 500  // characters of a JSON path
	maxSteps = 50   // of a JSON path
	maxNodes = 1000 // values that a JSON path with wildcards may name
)

var errManyNodes = fmt.Errorf("there are more than %d such values", maxNodes)

// jsonPath is a path that was understood.
type jsonPath struct {
	steps []jsonStep
	many  bool // it has a wildcard
}

type jsonStep struct {
	kind  stepKind
	name  string
	index int
}

type stepKind uint8

const (
	aMember stepKind = iota
	anElement
	everyChild
)

// parseJSONPath reads a path. The error says what was expected, and where.
func parseJSONPath(s string) (jsonPath, error) {
	if utf8.RuneCountInString(s) > maxPath {
		return jsonPath{}, fmt.Errorf("expected a JSON path of at most %d characters", maxPath)
	}
	if !strings.HasPrefix(s, "$") || !utf8.ValidString(s) {
		return jsonPath{}, errors.New("expected a JSON path such as $.items[0].name")
	}
	var p jsonPath
	for rest := s[1:]; rest != ""; {
		step, after, ok := parseStep(rest)
		if !ok {
			return jsonPath{}, fmt.Errorf("expected .name, ['name'], [0], [-1], .* or [*] at character %d of the JSON path",
				utf8.RuneCountInString(s[:len(s)-len(rest)])+1)
		}
		if len(p.steps) == maxSteps {
			return jsonPath{}, fmt.Errorf("expected a JSON path of at most %d steps", maxSteps)
		}
		p.steps = append(p.steps, step)
		p.many = p.many || step.kind == everyChild
		rest = after
	}
	return p, nil
}

// parseStep reads the step that s begins with.
func parseStep(s string) (step jsonStep, after string, ok bool) {
	if rest, is := strings.CutPrefix(s, "."); is {
		if after, is := strings.CutPrefix(rest, "*"); is {
			return jsonStep{kind: everyChild}, after, true
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return !isNameStart(r) && (r < '0' || r > '9') })
		if end < 0 {
			end = len(rest)
		}
		if first, _ := utf8.DecodeRuneInString(rest); end == 0 || !isNameStart(first) {
			return jsonStep{}, "", false
		}
		return jsonStep{name: rest[:end]}, rest[end:], true
	}
	rest, is := strings.CutPrefix(s, "[")
	if !is || rest == "" {
		return jsonStep{}, "", false
	}
	switch quote := rest[0]; quote {
	case '*':
		step.kind, rest = everyChild, rest[1:]
	case '\'', '"':
		step.name, rest, ok = parseQuoted(rest[1:], quote)
		if !ok {
			return jsonStep{}, "", false
		}
	default:
		digits, _, _ := strings.Cut(rest, "]")
		n, err := strconv.Atoi(digits)
		if err != nil || strconv.Itoa(n) != digits { // no +1, no 01, no -0
			return jsonStep{}, "", false
		}
		step.kind, step.index, rest = anElement, n, rest[len(digits):]
	}
	after, ok = strings.CutPrefix(rest, "]")
	return step, after, ok
}

// isNameStart tells what a name in the short form can begin with (RFC 9535, section 2.5.1.1).
func isNameStart(r rune) bool {
	return isASCIILetter(r) || r == '_' || r >= 0x80
}

// parseQuoted reads a name up to the quote that ends it. The escapes are those of JSON, but for the quote, which is the one used.
func parseQuoted(s string, quote byte) (name, after string, ok bool) {
	b := []byte{'"'}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			err := json.Unmarshal(append(b, '"'), &name)
			return name, s[i+1:], err == nil
		case c == '"':
			b = append(b, '\\', '"')
		case c == '\\' && i+1 < len(s):
			i++
			switch {
			case s[i] == quote && quote == '\'':
				b = append(b, '\'')
			case s[i] == '"' && quote == '\'':
				return "", "", false
			default:
				b = append(b, '\\', s[i])
			}
		default:
			b = append(b, c)
		}
	}
	return "", "", false
}

// find returns what the path names in a document as encoding/json decodes it into an any.
func (p jsonPath) find(document any) (value any, ok bool, err error) {
	if !p.many {
		value, ok = document, true
		for i := 0; ok && i < len(p.steps); i++ {
			value, ok = p.steps[i].child(value)
		}
		return value, ok, nil
	}
	nodes := []any{document} // never more than the document has at one depth
	for _, step := range p.steps {
		var next []any
		for _, node := range nodes {
			if child, ok := step.child(node); ok {
				next = append(next, child)
			} else if step.kind == everyChild {
				next = appendChildren(next, node)
			}
		}
		nodes = next
	}
	if len(nodes) > maxNodes {
		return nil, false, errManyNodes
	}
	return nodes, len(nodes) > 0, nil
}

// child is the one value that a step other than a wildcard leads to.
func (s *jsonStep) child(node any) (any, bool) {
	switch s.kind {
	case aMember:
		object, _ := node.(map[string]any)
		child, ok := object[s.name]
		return child, ok
	case anElement:
		list, _ := node.([]any)
		i := s.index
		if i < 0 {
			i += len(list)
		}
		if i >= 0 && i < len(list) {
			return list[i], true
		}
	}
	return nil, false
}

// appendChildren appends the entries of a list, or the fields of an object in the order of their names.
func appendChildren(to []any, node any) []any {
	switch node := node.(type) {
	case []any:
		return append(to, node...)
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			to = append(to, node[name])
		}
	}
	return to
}
