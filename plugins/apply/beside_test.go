package apply_test

import (
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
)

// beside has people and another document assign what a document deletes: the plan shows all of it, or nothing is deleted.
func beside(t *testing.T, s *servertest.Server) {
	mine := M{"name": "gone", "systems": L{M{"name": "Stay"}, M{"name": "Leave"}}, "checks": L{check("Stay"), check("Leave")},
		"satellites": L{M{"name": "Leave 1"}, M{"name": "Leave 2"}}, "assignments": L{M{"check": "Leave", "system": "Leave"}}}
	applied(t, s, "", mine)
	byHand := M{"name": "hand", "assignments": L{
		M{"check": "Leave", "system": "Stay"}, M{"check": "Stay", "system": "Leave", "sources": L{"Leave 1"}},
		M{"check": "Stay", "system": "Stay", "sources": L{"local", "Leave 1", "Leave 2"}},
	}}
	applied(t, s, "", byHand)
	less := M{"name": "gone", "systems": L{M{"name": "Stay"}}, "checks": L{check("Stay")}}
	before := everything(t, s)
	refused := func(document M, message string) {
		t.Helper()
		for _, query := range []string{"?prune=true", "?prune=true&dryRun=true"} {
			s.Do(t, "POST", documents+query, servertest.Admin, document).Is(t, 409, `{"error":"Managed","message":"`+message+`"}`)
		}
	}
	refused(less, `the document \"hand\" still assigns the check \"Leave\" to \"Stay\"`)
	withCheck := with(less, "checks", mine["checks"])
	refused(withCheck, `the document \"hand\" still assigns the check \"Stay\" to \"Leave\" from the satellite \"Leave 1\"`)
	refused(with(withCheck, "satellites", mine["satellites"]), `the document \"hand\" still assigns the check \"Stay\" to \"Leave\"`)
	if after := everything(t, s); after != before {
		t.Errorf("what was refused has changed\n%s\nto\n%s", before, after)
	}
	s.Do(t, "POST", documents+"/hand/release", servertest.Admin, nil).Has(t, 200)
	want := []string{
		"delete assignment Leave of Leave", "delete assignment Leave of Stay", "delete check Leave",
		"update assignment Stay of Stay (sources)", "delete satellite Leave 1", "delete satellite Leave 2", "delete assignment Stay of Leave", "delete system Leave", "0 1 7 0 2",
	}
	is(t, applied(t, s, "?prune=true&dryRun=true", less), want...)
	is(t, applied(t, s, "?prune=true", less), want...)
	left := servertest.Decode[plugins.List[M]](t, s.Do(t, "GET", "/api/healthcheck/configurations?q=leave", servertest.Admin, nil), 200)
	if left.Total != 0 {
		t.Errorf("what is left is %+v", left)
	}
	is(t, applied(t, s, "?prune=true", less), "0 0 0 0 2")
}
