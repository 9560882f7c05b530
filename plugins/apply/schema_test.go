package apply

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins/catalog"
)

// TestTheSchemaIsThatOfDocuments holds the schema against what is decoded: the same fields, none beside them, and the same
// kinds and bounds.
func TestTheSchemaIsThatOfDocuments(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(schema, &root); err != nil {
		t.Fatal(err)
	}
	defs := root["$defs"].(map[string]any)
	seen := map[string]bool{}
	var compare func(path string, s map[string]any, of reflect.Type)
	compare = func(path string, s map[string]any, of reflect.Type) {
		if ref, ok := s["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/$defs/")
			seen[name] = true
			if s, ok = defs[name].(map[string]any); !ok {
				t.Fatalf("%s: there is no %s", path, ref)
			}
		}
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		kind := ""
		switch {
		case of == reflect.TypeFor[json.RawMessage]():
			return
		case of == reflect.TypeFor[catalog.Metadata]():
			kind = "object"
		case of.Kind() == reflect.Slice:
			kind = "array"
			compare(path+"[]", s["items"].(map[string]any), of.Elem())
			if _, bounded := s["maxItems"].(float64); !bounded {
				t.Errorf("%s has no bound", path)
			}
		case of.Kind() == reflect.Struct:
			kind = "object"
			fields := map[string]reflect.Type{}
			for i := range of.NumField() {
				name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
				fields[name] = of.Field(i).Type
			}
			properties := s["properties"].(map[string]any)
			delete(properties, "$schema")
			if got, want := slices.Sorted(maps.Keys(properties)), slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
				t.Errorf("%s has the properties %q, want %q", path, got, want)
				return
			}
			if s["additionalProperties"] != false {
				t.Errorf("%s takes other properties", path)
			}
			for name, property := range properties {
				compare(path+"."+name, property.(map[string]any), fields[name])
			}
		case of.Kind() == reflect.String:
			kind = "string"
			if _, words := s["enum"]; words {
				return
			}
		case of.Kind() == reflect.Int:
			kind = "integer"
		case of.Kind() == reflect.Bool:
			kind = "boolean"
		}
		if s["type"] != kind {
			t.Errorf("%s is of type %v, want %q", path, s["type"], kind)
		}
	}
	compare("document", root, reflect.TypeFor[Document]())
	if len(seen) != len(defs) {
		t.Errorf("%d of %d definitions are used", len(seen), len(defs))
	}
	for section, most := range map[string]int{"systems": maxSystems, "groups": maxGroups, "checks": maxChecks, "satellites": maxSatellites, "assignments": maxAssignments} {
		if got := root["properties"].(map[string]any)[section].(map[string]any)["maxItems"]; fmt.Sprint(got) != fmt.Sprint(float64(most)) {
			t.Errorf("the schema allows %v %s, the server %d", got, section, most)
		}
	}
}
