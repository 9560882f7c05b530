package plugins

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The API describes itself: a handler made by [JSON] knows the types it takes and gives, its pattern knows the path and
// the method, and its access says whether a token is needed. What is left is to write that down as OpenAPI does:
//
//	"GET /api/catalog/systems/{id}", Public, JSON(func(*http.Request, None) (System, error))
//
//	paths./api/catalog/systems/{id}.get:
//	  operationId: getCatalogSystemsById
//	  parameters: [{name: id, in: path, required: true, schema: {type: string}}]
//	  responses: {200: {$ref: "#/components/schemas/catalog.System"}, default: {$ref: "#/components/responses/Error"}}
//
// ServeMux can say things that OpenAPI cannot. There, two paths may not differ in the names of their wildcards only, so
// the names of the first one are used for both. A wildcard for the rest of the path, {path...}, becomes {path}; where
// that is a path that exists, the existing one is described.

// Route is a route as the API's description needs it.
type Route struct {
	Pattern string // the full pattern, such as "GET /api/catalog/systems/{id}"
	Access  Access
	Handler http.Handler // if it was made by [JSON], the types of its bodies are described
}

// OpenAPI describes the routes below /api/ as an OpenAPI document, in JSON: the same bytes for the same routes,
// in whatever order they come. Routes with a method that OpenAPI does not know are left out. A pattern that
// is not one of [http.ServeMux] without a host is an error.
//
// In the schema of a type a field is required unless it is a pointer or may be omitted (omitempty, omitzero). A type
// with a MarshalJSON or UnmarshalJSON of its own may be any value; one that is a text in JSON is a string.
//
// Source: OpenAPI Specification 3.1.1.
func OpenAPI(title, version string, routes []Route) ([]byte, error) {
	d := document{
		OpenAPI: "3.1.1",
		Info:    documentInfo{title, version},
		Paths:   map[string]map[string]operation{},
	}
	schemas := newSchemas()
	ids := map[string]bool{}
	shapes := map[string]string{} // from a path without the names of its wildcards to the path
	routes = slices.Clone(routes)
	slices.SortFunc(routes, func(a, b Route) int { return strings.Compare(a.Pattern, b.Pattern) })
	for _, r := range routes {
		methods, path, err := splitPattern(r.Pattern)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(path, "/api/") {
			continue
		}
		template, shape := templateOf(path)
		if first, ok := shapes[shape]; ok {
			template = first
		}
		for _, method := range methods {
			if _, taken := d.Paths[template][strings.ToLower(method)]; taken {
				continue
			}
			if d.Paths[template] == nil {
				shapes[shape] = template
				d.Paths[template] = map[string]operation{}
			}
			d.Paths[template][strings.ToLower(method)] = operationOf(r, method, template, ids, schemas)
		}
	}
	d.Components = components{
		Schemas: schemas.named,
		Responses: map[string]response{"Error": {
			Description: "The request failed; the body says why.",
			Content:     jsonContent(schema{"$ref": "#/components/schemas/Error"}),
		}},
		SecuritySchemes: map[string]securityScheme{"bearer": {Type: "http", Scheme: "bearer"}},
	}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the description of the API: %w", err)
	}
	return body, nil
}

// The document, as far as it is used here.
type (
	document struct {
		OpenAPI    string                          `json:"openapi"`
		Info       documentInfo                    `json:"info"`
		Paths      map[string]map[string]operation `json:"paths"`
		Components components                      `json:"components"`
	}
	documentInfo struct {
		Title   string `json:"title"`
		Version string `json:"version"`
	}
	components struct {
		Schemas         map[string]schema         `json:"schemas"`
		Responses       map[string]response       `json:"responses"`
		SecuritySchemes map[string]securityScheme `json:"securitySchemes"`
	}
	securityScheme struct {
		Type   string `json:"type"`
		Scheme string `json:"scheme"`
	}
	operation struct {
		OperationID string                `json:"operationId"`
		Tags        []string              `json:"tags"`
		Description string                `json:"description"`
		Parameters  []parameter           `json:"parameters,omitempty"`
		RequestBody *requestBody          `json:"requestBody,omitempty"`
		Responses   map[string]response   `json:"responses"`
		Security    []map[string][]string `json:"security,omitempty"`
	}
	parameter struct {
		Name     string `json:"name"`
		In       string `json:"in"`
		Required bool   `json:"required"`
		Schema   schema `json:"schema"`
	}
	requestBody struct {
		Required bool               `json:"required"`
		Content  map[string]content `json:"content"`
	}
	response struct {
		Ref         string             `json:"$ref,omitempty"`
		Description string             `json:"description,omitempty"`
		Headers     map[string]header  `json:"headers,omitempty"`
		Content     map[string]content `json:"content,omitempty"`
	}
	header struct {
		Description string `json:"description"`
		Schema      schema `json:"schema"`
	}
	content struct {
		Schema schema `json:"schema"`
	}
)

