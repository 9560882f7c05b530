package catalog_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// TestAPI shows what callers of the real server can rely on. Systems and groups share their code, so what is the same
// is shown for both.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	editor := s.Token(t, "editor")
	s.Do(t, "GET", "/api/catalog/systems", "", nil).Is(t, 200, `{"items":[],"total":0}`)
	s.Do(t, "GET", "/api/catalog/groups", "", nil).Is(t, 200, `{"items":[],"total":0}`)

	t.Run("the README's examples are true", s.README)
	for _, kind := range []string{"system", "group"} {
		path := "/api/catalog/" + kind + "s"
		t.Run(kind, func(t *testing.T) {
			t.Run("is made, shown, replaced and deleted", func(t *testing.T) { life(t, s, kind, path) })
			t.Run("needs valid fields", func(t *testing.T) { invalid(t, s, kind, path) })
			t.Run("is unknown: 404", func(t *testing.T) { unknown(t, s, kind, path) })
			t.Run("is changed by editors only", func(t *testing.T) { access(t, s, path) })
			t.Run("has a name of its own, whatever its case", func(t *testing.T) { unique(t, s, kind, path) })
			t.Run("is made once by many at once", func(t *testing.T) { race(t, s, path) })
			t.Run("is found by a part of its name", func(t *testing.T) { search(t, s, path) })
			t.Run("is listed by name, in pages", func(t *testing.T) { pages(t, s, path) })
			t.Run("keeps its metadata to the digit", func(t *testing.T) { metadata(t, s, path) })
		})
	}
	t.Run("bodies must be JSON, and small", func(t *testing.T) { bodies(t, s, editor) })
	t.Run("membership is idempotent", func(t *testing.T) { membership(t, s, editor) })
	t.Run("memberships go with the system and with the group", func(t *testing.T) { membershipEnds(t, s, editor) })
	t.Run("no membership survives its system", func(t *testing.T) { joinWhileDeleting(t, s, editor) })
	t.Run("systems and groups are notification targets", func(t *testing.T) { targets(t, s, editor) })
}

// made makes a system or a group and returns it.
func made(t testing.TB, s *servertest.Server, path, name string) plugins.Created[entry] {
	t.Helper()
	res := s.Do(t, "POST", path, s.Token(t, "editor"), map[string]any{"name": name})
	return plugins.Created[entry]{Location: res.Header.Get("Location"), Value: servertest.Decode[entry](t, res, 201)}
}

type entry struct {
	ID, Name, Description string
	Metadata              json.RawMessage
	CreatedAt, UpdatedAt  time.Time
	SystemIDs             []string `json:"systemIds"`
}

func life(t *testing.T, s *servertest.Server, kind, path string) {
	editor := s.Token(t, "editor")
	before := time.Now().Add(-time.Minute)
	res := s.Do(t, "POST", path, editor, `{"name":"  Life of one ","description":"a\nb","metadata":{"team":"payments"}}`)
	e := servertest.Decode[entry](t, res, 201)
	if !plugins.IsID(e.ID) || e.Name != "Life of one" || e.Description != "a\nb" || string(e.Metadata) != `{"team":"payments"}` {
		t.Errorf("made %+v", e)
	}
	if e.CreatedAt.Before(before) || !e.UpdatedAt.Equal(e.CreatedAt) || !strings.Contains(res.Body, `Z","updatedAt"`) {
		t.Errorf("made at %v, updated at %v: %s", e.CreatedAt, e.UpdatedAt, res.Body)
	}
	if got, want := res.Header.Get("Location"), path+"/"+e.ID; got != want {
		t.Errorf("Location is %q, want %q", got, want)
	}
	shown := res.Body
	if kind == "group" {
		shown = strings.TrimSuffix(shown, "}") + `,"systemIds":[]}`
	}
	s.Do(t, "GET", path+"/"+e.ID, "", nil).Is(t, 200, shown)
	s.Do(t, "GET", path+"/"+strings.ToUpper(e.ID), "", nil).Is(t, 200, shown)

	res = s.Do(t, "PUT", path+"/"+e.ID, editor, `{"name":"life of one","description":"","metadata":{}}`)
	changed := servertest.Decode[entry](t, res, 200)
	if changed.Name != "life of one" || changed.Description != "" || string(changed.Metadata) != "{}" ||
		!changed.CreatedAt.Equal(e.CreatedAt) || !changed.UpdatedAt.After(e.UpdatedAt) {
		t.Errorf("replaced: %s", res.Body)
	}
	s.Do(t, "DELETE", path+"/"+e.ID, editor, nil).Is(t, 204, "")
	s.Do(t, "DELETE", path+"/"+e.ID, editor, nil).Is(t, 404, `{"error":"Not Found","message":"no such `+kind+`"}`)
	s.Do(t, "GET", path+"/"+e.ID, "", nil).Is(t, 404, `{"error":"Not Found","message":"no such `+kind+`"}`)
}

