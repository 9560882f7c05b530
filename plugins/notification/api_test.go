package notification_test

import (
	"fmt"
	"strings"
	"testing"

	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// TestAPI shows what callers of the real server can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	viewer := s.Token(t, "viewer")
	t.Run("the README's examples are true", s.README)
	t.Run("only who has a token may read", func(t *testing.T) {
		for _, path := range []string{"targets", "targets/catalog.system/resources", "targets/catalog.system/resources/x", "specs"} {
			s.Do(t, "GET", "/api/notification/"+path, "", nil).Has(t, 401)
			res := s.Do(t, "POST", "/api/notification/"+path, viewer, `{}`)
			if allow := res.Header.Get("Allow"); res.Status != 405 || allow != "GET, HEAD" {
				t.Errorf("POST %s: %d, Allow %q", path, res.Status, allow)
			}
		}
	})
	t.Run("lists come in pages", func(t *testing.T) {
		for _, path := range []string{"targets", "targets/catalog.system/resources", "specs"} {
			s.Do(t, "GET", "/api/notification/"+path+"?limit=501", viewer, nil).IsInvalid(t, "limit", "expected a whole number from 1 to 500")
			s.Do(t, "GET", "/api/notification/"+path+"?offset=-1", viewer, nil).IsInvalid(t, "offset", "expected a whole number from 0 to 1000000")
		}
		spec := func(kind string) string {
			return fmt.Sprintf(`{"type":"incident.%[1]s","target":"catalog.%[1]s",`, kind)
		}
		second := s.Do(t, "GET", "/api/notification/specs?limit=1&offset=1", viewer, nil)
		if !strings.HasPrefix(second.Body, `{"items":[`+spec("system")) || !strings.HasSuffix(second.Body, `"owner":"incident","available":true}],"total":2}`) {
			t.Errorf("the second page is %s", second.Body)
		}
		s.Do(t, "GET", "/api/notification/specs?offset=2", viewer, nil).Is(t, 200, `{"items":[],"total":2}`)
	})
	t.Run("resources of an unknown target: 404", func(t *testing.T) {
		for _, typ := range []string{"catalog.planet", "%00", "a%2Fb"} {
			for _, path := range []string{"/resources", "/resources/x"} {
				s.Do(t, "GET", "/api/notification/targets/"+typ+path, viewer, nil).Is(t, 404, `{"error":"Not found","message":"no such target"}`)
			}
		}
	})
	t.Run("what no plugin registers any more is shown as not available", func(t *testing.T) {
		for _, statement := range []string{
			`insert into notification.targets (type, name, description, owner) values ('gone.planet', 'Planet', '', 'gone')`,
			`insert into notification.specs (type, target, name, description, owner) values ('gone.eclipse', 'gone.planet', 'Eclipse', '', 'gone')`,
		} {
			if _, err := s.DB.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		s.Do(t, "GET", "/api/notification/targets?offset=2", viewer, nil).
			Is(t, 200, `{"items":[{"type":"gone.planet","name":"Planet","description":"","owner":"gone","available":false}],"total":3}`)
		s.Do(t, "GET", "/api/notification/specs?limit=1", viewer, nil).
			Is(t, 200, `{"items":[{"type":"gone.eclipse","target":"gone.planet","name":"Eclipse","description":"","owner":"gone","available":false}],"total":3}`)
		s.Do(t, "GET", "/api/notification/targets/gone.planet/resources", viewer, nil).Has(t, 404)
	})
	t.Run("another server registers the same and writes nothing", func(t *testing.T) {
		const state = "select string_agg(xmin::text || t::text, ' ' order by type) from notification.targets t"
		var before, after string
		if err := s.DB.QueryRowContext(t.Context(), state).Scan(&before); err != nil {
			t.Fatal(err)
		}
		servertest.Start(t, servertest.Config{Database: s.Database}).Stop(t)
		if err := s.DB.QueryRowContext(t.Context(), state).Scan(&after); err != nil || after != before {
			t.Errorf("%v\n%s\nhas become\n%s", err, before, after)
		}
	})
}
