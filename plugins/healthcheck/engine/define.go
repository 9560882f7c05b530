// A check type made of a Go struct. The struct is the configuration: its fields say what may be in it, and its methods what
// is done with it. From its tags comes the JSON Schema, and what the schema says is what is checked:
//
//	type tcp struct {
//		Address string `json:"address" doc:"host and port to connect to" limit:"1-300" required:"true"`
//		Send    string `json:"send" doc:"text to send once connected" limit:"0-4096"`
//		Mode    string `json:"mode" doc:"when the check is done" enum:"connect,banner"`
//		TLS     *TLS   `json:"tls" doc:"speak TLS"`
//		policy  *engine.Policy
//	}
//
// A field has one name, whose case counts, and is given once. Strings are limited by their characters, numbers by their value,
// lists and maps by how many there are in them; without a limit a string has at most 2,000 characters, a list or map 50 parts, and
// a number is at least 0. What reads itself (json.Unmarshaler) says itself what may be in it.
//
// The tag default says in JSON what a pointer that is nil stands for.
//
// The hard case is null. A field that is null is one that is not given: it keeps its default, as encoding/json has it for texts but not for
// lists, maps and pointers. In a list or a map there is no default to keep, so null is refused there.

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"checkstack/plugins"
)

// Config is a configuration that can be run: a pointer to a struct.
type Config interface {
	// Validate checks what the tags of the fields cannot say. It may change the configuration, to understand it only once.
	Validate() error
	// Target is that of a [Check].
	Target() string
	// Run is that of a [Check].
	Run(context.Context) Outcome
}

// New makes a check type of a struct for its configuration. fresh returns a pointer to one with the defaults in it. It panics if
// a tag of a field is not as it must be.
func New(name string, paths []Path, fresh func() Config) Type {
	d := &defined{name: name, paths: paths, fresh: fresh}
	d.schema = appendJSON(nil, schemaOf(reflect.ValueOf(fresh()).Elem()))
	return d
}

type defined struct {
	name   string
	paths  []Path
	fresh  func() Config
	schema json.RawMessage
}

func (d *defined) Type() string            { return d.name }
func (d *defined) Schema() json.RawMessage { return d.schema }
func (d *defined) Paths() []Path           { return d.paths }

func (d *defined) Compile(config json.RawMessage) (Check, error) {
	c := d.fresh()
	v := reflect.ValueOf(c).Elem()
	if string(bytes.TrimSpace(config)) == "null" {
		return nil, plugins.Invalid("", "expected an object, not null")
	}
	if json.Valid(config) && utf8.Valid(config) { // what is not, Decode describes
		var err error
		if config, err = exactly(config, v.Type(), ""); err != nil {
			return nil, err
		}
		dropDefaults(v, config)
	}
	if err := plugins.Decode(config, c); err != nil {
		return nil, err
	}
	if err := checkStruct(v, config, ""); err != nil {
		return nil, err
	}
	written, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write a config: %w", err)
	}
	normal := asGiven(written, config, v.Type())
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &compiled{c, normal}, nil
}

type compiled struct {
	Config
	normal json.RawMessage
}

func (c *compiled) Normal() json.RawMessage { return c.normal }

// jsonField is a field of a struct as JSON has it.
type jsonField struct {
	reflect.StructField
	name  string
	index []int // for FieldByIndex
}

// fieldsOf lists the fields of a struct that JSON has, with those of structs that are embedded in it.
func fieldsOf(t reflect.Type) []jsonField {
	var all []jsonField
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append(slices.Clone(f.Index), inner.index...)
				all = append(all, inner)
			}
		case !f.IsExported():
		case name == "":
			all = append(all, jsonField{f, f.Name, f.Index})
		default:
			all = append(all, jsonField{f, name, f.Index})
		}
	}
	return all
}

// readsItself reports whether values of a type decode their own JSON.
func readsItself(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// member is a field of an object, or an entry of a list, whose name is empty.
type member struct {
	name  string
	value json.RawMessage
}

// membersOf returns the parts of an object or a list, with open as its first token; nil, false for any other valid JSON.
func membersOf(data json.RawMessage, open json.Delim) (members []member, ok bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != open {
		return nil, false
	}
	for d.More() {
		var m member
		if open == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, false
			}
			m.name, _ = token.(string)
		}
		if d.Decode(&m.value) != nil {
			return nil, false
		}
		members = append(members, m)
	}
	return members, true
}

