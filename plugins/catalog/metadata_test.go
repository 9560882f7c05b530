package catalog

import (
	"encoding/json"
	"testing"

	"checkstack/plugins"
)

// FuzzMetadata shows that what passes the checks is stored, at a length that is bounded, and comes back the same.
// PostgreSQL is the judge.
func FuzzMetadata(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `{"a":1}`, `{"a":{"b":[1,"x",null,true]}}`, `{"a":1e308,"b":1e-323,"c":-0.0}`, `{"a":1e309}`, `{"a":0e99999}`,
		`{"\u0000":1}`, `{"a":"\ud800"}`, `{"a":"<>&\u2028\u00e9"}`, `[1]`, `{"a":1,"a":2}`, `{"a":123456789012345678901234567890.12345}`,
	} {
		f.Add([]byte(text))
	}
	_, db := open(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Metadata
		if plugins.Decode(data, &m) != nil {
			return
		}
		text, err := m.encode()
		if err != nil {
			if status(err) != 400 {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		var stored string
		if err := db.QueryRowContext(t.Context(), "select $1::jsonb::text", text).Scan(&stored); err != nil {
			t.Fatalf("%q is refused: %v", text, err)
		}
		if len(stored) > 100+400*len(text) {
			t.Errorf("%d bytes are stored as %d", len(text), len(stored))
		}
		var back Metadata
		if err := json.Unmarshal([]byte(stored), &back); err != nil {
			t.Fatalf("%q comes back as %q: %v", text, stored, err)
		}
		again, err := back.encode()
		if err != nil {
			t.Fatalf("%q comes back as %q: %v", text, stored, err)
		}
		var same bool
		if err := db.QueryRowContext(t.Context(), "select $1::jsonb = $2::jsonb", text, again).Scan(&same); err != nil || !same {
			t.Errorf("%q comes back as %q, %v", text, again, err)
		}
	})
}
