package notification_test

import (
	"testing"

	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const (
	base = "/api/notification"
	key  = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// TestAPI shows what callers of the real server can rely on. What a target whose owner runs looks like is shown by the tests of the
// plugins that own targets.
func TestAPI(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Config{Env: map[string]string{"CHECKSTACK_MASTER_KEY": key}})
	execute(t, s, `insert into notification.targets (type, name, description, owner) values ('sky.planet', 'Planet', 'One planet', 'sky')`)
	execute(t, s, `insert into notification.specs (type, target, name, description, owner)
		values ('sky.transit', 'sky.planet', 'Transits', '', 'sky')`)
	execute(t, s, `insert into notification.notices (event, spec, target, resource, severity, title, message, data) values
		('sky.transit/1', 'sky.transit', 'sky.planet', '1', 'warning', 'Mercury is before the sun', 'Do not look at it.', '{"minutes": 337}'),
		('sky.transit/2', 'sky.transit', 'sky.planet', '1', 'recovered', 'Mercury is past the sun', '', 'null')`)

	t.Run("the README's examples are true", s.README)
	execute(t, s, `truncate notification.channels cascade`)
	t.Run("targets, specs and notices are for those who have a token", func(t *testing.T) { readers(t, s) })
	t.Run("there are no resources of a target that is unknown, or whose owner does not run: 404", func(t *testing.T) { noResources(t, s) })
	t.Run("a channel", func(t *testing.T) {
		t.Run("is made, shown, replaced and deleted", func(t *testing.T) { channelLife(t, s) })
		t.Run("needs valid fields", func(t *testing.T) { channelInvalid(t, s) })
		t.Run("is unknown: 404", func(t *testing.T) { channelUnknown(t, s) })
		t.Run("is changed by editors only", func(t *testing.T) { channelAccess(t, s) })
		t.Run("has a name of its own, whatever its case", func(t *testing.T) { channelNames(t, s) })
		t.Run("is listed by name, in pages", func(t *testing.T) { channelPages(t, s) })
		t.Run("is changed where it is managed", func(t *testing.T) { channelManaged(t, s) })
		t.Run("shows its configuration to nobody", func(t *testing.T) { channelSecrets(t, s) })
		t.Run("can be tried", func(t *testing.T) { channelTried(t, s) })
		t.Run("is tried so many times at once", func(t *testing.T) { channelBusy(t, s) })
	})
	t.Run("a subscription", func(t *testing.T) {
		t.Run("is made, shown, changed and ended", func(t *testing.T) { subscriptionLife(t, s) })
		t.Run("needs valid fields", func(t *testing.T) { subscriptionInvalid(t, s) })
		t.Run("is unknown: 404", func(t *testing.T) { subscriptionUnknown(t, s) })
		t.Run("is changed by editors only", func(t *testing.T) { subscriptionAccess(t, s) })
		t.Run("is there once", func(t *testing.T) { subscriptionTwice(t, s) })
		t.Run("is listed by channel, in pages", func(t *testing.T) { subscriptionPages(t, s) })
		t.Run("is changed where it is managed", func(t *testing.T) { subscriptionManaged(t, s) })
		t.Run("ends with its system or group, unless a document has it", func(t *testing.T) { subscriptionEnds(t, s) })
		t.Run("does not survive its system", func(t *testing.T) { subscribeWhileDeleting(t, s) })
	})
	t.Run("what is posted is sent, and shown", func(t *testing.T) { deliveries(t, s) })
	t.Run("lists come in pages, by type", func(t *testing.T) { typePages(t, s) }) // the last one: it takes out what other plugins have
}

// execute runs a statement in the database of a server.
func execute(t testing.TB, s *servertest.Server, statement string, args ...any) {
	t.Helper()
	if _, err := s.DB.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func readers(t *testing.T, s *servertest.Server) {
	viewer := s.Token(t, "viewer")
	for _, path := range []string{"/targets", "/targets/sky.planet/resources", "/targets/sky.planet/resources/4", "/specs", "/notices", "/channel-types", "/deliveries"} {
		s.Do(t, "GET", base+path, "", nil).Has(t, 401)
		res := s.Do(t, "POST", base+path, viewer, `{}`)
		if allow := res.Header.Get("Allow"); res.Status != 405 || allow != "GET, HEAD" {
			t.Errorf("POST %s: %d, Allow %q", path, res.Status, allow)
		}
	}
}

func noResources(t *testing.T, s *servertest.Server) {
	for _, typ := range []string{"sky.planet", "sky.comet", "%00", "a%2Fb"} {
		for _, path := range []string{"/resources", "/resources/4"} {
			s.Do(t, "GET", base+"/targets/"+typ+path, s.Token(t, "viewer"), nil).Is(t, 404, `{"error":"Not Found","message":"no such target"}`)
		}
	}
}

func typePages(t *testing.T, s *servertest.Server) {
	viewer := s.Token(t, "viewer")
	for _, path := range []string{"/targets", "/targets/sky.planet/resources", "/specs", "/notices", "/channels", "/subscriptions", "/deliveries"} {
		s.Do(t, "GET", base+path+"?limit=501", viewer, nil).IsInvalid(t, "limit", "expected a whole number from 1 to 500")
		s.Do(t, "GET", base+path+"?offset=-1", viewer, nil).IsInvalid(t, "offset", "expected a whole number from 0 to 1000000")
	}
	execute(t, s, `truncate notification.targets, notification.specs cascade`)
	execute(t, s, `insert into notification.targets (type, name, description, owner) values
		('sky.moon', 'Moon', '', 'sky'), ('sky.planet', 'Planet', 'One planet', 'sky')`)
	execute(t, s, `insert into notification.specs (type, target, name, description, owner) values
		('sky.eclipse', 'sky.moon', 'Eclipses', '', 'sky'), ('sky.transit', 'sky.planet', 'Transits', '', 'sky')`)
	moon := `{"type":"sky.moon","name":"Moon","description":"","owner":"sky","available":false}`
	planet := `{"type":"sky.planet","name":"Planet","description":"One planet","owner":"sky","available":false}`
	eclipse := `{"type":"sky.eclipse","target":"sky.moon","name":"Eclipses","description":"","owner":"sky","available":false}`
	transit := `{"type":"sky.transit","target":"sky.planet","name":"Transits","description":"","owner":"sky","available":false}`
	for path, want := range map[string]string{
		"/targets":                  moon + "," + planet,
		"/targets?limit=1":          moon,
		"/targets?limit=1&offset=1": planet,
		"/targets?offset=2":         "",
		"/specs":                    eclipse + "," + transit,
		"/specs?limit=1":            eclipse,
		"/specs?limit=1&offset=1":   transit,
		"/specs?offset=2":           "",
	} {
		s.Do(t, "GET", base+path, viewer, nil).Is(t, 200, `{"items":[`+want+`],"total":2}`)
	}
}
