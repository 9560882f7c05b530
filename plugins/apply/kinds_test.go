package apply_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/apply"
	"checkstack/plugins/internal/servertest"
)

func ofGroups(t *testing.T, s *servertest.Server) {
	d := M{
		"name": "groups", "systems": L{M{"name": "g1"}, M{"name": "g2"}, M{"name": "g3"}}, "groups": L{M{"name": "two", "systems": L{"g2", "g1"}}},
		"checks": L{check("of group")}, "assignments": L{M{"check": "of group", "group": "TWO"}, M{"check": "of group", "system": "g1", "enabled": false}},
	}
	applied(t, s, "", d)
	var on, off int
	if err := s.DB.QueryRowContext(t.Context(), `select count(*) filter (where enabled), count(*) filter (where not enabled) from healthcheck.assignments
		where managed_by = 'groups'`).Scan(&on, &off); err != nil || on != 1 || off != 1 {
		t.Errorf("%d are on and %d off, %v", on, off, err)
	}
	d["groups"] = L{M{"name": "two", "systems": L{"g2", "g3"}}}
	is(t, applied(t, s, "", d), "update group two (systems)", "create assignment of group of g3", "1 1 0 0 6")
	d["groups"] = L{M{"name": "two", "systems": L{"g3"}}}
	is(t, applied(t, s, "?prune=true", d), "update group two (systems)", "delete assignment of group of g2", "0 1 1 0 6")
	d["groups"] = L{M{"name": "two", "systems": L{"g3"}}, M{"name": "same", "systems": L{"g3", "g2"}}}
	d["assignments"] = L{M{"check": "of group", "group": "two"}, M{"check": "of group", "group": "same"}}
	is(t, applied(t, s, "?prune=true", d), "create group same", "create assignment of group of g2", "delete assignment of group of g1", "2 0 1 0 6")
	d["assignments"] = L{M{"check": "of group", "group": "two"}, M{"check": "of group", "group": "same", "quorum": 2}}
	s.Do(t, "POST", documents, servertest.Admin, d).IsInvalid(t, "assignments[1]", `assignments[0] assigns the check "of group" to the system "g3" already`)
}

func stations(t *testing.T, s *servertest.Server) {
	d := M{"name": "sat", "satellites": L{M{"name": "Berlin", "region": " eu "}}, "systems": L{M{"name": "Sat"}}, "checks": L{check("Sat")},
		"assignments": L{M{"check": "Sat", "system": "Sat", "sources": L{"berlin", "LOCAL"}}}}
	editor := s.Token(t, "editor")
	const refused = `{"error":"Forbidden","message":"this document changes satellites, which needs the role admin; the token has the role editor","field":"satellites%s"}`
	s.Do(t, "POST", documents, editor, d).Is(t, 403, fmt.Sprintf(refused, "[0]"))
	p := applied(t, s, "", d)
	is(t, p, "create system Sat", "create check Sat", "create satellite Berlin", "create assignment Sat of Sat", "4 0 0 0 0")
	if len(p.Tokens) != 1 || p.Tokens[0].Kind != "satellite" || p.Tokens[0].Name != "Berlin" {
		t.Fatalf("the tokens are %+v", p.Tokens)
	}
	s.Do(t, "POST", "/api/satellite/heartbeat", p.Tokens[0].Token, `{}`).Has(t, 400) // known
	is(t, servertest.Decode[apply.Plan](t, s.Do(t, "POST", documents, editor, d), 200), "0 0 0 0 4")
	d["satellites"] = L{M{"name": "BERLIN", "offlineAfterSeconds": 60}}
	s.Do(t, "POST", documents, editor, d).Is(t, 403, fmt.Sprintf(refused, "[0]"))
	is(t, applied(t, s, "", d), "update satellite BERLIN (name region offlineAfterSeconds)", "0 1 0 0 3")
	d["satellites"], d["assignments"] = L{}, L{M{"check": "Sat", "system": "Sat", "sources": L{"local"}}}
	s.Do(t, "POST", documents+"?prune=true", editor, d).Is(t, 403, fmt.Sprintf(refused, ""))
	is(t, servertest.Decode[apply.Plan](t, s.Do(t, "POST", documents, editor, d), 200), "update assignment Sat of Sat (sources)", "orphaned satellite BERLIN", "0 1 0 1 2")
	is(t, applied(t, s, "?prune=true", d), "delete satellite BERLIN", "0 0 1 0 3")
	s.Do(t, "POST", "/api/satellite/heartbeat", p.Tokens[0].Token, `{}`).Has(t, 401)
	if strings.Contains(s.Log(), p.Tokens[0].Token) {
		t.Error("the log shows a token")
	}
}

func heartbeat(t *testing.T, s *servertest.Server) {
	d := M{"name": "beats", "systems": L{M{"name": "Beating"}}, "assignments": L{M{"check": "Backup", "system": "Beating"}},
		"checks": L{M{"name": "Backup", "type": "heartbeat", "intervalSeconds": 86400, "timeoutMs": 1000}}}
	p := applied(t, s, "", d)
	if len(p.Tokens) != 1 || p.Tokens[0].Kind != "assignment" || p.Tokens[0].Name != "Backup" || p.Tokens[0].System != "Beating" {
		t.Fatalf("the tokens are %+v", p.Tokens)
	}
	if again := applied(t, s, "", d); len(again.Tokens) > 0 || again.Unchanged != 3 {
		t.Errorf("applied again: %+v", again)
	}
}

