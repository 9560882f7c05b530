package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// report is a run as a source sends it.
func report(system, configuration string, status plugins.Status, at time.Time) plugins.Run {
	return *result(system, configuration, status, at).run
}

// record hands over what a source found.
func (h *Healthcheck) record(t *testing.T, source string, once bool, runs ...plugins.Run) (out plugins.Recorded) {
	t.Helper()
	commit(t, h.host.DB, func(ctx context.Context, tx *sql.Tx) (err error) {
		out, err = h.RecordFrom(ctx, tx, source, runs, once)
		return err
	})
	return out
}

func TestRunsThatASourceHadNotToMakeAreRefusedAndTheOthersKept(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Hour, time.Second, start, "here", "off")
	other := configure(t, db, "test", time.Hour, time.Second, start)
	give(t, db, "ours", id, "east", local)
	give(t, db, "theirs", id, "west")
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { // what is turned off may have run before it was
		_, err := assign(ctx, tx, "off", id, false, []string{"east"})
		return err
	})
	spoofed := report("ours", strings.ToUpper(id), plugins.Healthy, start)
	spoofed.SourceID, spoofed.Message = "west", "a\x00b"
	bad := report("ours", id, plugins.Healthy, start)
	bad.Message = "refuse"
	runs := []plugins.Run{
		spoofed,
		report("here", id, plugins.Healthy, start),
		report("off", id, plugins.Healthy, start),
		report("theirs", id, plugins.Healthy, start),
		report("ours", other, plugins.Healthy, start),
		report("ours", "not an ID", plugins.Healthy, start),
		report("a\x00b", id, plugins.Healthy, start),
		report("\xff", id, plugins.Healthy, start),
		report("nowhere", id, plugins.Healthy, start),
		bad,
	}
	out := h.record(t, "east", false, runs...)
	var refused, want []string
	for _, r := range out.Refused {
		refused = append(refused, r.RunID+" "+r.Reason)
	}
	for _, i := range []int{1, 3, 4, 5, 6, 7, 8} {
		want = append(want, runs[i].ID+" not assigned to this satellite")
	}
	want = append(want, bad.ID+" refused")
	if out.Stored != 2 || out.Known != 0 || fmt.Sprint(refused) != fmt.Sprint(want) {
		t.Errorf("got %+v", out)
	}
	const kept = `select coalesce(string_agg(system_id || ' from ' || source_id, ', ' order by system_id), '') from `
	for _, table := range []string{"ledger", "healthcheck.states"} {
		if got := value[string](t, db, kept+table); got != "off from east, ours from east" {
			t.Errorf("%s has %s", table, got)
		}
	}
	if out = h.record(t, "east", false, spoofed); out.Stored != 0 || out.Known != 1 || len(out.Refused) != 0 {
		t.Errorf("again: %+v", out)
	}
	if out = h.record(t, "nobody", true, spoofed); out.Stored != 0 || len(out.Refused) != 1 {
		t.Errorf("from a source that does not exist: %+v", out)
	}
	if out = h.record(t, "east", true); out.Stored+out.Known+len(out.Refused) != 0 {
		t.Errorf("nothing: %+v", out)
	}
	if h.record(t, "east", true, report("ours", id, plugins.Healthy, start)); value[int](t, db, `select count(*) from ledger where once`) != 1 {
		t.Error("once was not passed on")
	}
}

