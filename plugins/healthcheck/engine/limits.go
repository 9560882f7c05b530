// What the tags of a configuration's fields say of their values: the same limits for checking and for the JSON Schema.

package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"checkstack/plugins"
)

const (
	maxText    = 2000 // characters of a string without a limit of its own
	maxMapText = 4096 // characters of a string in a map
	maxKey     = 200  // characters of a name in a map
	maxParts   = 50   // entries of a list or map without a limit of its own
)

// limits are what a value must be.
type limits struct {
	low, high int64    // a number of characters or of entries, or the value of a number
	words     []string // the texts that it can be; nil for any
}

// limitsOf reads the tags of a field: limit, "1-65535", and enum, "a,b".
func limitsOf(f jsonField) limits {
	l := defaultLimits(f.Type)
	if tag, ok := f.Tag.Lookup("limit"); ok {
		var low, high string
		if tag != "" {
			low, high, _ = strings.Cut(tag[1:], "-") // the first character may be a sign
			low = tag[:1] + low
		}
		var err1, err2 error
		l.low, err1 = strconv.ParseInt(low, 10, 64)
		l.high, err2 = strconv.ParseInt(high, 10, 64)
		if errors.Join(err1, err2) != nil || l.low > l.high {
			panic(fmt.Sprintf("engine: the limit %q of the field %s is not such as 1-300", tag, f.Name))
		}
	}
	if words := f.Tag.Get("enum"); words != "" {
		l.words = strings.Split(words, ",")
	}
	return l
}

func defaultLimits(t reflect.Type) limits {
	t = indirect(t)
	if readsItself(t) {
		return limits{low: math.MinInt64, high: math.MaxInt64}
	}
	switch t.Kind() {
	case reflect.String:
		return limits{high: maxText}
	case reflect.Slice, reflect.Map:
		return limits{high: maxParts}
	}
	high := int64(math.MaxInt32)
	switch zero := reflect.Zero(t); {
	case zero.CanInt() && t.Bits() < 32:
		high = 1<<(t.Bits()-1) - 1
	case zero.CanUint() && t.Bits() < 32:
		high = 1<<t.Bits() - 1
	}
	return limits{high: high}
}

// checkStruct compares the fields that are given with their tags. given has no fields that are null.
func checkStruct(v reflect.Value, given json.RawMessage, field string) error {
	members, ok := membersOf(given, '{')
	if !ok {
		return plugins.Invalid(field, "expected an object")
	}
	for _, f := range fieldsOf(v.Type()) {
		at := join(field, f.name)
		i := slices.IndexFunc(members, func(m member) bool { return m.name == f.name })
		if i >= 0 {
			if err := limitsOf(f).check(v.FieldByIndex(f.index), members[i].value, at); err != nil {
				return err
			}
		} else if f.Tag.Get("required") != "" {
			return plugins.Invalid(at, "expected this field, but it is missing")
		}
	}
	return nil
}

