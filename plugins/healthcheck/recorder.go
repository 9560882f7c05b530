// The recorder takes what runs found and makes it durable, in batches: up to 500 results, or what 100 ms bring together, are one
// transaction that keeps the runs, moves the states and gives the leases back.
//
//	lock the assignments, in the order of their key   what was taken from this server meanwhile drops out
//	keep the runs (History.Record)                     a run that is known already is not counted again
//	advance the states, tell of what has changed       only by what is newer than they are
//	note the errors of ours, and the end of them       they are no runs, and no downtime
//	give the leases back                               the next slot may be claimed
//
// Every step tolerates being repeated, because a commit whose answer is lost may or may not have happened: the batch is simply
// sent again. While the database is away results are kept in memory, the newest 10,000; those beyond are dropped, counted,
// and made again, because a lease that is not given back runs out.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

var (
	//go:embed sql/keep.sql
	keepSQL string
	//go:embed sql/keep_free.sql
	keepFreeSQL string
	//go:embed sql/busy.sql
	busySQL string
	//go:embed sql/release.sql
	releaseSQL string
	//go:embed sql/errors_note.sql
	errorsNoteSQL string
	//go:embed sql/errors_end.sql
	errorsEndSQL string
)

const (
	maxBatch     = 500                    // results in one transaction
	gather       = 100 * time.Millisecond // how long the first result of a batch waits for others
	maxPending   = 10_000                 // results that wait for the database
	storeTimeout = 30 * time.Second       // for one transaction
	retryAfter   = time.Second            // from a failure to the next attempt
)

// key is which check of which system a run is of.
type key struct{ systemID, configurationID string }

// finished is a run that has ended.
type finished struct {
	key
	run   *plugins.Run // nil if there is nothing to keep: the run was cut short, or could not be made
	fault string       // why it could not be made, because of this server
	slow  *bool        // whether it took all of its time; nil if that is not known
	lease string       // the claim it ends; empty for a run by hand

	postponed bool // the run was not made, because too many against its target are under way
}

// again is in how many seconds the run is to be made after all; nil if it was, or could not be.
func (f *finished) again() *float64 {
	switch {
	case f.run != nil || f.fault != "":
		return nil
	case f.postponed:
		return new(postponedFor.Seconds())
	}
	return new(0.0)
}

// recorder makes results durable.
type recorder struct {
	db      *sql.DB
	history plugins.History
	settler *settler
	log     *slog.Logger
	outage  outage
	filled  chan struct{} // holds an element when pending may have changed

	mu      sync.Mutex
	pending []finished
	dropped int
}

// add hands over what a run found. It never waits.
func (r *recorder) add(f finished) {
	r.mu.Lock()
	r.pending = append(r.pending, f)
	r.trim()
	r.mu.Unlock()
	signal(r.filled)
}

// loop stores results until ctx ends. What is left then is for drain.
func (r *recorder) loop(ctx context.Context) {
	for {
		select {
		case <-r.filled:
		case <-ctx.Done():
			return
		}
		for r.waiting() > 0 {
			r.await(ctx)
			if ctx.Err() != nil {
				return
			}
			if err := r.flush(ctx); err != nil && ctx.Err() == nil {
				r.outage.began(r.log, "results cannot be stored and are kept", err)
				pause(ctx, retryAfter, nil)
			}
		}
	}
}

// await gives a batch its time to fill.
func (r *recorder) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, gather)
	defer cancel()
	for r.waiting() < maxBatch {
		select {
		case <-r.filled:
		case <-ctx.Done():
			return
		}
	}
}

// drain stores what is left. An error tells how many results were lost.
func (r *recorder) drain(ctx context.Context) error {
	for before := -1; r.waiting() > 0; {
		if left := r.waiting(); left == before {
			pause(ctx, gather, nil) // somebody holds all of it
		} else {
			before = left
		}
		if err := r.flush(ctx); err != nil {
			return fmt.Errorf("%d results are lost: %w", r.waiting(), err)
		}
	}
	return nil
}

