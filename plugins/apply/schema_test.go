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
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
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
	for section, most := range map[string]int{"systems": maxSystems, "groups": maxGroups, "checks": maxChecks, "satellites": maxSatellites, "assignments": maxAssignments, "channels": maxChannels,
		"subscriptions": maxSubscribed} {
		if got := root["properties"].(map[string]any)[section].(map[string]any)["maxItems"]; fmt.Sprint(got) != fmt.Sprint(float64(most)) {
			t.Errorf("the schema allows %v %s, the server %d", got, section, most)
		}
	}
}

// TestTheSchemaTellsGoodDocumentsFromBadOnes looks at what is in a check as an editor does, and at what may have a placeholder.
func TestTheSchemaTellsGoodDocumentsFromBadOnes(t *testing.T) {
	const bell = `{"type":"object","required":["tone"],"additionalProperties":false,"properties":{"tone":{"type":"integer","maximum":9}}}`
	text, err := schemaWith(healthcheck.BuiltInTypes(), []notification.ChannelTypeView{{Type: "bell", Schema: json.RawMessage(bell)}})
	if err != nil {
		t.Fatal(err)
	}
	var root object
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	v := validator{t, root["$defs"].(object)}
	wrong := func(document string) string {
		t.Helper()
		var value any
		if err := json.Unmarshal([]byte(document), &value); err != nil {
			t.Fatal(err)
		}
		return v.wrong(root, value, "")
	}
	check := func(kind, rest string) string {
		return `{"checks":[{"name":"c","intervalSeconds":60,"timeoutMs":1000,"type":"` + kind + `"` + rest + `}]}`
	}
	for _, good := range []string{
		`{}`,
		`{"$schema":"https://status.example.org/api/apply/schema","name":"shop","systems":[{"name":"Shop","metadata":{"a":[1,null]}}]}`,
		`{"groups":[{"name":"g","systems":["a","b"]}],"satellites":[{"name":"s","offlineAfterSeconds":30}]}`,
		`{"assignments":[{"check":"c","system":"s","sources":["local"],"thresholds":{"mode":"window","windowSize":5},"quorum":1}]}`,
		check("http", `,"config":{"url":"https://shop.example.org/","method":"HEAD","expectStatus":["2xx",301],"headers":{"A":"b"},"tls":{"verify":false}}`),
		check("http", `,"config":{"url":"https://${system.name}/","method":"${ENV:METHOD}","auth":{"type":"bearer","token":"${ENV:TOKEN}"}},"template":true`),
		check("http", `,"config":{"url":"u"},"assertions":[{"path":"status","op":"eq","value":200,"severity":"degraded"}]`),
		check("dns", `,"config":{"name":"example.org","type":"MX"}`),
		check("exec", `,"config":{"command":"/bin/true","expectExit":[0,2]}`), check("postgres", `,"config":{"address":"db","user":"u","password":"********"}`),
		check("heartbeat", `,"config":{}`), check("heartbeat", ``),
		`{"channels":[{"name":"c","type":"bell","config":{"tone":9},"enabled":false},{"name":"d","type":"bell"}]}`,
		`{"subscriptions":[{"channel":"c"},{"channel":"c","system":"s","minSeverity":"critical"},{"channel":"c","group":"g"}]}`,
	} {
		if w := wrong(good); w != "" {
			t.Errorf("%s: %s", good, w)
		}
	}
	for bad, want := range map[string]string{
		`{"channels":[{"name":"c","type":"horn"}]}`:                      ".channels[0].type is not of enum",
		`{"channels":[{"name":"c","type":"bell","config":{}}]}`:          ".channels[0].config has no tone",
		`{"channels":[{"name":"c","type":"bell","config":{"tone":10}}]}`: ".channels[0].config.tone is not of maximum",
		`{"subscriptions":[{"system":"s"}]}`:                             ".subscriptions[0] has no channel",
		`{"subscriptions":[{"channel":"c","minSeverity":"recovered"}]}`:  ".subscriptions[0].minSeverity is not of enum",
		`{"subscriptions":[{"channel":"c","system":"s","group":"g"}]}`:   ".subscriptions[0] is not of not",
		`[]`:                        " is not of type",
		`{"checks":[{"name":"c"}]}`: ".checks[0] has no type",
		`{"systems":[{"name":"a","colour":"b"}]}`:                           ".systems[0].colour is not expected",
		`{"systems":[{"name":" "}]}`:                                        ".systems[0].name is not of pattern",
		`{"assignments":[{"check":"c"}]}`:                                   ".assignments[0] is not of oneOf",
		`{"assignments":[{"check":"c","system":"s","group":"g"}]}`:          ".assignments[0] is not of oneOf",
		check("htttp", `,"config":{"url":"u"}`):                             ".checks[0].type is not of enum",
		check("http", ``):                                                   ".checks[0] has no config",
		check("http", `,"config":{}`):                                       ".checks[0].config has no url",
		check("http", `,"config":{"url":"u","expectStatus":["6xx"]}`):       ".checks[0].config.expectStatus[0] is not of anyOf",
		check("http", `,"config":{"url":"u","ipVersion":"5"}`):              ".checks[0].config.ipVersion is not of enum",
		check("http", `,"config":{"url":"u","ipVersion":"${ENV:VERSION}"}`): ".checks[0].config.ipVersion is not of enum",
		check("http", `,"config":{"url":"u","maxRedirects":"${ENV:MOST}"}`): ".checks[0].config.maxRedirects is not of type",
		check("http", `,"config":{"url":"u","tls":{"verfy":true}}`):         ".checks[0].config.tls.verfy is not expected",
		check("tcp", `,"config":{"url":"u"}`):                               "",
		check("dns", `,"config":{"name":"example.org","type":"mx"}`):        ".checks[0].config.type is not of enum",
		check("heartbeat", `,"config":{"url":"u"}`):                         ".checks[0].config.url is not expected",
		check("ping", `,"config":{"host":"h","count":21}`):                  ".checks[0].config.count is not of maximum",
	} {
		if w := wrong(bad); w == "" || want != "" && w != want {
			t.Errorf("%s: %q, want %q", bad, w, want)
		}
	}
}

// TestTheSchemaIsOfTheTypesThatThereAre has no type but that of a plugin.
func TestTheSchemaIsOfTheTypesThatThereAre(t *testing.T) {
	text, err := schemaWith([]healthcheck.TypeView{{Type: "odd", Schema: json.RawMessage(`{"type":"object"}`)}}, nil)
	if err != nil || !strings.Contains(string(text), `"#/$defs/config-odd"`) || strings.Contains(string(text), "config-http") {
		t.Errorf("the schema is %s, %v", text, err)
	}
	if _, err := schemaWith([]healthcheck.TypeView{{Type: "odd", Schema: json.RawMessage(`7`)}}, nil); err == nil {
		t.Error("a type without a schema is taken")
	}
}
