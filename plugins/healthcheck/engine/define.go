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
// lists and maps by how many there are in them; without a limit a string has at most 2,000 characters, and a list or map 50 parts.

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// New makes a check type of a struct for its configuration. fresh returns a pointer to one with the defaults in it.
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
	if err := exactFields(config, v.Type(), ""); err != nil {
		return nil, err
	}
	if err := plugins.Decode(config, c); err != nil {
		return nil, err
	}
	if err := checkLimits(v, config, ""); err != nil {
		return nil, err
	}
	written, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write a config: %w", err)
	}
	normal, err := asGiven(written, config)
	if err != nil {
		return nil, fmt.Errorf("write a config: %w", err)
	}
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

// exactFields refuses what encoding/json lets through: a field of an object whose name differs from that of the type's field
// in case, and one that is given twice. Whatever else is wrong with data is left to [plugins.Decode].
func exactFields(data json.RawMessage, t reflect.Type, prefix string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil
		}
		if seen[name] {
			return plugins.Invalid(prefix+name, "expected this field once")
		}
		seen[name] = true
		if t.Kind() == reflect.Map {
			continue
		}
		for field := range t.Fields() {
			known := jsonName(field)
			if known == "" {
				continue
			}
			if name != known && strings.EqualFold(name, known) {
				return plugins.Invalid(prefix+name, "there is no such field")
			}
			if name == known {
				if err := exactFields(value, field.Type, prefix+name+"."); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// jsonName is the name of a field in JSON, or "" if it has none there.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() {
		return ""
	}
	return name
}

// checkLimits compares the fields that are given with their tags. A field that is null is as if it were absent.
func checkLimits(v reflect.Value, given json.RawMessage, prefix string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(given, &fields); err != nil {
		return plugins.Invalid(strings.TrimSuffix(prefix, "."), "expected an object")
	}
	for field, value := range v.Fields() {
		name := jsonName(field)
		if name == "" {
			continue
		}
		data := fields[name]
		if data == nil || string(data) == "null" {
			if field.Tag.Get("required") != "" {
				return plugins.Invalid(prefix+name, "expected this field, but it is missing")
			}
			continue
		}
		if err := checkLimit(field, value, data, prefix+name); err != nil {
			return err
		}
	}
	return nil
}

func checkLimit(field reflect.StructField, v reflect.Value, data json.RawMessage, name string) error {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	low, high := limitOf(field)
	between := func(n int64, what string) error {
		if n < low || n > high {
			return plugins.Invalid(name, "expected %s from %d to %d, not %d", what, low, high, n)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if words := field.Tag.Get("enum"); words != "" && !slices.Contains(strings.Split(words, ","), v.String()) {
			return plugins.Invalid(name, "expected one of %s", strings.ReplaceAll(words, ",", ", "))
		}
		if strings.Contains(v.String(), "\x00") {
			return plugins.Invalid(name, "expected a text without NUL characters")
		}
		return between(int64(utf8.RuneCountInString(v.String())), "a number of characters")
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16:
		return between(v.Int(), "a whole number")
	case reflect.Slice:
		if err := between(int64(v.Len()), "a number of entries"); err != nil {
			return err
		}
		for i := range v.Len() {
			if s := v.Index(i); s.Kind() == reflect.String && utf8.RuneCountInString(s.String()) > maxText {
				return plugins.Invalid(name+"["+strconv.Itoa(i)+"]", "expected at most %d characters", maxText)
			}
		}
	case reflect.Map:
		if err := between(int64(v.Len()), "a number of entries"); err != nil {
			return err
		}
		for key, value := range v.Seq2() {
			if value.Kind() == reflect.String && utf8.RuneCountInString(value.String()) > maxMapText {
				return plugins.Invalid(name+"."+Shorten(key.String(), 100), "expected at most %d characters", maxMapText)
			}
		}
	case reflect.Struct:
		if _, own := v.Addr().Interface().(json.Unmarshaler); !own {
			return checkLimits(v, data, name+".")
		}
	}
	return nil
}

const (
	maxText    = 2000 // characters of a string without a limit of its own
	maxMapText = 4096 // characters of a string in a map
	maxParts   = 50   // entries of a list or map without a limit of its own
)

// limitOf reads the tag limit, "1-65535".
func limitOf(field reflect.StructField) (low, high int64) {
	tag := field.Tag.Get("limit")
	if a, b, ok := strings.Cut(tag, "-"); ok {
		low, err1 := strconv.ParseInt(a, 10, 64)
		high, err2 := strconv.ParseInt(b, 10, 64)
		if err := errors.Join(err1, err2); err == nil {
			return low, high
		}
	}
	t := field.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return 0, maxText
	case reflect.Slice, reflect.Map:
		return 0, maxParts
	}
	return 0, 1<<31 - 1
}

// asGiven leaves of written, an object, the fields that are in given too. What is absent or null stays so, and so keeps to
// the default.
func asGiven(written, given json.RawMessage) (json.RawMessage, error) {
	var fields, asked map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(written, &fields), json.Unmarshal(given, &asked)); err != nil {
		return nil, err
	}
	maps.DeleteFunc(fields, func(name string, _ json.RawMessage) bool {
		return asked[name] == nil || string(asked[name]) == "null"
	})
	for name, value := range fields {
		if value[0] != '{' || asked[name][0] != '{' {
			continue
		}
		within, err := asGiven(value, asked[name])
		if err != nil {
			return nil, err
		}
		fields[name] = within
	}
	return json.Marshal(fields)
}

// schemaOf describes a struct that holds the defaults.
func schemaOf(v reflect.Value) map[string]any {
	properties := make(map[string]any)
	required := []string{}
	for field, value := range v.Fields() {
		name := jsonName(field)
		if name == "" {
			continue
		}
		if field.Tag.Get("required") != "" {
			required = append(required, name)
		}
		properties[name] = fieldSchema(field, value, name)
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
}

func fieldSchema(field reflect.StructField, v reflect.Value, name string) map[string]any {
	t := field.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		if v.IsNil() {
			v = reflect.New(t)
		}
		v = v.Elem()
	}
	s := map[string]any{}
	low, high := limitOf(field)
	_, own := v.Addr().Interface().(json.Unmarshaler)
	switch {
	case own:
		if d, ok := v.Addr().Interface().(interface{ JSONSchema() map[string]any }); ok {
			maps.Copy(s, d.JSONSchema())
		}
	case t.Kind() == reflect.String:
		s["type"], s["maxLength"] = "string", high
		if low > 0 {
			s["minLength"] = low
		}
		if words := field.Tag.Get("enum"); words != "" {
			s["enum"] = strings.Split(words, ",")
			delete(s, "maxLength")
		}
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.Struct:
		maps.Copy(s, schemaOf(v))
	case t.Kind() == reflect.Slice:
		s["type"], s["items"], s["minItems"], s["maxItems"] = "array", map[string]any{"type": "string"}, low, high
	case t.Kind() == reflect.Map:
		s["type"], s["additionalProperties"], s["maxProperties"] = "object", map[string]any{"type": "string"}, high
	default:
		s["type"], s["minimum"], s["maximum"] = "integer", low, high
	}
	if doc := field.Tag.Get("doc"); doc != "" {
		s["description"] = doc
	}
	if !v.IsZero() && t.Kind() != reflect.Struct {
		s["default"] = v.Interface()
	}
	if IsSecret(name) {
		s["writeOnly"] = true
	}
	return s
}
