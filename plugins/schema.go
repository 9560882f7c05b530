package plugins

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A schema describes the JSON that encoding/json reads into, or writes from, a Go type. A type with a name and parts
// becomes a component, which is described once and referred to; that is also what ends the description of a type that
// contains itself.
//
//	type System struct {                      catalog.System: {type: object, required: [id], properties: {
//		ID   string     `json:"id"`              id:    {type: string},
//		Note *string    `json:"note"`            note:  {type: [string, "null"]},
//		At   time.Time  `json:"at,omitzero"`     at:    {type: string, format: date-time},
//		Sub  []System   `json:"sub,omitempty"`   sub:   {type: array, items: {$ref: "#/components/schemas/catalog.System"}}}}
//	}
//
// Source: JSON Schema 2020-12, which OpenAPI 3.1 uses.

// schema is a JSON Schema. An empty one allows every value.
type schema map[string]any

// describer is what [JSON] makes: a handler that knows the types of its bodies.
type describer interface{ describe() (in, out reflect.Type) }

var (
	noneType    = reflect.TypeFor[None]()
	createdType = reflect.TypeFor[interface{ created() (string, any) }]()
	timeType    = reflect.TypeFor[time.Time]()

	marshaler     = reflect.TypeFor[json.Marshaler]()
	unmarshaler   = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// schemas collects the components.
type schemas struct {
	named map[string]schema
	names map[reflect.Type]string
	taken map[string]bool
}

// newSchemas makes a collection that holds the schema of an error.
func newSchemas() *schemas {
	text := schema{"type": "string"}
	return &schemas{
		named: map[string]schema{"Error": {
			"type":     "object",
			"required": []string{"error"},
			"properties": map[string]schema{
				"error":   {"type": "string", "description": "what went wrong, the same words every time"},
				"message": {"type": "string", "description": "why, for a person"},
				"field":   {"type": "string", "description": "the field of the input that is wrong, if one is"},
				"plugin":  text,
				"state":   text,
			},
		}},
		names: map[reflect.Type]string{},
		taken: map[string]bool{"Error": true},
	}
}

// of returns the schema of t: a reference if t is a component.
func (c *schemas) of(t reflect.Type) schema {
	switch {
	case t == timeType:
		return schema{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer && t.Name() == "":
		return orNull(c.of(t.Elem()))
	case ownJSON(t):
		return schema{}
	case t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textMarshaler):
		return schema{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		if t.Name() == "" {
			return c.parts(t)
		}
		name, ok := c.names[t]
		if !ok {
			name = unique(componentName(t), c.taken)
			c.names[t] = name // before its parts, which may contain it
			c.named[name] = c.parts(t)
		}
		return schema{"$ref": "#/components/schemas/" + name}
	}
	return simple(t.Kind())
}

// ownJSON reports whether a type outside this package decides itself how it is written or read. Those of this package,
// such as [List], do it as their fields say.
func ownJSON(t reflect.Type) bool {
	if t.PkgPath() == noneType.PkgPath() || t.Kind() == reflect.Interface {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(marshaler) || p.Implements(unmarshaler)
}

// simple is the schema of a type without parts.
func simple(k reflect.Kind) schema {
	switch k {
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.Int64, reflect.Int:
		return schema{"type": "integer", "format": "int64"}
	case reflect.Int32, reflect.Int16, reflect.Int8:
		return schema{"type": "integer", "format": "int32"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return schema{"type": "integer", "minimum": 0}
	}
	return schema{} // an interface holds anything
}

// orNull allows null as well.
func orNull(s schema) schema {
	switch kind := s["type"].(type) {
	case string:
		s["type"] = []string{kind, "null"}
		return s
	case []string:
		return s
	}
	if len(s) == 0 || s["anyOf"] != nil {
		return s
	}
	return schema{"anyOf": []schema{s, {"type": "null"}}}
}

// parts is the schema of a type with parts, written out.
func (c *schemas) parts(t reflect.Type) schema {
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return schema{"type": "string", "contentEncoding": "base64"}
		}
		return schema{"type": "array", "items": c.of(t.Elem())}
	case reflect.Array:
		return schema{"type": "array", "items": c.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": c.of(t.Elem())}
	}
	properties := map[string]schema{}
	var required []string
	for _, f := range jsonFields(t) {
		s := c.of(f.of)
		if f.quoted {
			s = schema{"type": "string"}
		}
		properties[f.name] = s
		if !f.optional && f.of.Kind() != reflect.Pointer {
			required = append(required, f.name)
		}
	}
	s := schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		s["required"] = required
	}
	return s
}

// jsonField is a field as encoding/json sees it.
type jsonField struct {
	name     string
	of       reflect.Type
	depth    int  // of embedding
	tagged   bool // its name is in its tag
	optional bool
	quoted   bool
}

// jsonFields returns the fields of a struct and of what it embeds. Of fields with one name the least deeply embedded
// counts, then the one with a tag; if that leaves several, none does.
func jsonFields(t reflect.Type) []jsonField {
	byName := map[string][]jsonField{}
	collectFields(t, 0, nil, byName)
	var fields []jsonField
	for _, same := range byName {
		slices.SortFunc(same, func(a, b jsonField) int {
			switch {
			case a.depth != b.depth:
				return a.depth - b.depth
			case a.tagged == b.tagged:
				return 0
			case a.tagged:
				return -1
			}
			return 1
		})
		if len(same) == 1 || same[0].depth != same[1].depth || same[0].tagged != same[1].tagged {
			fields = append(fields, same[0])
		}
	}
	slices.SortFunc(fields, func(a, b jsonField) int { return strings.Compare(a.name, b.name) })
	return fields
}

func collectFields(t reflect.Type, depth int, above []reflect.Type, byName map[string][]jsonField) {
	if slices.Contains(above, t) {
		return
	}
	above = append(above[:len(above):len(above)], t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "" && embedded.Kind() == reflect.Struct:
			collectFields(embedded, depth+1, above, byName)
		case f.IsExported():
			has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
			field := jsonField{
				name: name, of: f.Type, depth: depth, tagged: name != "",
				optional: has("omitempty") || has("omitzero"), quoted: has("string"),
			}
			if name == "" {
				field.name = f.Name
			}
			byName[field.name] = append(byName[field.name], field)
		}
	}
}

// componentName names a type after its plugin, "catalog.System", and those of this package by their own name. The type
// arguments follow: List[catalog.System] is "List.catalog.System".
func componentName(t reflect.Type) string {
	contract := noneType.PkgPath()
	name := strings.ReplaceAll(t.PkgPath()+"."+t.Name(), contract+"/", "")
	name = strings.ReplaceAll(name, contract+".", "")
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case isNameByte(r):
			return r
		case r == '[' || r == ',' || r == '/':
			return '.'
		}
		return -1
	}, name), ".")
}