func jsonContent(s schema) map[string]content { return map[string]content{"application/json": {s}} }

// anyMethod are the methods of a pattern that names none.
var anyMethod = []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut}

// splitPattern returns the methods a pattern serves, as far as OpenAPI has them, and its path.
func splitPattern(pattern string) (methods []string, path string, err error) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		method, path = "", pattern
	}
	path = strings.TrimLeft(path, " \t")
	if !strings.HasPrefix(path, "/") {
		return nil, "", fmt.Errorf("describe route %q: expected a pattern such as \"GET /api/catalog/systems/{id}\"", pattern)
	}
	switch method {
	case "":
		return anyMethod, path, nil
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, http.MethodHead,
		http.MethodPatch, http.MethodTrace:
		return []string{method}, path, nil
	}
	return nil, path, nil
}

// templateOf turns the path of a pattern into OpenAPI's form, and into its shape, in which the wildcards have no names.
func templateOf(path string) (template, shape string) {
	segments := strings.Split(path, "/")
	shapes := slices.Clone(segments)
	for i, s := range segments {
		if name, ok := wildcard(s); ok {
			segments[i], shapes[i] = "{"+name+"}", "{}"
		} else if s == "{$}" {
			segments[i], shapes[i] = "", ""
		}
	}
	return strings.Join(segments, "/"), strings.Join(shapes, "/")
}

// wildcard returns the name of a segment such as {id} or {path...}.
func wildcard(segment string) (name string, ok bool) {
	name, opened := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(name, "}")
	return strings.TrimSuffix(name, "..."), opened && closed && name != "$"
}

// operationOf describes one method of a route.
func operationOf(r Route, method, template string, ids map[string]bool, schemas *schemas) operation {
	segments := strings.Split(strings.TrimPrefix(template, "/api/"), "/")
	op := operation{
		OperationID: operationID(method, segments, ids),
		Tags:        []string{strings.TrimSuffix(segments[0], ".json")},
		Description: "Anyone may call it.",
		Responses:   map[string]response{"default": {Ref: "#/components/responses/Error"}},
	}
	switch r.Access {
	case Public:
	case Own:
		op.Description = "Needs a token of its own kind, which is no API token."
		op.Security = []map[string][]string{{"bearer": {}}}
	default:
		op.Description = "Needs a token with at least the role " + r.Access.String() + "."
		op.Security = []map[string][]string{{"bearer": {}}}
	}
	for _, s := range segments {
		if name, ok := wildcard(s); ok {
			op.Parameters = append(op.Parameters, parameter{Name: name, In: "path", Required: true, Schema: schema{"type": "string"}})
		}
	}
	described, ok := r.Handler.(describer)
	if !ok {
		op.Responses["200"] = response{Description: "Done."}
		return op
	}
	in, out := described.describe()
	if in != noneType {
		optional := in.Kind() == reflect.Pointer
		if optional {
			in = in.Elem()
		}
		op.RequestBody = &requestBody{Required: !optional, Content: jsonContent(schemas.of(in))}
	}
	switch {
	case out == noneType:
		op.Responses["204"] = response{Description: "Done."}
	case out.Implements(createdType):
		value, _ := out.FieldByName("Value")
		op.Responses["201"] = response{
			Description: "Created.",
			Headers: map[string]header{"Location": {
				Description: "the path of what was created", Schema: schema{"type": "string"},
			}},
			Content: jsonContent(schemas.of(value.Type)),
		}
	default:
		op.Responses["200"] = response{Description: "Done.", Content: jsonContent(schemas.of(out))}
	}
	return op
}

// operationID makes a name for a method and path that no other has: GET /api/catalog/systems/{id} is
// getCatalogSystemsById.
func operationID(method string, segments []string, ids map[string]bool) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(method))
	for _, s := range segments {
		if name, ok := wildcard(s); ok {
			s = "by-" + name
		}
		for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return !isNameByte(r) || r == '-' || r == '.' || r == '_' }) {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return unique(b.String(), ids)
}

// unique returns name, or name with the first number that makes it new, and notes it.
func unique(name string, taken map[string]bool) string {
	result := name
	for n := 2; taken[result]; n++ {
		result = name + strconv.Itoa(n)
	}
	taken[result] = true
	return result
}

// isNameByte reports whether r may be part of the name of a component.
func isNameByte(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
}