func invalid(t *testing.T, s *servertest.Server, kind, path string) {
	editor := s.Token(t, "editor")
	e := made(t, s, path, "Valid").Value
	nested := strings.Repeat(`{"a":`, 10) + `1` + strings.Repeat("}", 10)
	tooDeep := strings.Repeat(`{"a":`, 11) + `1` + strings.Repeat("}", 11)
	many := map[string]int{}
	for i := range 51 {
		many[fmt.Sprint("key", i)] = i
	}
	keys, _ := json.Marshal(many)
	for _, test := range []struct{ name, description, metadata, field, message string }{
		{`""`, `""`, `{}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`" \t "`, `""`, `{}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`"` + strings.Repeat("é", 201) + `"`, `""`, `{}`, "name", "expected a text of 1 to 200 characters, not 201"},
		{`"a\nb"`, `""`, `{}`, "name", "expected a text without control characters"},
		{`"a\u0000b"`, `""`, `{}`, "name", "expected a text without control characters"},
		{`7`, `""`, `{}`, "name", "expected a string, not number"},
		{`"x"`, `"` + strings.Repeat("é", 2001) + `"`, `{}`, "description", "expected a text of at most 2000 characters, not 2001"},
		{`"x"`, `"\u0000"`, `{}`, "description", "expected a text without the character U+0000"},
		{`"x"`, `[]`, `{}`, "description", "expected a string, not array"},
		{`"x"`, `""`, `[]`, "metadata", "expected an object"},
		{`"x"`, `""`, `"x"`, "metadata", "expected an object"},
		{`"x"`, `""`, string(keys), "metadata", "expected an object of at most 50 keys, not 51"},
		{`"x"`, `""`, `{"a":"` + strings.Repeat("x", 16384-8+1) + `"}`, "metadata", "expected an object of at most 16384 bytes, not 16385"},
		{`"x"`, `""`, tooDeep, "metadata", "expected objects and arrays at most 10 deep"},
		{`"x"`, `""`, `{"a":["\u0000"]}`, "metadata", "expected texts without the character U+0000"},
		{`"x"`, `""`, `{"\u0000":1}`, "metadata", "expected texts without the character U+0000"},
		{`"x"`, `""`, `{"a":1e99999}`, "metadata", "expected numbers of at most 40 characters without an exponent, not 1e99999"},
		{`"x"`, `""`, `{"a":-1e-99999}`, "metadata", "expected numbers of at most 40 characters without an exponent, not -1e-99999"},
		{`"x"`, `""`, `{"a":[` + strings.Repeat("1e308,", 2000) + `0]}`, "metadata",
			"expected numbers of at most 40 characters without an exponent, not 1e308"},
		{`"x"`, `""`, `{"a":[` + strings.Repeat("1e39,", 399) + `1e31]}`, "metadata",
			"expected an object of at most 16384 bytes with its numbers written out, not 16399"},
	} {
		body := `{"name":` + test.name + `,"description":` + test.description + `,"metadata":` + test.metadata + `}`
		s.Do(t, "POST", path, editor, body).IsInvalid(t, test.field, test.message)
		s.Do(t, "PUT", path+"/"+e.ID, editor, body).IsInvalid(t, test.field, test.message)
	}
	for _, metadata := range []string{nested, `{"a":"` + strings.Repeat("x", 16384-8) + `"}`, `null`} {
		res := s.Do(t, "POST", path, editor, `{"name":"At the bound","metadata":`+metadata+`}`)
		got := servertest.Decode[entry](t, res, 201)
		if want := strings.Replace(metadata, "null", "{}", 1); string(got.Metadata) != want {
			t.Errorf("metadata %.50s is shown as %.50s", want, got.Metadata)
		}
		s.Do(t, "DELETE", path+"/"+got.ID, editor, nil).Is(t, 204, "")
	}
	s.Do(t, "POST", path, editor, `{"name":"x","colour":"red"}`).IsInvalid(t, "colour", "there is no such field")
	s.Do(t, "POST", path, editor, `{"description":"x"}`).IsInvalid(t, "name", "expected a text of 1 to 200 characters, not an empty one")
	s.Do(t, "PUT", path+"/"+e.ID, editor, `{"description":"","metadata":{}}`).
		IsInvalid(t, "name", "expected a text of 1 to 200 characters, but it is missing")
	s.Do(t, "PUT", path+"/"+e.ID, editor, `{"name":"x","metadata":{}}`).
		IsInvalid(t, "description", "expected a text of at most 2000 characters, but it is missing")
	s.Do(t, "PUT", path+"/"+e.ID, editor, `{"name":"x","description":"","metadata":null}`).
		IsInvalid(t, "metadata", "expected an object, but it is missing")
	for _, query := range []string{"limit=0", "limit=501", "limit=x", "offset=-1", "offset=1000001"} {
		res := s.Do(t, "GET", path+"?"+query, "", nil)
		if field, _, _ := strings.Cut(query, "="); !strings.Contains(res.Body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", query, res.Status, res.Body)
		}
		res.Has(t, 400)
	}
	s.Do(t, "GET", path+"?q="+strings.Repeat("x", 201), "", nil).IsInvalid(t, "q", "expected a text of at most 200 characters, not 201")
	s.Do(t, "GET", path+"?q=%ff", "", nil).IsInvalid(t, "q", "expected a text in UTF-8")
	got := servertest.Decode[entry](t, s.Do(t, "GET", path+"/"+e.ID, "", nil), 200)
	if got.Name != e.Name || !got.UpdatedAt.Equal(e.UpdatedAt) {
		t.Errorf("a refused change has changed %+v to %+v", e, got)
	}
	servertest.Decode[plugins.List[entry]](t, s.Do(t, "GET", path, "", nil), 200)
	s.Do(t, "DELETE", path+"/"+e.ID, editor, nil).Is(t, 204, "")
}

