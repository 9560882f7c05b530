package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"checkstack/plugins"
)

// What a decoder lets through, or tells too little of. A field that is there twice would be dropped without a word: it comes of a
// merge of two branches, where each has its own "systems". In a file the place of a syntax error is a line and a column:
//
//	shop.json:12:5: not valid JSON: invalid character '"' after array element

// once refuses fields that are there twice in an object, at any depth. encoding/json takes "Systems" for "systems" too, so the case
// of a name counts only in what is not decoded here.
func once(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return onceIn(d, "", false)
}

// free are the fields whose values are not decoded here.
var free = []string{"config", "metadata", "value"}

// onceIn reads one value, which is valid JSON.
func onceIn(d *json.Decoder, path string, cased bool) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := onceIn(d, place(path, i), cased); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		seen := make(map[string]bool)
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := token.(string)
			key, below, within := name, cased, strings.TrimPrefix(path+"."+brief(name), ".")
			if !cased {
				key = plugins.Fold(name)
				below = slices.ContainsFunc(free, func(f string) bool { return plugins.Fold(f) == key })
			}
			if seen[key] {
				return plugins.Invalid(within, "expected this field once")
			}
			seen[key] = true
			if err := onceIn(d, within, below); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token()
	return err
}

// brief cuts a name that is told to the caller, who may have sent a megabyte of it.
func brief(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}

// byteOrderMark begins the files of some editors. It says nothing where all is UTF-8.
var byteOrderMark = []byte("\ufeff")

// wellFormed returns the JSON in a file, or the error of the first place where it is none.
func wellFormed(file string, text []byte) ([]byte, error) {
	text = bytes.TrimPrefix(text, byteOrderMark)
	if at := invalidUTF8(text); at >= 0 {
		return nil, fmt.Errorf("%s: expected JSON in UTF-8", position(file, text, at))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("%s: expected a JSON value, not an empty file", file)
	}
	var value json.RawMessage
	wrong, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(text, &value))
	if !ok {
		return text, nil
	}
	at := int(wrong.Offset) - 1 // the byte that it ends with is the one that is wrong
	what := "not valid JSON: " + wrong.Error()
	if strings.HasPrefix(wrong.Error(), "unexpected end") {
		at, what = len(text), "the JSON value ends too early"
	}
	return nil, fmt.Errorf("%s: %s", position(file, text, at), what)
}

// invalidUTF8 returns where a text is not UTF-8, or -1.
func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for at := 0; ; {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size <= 1 {
			return at
		}
		at += size
	}
}

// position is a place in a file as editors have it: the line and the column, in characters, both from 1.
func position(file string, text []byte, at int) string {
	before := text[:min(max(at, 0), len(text))]
	line := bytes.LastIndexByte(before, '\n') + 1
	return fmt.Sprintf("%s:%d:%d", file, bytes.Count(before, []byte{'\n'})+1, utf8.RuneCount(before[line:])+1)
}
