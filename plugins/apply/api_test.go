package apply_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/apply"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const documents = "/api/apply/documents"

// TestAPI shows what callers of the real server can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{Env: map[string]string{"CHECKSTACK_MASTER_KEY": strings.Repeat("5f", 32)}})
	t.Run("the README's examples are true", s.README)
	t.Run("a document is applied once, whatever there is", func(t *testing.T) { life(t, s) })
	t.Run("a dry run says the same and changes nothing", func(t *testing.T) { dryRun(t, s) })
	t.Run("what is not named any more is left or deleted", func(t *testing.T) { prune(t, s) })
	t.Run("what goes with what is deleted is shown", func(t *testing.T) { beside(t, s) })
	t.Run("what another document owns is left alone", func(t *testing.T) { conflict(t, s) })
	t.Run("an error names the place and changes nothing", func(t *testing.T) { invalid(t, s) })
	t.Run("a group is assigned as its systems", func(t *testing.T) { ofGroups(t, s) })
	t.Run("satellites are for administrators", func(t *testing.T) { stations(t, s) })
	t.Run("a heartbeat's token is shown once", func(t *testing.T) { heartbeat(t, s) })
	t.Run("a template fits systems that are as new as itself", func(t *testing.T) { template(t, s) })
	t.Run("a document says who is told", func(t *testing.T) { notified(t, s) })
	t.Run("what is told of what is deleted is shown", func(t *testing.T) { toldBeside(t, s) })
	t.Run("what is released belongs to people", func(t *testing.T) { release(t, s) })
	t.Run("many servers' worth of applies are one", func(t *testing.T) { atOnce(t, s) })
	t.Run("each route has its own callers", func(t *testing.T) { callers(t, s) })
	t.Run("a document may have 16 MiB", func(t *testing.T) { large(t, s) })
}

// M is an object of a document.
type M = map[string]any

// L is a list in one.
type L = []any

func check(name string) M {
	return M{"name": name, "type": "http", "config": M{"url": "http://127.0.0.1:1/"}, "intervalSeconds": 2592000, "timeoutMs": 1000}
}