// appendMembers writes an object or a list.
func appendMembers(b []byte, members []member, open json.Delim) json.RawMessage {
	b = append(b, byte(open))
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		if open == '{' {
			b = append(appendJSON(b, m.name), ':')
		}
		b = append(b, m.value...)
	}
	return append(b, byte(open)+2) // { } and [ ] are two apart
}

// exactly refuses what encoding/json lets through: a field whose name differs from that of the type's field in case, one that is
// given twice, and null in a list or a map. It returns the data without fields that are null. What is not of the type at all is left as
// it is, for [plugins.Decode] to refuse.
func exactly(data json.RawMessage, t reflect.Type, field string) (json.RawMessage, error) {
	t = indirect(t)
	open := json.Delim('{')
	switch {
	case readsItself(t):
		return data, nil
	case t.Kind() == reflect.Slice:
		open = '['
	case t.Kind() != reflect.Struct && t.Kind() != reflect.Map:
		return data, nil
	}
	given, ok := membersOf(data, open)
	if !ok {
		return data, nil
	}
	known := make(map[string]reflect.Type)
	if t.Kind() == reflect.Struct {
		for _, f := range fieldsOf(t) {
			known[f.name] = f.Type
		}
	}
	var kept []member
	seen := make(map[string]bool, len(given))
	for i, m := range given {
		at := join(field, Shorten(m.name, maxShown))
		if open == '[' {
			at = field + "[" + strconv.Itoa(i) + "]"
		} else if seen[m.name] {
			return nil, plugins.Invalid(at, "expected this field once")
		}
		seen[m.name] = true
		null := string(m.value) == "null"
		inner := known[m.name]
		switch {
		case t.Kind() != reflect.Struct && null:
			return nil, plugins.Invalid(at, "expected a value, not null")
		case t.Kind() != reflect.Struct:
			inner = t.Elem()
		case inner == nil:
			return nil, plugins.Invalid(at, "%s", noSuchField(t))
		case null:
			continue
		}
		value, err := exactly(m.value, inner, at)
		if err != nil {
			return nil, err
		}
		kept = append(kept, member{m.name, value})
	}
	return appendMembers(nil, kept, open), nil
}

// noSuchField says which fields a struct has.
func noSuchField(t reflect.Type) string {
	const message = "there is no such field"
	var names []string
	for _, f := range fieldsOf(t) {
		names = append(names, f.name)
	}
	switch len(names) {
	case 0:
		return message
	case 1:
		return message + "; the only field is " + names[0]
	}
	return message + "; the fields are " + strings.Join(names, ", ")
}

// dropDefaults empties the lists and maps that are given, to which encoding/json would add. given has no fields that are null.
func dropDefaults(v reflect.Value, given json.RawMessage) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	members, ok := membersOf(given, '{')
	if !ok || v.Kind() != reflect.Struct || readsItself(v.Type()) {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		i := slices.IndexFunc(members, func(m member) bool { return m.name == f.name })
		if i < 0 {
			continue
		}
		switch value := v.FieldByIndex(f.index); value.Kind() {
		case reflect.Map, reflect.Slice:
			value.SetZero()
		default:
			dropDefaults(value, members[i].value)
		}
	}
}

// asGiven leaves of written, which was made of given, the fields that are in given too. What is absent stays so, and so keeps to the default.
func asGiven(written, given json.RawMessage, t reflect.Type) json.RawMessage {
	t = indirect(t)
	if readsItself(t) {
		return written
	}
	open := json.Delim('{')
	if t.Kind() == reflect.Slice {
		open = '['
	}
	all, ok1 := membersOf(written, open)
	asked, ok2 := membersOf(given, open)
	if !ok1 || !ok2 {
		return written
	}
	within := func(value json.RawMessage, name string, t reflect.Type) json.RawMessage {
		i := slices.IndexFunc(asked, func(m member) bool { return m.name == name })
		if i < 0 {
			return nil
		}
		return asGiven(value, asked[i].value, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		types := make(map[string]reflect.Type)
		for _, f := range fieldsOf(t) {
			types[f.name] = f.Type
		}
		for i, m := range all {
			all[i].value = within(m.value, m.name, types[m.name])
		}
	case reflect.Map:
		for i, m := range all {
			all[i].value = within(m.value, m.name, t.Elem())
		}
	case reflect.Slice:
		for i := range min(len(all), len(asked)) {
			all[i].value = asGiven(all[i].value, asked[i].value, t.Elem())
		}
	}
	all = slices.DeleteFunc(all, func(m member) bool { return m.value == nil })
	slices.SortStableFunc(all, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return appendMembers(nil, all, open)
}