func template(t *testing.T, s *servertest.Server) {
	page := with(check("Templated"), "template", true, "config", M{"url": "http://127.0.0.1:1/${system.metadata.path}"})
	d := M{"name": "template", "systems": L{M{"name": "T", "metadata": M{"path": "a"}}}, "checks": L{page}, "assignments": L{M{"check": "Templated", "system": "T"}}}
	is(t, applied(t, s, "", d), "create system T", "create check Templated", "create assignment Templated of T", "3 0 0 0 0")
	is(t, applied(t, s, "", d), "0 0 0 0 3")
}

func release(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	d := M{"name": "free me", "systems": L{M{"name": "Free"}}, "groups": L{M{"name": "Free"}}, "checks": L{check("Free")}, "satellites": L{M{"name": "Free"}},
		"assignments": L{M{"check": "Free", "system": "Free"}}, "channels": L{hook("Free")},
		"subscriptions": L{M{"channel": "Free"}, M{"channel": "Free", "system": "Free"}, M{"channel": "Free", "group": "Free"}}}
	applied(t, s, "", d)
	path := documents + "/free%20me"
	for _, test := range []struct{ body, field, message string }{
		{`{}`, "kind", "expected system, group, check, satellite, assignment, channel or subscription"},
		{`{"kind":"Systems","name":"Free"}`, "kind", "expected system, group, check, satellite, assignment, channel or subscription"},
		{`{"kind":"system"}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`{"kind":"system","name":"Free","system":"Free"}`, "system", "expected no system: only an assignment and a subscription have one"},
		{`{"kind":"assignment","name":"Free","system":"Free","group":"Free"}`, "group", "expected no group: only a subscription has one"},
		{`{"kind":"subscription","name":"Free","system":"Free","group":"Free"}`, "system", "expected a system or a group, and not both"},
		{`{"kind":"subscription","name":"Free","group":"X"}`, "name", `expected a thing that the document "free me" owns: it has no subscription "Free" to the group "X"`},
		{`{"kind":"assignment","name":"Free","system":" "}`, "system", "expected a text of 1 to 200 characters, not an empty one"},
		{`{"kind":"system","name":" Freed "}`, "name", `expected a thing that the document "free me" owns: it has no system "Freed"`},
		{`{"kind":"assignment","name":"free","system":"X"}`, "name", `expected a thing that the document "free me" owns: it has no assignment of the check "free" to the system "X"`},
	} {
		s.Do(t, "POST", path+"/release", editor, test.body).IsInvalid(t, test.field, test.message)
	}
	for _, body := range []M{ // what assigns a thing, or is told of it, would go with it
		{"kind": "assignment", "name": "FREE", "system": "free"}, {"kind": "subscription", "name": "FREE"}, {"kind": "subscription", "name": "FREE", "system": "free"},
		{"kind": "subscription", "name": "FREE", "group": "free"}, {"kind": "system", "name": "FREE"}, {"kind": "group", "name": "FREE"},
		{"kind": "check", "name": "FREE"}, {"kind": "satellite", "name": "FREE"}, {"kind": "channel", "name": "FREE"},
	} {
		s.Do(t, "POST", path+"/release", editor, body).Is(t, 200, released("free me", map[string]int{body["kind"].(string) + "s": 1}))
		s.Do(t, "POST", path+"/release", editor, body).Has(t, 400)
	}
	s.Do(t, "POST", path+"/release", editor, `{"kind":"assignment","name":"Free"}`).IsInvalid(t, "system", "expected the name of the system that the check is assigned to")
	list := servertest.Decode[plugins.List[apply.Applied]](t, s.Do(t, "GET", documents+"?limit=500", s.Token(t, "viewer"), nil), 200)
	i := slices.IndexFunc(list.Items, func(a apply.Applied) bool { return a.Name == "free me" })
	if i < 0 || list.Items[i].Owns != (apply.Counts{}) {
		t.Errorf("the documents are %+v", list.Items)
	}
	is(t, applied(t, s, "", d), "adopt system Free (managedBy)", "adopt group Free (managedBy)", "adopt check Free (managedBy)", "adopt satellite Free (managedBy)",
		"adopt assignment Free of Free (managedBy)", "adopt channel Free (managedBy)", "adopt subscription Free (managedBy)",
		"adopt subscription Free of Free (managedBy)", "adopt subscription Free of group Free (managedBy)", "0 9 0 0 0")
	s.Do(t, "POST", path+"/release", editor, `{"kind":"system","name":"Free"}`).Has(t, 200) // with what assigns it, and who is told of it
	s.Do(t, "POST", path+"/release", editor, `{"kind":"group","name":"Free"}`).Has(t, 200)
	s.Do(t, "POST", path+"/release", editor, nil).Is(t, 200, released("free me", map[string]int{"checks": 1, "satellites": 1, "channels": 1, "subscriptions": 1}))
	for _, request := range [][2]string{{"GET", path}, {"POST", path + "/release"}, {"GET", documents + "/%00"}, {"GET", documents + "/%ff"}} {
		s.Do(t, request[0], request[1], editor, nil).Is(t, 404, `{"error":"Not Found","message":"no such document"}`)
	}
	free := servertest.Decode[plugins.List[M]](t, s.Do(t, "GET", "/api/catalog/systems?q=free", "", nil), 200)
	s.Do(t, "DELETE", "/api/catalog/systems/"+free.Items[0]["id"].(string), editor, nil).Is(t, 204, "")
}

// released is the answer to a release.
func released(document string, n map[string]int) string {
	return fmt.Sprintf(`{"name":%q,"released":{"systems":%d,"groups":%d,"checks":%d,"satellites":%d,"assignments":%d,"channels":%d,"subscriptions":%d}}`,
		document, n["systems"], n["groups"], n["checks"], n["satellites"], n["assignments"], n["channels"], n["subscriptions"])
}