// TestTheStateOfASliceIsThatOfRunsThatCameOneByOne sends random batches, of which each may hold many runs of a check in
// any order, late ones and such as came before, and compares the states with those of a list that takes one run after
// the other.
func TestTheStateOfASliceIsThatOfRunsThatCameOneByOne(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Hour, time.Second, start)
	systems := []string{"a", "b", "c"}
	for _, system := range systems {
		give(t, db, system, id, local, "east", "west")
	}
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	type state struct {
		status      plugins.Status
		since, last time.Time
		id          string
	}
	want := make(map[string]state) // by source and system
	rnd := rand.New(rand.NewPCG(3, 7))
	var sent []plugins.Run
	for i := range 40 {
		source := []string{"east", "west", ""}[rnd.IntN(3)]
		var batch []plugins.Run
		for range rnd.IntN(30) {
			if len(sent) > 0 && rnd.IntN(5) == 0 {
				batch = append(batch, sent[rnd.IntN(len(sent))]) // perhaps another source's
				continue
			}
			status := []plugins.Status{plugins.Healthy, plugins.Degraded, plugins.Unhealthy}[rnd.IntN(3)]
			if rnd.IntN(3) > 0 {
				status = plugins.Healthy
			}
			at := start.Add(time.Duration(rnd.IntN(40)+i*10) * time.Second)
			batch = append(batch, report(systems[rnd.IntN(3)], id, status, at))
		}
		sent = append(sent, batch...)
		if source == "" { // this server stores one run of each check at a time
			for _, run := range batch {
				if _, err := h.recorder.store(t.Context(), []finished{{key: keyOf(run), run: &run}}); err != nil {
					t.Fatal(err)
				}
			}
		} else {
			h.record(t, source, true, batch...)
			// Of several at one time the first counts.
			slices.SortStableFunc(batch, func(a, b plugins.Run) int { return a.ExecutedAt.Compare(b.ExecutedAt) })
		}
		for _, run := range batch {
			key := source + " " + run.SystemID
			s, known := want[key]
			if known && !run.ExecutedAt.After(s.last) {
				continue
			}
			if !known || s.status != run.Status {
				s.status, s.since = run.Status, run.ExecutedAt
			}
			s.last, s.id = run.ExecutedAt, run.ID
			want[key] = s
		}
		got := make(map[string]state)
		_, err := plugins.Rows(t.Context(), db, func(row plugins.Row) (s state, err error) {
			var key string
			err = row.Scan(&key, &s.status, &s.since, &s.last, &s.id)
			s.since, s.last = s.since.UTC(), s.last.UTC()
			got[key] = s
			return s, err
		}, `select source_id || ' ' || system_id, status, since, last_run_at, run_id from healthcheck.states`)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("batch %d of %q: got\n%v, %v, want\n%v", i, source, got, err, want)
		}
	}
}

func TestAStateDoesNotComeBackOnceItsSourceHasTheCheckNoLonger(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Hour, time.Second, start)
	all := func() {
		t.Helper()
		give(t, db, "a", id, "east", "west", local)
		for _, source := range []string{"east", "west"} {
			h.record(t, source, true, report("a", id, plugins.Healthy, time.Now()))
		}
		if _, err := h.recorder.store(t.Context(), []finished{result("a", id, plugins.Healthy, time.Now())}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		what, left string
		do         func()
	}{
		{"the assignment without east", " west", func() { give(t, db, "a", id, "west", local) }},
		{"the assignment without this server", "east west", func() { give(t, db, "a", id, "west", "east") }},
		{"no source east", " west", func() {
			commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") })
		}},
		{"no assignment", "", func() {
			commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.forgetSystem(ctx, tx, "a") })
		}},
	} {
		h.add(t, "east")
		all()
		runs := value[int](t, db, `select count(*) from ledger`)
		step.do()
		for range 2 {
			const left = `select coalesce(string_agg(source_id, ' ' order by source_id), '') from healthcheck.states`
			if got := value[string](t, db, left); got != step.left {
				t.Errorf("%s: states of %q are left, want %q", step.what, got, step.left)
			}
			late := result("a", id, plugins.Unhealthy, start)
			for _, source := range []string{"east", "west"} {
				h.record(t, source, true, report("a", id, plugins.Unhealthy, start))
			}
			if _, err := h.recorder.store(t.Context(), []finished{late}); err != nil {
				t.Fatal(err)
			}
		}
		if now := value[int](t, db, `select count(*) from ledger`); now < runs {
			t.Errorf("%s: of %d runs only %d are left", step.what, runs, now)
		}
	}
}

func TestABatchOf5000RunsOfAFewChecksIsRecorded(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.host.History = silent{}
	h.add(t, "east")
	id := configure(t, db, "test", time.Second, time.Second, start)
	for i := range 10 {
		give(t, db, fmt.Sprint(i), id, "east")
	}
	runs := make([]plugins.Run, 5000)
	for i := range runs {
		runs[i] = report(fmt.Sprint(i%10), id, plugins.Healthy, start.Add(time.Duration(i)*time.Second))
		runs[i].Result = json.RawMessage(`{}`)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
	began := time.Now()
	if out := h.record(t, "east", true, runs...); out.Stored != 5000 {
		t.Errorf("got %+v", out)
	}
	t.Logf("without the history it took %s", time.Since(began))
	const right = `select count(*) from healthcheck.states where last_run_at = $1::timestamptz + make_interval(secs => 4990 + system_id::integer)
		and since = $1::timestamptz + make_interval(secs => system_id::integer)`
	if n := value[int](t, db, right, start); n != 10 {
		t.Errorf("%d states are right", n)
	}
}

// silent is a history that stores everything and keeps nothing.
type silent struct{ plugins.History }

func (silent) RecordOnce(_ context.Context, _ *sql.Tx, runs []plugins.Run) (plugins.Recorded, error) {
	return plugins.Recorded{Stored: len(runs)}, nil
}
