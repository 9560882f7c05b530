package incident_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const (
	incidents = "/api/incident/incidents"
	noSuch    = `{"error":"Not Found","message":"no such incident"}`
	resolved  = `{"error":"Already resolved","message":"the incident is resolved; open another one"}`
)

type incident struct {
	ID, Title, Severity, Status string
	SystemIDs                   []string `json:"systemIds"`
	CreatedAt, UpdatedAt        time.Time
	ResolvedAt                  *time.Time
	Timeline                    []entry
}

type entry struct {
	Number  int
	At      time.Time
	Kind    string
	Author  *struct{ ID, Name string }
	Message string
	Status  *string
	Changes json.RawMessage
}

// String is an entry without its time.
func (e entry) String() string {
	author, status := "nobody", "–"
	if e.Author != nil {
		author = e.Author.Name
	}
	if e.Status != nil {
		status = *e.Status
	}
	return fmt.Sprintf("%d %s by %s: %q %s %s", e.Number, e.Kind, author, e.Message, status, e.Changes)
}

// TestAPI shows what callers of the real server can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("the README's examples are true", s.README)
	t.Run("an incident is opened, updated, edited, resolved and deleted", func(t *testing.T) { life(t, s) })
	t.Run("an edit that changes nothing leaves no trace", func(t *testing.T) { sameAgain(t, s) })
	t.Run("fields must be valid", func(t *testing.T) { invalid(t, s) })
	t.Run("an unknown incident: 404", func(t *testing.T) { unknown(t, s) })
	t.Run("incidents are changed by editors only", func(t *testing.T) { access(t, s) })
	t.Run("the list is filtered and paged", func(t *testing.T) { list(t, s) })
	t.Run("a deleted system leaves its incidents", func(t *testing.T) { systemDeleted(t, s) })
	t.Run("no link survives its system", func(t *testing.T) { openWhileDeleting(t, s) })
	t.Run("changes at once are all in the timeline", func(t *testing.T) { atOnce(t, s) })
	t.Run("a system is deleted while its incident is being changed", func(t *testing.T) { deleteWhileChanging(t, s) })
	t.Run("an incident is resolved once by many at once", func(t *testing.T) { resolveRace(t, s) })
	t.Run("those who subscribed hear of an incident from its begin to its end", func(t *testing.T) { told(t, s) })
	t.Run("people can subscribe to the incidents of systems and groups", func(t *testing.T) { specs(t, s) })
	t.Run("everything is there after a restart", func(t *testing.T) { restart(t, s) })
	t.Run("nothing ever waited in a circle", func(t *testing.T) { noDeadlocks(t, s) })
}

func system(t testing.TB, s *servertest.Server, name string) string {
	t.Helper()
	res := s.Do(t, "POST", "/api/catalog/systems", s.Token(t, "editor"), map[string]string{"name": name})
	return servertest.Decode[incident](t, res, 201).ID
}

func open(t testing.TB, s *servertest.Server, title string, systems ...string) (path string) {
	t.Helper()
	res := s.Do(t, "POST", incidents, s.Token(t, "editor"), map[string]any{"title": title, "severity": "minor", "systemIds": append([]string{}, systems...)})
	if !res.Has(t, 201) {
		t.FailNow()
	}
	return res.Header.Get("Location")
}

func show(t testing.TB, s *servertest.Server, path, token string) incident {
	t.Helper()
	return servertest.Decode[incident](t, s.Do(t, "GET", path, token, nil), 200)
}

