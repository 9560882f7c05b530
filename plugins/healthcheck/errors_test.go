package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// failed stores that a check could not be made, because of this server.
func (h *Healthcheck) failed(t *testing.T, fault string, keys ...key) {
	t.Helper()
	batch := make([]finished, len(keys))
	for i, k := range keys {
		batch[i] = finished{key: k, fault: fault}
	}
	if _, err := h.recorder.store(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// streaks lists the errors of ours: system, runs, message, and whether they have ended.
func streaks(t *testing.T, db *sql.DB) string {
	t.Helper()
	return value[string](t, db, `select coalesce(string_agg(system_id || ' ' || runs || ' ' || message || case when ended_at is null then '' else ' ended' end,
		', ' order by began_at, system_id), '') from healthcheck.errors`)
}

func TestAnErrorOfOursIsNoRunAndIsToldOnceForAReason(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "a", "b")
	a, b := key{"a", id}, key{"b", id}
	h.found(t, 1, report("a", id, plugins.Healthy, time.Now()))
	before := value[string](t, db, `select row_to_json(s)::text from healthcheck.states s`)
	h.failed(t, "no descriptors", a)
	h.failed(t, "no descriptors", b, a)
	h.failed(t, "no memory", a)
	if got := streaks(t, db); got != "a 3 no memory, b 1 no descriptors" {
		t.Errorf("the errors are %s", got)
	}
	if got := value[string](t, db, `select row_to_json(s)::text from healthcheck.states s`); got != before {
		t.Errorf("the state moved from %s to %s", before, got)
	}
	if n := value[int](t, db, `select count(*) from ledger`); n != 1 {
		t.Errorf("%d runs are kept", n)
	}
	if got := transitions(t, db, nil); got != "unknown>healthy run" {
		t.Errorf("the transitions are %s", got)
	}
	got, err := readStatus(t.Context(), db, "a")
	if err != nil || got.Status != plugins.Healthy || got.Checks[0].Sources[0].Error == nil || got.Checks[0].Sources[0].Error.Runs != 3 ||
		got.Checks[0].Sources[0].Error.Message != "no memory" {
		t.Errorf("the status is %+v, %v", got, err)
	}
	h.found(t, 1, report("a", id, plugins.Unhealthy, time.Now()))
	h.failed(t, "no memory", a)
	if got := streaks(t, db); got != "a 3 no memory ended, b 1 no descriptors, a 1 no memory" {
		t.Errorf("after a run the errors are %s", got)
	}
	// The same reason is told once, whatever it keeps from being made.
	if got := told(t, db); got != "warning: Checks cannot be made, warning: Checks cannot be made" {
		t.Errorf("people are told %s", got)
	}
	const reasons = `select string_agg((data ->> 'error') || ' of ' || resource, ', ' order by id) from notification.notices`
	if got := value[string](t, db, reasons); got != "no descriptors of a, no memory of a" {
		t.Errorf("people are told of %s", got)
	}
	h.failed(t, "no more", key{"gone", id}) // not assigned
	if got := streaks(t, db); strings.Contains(got, "no more") {
		t.Errorf("the errors are %s", got)
	}
}

// Somebody is told of a reason at a system that it is the reason of, and not at the first of the batch.
func TestAReasonIsToldOfASystemThatItConcerns(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "a", "b", "c")
	h.failed(t, "old", key{"a", id})
	if _, err := h.recorder.store(t.Context(), []finished{{key: key{"a", id}, fault: "old"}, {key: key{"c", id}, fault: "third"}, {key: key{"b", id}, fault: "second"}}); err != nil {
		t.Fatal(err)
	}
	const reasons = `select string_agg((data ->> 'error') || ' of ' || resource, ', ' order by data ->> 'error') from notification.notices`
	if got := value[string](t, db, reasons); got != "old of a, second of b, third of c" {
		t.Errorf("people are told of %s", got)
	}
}

// A check that is not to be made here has no error that keeps it from being made.
func TestAnErrorEndsWithWhatItKeptFromBeingMade(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east")
	id := configure(t, db, "test", time.Minute, time.Second, start, "a")
	turn := func(enabled bool, sources ...string) {
		t.Helper()
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
			_, err := h.Assign(ctx, tx, "a", id, AssignmentInput{Enabled: &enabled, Sources: sources}, nil)
			return err
		})
	}
	open := func() int {
		t.Helper()
		reasons, err := plugins.Rows(t.Context(), db, func(row plugins.Row) (e ErrorReason, err error) {
			err = row.Scan(&e.Message, &e.Checks, &e.Since)
			return e, err
		}, openErrorsSQL)
		if err != nil {
			t.Fatal(err)
		}
		return len(reasons)
	}
	for _, step := range []struct {
		what string
		end  func()
		back func()
	}{
		{"turned off", func() { turn(false) }, func() { turn(true) }},
		{"made elsewhere", func() { turn(true, "east") }, func() { turn(true, local) }},
	} {
		h.failed(t, "no memory", key{"a", id})
		if n := open(); n != 1 {
			t.Errorf("%s: before, %d are open", step.what, n)
		}
		step.end()
		if n := open(); n != 0 {
			t.Errorf("%s: %d are open", step.what, n)
		}
		step.back()
		if n := open(); n != 0 {
			t.Errorf("%s, and back: %d are open", step.what, n)
		}
	}
}

// A type that panics, or that is not understood any more, says nothing of the target: not even by hand.
func TestAFaultByHandIsAnsweredAndNotKept(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	system := plugins.NewID()
	id := configure(t, db, "test", time.Minute, time.Second, start, system)
	if _, err := h.types.add(kind{"test", func(context.Context, json.RawMessage) Outcome {
		return Outcome{Status: plugins.Healthy, Fault: errors.New("no descriptors")}
	}}); err != nil {
		t.Fatal(err)
	}
	r := checkRequest(t, system, id)
	r.URL.RawQuery = "systemId=" + system
	got, err := h.runByHand(r, plugins.None{})
	if err != nil || got.Status != unknown || got.Error != "no descriptors" || got.RunID != "" || got.Message != "" || got.ExecutedAt.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	if n := value[int](t, db, `select (select count(*) from ledger) + (select count(*) from healthcheck.states)`); n != 0 {
		t.Errorf("%d rows are kept", n)
	}
}

// The page of errors is of one system, the newest first.
func TestErrorsAreListedBySystem(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	system := commitSystem(t, h, "Shop", nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, system, "other")
	for i := range 3 {
		h.failed(t, fmt.Sprint("reason ", i), key{system, id}, key{"other", id})
		h.found(t, 1, report(system, id, plugins.Healthy, time.Now()))
	}
	r := checkRequest(t, system, id)
	r.URL.RawQuery = "limit=2"
	list, err := h.listErrors(r, plugins.None{})
	if err != nil || list.Total != 3 || len(list.Items) != 2 || list.Items[0].Message != "reason 2" || list.Items[1].Message != "reason 1" ||
		list.Items[0].EndedAt == nil || list.Items[0].Runs != 1 || list.Items[0].SourceID != "" || list.Items[0].ConfigurationID != id {
		t.Errorf("got %+v, %v", list, err)
	}
}