func unknown(t *testing.T, s *servertest.Server, kind, path string) {
	editor := s.Token(t, "editor")
	for _, id := range []string{plugins.NewID(), "x", "%00", "a%2Fb", "00000000-0000-0000-0000-00000000000g"} {
		body := `{"error":"Not Found","message":"no such ` + kind + `"}`
		s.Do(t, "GET", path+"/"+id, "", nil).Is(t, 404, body)
		s.Do(t, "PUT", path+"/"+id, editor, `{"name":"x","description":"","metadata":{}}`).Is(t, 404, body)
		s.Do(t, "DELETE", path+"/"+id, editor, nil).Is(t, 404, body)
	}
}

func access(t *testing.T, s *servertest.Server, path string) {
	e := made(t, s, path, "Guarded")
	for _, request := range [][2]string{
		{"POST", path}, {"PUT", path + "/" + e.Value.ID}, {"DELETE", path + "/" + e.Value.ID},
	} {
		var body any
		if request[0] != "DELETE" {
			body = `{"name":"Changed","description":"","metadata":{}}`
		}
		res := s.Do(t, request[0], request[1], "", body)
		if res.Has(t, 401) && res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("401 without WWW-Authenticate")
		}
		s.Do(t, request[0], request[1], strings.Repeat("x", 40), body).Has(t, 401)
		s.Do(t, request[0], request[1], s.Token(t, "viewer"), body).Has(t, 403)
	}
	res := s.Do(t, "PATCH", path, s.Token(t, "editor"), `{}`)
	if allow := res.Header.Get("Allow"); res.Status != 405 || allow != "GET, HEAD, POST" {
		t.Errorf("PATCH: %d, Allow %q", res.Status, allow)
	}
	s.Do(t, "DELETE", e.Location, s.Token(t, "editor"), nil).Is(t, 204, "")
}