// timeline fails the test unless the timeline of an incident is this one, the newest entry first.
func timeline(t *testing.T, s *servertest.Server, path, token string, want ...string) {
	t.Helper()
	var got []string
	last := time.Now().Add(time.Hour)
	for _, e := range show(t, s, path, token).Timeline {
		got = append(got, e.String())
		if !e.At.Before(last) {
			t.Errorf("entry %d is not older than the one after it", e.Number)
		}
		last = e.At
	}
	if !slices.Equal(got, want) {
		t.Errorf("the timeline is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	list := servertest.Decode[plugins.List[entry]](t, s.Do(t, "GET", path+"/timeline", token, nil), 200)
	var listed []string
	for _, e := range list.Items {
		listed = append(listed, e.String())
	}
	if !slices.Equal(listed, got) || list.Total != len(want) {
		t.Errorf("the list of the timeline, total %d, is\n%s", list.Total, strings.Join(listed, "\n"))
	}
}

func life(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	ids := []string{system(t, s, "Life A"), system(t, s, "Life B"), system(t, s, "Life C")}
	slices.Sort(ids)
	a, b, c := ids[0], ids[1], ids[2]
	body := map[string]any{"title": " Down ", "severity": "major", "systemIds": []string{strings.ToUpper(b), a}, "message": "We look into it.\n"}
	res := s.Do(t, "POST", incidents, editor, body)
	i := servertest.Decode[incident](t, res, 201)
	path := incidents + "/" + i.ID
	at := i.CreatedAt.Format(time.RFC3339Nano)
	res.Is(t, 201, `{"id":"`+i.ID+`","title":"Down","severity":"major","status":"investigating","systemIds":["`+a+`","`+b+`"],"createdAt":"`+at+
		`","updatedAt":"`+at+`","resolvedAt":null}`)
	if got := res.Header.Get("Location"); got != path || !plugins.IsID(i.ID) || time.Since(i.CreatedAt).Abs() > time.Minute {
		t.Errorf("Location %q, %+v", got, i)
	}

	res = s.Do(t, "POST", path+"/updates", editor, `{"message":"It is the disk.","status":"identified"}`)
	added := servertest.Decode[entry](t, res, 201)
	if got := res.Header.Get("Location"); got != path+"/timeline/2" || added.Number != 2 {
		t.Errorf("Location %q of entry %d", got, added.Number)
	}
	s.Do(t, "GET", path+"/timeline/2", editor, nil).Is(t, 200, res.Body)
	s.Do(t, "POST", path+"/updates", editor, `{"message":"Still at it."}`).Has(t, 201)
	if got := show(t, s, path, ""); got.Status != "identified" || !got.UpdatedAt.After(i.UpdatedAt) || !got.CreatedAt.Equal(i.CreatedAt) {
		t.Errorf("after two updates: %+v", got)
	}

	res = s.Do(t, "PATCH", path, editor, `{"severity":"critical","systemIds":["`+c+`","`+b+`"]}`)
	if got := servertest.Decode[incident](t, res, 200); got.Title != "Down" || got.Severity != "critical" || !slices.Equal(got.SystemIDs, []string{b, c}) {
		t.Errorf("edited: %s", res.Body)
	}
	res = s.Do(t, "PUT", path, editor, `{"title":"Disk full","severity":"critical","systemIds":[]}`)
	if got := servertest.Decode[incident](t, res, 200); got.Title != "Disk full" || got.SystemIDs == nil || len(got.SystemIDs) != 0 || got.Status != "identified" {
		t.Errorf("replaced: %s", res.Body)
	}

	res = s.Do(t, "POST", path+"/resolve", editor, nil) // the message may be left out
	if got := servertest.Decode[incident](t, res, 200); got.Status != "resolved" || got.ResolvedAt == nil || got.ResolvedAt.Before(got.CreatedAt) {
		t.Errorf("resolved: %s", res.Body)
	}
	s.Do(t, "POST", path+"/resolve", editor, `{"message":"again"}`).Is(t, 409, resolved)
	s.Do(t, "POST", path+"/updates", editor, `{"message":"again","status":"monitoring"}`).Is(t, 409, resolved)
	s.Do(t, "POST", path+"/updates", editor, `{"message":"We have bought a larger one."}`).Has(t, 201)
	if got := show(t, s, path, ""); got.Status != "resolved" || got.ResolvedAt == nil {
		t.Errorf("a note afterwards: %+v", got)
	}
	want := func(author string) []string {
		return []string{
			"7 update by " + author + `: "We have bought a larger one." – `,
			"6 resolved by " + author + `: "" resolved `,
			"5 edited by " + author + `: "" – {"title":{"from":"Down","to":"Disk full"},"systemsRemoved":["` + b + `","` + c + `"]}`,
			"4 edited by " + author + `: "" – {"severity":{"from":"major","to":"critical"},"systemsAdded":["` + c + `"],"systemsRemoved":["` + a + `"]}`,
			"3 update by " + author + `: "Still at it." – `,
			"2 update by " + author + `: "It is the disk." identified `,
			"1 opened by " + author + `: "We look into it.\n" investigating `,
		}
	}
	timeline(t, s, path, s.Token(t, "viewer"), want("a test's editor")...)
	timeline(t, s, path, "", want("nobody")...)
	if e := servertest.Decode[entry](t, s.Do(t, "GET", path+"/timeline/1", "", nil), 200); e.Author != nil {
		t.Errorf("an anonymous reader is told the author: %v", e)
	}
	page := servertest.Decode[plugins.List[entry]](t, s.Do(t, "GET", path+"/timeline?limit=2&offset=5", "", nil), 200)
	if len(page.Items) != 2 || page.Items[0].Number != 2 || page.Total != 7 {
		t.Errorf("a page of the timeline: %v of %d", page.Items, page.Total)
	}
	s.Do(t, "GET", path+"/timeline?offset=7", "", nil).Is(t, 200, `{"items":[],"total":7}`)

	s.Do(t, "DELETE", path, editor, nil).Is(t, 204, "")
	s.Do(t, "DELETE", path, editor, nil).Is(t, 404, noSuch)
	var left int
	err := s.DB.QueryRowContext(t.Context(), "select (select count(*) from incident.timeline where incident_id = $1) + (select count(*) from incident.systems where incident_id = $1)", i.ID).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d rows are left of a deleted incident, %v", left, err)
	}
}

func sameAgain(t *testing.T, s *servertest.Server) {
	id := system(t, s, "Same")
	path := open(t, s, "Same", id)
	before := show(t, s, path, "")
	s.Do(t, "PUT", path, s.Token(t, "editor"), `{"title":" Same ","severity":"minor","systemIds":["`+id+`"]}`).Has(t, 200)
	s.Do(t, "PATCH", path, s.Token(t, "editor"), `{}`).Has(t, 200)
	if after := show(t, s, path, ""); !after.UpdatedAt.Equal(before.UpdatedAt) || len(after.Timeline) != 1 {
		t.Errorf("%+v has become %+v", before, after)
	}
}

func invalid(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	id := system(t, s, "Valid")
	path := open(t, s, "Valid", id)
	before := s.Do(t, "GET", path, "", nil)
	nobody := plugins.NewID()
	many := `["` + strings.Repeat(id+`","`, 100) + id + `"]`
	long := `"` + strings.Repeat("é", 10001) + `"`
	for _, test := range []struct{ title, severity, systems, field, message string }{
		{`""`, `"minor"`, `[]`, "title", "expected a text of 1 to 200 characters, not an empty one"},
		{`"` + strings.Repeat("x", 201) + `"`, `"minor"`, `[]`, "title", "expected a text of 1 to 200 characters, not 201"},
		{`"a\tb"`, `"minor"`, `[]`, "title", "expected a text without control characters"},
		{`[]`, `"minor"`, `[]`, "title", "expected a string, not array"},
		{`"x"`, `"Minor"`, `[]`, "severity", "expected minor, major or critical"},
		{`"x"`, `""`, `[]`, "severity", "expected minor, major or critical"},
		{`"x"`, `1`, `[]`, "severity", "expected a string, not number"},
		{`"x"`, `"minor"`, `"` + id + `"`, "systemIds", "expected an array, not string"},
		{`"x"`, `"minor"`, `["x"]`, "systemIds", "expected IDs of systems; item 0 is not a UUID"},
		{`"x"`, `"minor"`, `["` + id + `","` + strings.ToUpper(id) + `"]`, "systemIds", "expected each system once"},
		{`"x"`, `"minor"`, `["` + id + `","` + nobody + `"]`, "systemIds", "expected IDs of systems; there is no system " + nobody},
		{`"x"`, `"minor"`, many, "systemIds", "expected at most 100 IDs of systems, not 101"},
	} {
		body := `{"title":` + test.title + `,"severity":` + test.severity + `,"systemIds":` + test.systems + `}`
		s.Do(t, "POST", incidents, editor, body).IsInvalid(t, test.field, test.message)
		s.Do(t, "PUT", path, editor, body).IsInvalid(t, test.field, test.message)
		s.Do(t, "PATCH", path, editor, body).IsInvalid(t, test.field, test.message)
	}
	for _, test := range []struct{ method, path, body, field, message string }{
		{"POST", incidents, `{"severity":"minor"}`, "title", "expected a text of 1 to 200 characters, not an empty one"},
		{"POST", incidents, `{"title":"x"}`, "severity", "expected minor, major or critical"},
		{"POST", incidents, `{"title":"x","severity":"minor","message":` + long + `}`, "message", "expected a text of at most 10000 characters, not 10001"},
		{"POST", incidents, `{"title":"x","severity":"minor","message":"\u0000"}`, "message", "expected a text without the character U+0000"},
		{"POST", incidents, `{"title":"x","severity":"minor","status":"resolved"}`, "status", "there is no such field"},
		{"PUT", path, `{"severity":"minor","systemIds":[]}`, "title", "expected a text of 1 to 200 characters, but it is missing"},
		{"PUT", path, `{"title":"x","systemIds":[]}`, "severity", "expected minor, major or critical, but it is missing"},
		{"PUT", path, `{"title":"x","severity":"minor","systemIds":null}`, "systemIds", "expected at most 100 IDs of systems, but it is missing"},
		{"PATCH", path, `{"status":"resolved"}`, "status", "there is no such field"},
		{"POST", path + "/updates", `{}`, "message", "expected a text of 1 to 10000 characters, not an empty one"},
		{"POST", path + "/updates", `{"message":" \n"}`, "message", "expected a text of 1 to 10000 characters, not an empty one"},
		{"POST", path + "/updates", `{"message":` + long + `}`, "message", "expected a text of at most 10000 characters, not 10001"},
		{"POST", path + "/updates", `{"message":"x","status":"resolved"}`, "status", "expected investigating, identified or monitoring"},
		{"POST", path + "/resolve", `{"message":` + long + `}`, "message", "expected a text of at most 10000 characters, not 10001"},
		{"POST", path + "/resolve", `{"status":"x"}`, "status", "there is no such field"},
	} {
		s.Do(t, test.method, test.path, editor, test.body).IsInvalid(t, test.field, test.message)
	}
	for _, request := range [][2]string{{"POST", incidents}, {"PUT", path}, {"PATCH", path}, {"POST", path + "/updates"}} {
		s.Do(t, request[0], request[1], editor, nil).Has(t, 415)
		s.Do(t, request[0], request[1], editor, `"`+strings.Repeat("x", plugins.MaxBody)+`"`).Has(t, 413)
	}
	for query, want := range map[string][2]string{
		"status=closed":            {"status", "expected open or resolved"},
		"systemId=x":               {"systemId", "expected the ID of a system, a UUID"},
		"limit=0":                  {"limit", "expected a whole number from 1 to 500"},
		"status=open&offset=99999": {"", ""},
	} {
		if res := s.Do(t, "GET", incidents+"?"+query, "", nil); want[0] == "" {
			res.Has(t, 200)
		} else {
			res.IsInvalid(t, want[0], want[1])
		}
	}
	s.Do(t, "GET", path, "", nil).Is(t, 200, before.Body)
}

func unknown(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	for _, id := range []string{plugins.NewID(), "x", "%00", "a%2Fb"} {
		path := incidents + "/" + id
		s.Do(t, "GET", path, "", nil).Is(t, 404, noSuch)
		s.Do(t, "GET", path+"/timeline", "", nil).Is(t, 404, noSuch)
		s.Do(t, "PUT", path, editor, `{"title":"x","severity":"minor","systemIds":[]}`).Is(t, 404, noSuch)
		s.Do(t, "PATCH", path, editor, `{"title":"x"}`).Is(t, 404, noSuch)
		s.Do(t, "DELETE", path, editor, nil).Is(t, 404, noSuch)
		s.Do(t, "POST", path+"/updates", editor, `{"message":"x"}`).Is(t, 404, noSuch)
		s.Do(t, "POST", path+"/resolve", editor, `{}`).Is(t, 404, noSuch)
	}
	path := open(t, s, "Known")
	for _, number := range []string{"0", "2", "-1", "x", "99999999999999999999"} {
		s.Do(t, "GET", path+"/timeline/"+number, "", nil).Is(t, 404, `{"error":"Not Found","message":"no such entry"}`)
	}
}

func access(t *testing.T, s *servertest.Server) {
	path := open(t, s, "Guarded")
	for _, request := range [][2]string{
		{"POST", incidents}, {"PUT", path}, {"PATCH", path}, {"DELETE", path}, {"POST", path + "/updates"}, {"POST", path + "/resolve"},
	} {
		s.Do(t, request[0], request[1], "", `{}`).Has(t, 401)
		s.Do(t, request[0], request[1], "cs_"+strings.Repeat("x", 43), `{}`).Has(t, 401)
		s.Do(t, request[0], request[1], s.Token(t, "viewer"), `{}`).Has(t, 403)
	}
	if got := show(t, s, path, ""); got.Status != "investigating" || len(got.Timeline) != 1 {
		t.Errorf("changed by who may not: %+v", got)
	}
	res := s.Do(t, "PUT", path+"/resolve", s.Token(t, "editor"), `{}`)
	if allow := res.Header.Get("Allow"); res.Status != http.StatusMethodNotAllowed || allow != "POST" {
		t.Errorf("PUT …/resolve: %d, Allow %q", res.Status, allow)
	}
}

func list(t *testing.T, s *servertest.Server) {
	a, b := system(t, s, "List A"), system(t, s, "List B")
	for i := range 5 {
		path := open(t, s, fmt.Sprint("listed ", i), []string{a, b}[i%2])
		if i < 2 {
			s.Do(t, "POST", path+"/resolve", s.Token(t, "editor"), `{}`).Has(t, 200)
		}
	}
	for query, want := range map[string]string{
		"systemId=" + a:                                     "4 2 0 of 3",
		"systemId=" + strings.ToUpper(b):                    "3 1 of 2",
		"systemId=" + a + "&status=open":                    "4 2 of 2",
		"systemId=" + a + "&status=resolved":                "0 of 1",
		"systemId=" + a + "&limit=1&offset=1":               "2 of 3",
		"systemId=" + a + "&offset=3":                       " of 3",
		"systemId=" + a + "&status=resolved&limit=1":        "0 of 1",
		"systemId=" + plugins.NewID():                       " of 0",
		"systemId=" + plugins.NewID() + "&limit=2&offset=9": " of 0",
	} {
		got := servertest.Decode[plugins.List[incident]](t, s.Do(t, "GET", incidents+"?"+query, "", nil), 200)
		var titles []string
		for _, i := range got.Items {
			titles = append(titles, strings.TrimPrefix(i.Title, "listed "))
		}
		if text := fmt.Sprintf("%s of %d", strings.Join(titles, " "), got.Total); text != want {
			t.Errorf("%s: %s, want %s", query, text, want)
		}
	}
	all := servertest.Decode[plugins.List[incident]](t, s.Do(t, "GET", incidents, "", nil), 200)
	open := servertest.Decode[plugins.List[incident]](t, s.Do(t, "GET", incidents+"?status=open", "", nil), 200)
	ended := servertest.Decode[plugins.List[incident]](t, s.Do(t, "GET", incidents+"?status=resolved", "", nil), 200)
	if all.Total != open.Total+ended.Total || open.Total < 3 || ended.Total < 2 {
		t.Errorf("%d incidents are %d open and %d resolved ones", all.Total, open.Total, ended.Total)
	}
}

func systemDeleted(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	gone, stays := system(t, s, "Gone"), system(t, s, "Stays")
	both, alone, other := open(t, s, "Both", gone, stays), open(t, s, "Alone", gone), open(t, s, "Other", stays)
	s.Do(t, "POST", alone+"/resolve", editor, `{}`).Has(t, 200)
	s.Do(t, "DELETE", "/api/catalog/systems/"+gone, servertest.Admin, nil).Is(t, 204, "")
	for path, want := range map[string][]string{both: {stays}, alone: {}, other: {stays}} {
		if got := show(t, s, path, ""); !slices.Equal(got.SystemIDs, want) {
			t.Errorf("%s concerns %v, want %v", got.Title, got.SystemIDs, want)
		}
	}
	removed := ` edited by first admin: "" – {"systemsRemoved":["` + gone + `"]}`
	opened := `1 opened by a test's editor: "" investigating `
	timeline(t, s, both, editor, "2"+removed, opened)
	timeline(t, s, alone, editor, "3"+removed, `2 resolved by a test's editor: "" resolved `, opened)
	timeline(t, s, other, editor, opened)
}

func specs(t *testing.T, s *servertest.Server) {
	type spec struct {
		Type, Target, Name, Description, Owner string
		Available                              bool
	}
	res := s.Do(t, "GET", "/api/notification/specs?limit=500", s.Token(t, "viewer"), nil)
	ours := slices.DeleteFunc(servertest.Decode[plugins.List[spec]](t, res, 200).Items, func(s spec) bool { return s.Owner != "incident" })
	if want := []spec{
		{"incident.group", "catalog.group", "Incidents of a group",
			"Incidents that concern a system of the group, from the first report until they are resolved", "incident", true},
		{"incident.system", "catalog.system", "Incidents of a system",
			"Incidents that concern the system, from the first report until they are resolved", "incident", true},
	}; !slices.Equal(ours, want) {
		t.Errorf("the specs are %+v, want %+v", ours, want)
	}
}

// restart shows it for the other plugins, too: who called, what is watched, and what is registered.
func restart(t *testing.T, s *servertest.Server) {
	token := s.Token(t, "editor")
	id := system(t, s, "Restarted")
	paths := []string{
		open(t, s, "Restarted", id), incidents + "?limit=500", "/api/catalog/systems/" + id, "/api/catalog/systems?limit=500", "/api/catalog/groups",
		"/api/auth/me", "/api/notification/targets", "/api/notification/specs", "/api/notification/targets/catalog.system/resources/" + id,
	}
	var before []servertest.Response
	for _, path := range paths {
		before = append(before, s.Do(t, "GET", path, token, nil))
	}
	s.Stop(t)
	again := servertest.Start(t, servertest.Config{Database: s.Database})
	for i, path := range paths {
		again.Do(t, "GET", path, token, nil).Is(t, 200, before[i].Body)
	}
	again.Stop(t)
}
