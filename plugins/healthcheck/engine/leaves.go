// The texts of a JSON value, each with where it stands, so that some of them can be replaced while everything else stays as it
// is, byte for byte: the order of fields, how numbers are written, and fields that are given twice, which a type refuses later.
//
// A field of an object may be called "a.b". For people its place is written headers.a.b all the same; what must tell it from the
// field b of an object a uses its pointer (RFC 6901), /headers/a.b.

package engine

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"checkstack/plugins"
)

// place is where a value stands. A nil *place is the whole.
type place struct {
	in     *place
	key    string
	index  int // in a list; -1 where key counts
	depth  int
	secret bool // by its name, or by the name of something that it is in
}

const maxDepth = 100 // of values whose texts are rewritten

// field is the place of a field of an object in p.
func (p *place) field(name string) *place {
	q := &place{in: p, key: name, index: -1, secret: IsSecret(name)}
	if p != nil {
		q.depth, q.secret = p.depth+1, q.secret || p.secret
	}
	return q
}

// entry is the place of an entry of a list in p.
func (p *place) entry(i int) *place {
	q := &place{in: p, index: i}
	if p != nil {
		q.depth, q.secret = p.depth+1, p.secret
	}
	return q
}

// String is the place for people: "headers.Authorization", "args[2]".
func (p *place) String() string {
	switch {
	case p == nil:
		return ""
	case p.index >= 0:
		return p.in.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.in == nil:
		return p.key
	}
	return p.in.String() + "." + p.key
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the place as RFC 6901 writes it. No two places have the same one, but for fields that are given twice.
func (p *place) pointer() string {
	switch {
	case p == nil:
		return ""
	case p.index >= 0:
		return p.in.pointer() + "/" + strconv.Itoa(p.index)
	}
	return p.in.pointer() + "/" + pointerEscapes.Replace(p.key)
}

// leaf is a text that is not the name of a field.
type leaf struct {
	at     *place
	value  string
	sealed bool // it stands for a secret, as {"sealed": value}
}

// rewrite gives every text of a JSON value to f, and puts what f returns in its place; nil leaves it. Where stored is set, objects
// {"sealed": "…"} in the place of secrets are given to f as one leaf. What is absent is an object without fields.
func rewrite(data json.RawMessage, stored bool, f func(leaf) (any, error)) (json.RawMessage, error) {
	if len(data) == 0 {
		return orEmpty(data), nil
	}
	if !json.Valid(data) {
		return nil, plugins.Invalid("", "expected one JSON value")
	}
	r := rewriter{in: data, stored: stored, f: f}
	if err := r.value(nil); err != nil {
		return nil, err
	}
	if r.copied == 0 {
		return data, nil
	}
	return append(r.out, data[r.copied:]...), nil
}

// rewriter reads in, which is valid JSON.
type rewriter struct {
	in     []byte
	at     int // where it reads
	copied int // what of in is in out, or was replaced there
	out    []byte
	stored bool
	f      func(leaf) (any, error)
}

func (r *rewriter) value(p *place) error {
	if p != nil && p.depth >= maxDepth {
		return plugins.Invalid("", "expected at most %d objects and lists in one another", maxDepth)
	}
	r.space()
	begin := r.at
	switch r.in[r.at] {
	case '"':
		return r.replace(begin, leaf{at: p, value: r.text()})
	case '{':
		if r.stored && p != nil && p.secret {
			if value, ok := r.sealed(); ok {
				return r.replace(begin, leaf{p, value, true})
			}
		}
		return r.each('}', func(int) error {
			key := r.text()
			r.space()
			r.at++ // the colon
			return r.value(p.field(key))
		})
	case '[':
		return r.each(']', func(i int) error { return r.value(p.entry(i)) })
	}
	for r.at < len(r.in) && !bytes.ContainsRune([]byte(",]} \t\r\n"), rune(r.in[r.at])) {
		r.at++
	}
	return nil
}

// each reads what is between a bracket and its end, with commas between the parts.
func (r *rewriter) each(end byte, part func(i int) error) error {
	r.at++
	for i := 0; ; i++ {
		r.space()
		switch r.in[r.at] {
		case end:
			r.at++
			return nil
		case ',':
			r.at++
			r.space()
		}
		if err := part(i); err != nil {
			return err
		}
	}
}

func (r *rewriter) space() {
	for r.at < len(r.in) && (r.in[r.at] == ' ' || r.in[r.at] == '\t' || r.in[r.at] == '\r' || r.in[r.at] == '\n') {
		r.at++
	}
}

// text reads a text in quotes.
func (r *rewriter) text() string {
	begin := r.at
	plain := true
	for r.at++; r.in[r.at] != '"'; r.at++ {
		if r.in[r.at] == '\\' {
			plain = false
			r.at++
		}
	}
	r.at++
	raw := r.in[begin:r.at]
	if plain && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it is valid
	return s
}

// sealed reads an object that has nothing but a text called sealed, or nothing at all.
func (r *rewriter) sealed() (value string, ok bool) {
	begin := r.at
	r.at++
	r.space()
	if r.in[r.at] == '"' && r.text() == "sealed" {
		r.space()
		r.at++
		r.space()
		if r.in[r.at] == '"' {
			value = r.text()
			r.space()
			if r.in[r.at] == '}' {
				r.at++
				return value, true
			}
		}
	}
	r.at = begin
	return "", false
}

func (r *rewriter) replace(begin int, l leaf) error {
	value, err := r.f(l)
	if err != nil || value == nil {
		return err
	}
	r.out = append(r.out, r.in[r.copied:begin]...)
	r.out = appendJSON(r.out, value)
	r.copied = r.at
	return nil
}