func unique(t *testing.T, s *servertest.Server, kind, path string) {
	editor := s.Token(t, "editor")
	taken := `{"error":"Already exists","message":"there is a ` + kind + ` of this name already","field":"name"}`
	e, other := made(t, s, path, "Straße É").Value, made(t, s, path, "Other").Value
	for _, name := range []string{"Straße É", "STRAßE é", " straße É "} {
		s.Do(t, "POST", path, editor, map[string]any{"name": name}).Is(t, 409, taken)
		s.Do(t, "PUT", path+"/"+other.ID, editor, map[string]any{"name": name, "description": "", "metadata": struct{}{}}).Is(t, 409, taken)
	}
	s.Do(t, "PUT", path+"/"+e.ID, editor, `{"name":"STRAßE É","description":"","metadata":{}}`).Has(t, 200)
	for _, id := range []string{e.ID, other.ID} {
		s.Do(t, "DELETE", path+"/"+id, editor, nil).Is(t, 204, "")
	}
}

func race(t *testing.T, s *servertest.Server, path string) {
	editor := s.Token(t, "editor")
	var statuses [16]int
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() {
			name := "raced"
			if i%2 == 0 {
				name = "RACED"
			}
			statuses[i] = s.Do(t, "POST", path, editor, map[string]any{"name": name}).Status
		})
	}
	wg.Wait()
	slices.Sort(statuses[:])
	want := [16]int{201}
	for i := range want[1:] {
		want[i+1] = 409
	}
	if statuses != want {
		t.Errorf("answers %v", statuses)
	}
}

func search(t *testing.T, s *servertest.Server, path string) {
	for _, name := range []string{"100% of it", "a_b", "axb", `back\slash`, "Ünïcode"} {
		made(t, s, path, name)
	}
	for query, want := range map[string][]string{
		"%25": {"100% of it"}, "_": {"a_b"}, "A_B": {"a_b"}, `%5C`: {`back\slash`}, "ÜNÏ": {"Ünïcode"}, "no+such": nil, "x": {"axb"},
	} {
		list := servertest.Decode[plugins.List[entry]](t, s.Do(t, "GET", path+"?q="+query, "", nil), 200)
		var got []string
		for _, e := range list.Items {
			got = append(got, e.Name)
		}
		if !slices.Equal(got, want) || list.Total != len(want) {
			t.Errorf("q=%s finds %q, total %d; want %q", query, got, list.Total, want)
		}
	}
}