// flush stores one batch. What could not be stored is pending again, before what came meanwhile. What belongs to assignments that
// somebody holds, as a large document that is being applied does for minutes, is pending again after it: the others do not wait.
// One flush runs at a time.
func (r *recorder) flush(ctx context.Context) error {
	batch := r.take()
	out, err := r.storeFree(ctx, batch)
	if unfit(err) {
		batch, err = r.storeEach(ctx, batch)
	}
	dropped := 0
	r.mu.Lock()
	if err != nil {
		r.pending = append(batch, r.pending...)
		r.trim()
	} else {
		r.pending = append(r.pending, out.busy...)
		dropped, r.dropped = r.dropped, 0
	}
	r.mu.Unlock()
	if err == nil {
		r.outage.ended(r.log, "results can be stored again")
	}
	if dropped > 0 {
		r.log.Warn("results were dropped, there were too many to keep", "count", dropped)
	}
	return err
}

// storeEach stores a batch that holds something the database refuses: without that the others get through. It returns
// what is still to be stored after an error of another kind.
func (r *recorder) storeEach(ctx context.Context, batch []finished) (rest []finished, err error) {
	for i, f := range batch {
		_, err := r.store(ctx, batch[i:i+1])
		if err != nil && !unfit(err) {
			return batch[i:], err
		}
		if err != nil {
			r.log.Error("result refused by the database", "configuration", f.configurationID, "system", f.systemID, "error", err)
		}
	}
	return nil, nil
}

// unfit reports whether the database refuses the data itself, so that sending them again is of no use: SQLSTATE classes
// 22, data exception, and 23, integrity constraint violation.
func unfit(err error) bool {
	state := plugins.SQLState(err)
	return strings.HasPrefix(state, "22") || strings.HasPrefix(state, "23")
}

// take removes the oldest results from pending, at most one of each check: a statement cannot move a state twice.
func (r *recorder) take() []finished {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batch, rest []finished
	seen := make(map[key]bool, maxBatch)
	for i, f := range r.pending {
		if len(batch) == maxBatch {
			rest = append(rest, r.pending[i:]...)
			break
		}
		if seen[f.key] {
			rest = append(rest, f)
			continue
		}
		seen[f.key] = true
		batch = append(batch, f)
	}
	r.pending = rest
	return batch
}

// trim drops the oldest results beyond maxPending. The caller holds mu.
func (r *recorder) trim() {
	if over := len(r.pending) - maxPending; over > 0 {
		r.pending = slices.Delete(r.pending, 0, over)
		r.dropped += over
	}
}

func (r *recorder) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// stored says what became of a batch beyond being kept.
type stored struct {
	gone    []key             // runs of checks that are no longer assigned to this server
	refused []plugins.Refusal // runs that history does not take
	busy    []finished        // results of checks that somebody holds, which were not stored
}

// store makes a batch durable, all of it or nothing. At most one result of each check may be in it. When the
// commit fails the outcome is unknown, and the same batch may be stored again.
func (r *recorder) store(ctx context.Context, batch []finished) (stored, error) {
	return r.storeWith(ctx, batch, keepSQL)
}

// storeFree is store for what nobody else holds. The rest is returned as busy.
func (r *recorder) storeFree(ctx context.Context, batch []finished) (stored, error) {
	return r.storeWith(ctx, batch, keepFreeSQL)
}

func (r *recorder) storeWith(ctx context.Context, all []finished, lock string) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var out stored
	err := plugins.Tx(ctx, r.db, func(tx *sql.Tx) error {
		out = stored{}
		held, err := r.keep(ctx, tx, all, lock)
		if err != nil {
			return fmt.Errorf("lock assignments: %w", err)
		}
		batch := all
		if lock == keepFreeSQL && len(held) < len(all) {
			if batch, out.busy, err = apart(ctx, tx, all, held); err != nil {
				return fmt.Errorf("find assignments that others hold: %w", err)
			}
		}
		var runs []plugins.Run
		for _, f := range batch {
			switch {
			case f.run == nil:
			case held[f.key].here:
				runs = append(runs, *f.run)
			default:
				out.gone = append(out.gone, f.key)
			}
		}
		if len(runs) > 0 {
			recorded, err := r.history.Record(ctx, tx, runs)
			if err != nil {
				return fmt.Errorf("record runs: %w", err)
			}
			out.refused = recorded.Refused
			if err := r.settler.advance(ctx, tx, held, runs, recorded.Refused); err != nil {
				return fmt.Errorf("advance states: %w", err)
			}
		}
		if err := r.noteErrors(ctx, tx, held, batch); err != nil {
			return fmt.Errorf("note errors: %w", err)
		}
		if err := release(ctx, tx, batch); err != nil {
			return fmt.Errorf("release leases: %w", err)
		}
		return nil
	})
	if err != nil {
		return stored{}, err
	}
	for _, refusal := range out.refused {
		r.log.Warn("run refused by the history", "run", refusal.RunID, "reason", refusal.Reason)
	}
	return out, nil
}

