package plugins_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// The types of the routes that are described. They are an odd collection on purpose.
type (
	apiStatus string

	apiPart struct {
		Name  string   `json:"name"`
		Parts apiTree  `json:"parts,omitempty"`
		Up    *apiPart `json:"up"`
	}
	apiTree []apiPart

	apiBase struct {
		ID        string    `json:"id"`
		CreatedAt time.Time `json:"createdAt"`
		Shadowed  int       `json:"shadowed"`
		Both      string    // also in apiOther: neither counts
		Tagged    string    // also in apiOther, where it has a tag: that one counts
	}
	apiOther struct {
		Both   string
		Marked bool `json:"Tagged"`
	}

	apiThing struct {
		apiBase
		*apiOther
		Shadowed bool                `json:"shadowed"`
		Status   apiStatus           `json:"status"`
		Latency  *int32              `json:"latencyMs"`
		Ratio    *float64            `json:"ratio,omitempty"`
		Seen     *time.Time          `json:"seen"`
		Left     time.Time           `json:"left,omitzero"`
		Metadata map[string]any      `json:"metadata"`
		Labels   map[string][]string `json:"labels"`
		Result   json.RawMessage     `json:"result,omitempty"`
		Any      any                 `json:"any"`
		Data     []byte              `json:"data"`
		Hash     [4]uint16           `json:"hash"`
		Address  netip.Addr          `json:"address"`
		Match    apiMatch            `json:"match"`
		Big      int64               `json:"big,string"`
		Tree     apiTree             `json:"tree"`
		Inline   struct {
			X float32 `json:"x"`
		} `json:"inline"`
		Maybe    *apiPart `json:"maybe"`
		Untagged uint
		//lint:ignore SA5008 a field that is called "-" is what is tested
		Dash    int `json:"-,"`
		Hidden  int `json:"-"`
		private int
	}

	apiMatch struct{ From, To int }
)

// MarshalJSON writes it as "200-299".
func (m apiMatch) MarshalJSON() ([]byte, error) {
	return json.Marshal(fmt.Sprintf("%d-%d", m.From, m.To))
}

func handled[In, Out any]() http.Handler {
	return plugins.JSON(func(*http.Request, In) (Out, error) { panic("not called") })
}

func apiRoutes() []plugins.Route {
	type none = plugins.None
	return []plugins.Route{
		{"GET /api/things/items", plugins.Public, handled[none, plugins.List[apiThing]]()},
		{"POST /api/things/items", plugins.Editor, handled[apiThing, plugins.Created[apiThing]]()},
		{"GET /api/things/items/{id}", plugins.Public, handled[none, apiThing]()},
		{"PATCH /api/things/items/{name}", plugins.Editor, handled[map[string]string, *apiPart]()},
		{"DELETE /api/things/items/{id}", plugins.Admin, handled[none, none]()},
		{"PUT /api/things/items/{id}/parts/{partId}", plugins.Viewer, handled[[]apiPart, none]()},
		{"GET /api/things/series", plugins.Viewer, handled[none, plugins.List[plugins.Bucket]]()},
		{"GET /api/things/files/{path...}", plugins.Viewer, http.NotFoundHandler()},
		{"GET /api/things/by-id/{$}", plugins.Public, handled[none, json.RawMessage]()},
		{"/api/things/proxy/", plugins.Admin, http.NotFoundHandler()},
		{"PURGE /api/things/cache", plugins.Admin, http.NotFoundHandler()},
		{"GET /api/openapi.json", plugins.Public, handled[none, json.RawMessage]()},
		{"GET /assets/{file...}", plugins.Public, http.NotFoundHandler()},
		{"GET /{path...}", plugins.Public, http.NotFoundHandler()},
	}
}

func TestOpenAPIDescribesRoutesAndTypes(t *testing.T) {
	got, err := plugins.OpenAPI("Checkstack", "v1.2.3", apiRoutes())
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	const name = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(name, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(indented.String(), "\n")
	for i := range min(len(wantLines), len(gotLines)) {
		if wantLines[i] != gotLines[i] {
			t.Fatalf("line %d of %s is\n%s\nand became\n%s\n(after a look, go test ./plugins -update)", i+1, name, wantLines[i], gotLines[i])
		}
	}
	if len(wantLines) != len(gotLines) {
		t.Fatalf("%s has %d lines, and now there are %d", name, len(wantLines), len(gotLines))
	}
}

func TestOpenAPIIsTheSameWhateverTheOrderOfTheRoutes(t *testing.T) {
	routes := apiRoutes()
	want, err := plugins.OpenAPI("Checkstack", "v1.2.3", routes)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
		before := fmt.Sprintf("%p %v", routes, routes[0].Pattern)
		got, err := plugins.OpenAPI("Checkstack", "v1.2.3", routes)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: error %v, got\n%s\nwant\n%s", seed, err, got, want)
		}
		if after := fmt.Sprintf("%p %v", routes, routes[0].Pattern); after != before {
			t.Fatal("the caller's slice was sorted")
		}
	}
}