func (l limits) check(v reflect.Value, data json.RawMessage, field string) error {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	own := readsItself(v.Type())
	switch {
	case v.Kind() == reflect.String:
		s := v.String()
		if l.words != nil && !slices.Contains(l.words, s) {
			return plugins.Invalid(field, "expected one of %s", strings.Join(l.words, ", "))
		}
		if strings.Contains(s, "\x00") {
			return plugins.Invalid(field, "expected a text without NUL characters")
		}
		return l.between(field, int64(utf8.RuneCountInString(s)), "a number of characters")
	case v.CanInt():
		return l.between(field, v.Int(), "a whole number")
	case v.CanUint():
		return l.between(field, int64(min(v.Uint(), 1<<63-1)), "a whole number")
	case v.CanFloat():
		if n := v.Float(); n < float64(l.low) || n > float64(l.high) {
			return plugins.Invalid(field, "expected a number from %d to %d, not %v", l.low, l.high, n)
		}
	case v.Kind() == reflect.Slice:
		if err := l.between(field, int64(v.Len()), "a number of entries"); err != nil || own {
			return err
		}
		entries, _ := membersOf(data, '[')
		for i := range min(v.Len(), len(entries)) {
			if err := defaultLimits(v.Type().Elem()).check(v.Index(i), entries[i].value, field+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	case v.Kind() == reflect.Map:
		if err := l.between(field, int64(v.Len()), "a number of entries"); err != nil || own {
			return err
		}
		return checkMap(v, data, field)
	case v.Kind() == reflect.Struct && !own:
		return checkStruct(v, data, field)
	}
	return nil
}

func checkMap(v reflect.Value, data json.RawMessage, field string) error {
	l := defaultLimits(v.Type().Elem())
	if indirect(v.Type().Elem()).Kind() == reflect.String {
		l.high = maxMapText
	}
	entries, _ := membersOf(data, '{')
	for _, m := range entries {
		at := join(field, Shorten(m.name, maxShown))
		if n := utf8.RuneCountInString(m.name); n > maxKey || strings.Contains(m.name, "\x00") {
			return plugins.Invalid(at, "expected a name of at most %d characters, none of them NUL", maxKey)
		}
		value := v.MapIndex(reflect.ValueOf(m.name).Convert(v.Type().Key()))
		if !value.IsValid() {
			continue // a default of which nothing was given
		}
		if err := l.check(value, m.value, at); err != nil {
			return err
		}
	}
	return nil
}

func (l limits) between(field string, n int64, what string) error {
	if n < l.low || n > l.high {
		return plugins.Invalid(field, "expected %s from %d to %d, not %d", what, l.low, l.high, n)
	}
	return nil
}

// schemaOf describes a struct that holds the defaults.
func schemaOf(v reflect.Value) map[string]any {
	properties := make(map[string]any)
	required := []string{}
	for _, f := range fieldsOf(v.Type()) {
		if f.Tag.Get("required") != "" {
			required = append(required, f.name)
		}
		s := limitsOf(f).schema(v.FieldByIndex(f.index))
		if doc := f.Tag.Get("doc"); doc != "" {
			s["description"] = doc
		}
		if def := f.Tag.Get("default"); def != "" {
			s["default"] = json.RawMessage(def)
		} else if field := v.FieldByIndex(f.index); field.Kind() == reflect.Bool {
			s["default"] = field.Bool()
		}
		if IsSecret(f.name) {
			s["writeOnly"] = true
		}
		properties[f.name] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
}

// schema describes a value that is the default.
func (l limits) schema(v reflect.Value) map[string]any {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		v = v.Elem()
	}
	t := v.Type()
	s := make(map[string]any)
	switch {
	case readsItself(t):
		d, ok := reflect.New(t).Interface().(interface{ JSONSchema() map[string]any })
		if ok {
			maps.Copy(s, d.JSONSchema())
		}
	case t.Kind() == reflect.String && l.words != nil:
		s["type"], s["enum"] = "string", l.words
	case t.Kind() == reflect.String:
		s["type"], s["maxLength"] = "string", l.high
		if l.low > 0 {
			s["minLength"] = l.low
		}
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.Struct:
		return schemaOf(v)
	case t.Kind() == reflect.Slice:
		items := defaultLimits(t.Elem()).schema(reflect.New(t.Elem()).Elem())
		s["type"], s["items"], s["minItems"], s["maxItems"] = "array", items, l.low, l.high
	case t.Kind() == reflect.Map:
		inner := defaultLimits(t.Elem())
		if indirect(t.Elem()).Kind() == reflect.String {
			inner.high = maxMapText
		}
		s["type"], s["additionalProperties"], s["maxProperties"] = "object", inner.schema(reflect.New(t.Elem()).Elem()), l.high
		s["propertyNames"] = map[string]any{"maxLength": maxKey}
	case v.CanFloat():
		s["type"], s["minimum"], s["maximum"] = "number", l.low, l.high
	case v.CanInt() || v.CanUint():
		s["type"], s["minimum"], s["maximum"] = "integer", l.low, l.high
	}
	if !v.IsZero() {
		s["default"] = v.Interface()
	}
	return s
}
