package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
)

// TestEverybodyAtOnceWaitsAndNobodyDeadlocks has servers and satellites record while assignments, configurations,
// systems and sources come and go. A run is kept or refused, no batch fails, and PostgreSQL never had to break a
// deadlock.
func TestEverybodyAtOnceWaitsAndNobodyDeadlocks(t *testing.T) {
	db, url := schema(t)
	h := plugin(t, db)
	h.add(t, "east", "west", "north")
	systems := make([]string, 12)
	for i := range systems {
		systems[i] = plugins.NewID()
	}
	var mu sync.Mutex
	configurations := make([]string, 4)
	for i := range configurations {
		configurations[i] = configure(t, db, "test", time.Second, time.Second, start)
	}
	configuration := func(rnd *rand.Rand) string {
		mu.Lock()
		defer mu.Unlock()
		return configurations[rnd.IntN(len(configurations))]
	}
	input := func() ConfigurationInput {
		return ConfigurationInput{Name: plugins.NewID(), Type: "test", Config: json.RawMessage(`{}`), IntervalSeconds: 1, TimeoutMs: 1000}
	}
	runs := func(rnd *rand.Rand, most int) (all []plugins.Run) {
		for range rnd.IntN(most) {
			all = append(all, report(systems[rnd.IntN(len(systems))], configuration(rnd), plugins.Healthy, time.Now()))
		}
		return all
	}
	execute(t, db, `create table systems (id text primary key)`) // the catalog's
	execute(t, db, `insert into systems select unnest(string_to_array($1, ' '))`, strings.Join(systems, " "))
	hold := func(ctx context.Context, tx *sql.Tx, system, query string) error {
		_, err := tx.ExecContext(ctx, query, system)
		return err
	}
	inTx := func(f func(ctx context.Context, tx *sql.Tx) error) error {
		return plugins.Tx(t.Context(), db, func(tx *sql.Tx) error { return f(t.Context(), tx) })
	}
	var stored atomic.Int64
	satellite := func(source string) func(*rand.Rand) error {
		return func(rnd *rand.Rand) error {
			var out plugins.Recorded
			batch := runs(rnd, 60)
			err := inTx(func(ctx context.Context, tx *sql.Tx) (err error) {
				out, err = h.RecordFrom(ctx, tx, source, batch, rnd.IntN(2) == 0)
				return err
			})
			stored.Add(int64(out.Stored))
			if n := out.Stored + len(out.Refused); err == nil && n != len(batch) {
				return fmt.Errorf("%d of %d runs are stored or refused", n, len(batch))
			}
			return err
		}
	}
	server := func(rnd *rand.Rand) error {
		var batch []finished
		seen := make(map[key]bool) // at most one run of each check
		for _, run := range runs(rnd, 40) {
			if k := keyOf(run); !seen[k] {
				seen[k] = true
				batch = append(batch, finished{key: k, run: &run})
			}
		}
		due, _, err := h.scheduler.claim(t.Context(), 10, 10, nil)
		if err != nil {
			return err
		}
		for _, c := range due {
			f := result(c.systemID, c.configurationID, plugins.Healthy, time.Now())
			f.lease = c.lease
			if !seen[f.key] {
				batch = append(batch, f)
			}
		}
		out, err := h.recorder.store(t.Context(), batch)
		stored.Add(int64(len(batch) - len(out.gone)))
		return err
	}
	choices := [][]string{nil, {local}, {"east"}, {local, "west"}, {"north", "west", "east"}, {"east", local, "passing"}}
	editor := func(rnd *rand.Rand) error {
		system, id := systems[rnd.IntN(len(systems))], configuration(rnd)
		switch rnd.IntN(10) {
		case 0:
			_, err := h.unassign(checkRequest(t, system, id), plugins.None{})
			return err
		case 1:
			_, err := h.updateConfiguration(checkRequest(t, system, id), input())
			return err
		case 2:
			_, err := h.writeRetention(checkRequest(t, system, id), keepFor(plugins.DefaultRetention()))
			return err
		}
		return inTx(func(ctx context.Context, tx *sql.Tx) error {
			if err := hold(ctx, tx, system, `select from systems where id = $1 for key share`); err != nil {
				return err
			}
			in := AssignmentInput{Enabled: new(rnd.IntN(5) > 0), Sources: choices[rnd.IntN(len(choices))]}
			_, err := h.assignByHand(ctx, tx, system, id, in, 0)
			return err
		})
	}
	remover := func(rnd *rand.Rand) error {
		switch rnd.IntN(4) {
		case 0:
			system := systems[rnd.IntN(len(systems))]
			return inTx(func(ctx context.Context, tx *sql.Tx) error {
				if err := hold(ctx, tx, system, `select from systems where id = $1 for update`); err != nil {
					return err
				}
				return h.forgetSystem(ctx, tx, system)
			})
		case 1:
			var made Configuration
			if err := inTx(func(ctx context.Context, tx *sql.Tx) (err error) {
				made, err = h.CreateConfiguration(ctx, tx, input(), nil)
				return err
			}); err != nil {
				return err
			}
			_, err := h.deleteConfiguration(checkRequest(t, "", configurations[0]), plugins.None{}) // only this goroutine writes there
			mu.Lock()
			defer mu.Unlock()
			configurations[0] = made.ID
			return err
		case 2:
			if err := inTx(func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "passing") }); err != nil {
				return err
			}
		}
		return inTx(func(ctx context.Context, tx *sql.Tx) error {
			if err := h.AddSource(ctx, tx, Source{"passing", "passing"}); err != nil {
				return err
			}
			return h.SetSourceOffline(ctx, tx, []string{"east", "passing"}[rnd.IntN(2)], new(time.Now()))
		})
	}
	var all sync.WaitGroup
	for i, actor := range []func(*rand.Rand) error{
		satellite("east"), satellite("east"), satellite("west"), satellite("north"), satellite("passing"), server, server, editor, editor, remover,
	} {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 11))
			for n := range 120 {
				err := actor(rnd)
				if e, known := errors.AsType[*plugins.Error](err); err != nil && (!known || i < 7) {
					t.Errorf("actor %d, time %d: %v (%v)", i, n, err, e)
				}
			}
		})
	}
	all.Wait()
	if n := value[int64](t, db, `select count(*) from ledger`); n != stored.Load() || n == 0 {
		t.Errorf("%d runs are kept, %d were acknowledged", n, stored.Load())
	}
	if err := db.Close(); err != nil { // then PostgreSQL has counted everything
		t.Fatal(err)
	}
	last, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if n := value[int](t, last, `select deadlocks from pg_stat_database where datname = current_database()`); n != 0 {
		t.Errorf("PostgreSQL had to break %d deadlocks", n)
	}
}