func TestOpenAPIRefersOnlyToWhatItHolds(t *testing.T) {
	doc, err := plugins.OpenAPI("Checkstack", "v1.2.3", apiRoutes())
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Components map[string]map[string]any
		Paths      map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(doc, &parsed); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"\$ref":"#/components/(\w+)/([^"]*)"`).FindAllStringSubmatch(string(doc), -1) {
		used[m[2]] = true
		if parsed.Components[m[1]][m[2]] == nil {
			t.Errorf("%s is referred to, and not there", m[0])
		}
	}
	form := regexp.MustCompile(`^[a-zA-Z0-9._-]+$`) // OpenAPI 3.1.1, 4.8.7
	for name := range parsed.Components["schemas"] {
		if !used[name] || !form.MatchString(name) {
			t.Errorf("component %q is not referred to, or has a bad name", name)
		}
	}
	seen := map[string]bool{}
	for path, operations := range parsed.Paths {
		for method, op := range operations {
			if seen[op.OperationID] || op.OperationID == "" {
				t.Errorf("%s %s has the operationId %q of another", method, path, op.OperationID)
			}
			seen[op.OperationID] = true
		}
	}
}

func TestOpenAPINamesTheFieldsThatEncodingJSONWrites(t *testing.T) {
	thing := apiThing{ // nothing is empty, so nothing is left out
		apiBase:  apiBase{ID: "1", Both: "x", Tagged: "x"},
		apiOther: &apiOther{Both: "x", Marked: true},
		Ratio:    new(float64),
		Left:     time.Unix(1, 0),
		Result:   json.RawMessage("1"),
		private:  1,
	}
	written, err := json.Marshal(thing)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(written, &object); err != nil {
		t.Fatal(err)
	}
	doc, err := plugins.OpenAPI("", "", []plugins.Route{{"GET /api/x", plugins.Public, handled[plugins.None, apiThing]()}})
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(doc, &parsed); err != nil {
		t.Fatal(err)
	}
	described := parsed.Components.Schemas["checkstack.plugins_test.apiThing"].Properties
	if got, want := slices.Sorted(maps.Keys(described)), slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
		t.Errorf("described %q\nwritten   %q", got, want)
	}
}

func TestOpenAPIGivesTypesOfOneNameDifferentNames(t *testing.T) {
	first := func() http.Handler {
		type local struct{ A int }
		return handled[plugins.None, local]()
	}
	second := func() http.Handler {
		type local struct{ B int }
		return handled[plugins.None, local]()
	}
	doc, err := plugins.OpenAPI("", "", []plugins.Route{
		{"GET /api/a", plugins.Public, first()}, {"GET /api/b", plugins.Public, second()}, {"GET /api/c", plugins.Public, first()},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"checkstack.plugins_test.local":{"properties":{"A":{`,
		`"checkstack.plugins_test.local2":{"properties":{"B":{`,
	} {
		if !bytes.Contains(doc, []byte(want)) {
			t.Errorf("%s is missing in %s", want, doc)
		}
	}
	if bytes.Contains(doc, []byte("local3")) {
		t.Errorf("a type was described twice: %s", doc)
	}
}

func TestOpenAPIKeepsPathsOfOneShapeTogether(t *testing.T) {
	doc, err := plugins.OpenAPI("", "", []plugins.Route{
		{"GET /api/x/{id}", plugins.Public, http.NotFoundHandler()},
		{"GET /api/x/{rest...}", plugins.Public, http.NotFoundHandler()},
		{"PUT /api/x/{name}", plugins.Public, http.NotFoundHandler()},
	})
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(doc, &parsed); err != nil {
		t.Fatal(err)
	}
	if len(parsed.Paths) != 1 || len(parsed.Paths["/api/x/{id}"]) != 2 {
		t.Errorf("the paths are %v", parsed.Paths)
	}
}

func TestOpenAPIRefusesWhatIsNoPattern(t *testing.T) {
	for _, pattern := range []string{"", "GET", "GET api/x", "example.org/api/x"} {
		doc, err := plugins.OpenAPI("", "", []plugins.Route{{pattern, plugins.Public, http.NotFoundHandler()}})
		want := fmt.Sprintf("describe route %q: expected a pattern such as \"GET /api/catalog/systems/{id}\"", pattern)
		if err == nil || err.Error() != want || doc != nil {
			t.Errorf("%q: got %s and error %v, want %s", pattern, doc, err, want)
		}
	}
}
