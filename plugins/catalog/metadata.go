package catalog

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"checkstack/plugins"
)

// The bounds of metadata.
const (
	maxMetadataBytes = 16 << 10 // of its JSON without spaces, as it is sent and as it is stored
	maxMetadataKeys  = 50
	maxMetadataDepth = 10 // of objects and arrays in each other, the outermost one included
	maxNumberLength  = 40 // characters of a number without an exponent
)

// Metadata is what users note about a thing, as they see fit: a JSON object of at most 50 keys and 16 KiB, at most 10
// deep. Its numbers are exact; those that were decoded are of type [json.Number]. They are stored without an exponent,
// 1.50e3 as 1500 and 1e-3 as 0.001, in at most 40 characters. What is stored can be sent again as it is.
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

// Equal reports whether two pieces of metadata are the same once they are stored: the order of keys does not matter, nor how a
// number is written. What cannot be stored is equal to nothing.
func (m Metadata) Equal(other Metadata) bool {
	a, errA := m.encode()
	b, errB := other.encode()
	if errA != nil || errB != nil {
		return false
	}
	var x, y Metadata
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && equal(map[string]any(x), map[string]any(y))
}

// equal compares values that were decoded with [json.Number].
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		x, okX := new(big.Rat).SetString(a.String()) // of few digits: they were checked
		y, okY := new(big.Rat).SetString(b.String())
		return okX && okY && x.Cmp(y) == 0
	}
	return a == b
}

// storable reports what in a JSON text the database could not hold, or would hold at many times its size: it writes
// numbers out, so that seven characters such as 1e99999 become a hundred thousand.
func storable(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	size := len(text) // with all numbers written out
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil { // the end: the text was just encoded
			break
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
			n, ok := writtenOut(v.String())
			if !ok {
				return plugins.Invalid("metadata", "expected numbers of at most %d characters without an exponent, not %.20s",
					maxNumberLength, v.String())
			}
			size += n - len(v)
		}
	}
	if size > maxMetadataBytes {
		return plugins.Invalid("metadata", "expected an object of at most %d bytes with its numbers written out, not %d",
			maxMetadataBytes, size)
	}
	return nil
}

// writtenOut returns how many characters a JSON number has at most when it is written without an exponent, as type
// numeric writes it, and whether they are few enough. The digits after the point of 1.50e-3 are two and three more; of
// 1.50e3 none are left, and one zero is added before it.
func writtenOut(number string) (length int, ok bool) {
	digits, exponent := number, 0
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		var err error
		digits = number[:i]
		exponent, err = strconv.Atoi(number[i+1:])
		if err != nil || exponent < -maxNumberLength || exponent > maxNumberLength { // too many digits, whatever they are
			return 0, false
		}
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	whole, minus := strings.CutPrefix(whole, "-")
	length = max(1, len(whole)+exponent)
	if after := len(fraction) - exponent; after > 0 {
		length += 1 + after
	}
	if minus {
		length++
	}
	return length, length <= maxNumberLength
}
