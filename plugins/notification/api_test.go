package notification_test

import (
	"testing"

	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// TestAPI shows what callers of the real server can rely on, whichever other plugins it has: what those have registered
// is taken out of the lists, and what a plugin has left that is not there is put in. What a target whose owner runs
// looks like is shown by the tests of the plugins that own targets.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	viewer := s.Token(t, "viewer")
	keep := func(statement string) {
		t.Helper()
		if _, err := s.DB.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	keep(`truncate notification.targets, notification.specs`)
	keep(`insert into notification.targets (type, name, description, owner) values ('sky.planet', 'Planet', 'One planet', 'sky')`)
	keep(`insert into notification.specs (type, target, name, description, owner)
		values ('sky.transit', 'sky.planet', 'Transits', '', 'sky')`)
	keep(`insert into notification.notices (event, spec, target, resource, severity, title, message, data) values
		('sky.transit/1', 'sky.transit', 'sky.planet', '1', 'warning', 'Mercury is before the sun', 'Do not look at it.', '{"minutes": 337}'),
		('sky.transit/2', 'sky.transit', 'sky.planet', '1', 'recovered', 'Mercury is past the sun', '', 'null')`)

	t.Run("the README's examples are true", s.README)
	t.Run("only who has a token may read", func(t *testing.T) {
		for _, path := range []string{"targets", "targets/sky.planet/resources", "targets/sky.planet/resources/4", "specs"} {
			s.Do(t, "GET", "/api/notification/"+path, "", nil).Has(t, 401)
			res := s.Do(t, "POST", "/api/notification/"+path, viewer, `{}`)
			if allow := res.Header.Get("Allow"); res.Status != 405 || allow != "GET, HEAD" {
				t.Errorf("POST %s: %d, Allow %q", path, res.Status, allow)
			}
		}
	})
	t.Run("there are no resources of a target that is unknown, or whose owner does not run: 404", func(t *testing.T) {
		for _, typ := range []string{"sky.planet", "sky.comet", "%00", "a%2Fb"} {
			for _, path := range []string{"/resources", "/resources/4"} {
				s.Do(t, "GET", "/api/notification/targets/"+typ+path, viewer, nil).Is(t, 404, `{"error":"Not Found","message":"no such target"}`)
			}
		}
	})
	t.Run("lists come in pages, by type", func(t *testing.T) {
		for _, path := range []string{"targets", "targets/sky.planet/resources", "specs"} {
			s.Do(t, "GET", "/api/notification/"+path+"?limit=501", viewer, nil).IsInvalid(t, "limit", "expected a whole number from 1 to 500")
			s.Do(t, "GET", "/api/notification/"+path+"?offset=-1", viewer, nil).IsInvalid(t, "offset", "expected a whole number from 0 to 1000000")
		}
		keep(`insert into notification.targets (type, name, description, owner) values ('sky.moon', 'Moon', '', 'sky')`)
		keep(`insert into notification.specs (type, target, name, description, owner) values ('sky.eclipse', 'sky.moon', 'Eclipses', '', 'sky')`)
		moon := `{"type":"sky.moon","name":"Moon","description":"","owner":"sky","available":false}`
		planet := `{"type":"sky.planet","name":"Planet","description":"One planet","owner":"sky","available":false}`
		eclipse := `{"type":"sky.eclipse","target":"sky.moon","name":"Eclipses","description":"","owner":"sky","available":false}`
		transit := `{"type":"sky.transit","target":"sky.planet","name":"Transits","description":"","owner":"sky","available":false}`
		for path, want := range map[string]string{
			"targets":                  moon + "," + planet,
			"targets?limit=1":          moon,
			"targets?limit=1&offset=1": planet,
			"targets?offset=2":         "",
			"specs":                    eclipse + "," + transit,
			"specs?limit=1":            eclipse,
			"specs?limit=1&offset=1":   transit,
			"specs?offset=2":           "",
		} {
			s.Do(t, "GET", "/api/notification/"+path, viewer, nil).Is(t, 200, `{"items":[`+want+`],"total":2}`)
		}
	})
}
