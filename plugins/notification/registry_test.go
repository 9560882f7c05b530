package notification_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/notification"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

var planet = notification.Target{Type: "sky.planet", Name: "Planet"}

// open returns a notifier on a database of its own.
func open(t *testing.T) *notification.Notifier {
	t.Helper()
	files := notification.New(&plugins.Host{}).Plugin().Migrations
	db, _ := postgrestest.New(t, postgres.Set{ID: "notification", Files: files})
	return notification.New(&plugins.Host{ID: "notification", DB: db})
}

// plugin returns the host of a plugin and what the loader does when it closes it.
func plugin(t *testing.T, id string) (*plugins.Host, func()) {
	t.Helper()
	host := &plugins.Host{ID: id, Log: slog.New(slog.DiscardHandler)}
	lease := plugins.Lend(t.Context(), host, func(err error) { t.Error(err) })
	return host, func() {
		if err := errors.Join(lease.Stop(t.Context()), lease.Undo(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

// planets has one planet.
func planets() notification.Resources {
	mars := notification.Resource{Type: planet.Type, ID: "4", Name: "Mars"}
	return notification.Resources{
		List: func(context.Context, plugins.Page) (plugins.List[notification.Resource], error) {
			return plugins.List[notification.Resource]{Items: []notification.Resource{mars}, Total: 1}, nil
		},
		Find: func(_ context.Context, id string) (notification.Resource, error) {
			if id != mars.ID {
				return notification.Resource{}, plugins.NotFound("planet")
			}
			return mars, nil
		},
	}
}

func TestSpecNeedsARegisteredTarget(t *testing.T) {
	n := open(t)
	host, done := plugin(t, "incident")
	defer done()
	err := n.RegisterSpec(t.Context(), host, notification.Spec{
		Type: "incident.group", Name: "Incidents", Target: notification.Target{Type: "catalog.group", Name: "Group"},
	})
	if want := "register spec incident.group: Target type catalog.group is not registered"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	err = n.RegisterSpec(t.Context(), host, notification.Spec{Type: "incident.group", Name: "Incidents"})
	if want := `register spec incident.group: Target type "" is not registered`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRegistrationEndsWithItsOwner(t *testing.T) {
	n := open(t)
	spec := notification.Spec{Type: "news.planet", Name: "News", Target: planet}
	for range 2 { // a plugin that is enabled again
		sky, closeSky := plugin(t, "sky")
		news, closeNews := plugin(t, "news")
		if err := n.RegisterTarget(t.Context(), sky, planet, planets()); err != nil {
			t.Fatal(err)
		}
		if err := n.RegisterSpec(t.Context(), news, spec); err != nil {
			t.Fatal(err)
		}
		if r, err := n.Resource(t.Context(), planet.Type, "4"); err != nil || r.Name != "Mars" {
			t.Errorf("Resource: %+v, %v", r, err)
		}
		if _, err := n.Resource(t.Context(), planet.Type, "5"); err == nil || err.Error() != "Not Found: no such planet" {
			t.Errorf("a resource that its owner does not know: %v", err)
		}
		closeNews()
		closeSky()
		if _, err := n.Resource(t.Context(), planet.Type, "4"); err == nil || err.Error() != "Not Found: no such target" {
			t.Errorf("after its owner was closed: %v", err)
		}
		other, closeOther := plugin(t, "other")
		if err := n.RegisterSpec(t.Context(), other, spec); err == nil || !strings.Contains(err.Error(), "Target type sky.planet is not registered") {
			t.Errorf("a spec for a target whose owner was closed: %v", err)
		}
		closeOther()
	}
}

func TestEveryServerRegistersTheSameAndOnlyTheFirstWrites(t *testing.T) {
	files := notification.New(&plugins.Host{}).Plugin().Migrations
	db, _ := postgrestest.New(t, postgres.Set{ID: "notification", Files: files})
	register := func(name string) (rows string) {
		t.Helper()
		n := notification.New(&plugins.Host{ID: "notification", DB: db})
		sky, done := plugin(t, "sky")
		defer done()
		target := notification.Target{Type: planet.Type, Name: name}
		if err := n.RegisterTarget(t.Context(), sky, target, planets()); err != nil {
			t.Fatal(err)
		}
		if err := n.RegisterSpec(t.Context(), sky, notification.Spec{Type: "sky.transit", Name: name + " transits", Target: target}); err != nil {
			t.Fatal(err)
		}
		const state = `select concat_ws(' ', t.xmin, t.type, t.name, t.owner, s.xmin, s.type, s.target, s.name, s.owner)
			from notification.targets t full join notification.specs s on s.target = t.type`
		if err := db.QueryRowContext(t.Context(), state).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	first := register("Planet")
	if again := register("Planet"); again != first {
		t.Errorf("%s\nhas become\n%s", first, again)
	}
	renamed := register("World")
	for _, part := range []string{" sky.planet World sky ", " sky.transit sky.planet World transits sky"} {
		if !strings.Contains(renamed, part) {
			t.Errorf("after a change: %s", renamed)
		}
	}
}

func TestDuplicatesNameBothPlugins(t *testing.T) {
	n := open(t)
	sky, closeSky := plugin(t, "sky")
	defer closeSky()
	other, closeOther := plugin(t, "other")
	if err := n.RegisterTarget(t.Context(), sky, planet, planets()); err != nil {
		t.Fatal(err)
	}
	spec := notification.Spec{Type: "sky.news", Name: "News", Target: planet}
	if err := n.RegisterSpec(t.Context(), sky, spec); err != nil {
		t.Fatal(err)
	}
	for _, host := range []*plugins.Host{other, sky} {
		want := "register a target: Target type sky.planet is already registered by plugin sky, so plugin " + host.ID + " cannot register it"
		if err := n.RegisterTarget(t.Context(), host, planet, planets()); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		want = "register a spec: Spec type sky.news is already registered by plugin sky, so plugin " + host.ID + " cannot register it"
		if err := n.RegisterSpec(t.Context(), host, spec); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	closeOther()
	if _, err := n.Resource(t.Context(), planet.Type, "4"); err != nil {
		t.Errorf("closing who was refused has removed the target: %v", err)
	}
}

func TestIncompleteRegistrationsAreRefused(t *testing.T) {
	n := open(t)
	host, done := plugin(t, "sky")
	defer done()
	complete := planets()
	for name, err := range map[string]error{
		"no type":      n.RegisterTarget(t.Context(), host, notification.Target{Name: "x"}, complete),
		"no name":      n.RegisterTarget(t.Context(), host, notification.Target{Type: "x"}, complete),
		"no List":      n.RegisterTarget(t.Context(), host, planet, notification.Resources{Find: complete.Find}),
		"no Find":      n.RegisterTarget(t.Context(), host, planet, notification.Resources{List: complete.List}),
		"no spec type": n.RegisterSpec(t.Context(), host, notification.Spec{Name: "x", Target: planet}),
		"no spec name": n.RegisterSpec(t.Context(), host, notification.Spec{Type: "x", Target: planet}),
	} {
		if err == nil || !strings.Contains(err.Error(), "plugin sky") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRegistrationThatIsNotKeptDoesNotCount(t *testing.T) {
	n := open(t)
	host, done := plugin(t, "sky")
	defer done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.RegisterTarget(ctx, host, planet, planets()); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := n.RegisterTarget(t.Context(), host, planet, planets()); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestManyRegisterAtOnce(t *testing.T) {
	n := open(t)
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		host, done := plugin(t, fmt.Sprint("plugin", i))
		defer done()
		wg.Go(func() {
			errs[i] = n.RegisterTarget(t.Context(), host, planet, planets())
			n.Resource(t.Context(), planet.Type, "4")
		})
	}
	wg.Wait()
	registered := 0
	for _, err := range errs {
		if err == nil {
			registered++
		}
	}
	if registered != 1 {
		t.Errorf("%d have registered the same target: %v", registered, errs)
	}
}
