package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
)

// result is a finished run of a check.
func result(system, configuration string, status plugins.Status, at time.Time) finished {
	return finished{key: key{system, configuration}, run: &plugins.Run{ID: plugins.NewID(), SystemID: system,
		ConfigurationID: configuration, Status: status, Message: "m", ExecutedAt: at}}
}

func TestAStateFollowsTheNewestRunWhateverTheOrderTheyComeIn(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	id := configure(t, db, "test", time.Hour, time.Second, start, "a")
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	for i, step := range []struct {
		at          int
		status      plugins.Status
		want        plugins.Status
		since, last int
	}{
		{10, plugins.Healthy, plugins.Healthy, 10, 10},
		{11, plugins.Healthy, plugins.Healthy, 10, 11},
		{9, plugins.Unhealthy, plugins.Healthy, 10, 11},  // late
		{11, plugins.Unhealthy, plugins.Healthy, 10, 11}, // as new as what is known
		{12, plugins.Unhealthy, plugins.Unhealthy, 12, 12},
		{13, plugins.Unhealthy, plugins.Unhealthy, 12, 13},
		{14, plugins.Degraded, plugins.Degraded, 14, 14},
		{15, plugins.Healthy, plugins.Healthy, 15, 15},
	} {
		f := result("a", id, step.status, minute(step.at))
		for range 2 { // a batch may come twice
			if _, err := r.store(t.Context(), []finished{f}); err != nil {
				t.Fatal(err)
			}
		}
		var status plugins.Status
		var since, last time.Time
		err := db.QueryRowContext(t.Context(), `select status, since, last_run_at from healthcheck.states`).Scan(&status, &since, &last)
		if err != nil || status != step.want || !since.Equal(minute(step.since)) || !last.Equal(minute(step.last)) {
			t.Errorf("step %d: %s since %s, last %s, %v; want %+v", i, status, since, last, err, step)
		}
		if n := value[int](t, db, `select count(*) from ledger`); n != i+1 {
			t.Errorf("step %d: %d runs are kept", i, n)
		}
	}
}

func TestARunOfACheckThatIsNoLongerAssignedIsNotKept(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	id := configure(t, db, "test", time.Hour, time.Second, start, "a", "b")
	execute(t, db, `delete from healthcheck.assignments where system_id = 'a'`)
	out, err := r.store(t.Context(), []finished{result("a", id, plugins.Healthy, start), result("b", id, plugins.Healthy, start)})
	if err != nil || len(out.gone) != 1 || out.gone[0] != (key{"a", id}) {
		t.Errorf("got %+v, %v", out, err)
	}
	if systems := value[string](t, db, `select string_agg(system_id, ',') from ledger`); systems != "b" {
		t.Errorf("runs of %q are kept", systems)
	}
}

func TestARunThatHistoryRefusesDoesNotMoveTheState(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	id := configure(t, db, "test", time.Hour, time.Second, start, "a", "b")
	bad := result("a", id, plugins.Healthy, start)
	bad.run.Message = "refuse"
	out, err := r.store(t.Context(), []finished{bad, result("b", id, plugins.Healthy, start)})
	if err != nil || len(out.refused) != 1 || out.refused[0].RunID != bad.run.ID {
		t.Errorf("got %+v, %v", out, err)
	}
	if systems := value[string](t, db, `select string_agg(system_id, ',') from healthcheck.states`); systems != "b" {
		t.Errorf("states of %q", systems)
	}
}

func TestAResultThatTheDatabaseRefusesDoesNotHoldUpTheOthers(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	r.log = slog.New(slog.DiscardHandler)
	id := configure(t, db, "test", time.Hour, time.Second, start, "a", "b", "c")
	for _, system := range []string{"a", "b", "c"} {
		f := result(system, id, plugins.Healthy, start)
		if system == "b" {
			f.run.Result = json.RawMessage(`"\ud800"`) // half a character is JSON, but not jsonb
		}
		r.add(f)
	}
	if err := r.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if systems := value[string](t, db, `select string_agg(system_id, ',' order by system_id) from ledger`); systems != "a,c" {
		t.Errorf("runs of %q are kept", systems)
	}
}

func TestResultsAreKeptWhileTheDatabaseCannotStoreThem(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	var log lines
	r.log = slog.New(slog.NewTextHandler(&log, nil))
	id := configure(t, db, "test", time.Hour, time.Second, start, "a", "b")
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	execute(t, db, `alter table ledger rename to gone`)
	ctx, stop := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	r.add(result("a", id, plugins.Healthy, start))
	loop.Go(func() { r.loop(ctx) })
	log.await(t, "results cannot be stored and are kept", 1)
	r.add(result("b", id, plugins.Healthy, start))
	r.add(result("a", id, plugins.Unhealthy, start.Add(time.Minute))) // cannot share a batch with the first
	execute(t, db, `alter table gone rename to ledger`)
	log.await(t, "results can be stored again", 1)
	stop()
	loop.Wait()
	if err := r.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, db, `select count(*) from ledger`); n != 3 {
		t.Errorf("%d runs are kept, want 3", n)
	}
	if status := value[string](t, db, `select status from healthcheck.states where system_id = 'a'`); status != "unhealthy" {
		t.Errorf("a is %s", status)
	}
	log.await(t, "results cannot be stored", 1) // once an outage, not once an attempt
}