// keep locks the assignments of a batch and returns them, each with what is remembered of it.
func (r *recorder) keep(ctx context.Context, tx *sql.Tx, batch []finished, lock string) (map[key]kept, error) {
	systems, configurations := columns(keysOf(batch))
	return hold(ctx, tx, "", lock, pq.Array(systems), pq.Array(configurations))
}

// apart takes the results of checks that exist and are not held out of a batch: somebody else holds those.
func apart(ctx context.Context, tx *sql.Tx, all []finished, held map[key]kept) (batch, busy []finished, err error) {
	systems, configurations := columns(keysOf(all))
	keys, err := plugins.Rows(ctx, tx, scanKey, busySQL, pq.Array(systems), pq.Array(configurations))
	if err != nil {
		return nil, nil, err
	}
	exists := make(map[key]bool, len(keys))
	for _, k := range keys {
		exists[k] = true
	}
	for _, f := range all {
		if _, ours := held[f.key]; exists[f.key] && !ours {
			busy = append(busy, f)
		} else {
			batch = append(batch, f)
		}
	}
	return batch, busy, nil
}

func keysOf(batch []finished) []key {
	keys := make([]key, len(batch))
	for i, f := range batch {
		keys[i] = f.key
	}
	return keys
}

// noteErrors keeps the errors of ours in a batch, and ends those of the checks that could be made.
func (r *recorder) noteErrors(ctx context.Context, tx *sql.Tx, held map[key]kept, batch []finished) error {
	var failed, made []key
	var failedAt, madeAt []time.Time
	var messages []string
	for _, f := range batch {
		v, known := held[f.key]
		switch {
		case f.fault != "" && known && v.here:
			failed, failedAt, messages = append(failed, f.key), append(failedAt, v.clock), append(messages, f.fault)
		case f.run != nil && v.erring:
			made, madeAt = append(made, f.key), append(madeAt, v.clock)
		}
	}
	if len(made) > 0 {
		systems, configurations := columns(made)
		if _, err := tx.ExecContext(ctx, errorsEndSQL, pq.Array(systems), pq.Array(configurations), pq.Array(madeAt)); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	systems, configurations := columns(failed)
	reasons := make(map[string]string) // each with a system that it concerns
	_, err := plugins.Rows(ctx, tx, func(row plugins.Row) (none struct{}, err error) {
		var system string
		var message *string
		err = row.Scan(&system, &message)
		if message != nil && (reasons[*message] == "" || system < reasons[*message]) {
			reasons[*message] = system
		}
		return none, err
	}, errorsNoteSQL, pq.Array(systems), pq.Array(configurations), pq.Array(failedAt), pq.Array(messages))
	if err != nil {
		return err
	}
	return r.settler.tellErrors(ctx, tx, reasons)
}

// columns takes keys apart for a statement.
func columns(keys []key) (systems, configurations []string) {
	for _, k := range keys {
		systems, configurations = append(systems, k.systemID), append(configurations, k.configurationID)
	}
	return systems, configurations
}

// release gives back the leases of a batch.
func release(ctx context.Context, tx *sql.Tx, batch []finished) error {
	var systems, configurations, leases []string
	var again []*float64
	var slow []*bool
	for _, f := range batch {
		if f.lease == "" {
			continue
		}
		systems, configurations = append(systems, f.systemID), append(configurations, f.configurationID)
		leases, again = append(leases, f.lease), append(again, f.again())
		slow = append(slow, f.slow)
	}
	if len(leases) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, releaseSQL, pq.Array(systems), pq.Array(configurations), pq.Array(leases), pq.Array(again), pq.Array(slow))
	return err
}
