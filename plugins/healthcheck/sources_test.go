package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// on says what a source has to check: systems, in order.
func (h *Healthcheck) on(t *testing.T, source string) string {
	t.Helper()
	checks, err := h.SourceChecks(t.Context(), h.host.DB, source)
	if err != nil {
		t.Fatal(err)
	}
	var systems []string
	for _, c := range checks {
		systems = append(systems, c.SystemID)
	}
	return strings.Join(systems, " ")
}

func TestASourceHasTheEnabledChecksThatAreAssignedToIt(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Minute, 5*time.Second, start, "only here", "off")
	give(t, db, "both", id, "west", local, "east")
	give(t, db, "away", id, "east")
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
		_, err := assign(ctx, tx, "off", id, false, []string{"east"})
		return err
	})
	for source, want := range map[string]string{"east": "away both", "west": "both", "local": "", "": "", "elsewhere": ""} {
		if got := h.on(t, source); got != want {
			t.Errorf("%q checks %q, want %q", source, got, want)
		}
	}
	checks, err := h.SourceChecks(t.Context(), db, "west")
	if err != nil || len(checks) != 1 {
		t.Fatalf("got %+v, %v", checks, err)
	}
	name := value[string](t, db, `select name from healthcheck.configurations`)
	want := `{"systemId":"both","configurationId":"` + id + `","name":"` + name + `","type":"test","config":{},"intervalSeconds":60,"timeoutMs":5000}`
	if got, err := json.Marshal(checks[0]); err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	if got := sources(t, db, "both", id); got != "[local east west]" {
		t.Errorf("listed with %s", got)
	}

	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") })
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") }) // no error either
	for system, want := range map[string]string{"both": "[local west]", "away": "[]", "only here": "[local]"} {
		if got := sources(t, db, system, id); got != want {
			t.Errorf("%s is checked by %s, want %s", system, got, want)
		}
	}
	if got := h.on(t, "east"); got != "" {
		t.Errorf("a removed source checks %q", got)
	}
	h.add(t, "east")
	if got := h.on(t, "east"); got != "" {
		t.Errorf("a source that was added again checks %q", got)
	}
}

// sources lists where a check is made, as the list of assignments shows it.
func sources(t *testing.T, db *sql.DB, system, configuration string) string {
	t.Helper()
	list, err := plugins.ListRows(t.Context(), db, plugins.Page{Limit: 10}, scanAssignment, assignmentsSQL, system)
	i := slices.IndexFunc(list.Items, func(a Assignment) bool { return a.ConfigurationID == configuration })
	if err != nil || i < 0 {
		t.Fatalf("the assignments are %+v, %v", list, err)
	}
	return fmt.Sprint(list.Items[i].Sources)
}

func TestSourcesStayAsTheyAreUnlessTheyAreSaid(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Hour, time.Second, start)
	for i, step := range []struct {
		say  []string
		want string
		due  bool // next on this server
	}{
		{nil, "[local]", true}, // a new one
		{[]string{"east"}, "[east]", false},
		{nil, "[east]", false},
		{[]string{"west", "local"}, "[local west]", true},
		{nil, "[local west]", true},
		{[]string{"west", "east"}, "[east west]", false},
		{[]string{"local"}, "[local]", true},
	} {
		a := give(t, db, "a", id, step.say...)
		if fmt.Sprint(a.Sources) != step.want || (a.NextRunAt != nil) != step.due {
			t.Errorf("step %d: got %+v, want %s", i, a, step.want)
		}
		if got := sources(t, db, "a", id); got != step.want {
			t.Errorf("step %d: listed with %s, want %s", i, got, step.want)
		}
	}
}

func TestSourcesOfAnAssignmentThatCannotBeAreRefused(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east")
	id := configure(t, db, "test", time.Hour, time.Second, start, "a")
	const (
		form    = `expected "local" or the ID of a satellite as each source`
		unknown = form + `, but there is no satellite "nowhere"`
	)
	many := make([]string, maxSources+1)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	for _, test := range []struct {
		sources []string
		message string
	}{
		{[]string{}, "expected 1 to 50 sources, not 0"},
		{many, "expected 1 to 50 sources, not 51"},
		{[]string{""}, form},
		{[]string{"east "}, form},
		{[]string{"a\x00b"}, form},
		{[]string{strings.Repeat("a", 201)}, form},
		{[]string{"local", "east", "local"}, `expected each source once, but "local" is there again`},
		{[]string{"local", "nowhere"}, unknown},
		{[]string{"nowhere"}, unknown},
	} {
		in := AssignmentInput{Enabled: new(true), Sources: test.sources}
		err := in.Validate()
		if err == nil {
			err = plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
				_, err := assign(t.Context(), tx, "a", id, false, in.Sources)
				return err
			})
		}
		e, _ := errors.AsType[*plugins.Error](err)
		if e == nil || e.Status != 400 || e.Field != "sources" || e.Message != test.message {
			t.Errorf("%q: got %#v", test.sources, err)
		}
	}
	if got := sources(t, db, "a", id); got != "[local]" {
		t.Errorf("something was changed: %s", got)
	}
}

