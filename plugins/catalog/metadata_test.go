package catalog

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"checkstack/plugins"
)

// TestNumbersAreAsLongAsTheDatabaseWritesThem takes PostgreSQL for the judge: none is longer than was said, and those
// without an exponent are exactly as long, so that what was stored once is stored again.
func TestNumbersAreAsLongAsTheDatabaseWritesThem(t *testing.T) {
	_, db := open(t)
	for _, test := range []struct {
		number string
		length int // 0: too long
	}{
		{"0", 1}, {"-0", 2}, {"7", 1}, {"-1.50", 5}, {"1.50e3", 4}, {"1.50e1", 4}, {"1.50e-3", 7}, {"1E+2", 3}, {"-12.345e2", 7},
		{"0e5", 6}, {"0e-5", 7}, {"0.001e1", 5}, {"1000e-3", 5}, {"1e00000000000000000000000000000000000000000002", 3},
		{"1e39", 40}, {"1e40", 0}, {"-1e38", 40}, {"-1e39", 0}, {"1e-38", 40}, {"1e-39", 0}, {"1.5e-37", 40}, {"1.5e-38", 0},
		{strings.Repeat("9", 40), 40}, {strings.Repeat("9", 41), 0}, {"0." + strings.Repeat("9", 38), 40}, {"0." + strings.Repeat("9", 39), 0},
		{strings.Repeat("9", 30) + "e10", 40}, {strings.Repeat("9", 30) + "e11", 0}, {"1e308", 0}, {"1e-323", 0}, {"0e99999", 0},
		{"1e9223372036854775807", 0}, {"1e-9223372036854775808", 0}, {"1e99999999999999999999", 0},
	} {
		length, ok := writtenOut(test.number)
		if ok != (test.length > 0) || ok && length != test.length {
			t.Errorf("%s: %d characters, %v; want %d", test.number, length, ok, test.length)
		}
		if !ok {
			continue
		}
		var stored string
		if err := db.QueryRowContext(t.Context(), "select $1::jsonb::text", test.number).Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if again, ok := writtenOut(stored); len(stored) > length || again != len(stored) || !ok {
			t.Errorf("%s is stored as %s, then it has %d characters, %v", test.number, stored, again, ok)
		}
	}
}

// TestMetadataIsEqualAsItIsStored takes PostgreSQL for the judge.
func TestMetadataIsEqualAsItIsStored(t *testing.T) {
	_, db := open(t)
	for _, test := range [][2]string{
		{`{}`, `{}`}, {`{"a":1,"b":[true,null,"x"]}`, `{"b":[true,null,"x"],"a":1}`}, {`{"a":1.50e3}`, `{"a":1500}`}, {`{"a":1e-3}`, `{"a":0.001}`},
		{`{"a":-0}`, `{"a":0}`}, {`{"a":1.0}`, `{"a":1}`}, {`{"a":12345678901234567890}`, `{"a":12345678901234567891}`}, {`{"a":1}`, `{"a":"1"}`},
		{`{"a":null}`, `{}`}, {`{"a":[1,2]}`, `{"a":[2,1]}`}, {`{"a":{}}`, `{"a":[]}`}, {`{"a":[1]}`, `{"a":[1,1]}`}, {`{"a":true}`, `{"a":false}`},
	} {
		var a, b Metadata
		if err := errors.Join(json.Unmarshal([]byte(test[0]), &a), json.Unmarshal([]byte(test[1]), &b)); err != nil {
			t.Fatal(err)
		}
		var want bool
		if err := db.QueryRowContext(t.Context(), "select $1::jsonb = $2::jsonb", test[0], test[1]).Scan(&want); err != nil {
			t.Fatal(err)
		}
		if a.Equal(b) != want || b.Equal(a) != want {
			t.Errorf("%s and %s: %v, want %v", test[0], test[1], a.Equal(b), want)
		}
	}
	var none Metadata
	if huge := (Metadata{"a": json.Number("1e999999999")}); !none.Equal(Metadata{}) || huge.Equal(huge) {
		t.Error("nothing is not {}, or what cannot be stored is equal to something")
	}
}

// FuzzMetadata shows that what passes the checks is stored, at a length that is bounded, and comes back the same.
// PostgreSQL is the judge.
func FuzzMetadata(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `{"a":1}`, `{"a":{"b":[1,"x",null,true]}}`, `{"a":1e39,"b":1e-38,"c":-0.0}`, `{"a":1e308}`, `{"a":0e99999}`,
		`{"a":[1.50e3,1.50e-3,-12.345e+2,0.001E1,0e5,0e-5,1e-0007]}`, `{"a":1e-9223372036854775808}`, `{"a":1.2345678901234567e30}`,
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
		if len(stored) > 10*len(text) || len(stored) > 2*maxMetadataBytes { // with spaces
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