// with is an object with other fields.
func with(m M, pairs ...any) M {
	next := M{}
	for k, v := range m {
		next[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		next[pairs[i].(string)] = pairs[i+1]
	}
	return next
}

// applied applies a document as an administrator, and returns the plan.
func applied(t testing.TB, s *servertest.Server, query string, document M) apply.Plan {
	t.Helper()
	return servertest.Decode[apply.Plan](t, s.Do(t, "POST", documents+query, servertest.Admin, document), 200)
}

// lines are the changes of a plan and its sums, for comparison.
func lines(p apply.Plan) (all []string) {
	for _, c := range p.Changes {
		line := c.Op + " " + c.Kind + " " + c.Name
		if c.System != "" {
			line += " of " + c.System
		}
		if c.Group != "" {
			line += " of group " + c.Group
		}
		if len(c.Fields) > 0 {
			line += " (" + strings.Join(c.Fields, " ") + ")"
		}
		all = append(all, line)
	}
	return append(all, fmt.Sprintf("%d %d %d %d %d", p.Created, p.Updated, p.Deleted, p.Orphaned, p.Unchanged))
}

func is(t testing.TB, p apply.Plan, want ...string) {
	t.Helper()
	if got := lines(p); !slices.Equal(got, want) {
		t.Errorf("the plan is\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// everything is what applying a document can change, as text.
func everything(t testing.TB, s *servertest.Server) (text string) {
	t.Helper()
	if err := s.DB.QueryRowContext(t.Context(), "select coalesce(string_agg(x::text, ';' order by x.name), '') from apply.documents x").Scan(&text); err != nil {
		t.Fatal(err)
	}
	return things(t, s) + text
}

// things is the same without what is noted of documents.
func things(t testing.TB, s *servertest.Server) (text string) {
	t.Helper()
	err := s.DB.QueryRowContext(t.Context(), `select concat(
		(select string_agg(x::text, ';' order by x.id) from catalog.systems x), (select string_agg(x::text, ';' order by x.id) from catalog.groups x),
		(select string_agg(x::text, ';' order by x::text) from catalog.memberships x),
		(select string_agg(x.id || x.name || x.config || x.updated_at || concat(x.managed_by), ';' order by x.id) from healthcheck.configurations x),
		(select string_agg(x.system_id || x.configuration_id || x.enabled || concat(x.managed_by), ';' order by x.system_id, x.configuration_id)
			from healthcheck.assignments x),
		(select string_agg(x.id || x.name || x.region || concat(x.managed_by), ';' order by x.id) from satellite.satellites x),
		(select string_agg(x.id || x.name || x.config || x.enabled || concat(x.managed_by), ';' order by x.id) from notification.channels x),
		(select string_agg(x::text, ';' order by x.id) from notification.subscriptions x))`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func life(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	s.Do(t, "POST", "/api/catalog/systems", editor, `{"name":"people's","description":"by hand","metadata":{"a":1.50e3}}`).Has(t, 201)
	d := M{
		"name":    "life",
		"systems": L{M{"name": " Kiosk ", "description": "shop.example.org", "metadata": M{"n": json.Number("1.0")}}, M{"name": "People's", "metadata": M{"a": 1500}}},
		"groups":  L{M{"name": "Facing", "systems": L{"KIOSK", "People's"}}, M{"name": "Empty"}},
		"checks":  L{with(check("Kiosk page"), "assertions", L{M{"path": "status", "op": "eq", "value": 200}}), with(check("Paused"), "enabled", false)},
		"assignments": L{
			M{"check": "kiosk page", "system": "kiosk"},
			M{"check": "Paused", "system": "People's", "enabled": false, "thresholds": M{"mode": "window", "windowSize": 5}, "quorum": 1},
		},
	}
	p := applied(t, s, "", d)
	is(t, p, "create system Kiosk", "adopt system People's (managedBy name description)",
		"create group Facing", "create group Empty", "create check Kiosk page", "create check Paused",
		"create assignment Kiosk page of Kiosk", "create assignment Paused of People's", "7 1 0 0 0")
	if p.Name != "life" || p.DryRun || p.Tokens == nil || len(p.Tokens) > 0 {
		t.Errorf("the plan is %+v", p)
	}
	before := things(t, s)
	again := s.Do(t, "POST", documents, servertest.Admin, with(d, "name", "LIFE"))
	again.Is(t, 200, `{"name":"life","dryRun":false,"changes":[],"created":0,"updated":0,"deleted":0,"orphaned":0,"unchanged":8,"tokens":[]}`)
	if after := things(t, s); after != before {
		t.Errorf("applied again it has changed\n%s\nto\n%s", before, after)
	}
	list := servertest.Decode[plugins.List[M]](t, s.Do(t, "GET", "/api/catalog/systems?q=kiosk", "", nil), 200)
	if len(list.Items) != 1 || list.Items[0]["name"] != "Kiosk" || list.Items[0]["managedBy"] != "life" {
		t.Errorf("the systems are %+v", list)
	}
	s.Do(t, "DELETE", "/api/catalog/systems/"+list.Items[0]["id"].(string), editor, nil).Is(t, 409,
		`{"error":"Managed","message":"the document \"life\" manages this: change it there, or release it first"}`)

	d["systems"] = L{M{"name": "KIOSK"}, M{"name": "People's", "metadata": M{"a": 1501}}}
	d["groups"] = L{M{"name": "Facing", "description": "d", "systems": L{"People's"}}, M{"name": "Empty"}}
	d["checks"] = L{with(check("Kiosk page"), "config", M{"url": "http://127.0.0.1:2/"}, "intervalSeconds", 60), with(check("Paused"), "enabled", false)}
	d["assignments"] = L{
		M{"check": "Kiosk page", "system": "Kiosk", "enabled": false},
		M{"check": "Paused", "system": "People's", "enabled": false, "thresholds": M{"mode": "consecutive"}},
	}
	is(t, applied(t, s, "", d), "update system KIOSK (name description metadata)", "update system People's (metadata)",
		"update group Facing (description systems)", "update check Kiosk page (assertions intervalSeconds config.url)",
		"update assignment Kiosk page of KIOSK (enabled)", "update assignment Paused of People's (thresholds)", "0 6 0 0 2")
	is(t, applied(t, s, "", d), "0 0 0 0 8")

	detail := servertest.Decode[struct {
		apply.Applied
		Objects []apply.Object
	}](t, s.Do(t, "GET", documents+"/Life", s.Token(t, "viewer"), nil), 200)
	if want := (apply.Counts{Systems: 2, Groups: 2, Checks: 2, Assignments: 2}); detail.Owns != want || detail.By.Name != "first admin" || !detail.ChangedAt.Before(detail.AppliedAt) {
		t.Errorf("the document is shown as %+v", detail)
	}
	var objects []string
	for _, o := range detail.Objects {
		objects = append(objects, strings.TrimSpace(o.Kind+" "+o.Name+" "+o.System))
	}
	if want := []string{"system KIOSK", "system People's", "group Empty", "group Facing", "check Kiosk page", "check Paused",
		"assignment Kiosk page KIOSK", "assignment Paused People's"}; !slices.Equal(objects, want) {
		t.Errorf("it owns %q, want %q", objects, want)
	}
	for query, message := range map[string]string{
		`{"name":"life"}`: "the document names nothing, and -prune would delete all 8 things that it owns; -prune-all allows it",
		`{"name":"life","systems":[{"name":"Another"}]}`: "the document names nothing that it owns, and -prune would delete all 8 things that it owns; -prune-all allows it",
	} {
		s.Do(t, "POST", documents+"?prune=true", servertest.Admin, query).IsInvalid(t, "", message)
	}
	is(t, applied(t, s, "?pruneAll=true", M{"name": "life"}), "delete assignment Kiosk page of KIOSK", "delete assignment Paused of People's",
		"delete check Kiosk page", "delete check Paused", "delete group Empty", "delete group Facing", "delete system KIOSK", "delete system People's", "0 0 8 0 0")
	s.Do(t, "GET", "/api/catalog/systems", "", nil).Has(t, 200)
}

func dryRun(t *testing.T, s *servertest.Server) {
	d := M{
		"name": "dry", "systems": L{M{"name": "Dry A"}, M{"name": "Dry B"}}, "groups": L{M{"name": "Dry", "systems": L{"Dry A"}}}, "checks": L{check("Dry")},
		"satellites": L{M{"name": "Dry"}}, "assignments": L{M{"check": "Dry", "group": "Dry", "sources": L{"local", "Dry"}}},
	}
	want := []string{"create system Dry A", "create system Dry B", "create group Dry", "create check Dry", "create satellite Dry", "create assignment Dry of Dry A", "6 0 0 0 0"}
	before := everything(t, s)
	p := applied(t, s, "?dryRun=true", d)
	is(t, p, want...)
	if !p.DryRun || len(p.Tokens) > 0 {
		t.Errorf("the plan is %+v", p)
	}
	if after := everything(t, s); after != before {
		t.Errorf("a dry run has changed\n%s\nto\n%s", before, after)
	}
	s.Do(t, "GET", documents+"/dry", s.Token(t, "viewer"), nil).Is(t, 404, `{"error":"Not Found","message":"no such document"}`)
	is(t, applied(t, s, "", d), want...)
	is(t, applied(t, s, "?dryRun=true", d), "0 0 0 0 6")
	is(t, applied(t, s, "?dryRun=1&prune=1", M{"name": "dry", "systems": L{M{"name": "Dry A"}}}), "delete assignment Dry of Dry A",
		"delete check Dry", "delete group Dry", "delete satellite Dry", "delete system Dry B", "0 0 5 0 1")
	is(t, applied(t, s, "?dryRun=true", d), "0 0 0 0 6")
	s.Do(t, "POST", documents+"?dryRun=maybe", servertest.Admin, d).IsInvalid(t, "dryRun", "expected true or false")
	s.Do(t, "POST", documents+"?prune=x", servertest.Admin, d).IsInvalid(t, "prune", "expected true or false")
}

func prune(t *testing.T, s *servertest.Server) {
	d := M{"name": "prune", "systems": L{M{"name": "Stays"}, M{"name": "Goes"}}, "checks": L{check("Stays"), check("Goes")}, "assignments": L{
		M{"check": "Stays", "system": "Stays"}, M{"check": "Goes", "system": "Stays"}, M{"check": "Stays", "system": "Goes"},
	}}
	applied(t, s, "", d)
	less := M{"name": "prune", "systems": L{M{"name": "Stays"}}, "checks": L{check("Stays")}, "assignments": L{M{"check": "Stays", "system": "Stays"}}}
	for range 2 {
		is(t, applied(t, s, "", less), "orphaned assignment Goes of Stays", "orphaned assignment Stays of Goes", "orphaned check Goes", "orphaned system Goes", "0 0 0 4 3")
	}
	is(t, applied(t, s, "", d), "0 0 0 0 7") // they are its own still
	const gone = ` is not defined in this document any more, and is about to be deleted`
	for _, test := range []struct {
		section, field, what string
		value                any
	}{
		{"assignments", "assignments[0].system", `the system "goes"`, L{M{"check": "Stays", "system": "goes"}}},
		{"assignments", "assignments[0].check", `the check "goes"`, L{M{"check": "goes", "system": "Stays"}}},
		{"groups", "groups[0].systems[1]", `the system "Goes"`, L{M{"name": "G", "systems": L{"Stays", "Goes"}}}},
	} {
		s.Do(t, "POST", documents+"?prune=true", servertest.Admin, with(less, test.section, test.value)).IsInvalid(t, test.field, test.what+gone)
	}
	is(t, applied(t, s, "?prune=true", less), "delete assignment Goes of Stays", "delete assignment Stays of Goes", "delete check Goes", "delete system Goes", "0 0 4 0 3")
	is(t, applied(t, s, "?prune=true", less), "0 0 0 0 3")
}

func conflict(t *testing.T, s *servertest.Server) {
	mine := M{"name": "mine", "systems": L{M{"name": "Contested"}}, "groups": L{M{"name": "Contested"}}, "checks": L{check("Contested")},
		"satellites": L{M{"name": "Contested"}}, "assignments": L{M{"check": "Contested", "system": "Contested"}}}
	applied(t, s, "", mine)
	before := everything(t, s)
	for section, kind := range map[string]string{"systems": "system", "groups": "group", "checks": "check", "satellites": "satellite"} {
		theirs := M{"name": "theirs", "systems": L{M{"name": "New"}}}
		entries := L{M{"name": "CONTESTED"}}
		if section == "checks" {
			entries = L{check("CONTESTED")}
		}
		theirs[section] = entries
		s.Do(t, "POST", documents, servertest.Admin, theirs).Is(t, 409, `{"error":"Managed","message":"the document \"mine\" manages the `+kind+
			` \"CONTESTED\": take it out there, or release it first","field":"`+section+`[0].name"}`)
	}
	s.Do(t, "POST", documents, servertest.Admin, M{"name": "theirs", "assignments": L{M{"check": "Contested", "system": "Contested"}}}).Is(t, 409,
		`{"error":"Managed","message":"the document \"mine\" manages the assignment of \"Contested\" to \"Contested\": take it out there, or release it first","field":"assignments[0]"}`)
	if after := everything(t, s); after != before {
		t.Errorf("what was refused has changed\n%s\nto\n%s", before, after)
	}
	is(t, applied(t, s, "", M{"name": "theirs", "checks": L{check("Theirs")}, "assignments": L{M{"check": "Theirs", "system": "Contested"}}}),
		"create check Theirs", "create assignment Theirs of Contested", "2 0 0 0 0") // it may refer to them
}

func atOnce(t *testing.T, s *servertest.Server) {
	d := M{"name": "at once", "systems": L{}, "checks": L{check("At once")}, "assignments": L{}}
	for i := range 20 {
		d["systems"] = append(d["systems"].(L), M{"name": fmt.Sprint("At once ", i)})
		d["assignments"] = append(d["assignments"].(L), M{"check": "At once", "system": fmt.Sprint("At once ", i)})
	}
	var created, unchanged [8]int
	var wg sync.WaitGroup
	for i := range created {
		wg.Go(func() {
			var p apply.Plan
			if res := s.Do(t, "POST", documents, servertest.Admin, d); res.Has(t, 200) {
				json.Unmarshal([]byte(res.Body), &p)
			}
			created[i], unchanged[i] = p.Created, p.Unchanged
		})
	}
	wg.Wait()
	slices.Sort(created[:])
	slices.Sort(unchanged[:])
	if created != [8]int{7: 41} || unchanged != [8]int{0, 41, 41, 41, 41, 41, 41, 41} {
		t.Errorf("created %v, unchanged %v", created, unchanged)
	}
}

func callers(t *testing.T, s *servertest.Server) {
	for _, test := range []struct {
		method, path           string
		nobody, viewer, editor int
	}{
		{"POST", documents, 401, 403, 200},
		{"GET", documents, 401, 200, 200},
		{"GET", documents + "/none", 401, 404, 404},
		{"POST", documents + "/none/release", 401, 403, 404},
		{"GET", "/api/apply/schema", 200, 200, 200},
	} {
		var body any
		if test.path == documents && test.method == "POST" {
			body = `{"name":"callers"}`
		}
		s.Do(t, test.method, test.path, "", body).Has(t, test.nobody)
		s.Do(t, test.method, test.path, s.Token(t, "viewer"), body).Has(t, test.viewer)
		s.Do(t, test.method, test.path, s.Token(t, "editor"), body).Has(t, test.editor)
	}
	res := s.Do(t, "GET", "/api/apply/schema", "", nil)
	if media := res.Header.Get("Content-Type"); media != "application/schema+json" || !json.Valid([]byte(res.Body)) {
		t.Errorf("the schema is %s: %s", media, res.Body)
	}
}

func large(t *testing.T, s *servertest.Server) {
	text := strings.Repeat("x", 2000)
	d := M{"name": "large", "systems": L{}}
	for i := range 1000 {
		d["systems"] = append(d["systems"].(L), M{"name": fmt.Sprint("Large ", i), "description": text})
	}
	is(t, servertest.Decode[apply.Plan](t, s.Do(t, "POST", documents+"?dryRun=true", servertest.Admin, d), 200), largePlan()...)
	res := s.Do(t, "POST", documents, servertest.Admin, `{"name":"`+strings.Repeat("x", 16<<20)+`"}`)
	res.Is(t, http.StatusRequestEntityTooLarge, `{"error":"Body too large","message":"the body may have at most 16777216 bytes"}`)
}

func largePlan() (want []string) {
	for i := range 1000 {
		want = append(want, fmt.Sprint("create system Large ", i))
	}
	return append(want, "1000 0 0 0 0")
}
