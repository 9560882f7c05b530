// The status codes that an http check expects: codes and whole classes, [200, "3xx"].

package checks

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"checkstack/plugins"
)

const maxHTTPStatuses = 50 // entries

// httpStatuses is the ranges of status codes that count as healthy.
type httpStatuses []struct{ low, high int }

// JSONSchema describes what UnmarshalJSON reads.
func (httpStatuses) JSONSchema() map[string]any {
	return map[string]any{"type": "array", "minItems": 1, "maxItems": maxHTTPStatuses, "items": map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": 100, "maximum": 599},
		map[string]any{"type": "string", "enum": []string{"1xx", "2xx", "3xx", "4xx", "5xx"}},
	}}}
}

// UnmarshalJSON reads an array of codes, 100 to 599, and classes, "1xx" to "5xx".
func (e *httpStatuses) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // as if it were absent
	}
	expected := plugins.Invalid("expectStatus", `expected an array of 1 to %d codes from 100 to 599 or classes such as "2xx"`, maxHTTPStatuses)
	var entries []json.RawMessage
	if json.Unmarshal(data, &entries) != nil || len(entries) == 0 || len(entries) > maxHTTPStatuses {
		return expected
	}
	ranges := make(httpStatuses, len(entries))
	for i, entry := range entries {
		if text := string(entry); len(text) == 5 && text[1] >= '1' && text[1] <= '5' && text[0] == '"' && text[2:] == `xx"` {
			ranges[i].low = int(text[1]-'0') * 100
			ranges[i].high = ranges[i].low + 99
			continue
		}
		code, err := strconv.Atoi(string(entry))
		if err != nil || code < 100 || code > 599 {
			return expected
		}
		ranges[i].low, ranges[i].high = code, code
	}
	*e = ranges
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (e httpStatuses) MarshalJSON() ([]byte, error) {
	entries := make([]any, len(e))
	for i, r := range e {
		if entries[i] = r.low; r.low != r.high {
			entries[i] = fmt.Sprintf("%dxx", r.low/100)
		}
	}
	return json.Marshal(entries)
}

func (e httpStatuses) has(code int) bool {
	for _, r := range e {
		if r.low <= code && code <= r.high {
			return true
		}
	}
	return false
}

// String lists what is expected as a person would: "200, 3xx".
func (e httpStatuses) String() string {
	var b strings.Builder
	for i, r := range e {
		if i > 0 {
			b.WriteString(", ")
		}
		if r.low == r.high {
			b.WriteString(strconv.Itoa(r.low))
		} else {
			b.WriteString(strconv.Itoa(r.low/100) + "xx")
		}
	}
	return b.String()
}
