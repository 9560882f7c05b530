// What a run measured: values by their paths, in the order in which they were set. Assertions find them by path; those who
// may see runs get them as one JSON object, "certificate.daysLeft" as {"certificate": {"daysLeft": …}}.

package engine

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Measured is what a run measured. The zero value has nothing.
type Measured struct {
	values []measurement

	// Body is what the other side answered, as far as it was read: the paths body and json.*. It is not part of the result. nil is no
	// body, which is not the same as an empty one.
	Body []byte

	// Header are the headers of an answer: the paths header.*. They are not part of the result.
	Header http.Header
}

type measurement struct {
	path  string
	value any
}

// Set keeps a value: a bool, a string, a []string, or a number of any of Go's types. A path that was set before gets the new value.
func (m *Measured) Set(path string, value any) {
	for i := range m.values {
		if m.values[i].path == path {
			m.values[i].value = value
			return
		}
	}
	m.values = append(m.values, measurement{path, value})
}

// Get returns the value of a path as it was set.
func (m *Measured) Get(path string) (value any, ok bool) {
	for i := range m.values {
		if m.values[i].path == path {
			return m.values[i].value, true
		}
	}
	return nil, false
}

// All ranges over the paths that were set, in order, and their values.
func (m *Measured) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, v := range m.values {
			if !yield(v.path, v.value) {
				return
			}
		}
	}
}

// Object is what was measured as one JSON object, in the order in which it was set.
func (m *Measured) Object() json.RawMessage {
	return storable(appendObject(nil, m.values, ""))
}

// storable replaces the character U+0000, which jsonb cannot hold, in JSON.
func storable(data []byte) []byte {
	return bytes.ReplaceAll(data, []byte(`\u0000`), []byte(`\ufffd`))
}

// appendObject writes the values below a prefix, which is empty or ends with a dot.
func appendObject(b []byte, values []measurement, prefix string) []byte {
	b = append(b, '{')
	var done []string
	for _, v := range values {
		rest, ok := strings.CutPrefix(v.path, prefix)
		if !ok {
			continue
		}
		name, _, nested := strings.Cut(rest, ".")
		if slices.Contains(done, name) {
			continue
		}
		if len(done) > 0 {
			b = append(b, ',')
		}
		done = append(done, name)
		b = append(appendJSON(b, name), ':')
		if nested {
			b = appendObject(b, values, prefix+name+".")
		} else {
			b = appendJSON(b, v.value)
		}
	}
	return append(b, '}')
}

// appendJSON writes a value. One that JSON does not have, such as an infinite number, is null.
func appendJSON(b []byte, value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, data...)
}
