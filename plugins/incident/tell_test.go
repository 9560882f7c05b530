package incident_test

import (
	"strings"
	"testing"

	"checkstack/plugins/internal/servertest"
)

// told follows two systems through the life of an incident, and looks at what those hear who subscribed.
func told(t *testing.T, s *servertest.Server) {
	editor, one, two := s.Token(t, "editor"), system(t, s, "told one"), system(t, s, "told two")
	names := strings.NewReplacer(one, "one", two, "two")
	heard := func(what string, want ...string) {
		t.Helper()
		var got string
		if err := s.DB.QueryRowContext(t.Context(), `with new as (delete from notification.notices where spec = 'incident.system' and resource in ($1, $2) returning *)
			select coalesce(string_agg(concat_ws(' ', resource, severity, title, nullif(message, '')), '; ' order by id), '') from new`, one, two).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got = names.Replace(got); got != strings.Join(want, "; ") {
			t.Errorf("%s: people hear %q, want %q", what, got, want)
		}
	}
	post := func(path, body string, status int) {
		t.Helper()
		s.Do(t, "POST", path, editor, body).Has(t, status)
	}
	path := open(t, s, "Told", one) // minor
	heard("opened", "one warning Told")
	post(path+"/updates", `{"message":"We look."}`, 201)
	heard("an update", "one info Told We look.")
	edit := func(body string) {
		t.Helper()
		s.Do(t, "PATCH", path, editor, body).Has(t, 200)
	}
	edit(`{"title":"Told again"}`)
	heard("another title")
	edit(`{"severity":"critical"}`)
	heard("worse", "one critical Told again The incident is critical, and not minor.")
	edit(`{"systemIds":["` + two + `"],"severity":"minor"}`)
	heard("elsewhere", "one recovered Told again The incident does not concern it any more.", "two warning Told again The incident concerns it, too.")
	post(path+"/resolve", `{"message":"Done."}`, 200)
	heard("resolved", "two recovered Told again Done.")
	edit(`{"systemIds":["` + one + `"]}`)
	heard("edited when it is over")
	s.Do(t, "DELETE", path, editor, nil).Has(t, 204)
	heard("deleted when it is over")
	path = open(t, s, "Short", one, two)
	heard("opened for two", namesInOrder(one, two, "one warning Short", "two warning Short")...)
	s.Do(t, "DELETE", path, editor, nil).Has(t, 204)
	heard("deleted", namesInOrder(one, two, "one recovered Short The incident was deleted.", "two recovered Short The incident was deleted.")...)
}

// namesInOrder is what is told of two systems, which come in the order of their IDs.
func namesInOrder(a, b, ofA, ofB string) []string {
	if a < b {
		return []string{ofA, ofB}
	}
	return []string{ofB, ofA}
}
