package catalog

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"checkstack/plugins"
)

// The bounds of metadata.
const (
	maxMetadataBytes = 16 << 10 // of its JSON without spaces
	maxMetadataKeys  = 50
	maxMetadataDepth = 10 // of objects and arrays in each other, the outermost one included
)

// Metadata is what users note about a thing, as they see fit: a JSON object of at most 50 keys and 16 KiB, at most 10
// deep. Its numbers keep every digit they were given with: those that were decoded are of type [json.Number].
type Metadata map[string]any

// UnmarshalJSON reads a JSON object; null leaves m as it is.
func (m *Metadata) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var values map[string]any
	if err := d.Decode(&values); err != nil {
		return plugins.Invalid("metadata", "expected an object")
	}
	if values != nil {
		*m = values
	}
	return nil
}

// encode returns m as it is stored, or says what is wrong with it.
func (m Metadata) encode() (string, error) {
	if len(m) > maxMetadataKeys {
		return "", plugins.Invalid("metadata", "expected an object of at most %d keys, not %d", maxMetadataKeys, len(m))
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]any(m)); err != nil {
		return "", plugins.Invalid("metadata", "expected what JSON can express: %v", err)
	}
	text := strings.TrimSuffix(buf.String(), "\n")
	if len(text) > maxMetadataBytes {
		return "", plugins.Invalid("metadata", "expected an object of at most %d bytes, not %d", maxMetadataBytes, len(text))
	}
	if m == nil {
		return "{}", nil
	}
	return text, storable(text)
}

// storable reports what in a JSON text the database could not hold, or would hold at many times its size: it writes
// numbers out, so that seven characters such as 1e99999 become a hundred thousand.
func storable(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return nil // the end: the text was just encoded
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '}' || v == ']' {
				depth--
			} else if depth++; depth > maxMetadataDepth {
				return plugins.Invalid("metadata", "expected objects and arrays at most %d deep", maxMetadataDepth)
			}
		case string:
			if strings.ContainsRune(v, 0) {
				return plugins.Invalid("metadata", "expected texts without the character U+0000")
			}
		case json.Number:
			f, err := strconv.ParseFloat(v.String(), 64)
			if tiny := f == 0 && strings.ContainsAny(v.String(), "eE"); err != nil || tiny {
				return plugins.Invalid("metadata", "expected numbers between 1e-323 and 1e308, not %.20s", v.String())
			}
		}
	}
}
