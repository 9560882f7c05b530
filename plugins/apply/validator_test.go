package apply

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// validator checks values with a JSON schema (2020-12), as far as the schema of documents needs it. A keyword that it does not know
// ends the test.
type validator struct {
	t    *testing.T
	defs object
}

// wrong says what is wrong with a value, or "".
func (v validator) wrong(s any, value any, path string) string {
	if allowed, ok := s.(bool); ok {
		if !allowed {
			return path + " is not expected"
		}
		return ""
	}
	fields, _ := value.(map[string]any)
	list, _ := value.([]any)
	text, isText := value.(string)
	number, isNumber := value.(float64)
	length := float64(utf8.RuneCountInString(text))
	schema := s.(object)
	for keyword, want := range schema {
		bad := false
		limit, _ := want.(float64)
		switch keyword {
		case "description", "title", "default", "writeOnly", "$schema", "$defs", "then":
		case "$ref":
			def, ok := v.defs[strings.TrimPrefix(want.(string), "#/$defs/")]
			if !ok {
				v.t.Fatalf("there is no %s", want)
			}
			if w := v.wrong(def, value, path); w != "" {
				return w
			}
		case "type":
			kind := map[reflect.Kind]string{reflect.Map: "object", reflect.Slice: "array", reflect.String: "string", reflect.Float64: "number",
				reflect.Bool: "boolean", reflect.Invalid: "null"}[reflect.ValueOf(value).Kind()]
			bad = kind != want && !(want == "integer" && isNumber && number == float64(int64(number)))
		case "enum":
			bad = !slices.ContainsFunc(want.([]any), func(w any) bool { return reflect.DeepEqual(w, value) })
		case "const":
			bad = !reflect.DeepEqual(want, value)
		case "required":
			for _, name := range want.([]any) {
				if _, ok := fields[name.(string)]; fields != nil && !ok {
					return fmt.Sprintf("%s has no %s", path, name)
				}
			}
		case "properties":
			for name, inner := range want.(object) {
				if part, ok := fields[name]; ok {
					if w := v.wrong(inner, part, path+"."+name); w != "" {
						return w
					}
				}
			}
		case "additionalProperties":
			known, _ := schema["properties"].(object)
			for name, part := range fields {
				if _, ok := known[name]; !ok {
					if w := v.wrong(want, part, path+"."+name); w != "" {
						return w
					}
				}
			}
		case "propertyNames":
			for name := range fields {
				if w := v.wrong(want, name, path+" name "+name); w != "" {
					return w
				}
			}
		case "items":
			for i, part := range list {
				if w := v.wrong(want, part, place(path, i)); w != "" {
					return w
				}
			}
		case "uniqueItems":
			for i := range list {
				bad = bad || slices.ContainsFunc(list[:i], func(w any) bool { return reflect.DeepEqual(w, list[i]) })
			}
		case "minItems":
			bad = list != nil && float64(len(list)) < limit
		case "maxItems":
			bad = float64(len(list)) > limit
		case "maxProperties":
			bad = float64(len(fields)) > limit
		case "minLength":
			bad = isText && length < limit
		case "maxLength":
			bad = isText && length > limit
		case "pattern":
			bad = isText && !regexp.MustCompile(want.(string)).MatchString(text)
		case "minimum":
			bad = isNumber && number < limit
		case "maximum":
			bad = isNumber && number > limit
		case "allOf", "anyOf", "oneOf":
			var all []string
			for _, inner := range want.([]any) {
				if w := v.wrong(inner, value, path); w != "" {
					all = append(all, w)
				}
			}
			right := len(want.([]any)) - len(all)
			if keyword == "allOf" && len(all) > 0 {
				return all[0]
			}
			bad = keyword == "anyOf" && right == 0 || keyword == "oneOf" && right != 1
		case "not":
			bad = v.wrong(want, value, path) == ""
		case "if":
			if then, ok := schema["then"]; ok && v.wrong(want, value, path) == "" {
				if w := v.wrong(then, value, path); w != "" {
					return w
				}
			}
		default:
			v.t.Fatalf("the keyword %s is not known", keyword)
		}
		if bad {
			return path + " is not of " + keyword
		}
	}
	return ""
}