func TestASourceHasAtMost10000Checks(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east")
	id := configure(t, db, "test", time.Hour, time.Second, start)
	execute(t, db, `insert into healthcheck.assignments (system_id, configuration_id, enabled) select 's' || i, $1, true from generate_series(1, 9999) i`, id)
	execute(t, db, `insert into healthcheck.assignment_sources select system_id, configuration_id, 'east' from healthcheck.assignments`)
	give(t, db, "last", id, "east")
	give(t, db, "last", id, "east", local) // not one more
	err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
		_, err := assign(t.Context(), tx, "one more", id, true, []string{"east"})
		return err
	})
	if err == nil || err.Error() != "Limit reached: a satellite may have at most 10000 checks" {
		t.Errorf("one more: %v", err)
	}
	if checks, err := h.SourceChecks(t.Context(), db, "east"); err != nil || len(checks) != 10_000 {
		t.Errorf("%d checks, %v", len(checks), err)
	}
}

func TestWhatCannotBeASourceIsRefused(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	for _, test := range []struct {
		source         Source
		field, message string
	}{
		{Source{"", "East"}, "id", "expected a text of 1 to 200 characters, not an empty one"},
		{Source{"local", "East"}, "id", `expected the ID of a source, not "local"`},
		{Source{" east", "East"}, "id", `expected the ID of a source, not " east"`},
		{Source{"east", " "}, "name", "expected a text of 1 to 200 characters, not an empty one"},
	} {
		err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error { return h.AddSource(t.Context(), tx, test.source) })
		e, _ := errors.AsType[*plugins.Error](err)
		if e == nil || e.Status != 400 || e.Field != test.field || e.Message != test.message {
			t.Errorf("%+v: got %#v", test.source, err)
		}
	}
	if n := value[int](t, db, `select count(*) from healthcheck.sources`); n != 0 {
		t.Errorf("%d sources were added", n)
	}
	h.add(t, "east")
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.AddSource(ctx, tx, Source{"east", " Far East "}) })
	if names := value[string](t, db, `select string_agg(name, ',') from healthcheck.sources`); names != "Far East" {
		t.Errorf("the names are %s", names)
	}
	err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error { return h.SetSourceOffline(t.Context(), tx, "west", nil) })
	if e, _ := errors.AsType[*plugins.Error](err); e == nil || e.Status != 404 {
		t.Errorf("an unknown source offline: %v", err)
	}
}

func TestOnlyWhatThisServerHasToMakeIsClaimedAndKept(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east")
	id := configure(t, db, "test", time.Hour, time.Minute, start, "a")
	begun := claimAll(t, h.scheduler, 1, start)
	give(t, db, "a", id, "east") // while a run is under way
	f := result("a", id, plugins.Healthy, start)
	f.lease = begun[0].lease
	out, err := h.recorder.store(t.Context(), []finished{f})
	if err != nil || len(out.gone) != 1 || value[int](t, db, `select count(*) from ledger`) != 0 {
		t.Errorf("a run that was under way: %+v, %v", out, err)
	}
	if due := claimAll(t, h.scheduler, 1, time.Now().Add(24*time.Hour)); len(due) != 0 {
		t.Errorf("claimed %+v", due)
	}
	if _, wait, err := h.scheduler.claim(t.Context(), 1, 1, nil); err != nil || wait != maxIdle {
		t.Errorf("the next is in %s, %v", wait, err)
	}
	give(t, db, "a", id, "east", local)
	if due, _, err := h.scheduler.claim(t.Context(), 1, 1, nil); err != nil || len(due) != 1 {
		t.Errorf("when it is here again: claimed %+v, %v", due, err)
	}
}