func TestTheOldestResultsAreDroppedWhenThereAreTooMany(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	var log lines
	r.log = slog.New(slog.NewTextHandler(&log, nil))
	id := configure(t, db, "test", time.Hour, time.Second, start, "first", "last")
	r.add(result("first", id, plugins.Healthy, start))
	for i := range maxPending - 1 {
		r.add(result(fmt.Sprint("unassigned ", i), id, plugins.Healthy, start))
	}
	r.add(result("last", id, plugins.Healthy, start))
	if n := r.waiting(); n != maxPending {
		t.Errorf("%d results wait", n)
	}
	if err := r.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if systems := value[string](t, db, `select string_agg(system_id, ',') from ledger`); systems != "last" {
		t.Errorf("runs of %q are kept", systems)
	}
	log.await(t, "results were dropped, there were too many to keep\" count=1\n", 1)
}

func TestABatchHoldsEachCheckOnceAndKeepsItsOrder(t *testing.T) {
	r := &recorder{filled: make(chan struct{}, 1)}
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make(map[key][]string)
	for range 3000 {
		f := result(fmt.Sprint(rnd.IntN(700)), "c", plugins.Healthy, start)
		want[f.key] = append(want[f.key], f.run.ID)
		r.add(f)
	}
	got := make(map[key][]string)
	for r.waiting() > 0 {
		batch := r.take()
		if len(batch) == 0 || len(batch) > maxBatch {
			t.Fatalf("a batch of %d", len(batch))
		}
		seen := make(map[key]bool)
		for _, f := range batch {
			if seen[f.key] {
				t.Fatalf("%v is twice in a batch", f.key)
			}
			seen[f.key] = true
			got[f.key] = append(got[f.key], f.run.ID)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("the results of some check were lost or changed places")
	}
}

func TestEightWritersOfTheSameChecksDoNotDisturbEachOther(t *testing.T) {
	db := database(t)
	systems := make([]string, 60)
	for i := range systems {
		systems[i] = fmt.Sprintf("system-%02d", i)
	}
	id := configure(t, db, "test", time.Hour, time.Second, start, systems...)
	var group sync.WaitGroup
	for i, s := range servers(t, db, 8) {
		group.Go(func() {
			for n := range 10 {
				rnd := rand.New(rand.NewPCG(uint64(i), uint64(n)))
				var batch []finished
				for _, j := range rnd.Perm(len(systems)) {
					batch = append(batch, result(systems[j], id, plugins.Healthy, start.Add(time.Duration(8*n+i)*time.Second)))
				}
				if _, err := s.recorder.store(t.Context(), batch); err != nil {
					t.Error(err)
				}
				if n%3 == 0 {
					execute(t, db, rescheduleSQL, id, false)
				}
			}
		})
	}
	group.Wait()
	if n := value[int](t, db, `select count(*) from ledger`); n != 8*10*60 {
		t.Errorf("%d runs are kept", n)
	}
	newest := start.Add(79 * time.Second)
	if n := value[int](t, db, `select count(*) from healthcheck.states where last_run_at = $1`, newest); n != 60 {
		t.Errorf("%d states are at the newest run", n)
	}
}

// lines is a log that can be waited for.
type lines struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written != nil {
		close(l.written)
		l.written = nil
	}
	return l.text.Write(p)
}

// await returns when the log has said something, and fails if it has said it more than n times.
func (l *lines) await(t *testing.T, what string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		l.mu.Lock()
		text, written := l.text.String(), make(chan struct{})
		if l.written == nil {
			l.written = written
		}
		written = l.written
		l.mu.Unlock()
		if got := strings.Count(text, what); got > n {
			t.Fatalf("%q is in the log %d times:\n%s", what, got, text)
		} else if got == n {
			return
		}
		select {
		case <-written:
		case <-ctx.Done():
			t.Fatalf("%q is not in the log:\n%s", what, text)
		}
	}
}

func TestAResultOfACheckThatSomebodyHoldsDoesNotHoldUpTheOthers(t *testing.T) {
	db := database(t)
	r := servers(t, db, 1)[0].recorder
	id := configure(t, db, "test", time.Hour, time.Second, start, "a", "b")
	tx, err := db.BeginTx(t.Context(), nil) // as a document that is being applied
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `select 1 from healthcheck.assignments where system_id = 'a' for no key update`); err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"a", "b", "gone"} {
		r.add(result(system, id, plugins.Healthy, start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if systems := value[string](t, db, `select string_agg(system_id, ',') from ledger`); systems != "b" || r.waiting() != 1 {
		t.Errorf("runs of %q are kept, %d results wait", systems, r.waiting())
	}
	tx.Rollback()
	if err := r.drain(ctx); err != nil {
		t.Fatal(err)
	}
	if systems := value[string](t, db, `select string_agg(system_id, ',' order by system_id) from ledger`); systems != "a,b" {
		t.Errorf("runs of %q are kept", systems)
	}
}