func pages(t *testing.T, s *servertest.Server, path string) {
	for _, i := range []int{3, 1, 5, 2, 4} {
		name := fmt.Sprint("page ", i)
		if i%2 == 0 {
			name = strings.ToUpper(name)
		}
		made(t, s, path, name)
	}
	for query, want := range map[string]string{
		"limit=2":           "page 1,PAGE 2 of 5",
		"limit=2&offset=2":  "page 3,PAGE 4 of 5",
		"limit=2&offset=4":  "page 5 of 5",
		"limit=2&offset=5":  " of 5",
		"offset=1000000":    " of 5",
		"limit=500":         "page 1,PAGE 2,page 3,PAGE 4,page 5 of 5",
		"limit=1&offset=0&": "page 1 of 5",
	} {
		list := servertest.Decode[plugins.List[entry]](t, s.Do(t, "GET", path+"?q=page+&"+query, "", nil), 200)
		var names []string
		for _, e := range list.Items {
			names = append(names, e.Name)
		}
		if got := fmt.Sprintf("%s of %d", strings.Join(names, ","), list.Total); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func metadata(t *testing.T, s *servertest.Server, path string) {
	text := `{"big":12345678901234567890,"exact":0.10000000000000000001,"list":[1,[true,null,"<&>"]],"text":"é\"\\"}`
	res := s.Do(t, "POST", path, s.Token(t, "editor"), `{"name":"Kept","metadata":`+text+`}`)
	e := servertest.Decode[entry](t, res, 201)
	var got, want any
	long := `{"a":[` + strings.Repeat("1e39,", 399) + `1e16]}` // 16,384 bytes when it is written out
	res = s.Do(t, "PUT", path+"/"+e.ID, s.Token(t, "editor"), `{"name":"Kept","description":"","metadata":`+long+`}`)
	grown := servertest.Decode[entry](t, res, 200)
	if len(grown.Metadata) != 16384 {
		t.Errorf("%d bytes of numbers are shown as %d", len(long), len(grown.Metadata))
	}
	body := `{"name":"Kept","description":"","metadata":` + string(grown.Metadata) + `}`
	again := servertest.Decode[entry](t, s.Do(t, "PUT", path+"/"+e.ID, s.Token(t, "editor"), body), 200)
	if string(again.Metadata) != string(grown.Metadata) {
		t.Error("what was shown is not taken as it is")
	}
	for _, v := range []struct {
		text string
		into *any
	}{{string(e.Metadata), &got}, {text, &want}} {
		d := json.NewDecoder(strings.NewReader(v.text))
		d.UseNumber()
		if err := d.Decode(v.into); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("metadata\n%s is shown as\n%s", text, e.Metadata)
	}
}

func bodies(t *testing.T, s *servertest.Server, editor string) {
	path := "/api/catalog/systems"
	s.Do(t, "POST", path, editor, `{"name":"x","description":"`+strings.Repeat("x", plugins.MaxBody)+`"}`).
		Is(t, 413, `{"error":"Body too large","message":"the body may have at most 1048576 bytes"}`)
	s.Do(t, "POST", path, editor, `{"name":`).IsInvalid(t, "", "the JSON value ends too early")
	req, err := http.NewRequest("POST", s.URL+path, strings.NewReader("name=x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+editor)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.Send(t, req).Is(t, 415, `{"error":"Unsupported Media Type","message":"the body must be JSON, with Content-Type: application/json"}`)
}

func membership(t *testing.T, s *servertest.Server, editor string) {
	group, a, b := made(t, s, "/api/catalog/groups", "Members"), made(t, s, "/api/catalog/systems", "Member B"), made(t, s, "/api/catalog/systems", "member a")
	members := func(want ...string) {
		t.Helper()
		got := servertest.Decode[entry](t, s.Do(t, "GET", group.Location, "", nil), 200)
		if got.SystemIDs == nil || !slices.Equal(got.SystemIDs, want) {
			t.Errorf("the group has the systems %v, want %v", got.SystemIDs, want)
		}
	}
	put := func(id string) servertest.Response {
		return s.Do(t, "PUT", group.Location+"/systems/"+id, editor, nil)
	}
	remove := func(id string) servertest.Response {
		return s.Do(t, "DELETE", group.Location+"/systems/"+id, editor, nil)
	}
	members()
	put(a.Value.ID).Is(t, 204, "")
	put(a.Value.ID).Is(t, 204, "")
	put(b.Value.ID).Is(t, 204, "")
	members(b.Value.ID, a.Value.ID) // by name
	remove(a.Value.ID).Is(t, 204, "")
	remove(a.Value.ID).Is(t, 204, "")
	members(b.Value.ID)
	for _, f := range []func(string) servertest.Response{put, remove} {
		f(plugins.NewID()).Is(t, 404, `{"error":"Not Found","message":"no such system"}`)
		f("x").Is(t, 404, `{"error":"Not Found","message":"no such system"}`)
	}
	for _, method := range []string{"PUT", "DELETE"} {
		for _, id := range []string{plugins.NewID(), "x"} {
			s.Do(t, method, "/api/catalog/groups/"+id+"/systems/"+a.Value.ID, editor, nil).
				Is(t, 404, `{"error":"Not Found","message":"no such group"}`)
		}
		s.Do(t, method, group.Location+"/systems/"+a.Value.ID, "", nil).Has(t, 401)
		s.Do(t, method, group.Location+"/systems/"+a.Value.ID, s.Token(t, "viewer"), nil).Has(t, 403)
	}
	members(b.Value.ID)
}

func membershipEnds(t *testing.T, s *servertest.Server, editor string) {
	g, h := made(t, s, "/api/catalog/groups", "Ends first"), made(t, s, "/api/catalog/groups", "Stays")
	a, b := made(t, s, "/api/catalog/systems", "Goes"), made(t, s, "/api/catalog/systems", "Remains")
	for _, group := range []string{g.Location, h.Location} {
		for _, id := range []string{a.Value.ID, b.Value.ID} {
			s.Do(t, "PUT", group+"/systems/"+id, editor, nil).Is(t, 204, "")
		}
	}
	s.Do(t, "DELETE", g.Location, editor, nil).Is(t, 204, "")
	s.Do(t, "DELETE", a.Location, editor, nil).Is(t, 204, "")
	s.Do(t, "GET", b.Location, "", nil).Has(t, 200)
	got := servertest.Decode[entry](t, s.Do(t, "GET", h.Location, "", nil), 200)
	if !slices.Equal(got.SystemIDs, []string{b.Value.ID}) {
		t.Errorf("the group has the systems %v, want %v alone", got.SystemIDs, b.Value.ID)
	}
}

func joinWhileDeleting(t *testing.T, s *servertest.Server, editor string) {
	group := made(t, s, "/api/catalog/groups", "Contested")
	for round := range 20 {
		system := made(t, s, "/api/catalog/systems", fmt.Sprint("Contested ", round))
		var joined, deleted servertest.Response
		var wg sync.WaitGroup
		wg.Go(func() { joined = s.Do(t, "PUT", group.Location+"/systems/"+system.Value.ID, editor, nil) })
		wg.Go(func() { deleted = s.Do(t, "DELETE", system.Location, editor, nil) })
		wg.Wait()
		deleted.Is(t, 204, "")
		if joined.Status != 204 && joined.Status != 404 {
			t.Errorf("joining: %d %s", joined.Status, joined.Body)
		}
	}
	if got := servertest.Decode[entry](t, s.Do(t, "GET", group.Location, "", nil), 200); len(got.SystemIDs) != 0 {
		t.Errorf("the group has systems that are deleted: %v", got.SystemIDs)
	}
}

func targets(t *testing.T, s *servertest.Server, editor string) {
	type target struct {
		Type, Name, Description, Owner string
		Available                      bool
	}
	listed := servertest.Decode[plugins.List[target]](t, s.Do(t, "GET", "/api/notification/targets?limit=500", editor, nil), 200).Items
	ours := slices.DeleteFunc(listed, func(t target) bool { return t.Owner != "catalog" })
	if want := []target{
		{"catalog.group", "Group", "All systems of a group, also those that join it later", "catalog", true},
		{"catalog.system", "System", "One system", "catalog", true},
	}; !slices.Equal(ours, want) {
		t.Errorf("the targets are %+v, want %+v", ours, want)
	}

	group, system := made(t, s, "/api/catalog/groups", "Watched group"), made(t, s, "/api/catalog/systems", "Watched")
	s.Do(t, "PUT", group.Location+"/systems/"+system.Value.ID, editor, nil).Is(t, 204, "")
	parents := `[{"type":"catalog.group","id":"` + group.Value.ID + `"}]`
	for _, id := range []func(string) string{strings.ToLower, strings.ToUpper} {
		s.Do(t, "GET", "/api/notification/targets/catalog.system/resources/"+id(system.Value.ID), editor, nil).
			Is(t, 200, `{"type":"catalog.system","id":"`+system.Value.ID+`","name":"Watched","parents":`+parents+`}`)
		s.Do(t, "GET", "/api/notification/targets/catalog.group/resources/"+id(group.Value.ID), editor, nil).
			Is(t, 200, `{"type":"catalog.group","id":"`+group.Value.ID+`","name":"Watched group","parents":[]}`)
	}
	for _, kind := range []string{"system", "group"} {
		for _, id := range []string{plugins.NewID(), "x"} {
			s.Do(t, "GET", "/api/notification/targets/catalog."+kind+"/resources/"+id, editor, nil).
				Is(t, 404, `{"error":"Not Found","message":"no such `+kind+`"}`)
		}
		entries := servertest.Decode[plugins.List[entry]](t, s.Do(t, "GET", "/api/catalog/"+kind+"s?limit=500", "", nil), 200)
		resources := servertest.Decode[plugins.List[struct{ Type, ID, Name string }]](t,
			s.Do(t, "GET", "/api/notification/targets/catalog."+kind+"/resources?limit=500", editor, nil), 200)
		s.Do(t, "GET", "/api/notification/targets/catalog."+kind+"/resources?limit=501", editor, nil).
			IsInvalid(t, "limit", "expected a whole number from 1 to 500")
		if resources.Total != entries.Total || len(resources.Items) != len(entries.Items) {
			t.Fatalf("%d resources of %d %ss", resources.Total, entries.Total, kind)
		}
		for i, r := range resources.Items {
			if e := entries.Items[i]; r.Type != "catalog."+kind || r.ID != e.ID || r.Name != e.Name {
				t.Errorf("resource %d is %+v, the %s is %s %s", i, r, kind, e.ID, e.Name)
			}
		}
	}
}
