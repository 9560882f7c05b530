// What a check type says of itself on the command line: what its fields are, so that "-set ipVersion=4" is a text and
// "-set expectStatus=404" a list, because the type says so and not because of how the value looks.
//
// The hard case is a text that looks like something else, such as a password of digits or a body of JSON: it stays as it is. Only what is
// in quotes is read, so that "\r\n" can be written.

package healthcheck

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// field is a part of the JSON Schema of a configuration.
type field struct {
	Type, Description    string
	Properties           map[string]*field
	AdditionalProperties json.RawMessage // of a map, what its values are; otherwise false
	Items                *field
	Required             []string
	Enum                 []string
	Default              json.RawMessage
	Minimum, Maximum     *int64
	MinLength, MaxLength int64
	MinItems, MaxItems   int64
	MaxProperties        int64
}

// fieldsOf is the schema of a type.
func fieldsOf(kind engine.Type) (*field, error) {
	f := new(field)
	if err := json.Unmarshal(kind.Schema(), f); err != nil {
		return nil, fmt.Errorf("read the schema of type %s: %w", kind.Type(), err)
	}
	return f, nil
}

// target is the name of the field that the command takes as its target.
func (f *field) target() string {
	if len(f.Required) == 0 {
		return ""
	}
	return f.Required[0]
}

// values is what is in a map; nil if f is none.
func (f *field) values() *field {
	v := new(field)
	if len(f.AdditionalProperties) == 0 || f.AdditionalProperties[0] != '{' || json.Unmarshal(f.AdditionalProperties, v) != nil {
		return nil
	}
	return v
}

// set puts the value of a field into an object that f describes. name is "tls.verify", or "headers.X.Y", which is X.Y of headers; at
// is where the object is, for errors. What f does not have is left to the type to refuse.
func (f *field) set(object map[string]any, at, name, text string) error {
	if inner := f.values(); inner != nil {
		v, err := inner.value(at+"."+name, text)
		object[name] = v
		return err
	}
	first, rest, nested := strings.Cut(name, ".")
	at += "." + first
	of := f.Properties[first]
	if of == nil {
		of = new(field)
	}
	if !nested {
		v, err := of.value(at, text)
		object[first] = v
		return err
	}
	if of.Type != "object" && of.Type != "" {
		return plugins.Invalid(at, "expected a value, because there are no fields below it")
	}
	within, ok := object[first].(map[string]any)
	if !ok {
		within = make(map[string]any)
		object[first] = within
	}
	return of.set(within, at, rest, text)
}

// value is what a text means in a field.
func (f *field) value(at, text string) (any, error) {
	given, isJSON := readJSON(text)
	unlike := func(what string) error {
		return plugins.Invalid(at, "expected %s, not %q", what, engine.Cut(text, 100))
	}
	is := false
	switch f.Type {
	case "string":
		if quoted, ok := given.(string); ok {
			return quoted, nil
		}
		return text, nil
	case "array":
		if _, is = given.([]any); is || text == "null" {
			return given, nil
		}
		entry, err := cmp.Or(f.Items, new(field)).value(at, text)
		return []any{entry}, err
	case "integer", "number":
		if _, is = given.(json.Number); !is && text != "null" {
			return nil, unlike(map[string]string{"integer": "a whole number", "number": "a number"}[f.Type])
		}
	case "boolean":
		if _, is = given.(bool); !is && text != "null" {
			return nil, unlike("true or false")
		}
	case "object":
		if _, is = given.(map[string]any); !is && text != "null" {
			return nil, plugins.Invalid(at, "expected an object such as {}, not %q; -set %s.NAME=value sets a field of it", engine.Cut(text, 100), strings.TrimPrefix(at, "config."))
		}
	default: // it may be this or that
		if !isJSON {
			return text, nil
		}
	}
	return given, nil
}

// readJSON reads a text that is one value of JSON, whose numbers stay as they are written.
func readJSON(text string) (value any, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if !json.Valid([]byte(text)) || d.Decode(&value) != nil {
		return nil, false
	}
	return value, true
}

// describe says what a configuration of a type may have and what a run of it measures, for a person.
func describe(kind engine.Type, root *field) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: checkstack check [flags] %s <%s>", kind.Type(), cmp.Or(root.target(), "target"))
	if root.Properties["args"] != nil {
		b.WriteString(" <args>…")
	}
	b.WriteString("\n\nFields, as -set field=value has them:\n")
	inColumns(&b, root.rows(""))
	rows := [][]string{}
	for _, p := range append(slices.Clone(kind.Paths()), engine.Path{Name: "latencyMs", Kind: engine.Number, Doc: "the latency, in whole milliseconds"}) {
		rows = append(rows, []string{p.Name, string(p.Kind), p.Doc})
	}
	b.WriteString("\nWhat is measured, for -assert:\n")
	inColumns(&b, rows)
	return b.String()
}

// rows are the name, the default and the meaning of each field, those that are required first.
func (f *field) rows(prefix string) (rows [][]string) {
	required := f.Required
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(f.Properties)), func(name string) bool { return slices.Contains(required, name) })
	for _, name := range slices.Concat(required, names) {
		part := f.Properties[name]
		def := string(part.Default)
		switch {
		case slices.Contains(required, name) && prefix == "" && name == f.target():
			def = "the target"
		case slices.Contains(required, name):
			def = "required"
		}
		shown := prefix + name
		if part.values() != nil {
			shown += ".NAME"
		}
		rows = append(rows, []string{shown, def, strings.TrimPrefix(part.Description+part.limits(), "; ")})
		rows = append(rows, part.rows(prefix+name+".")...)
	}
	return rows
}

// limits says in words what a value may be.
func (f *field) limits() string {
	switch {
	case len(f.Enum) > 0:
		return "; one of " + strings.Join(slices.DeleteFunc(slices.Clone(f.Enum), func(word string) bool { return word == "" }), ", ")
	case f.Minimum != nil && f.Maximum != nil:
		return fmt.Sprintf("; %d to %d", *f.Minimum, *f.Maximum)
	case f.MinLength > 0:
		return fmt.Sprintf("; %d to %d characters", f.MinLength, f.MaxLength)
	case f.MaxLength > 0:
		return fmt.Sprintf("; at most %d characters", f.MaxLength)
	case f.MinItems > 0:
		return fmt.Sprintf("; %d to %d entries", f.MinItems, f.MaxItems)
	case f.MaxItems+f.MaxProperties > 0:
		return fmt.Sprintf("; at most %d entries", f.MaxItems+f.MaxProperties)
	}
	return ""
}

// inColumns writes rows of three, the first two as wide as they have to be.
func inColumns(b *strings.Builder, rows [][]string) {
	var wide [2]int
	for _, row := range rows {
		wide[0], wide[1] = max(wide[0], len(row[0])), max(wide[1], len(row[1]))
	}
	for _, row := range rows {
		fmt.Fprintf(b, "  %-*s  %-*s  %s\n", wide[0], row[0], wide[1], row[1], row[2])
	}
}
