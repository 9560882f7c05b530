// What new runs mean to the slices they are of: the memory of each moves on, in the transaction that keeps the runs, while the
// assignments are held. A batch that is stored again finds states that are as new as its runs, and changes nothing.
//
// The hard case is what is read. A statement that waits for a lock sees other tables as they were before it waited, so the
// states are read by a statement of their own, after the assignments are held. Read together with the lock, the state of
// eight writers would be that of the one that was last to begin.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/notification"
	"checkstack/plugins/signals"
)

var (
	//go:embed sql/memories.sql
	memoriesSQL string
	//go:embed sql/states_write.sql
	statesWriteSQL string
	//go:embed sql/transitions_insert.sql
	transitionsInsertSQL string
)

// kept is an assignment that is held, with what is remembered of one of its slices.
type kept struct {
	here       bool // whether this source has to make it
	on         bool // whether it is to be made at all
	thresholds Thresholds
	memory     memory
	erring     bool      // whether an error of ours is open
	newest     string    // the run that the memory is as new as
	clock      time.Time // the database's, when it was held
}

// hold locks the assignments that lock selects, and returns them, each with what is remembered of it at a source.
func hold(ctx context.Context, tx *sql.Tx, source, lock string, args ...any) (map[key]kept, error) {
	held := make(map[key]kept)
	keys, err := plugins.Rows(ctx, tx, func(row plugins.Row) (k key, err error) {
		var v kept
		var thresholds []byte
		if err = row.Scan(&k.systemID, &k.configurationID, &v.here, &v.on, &thresholds, &v.clock); err == nil {
			v.thresholds, err = parseThresholds(thresholds)
		}
		held[k] = v
		return k, err
	}, lock, args...)
	if err != nil || len(keys) == 0 {
		return held, err
	}
	systems, configurations := columns(keys)
	_, err = plugins.Rows(ctx, tx, func(row plugins.Row) (none struct{}, err error) {
		var (
			k            key
			status       *string
			since, last  *time.Time
			seen         *int
			failed, down *int64
			m            memory
			erring       bool
			run          *string
		)
		err = row.Scan(&k.systemID, &k.configurationID, &status, &since, &last, &seen, &failed, &down, &m.stale, &erring, &run)
		if status != nil {
			m.status, m.since, m.last, m.seen = plugins.Status(*status), *since, *last, *seen
			m.failed, m.down = uint64(*failed), uint64(*down)
		}
		v := held[k]
		v.memory, v.erring = m, erring
		if run != nil {
			v.newest = *run
		}
		held[k] = v
		return none, err
	}, memoriesSQL, pq.Array(systems), pq.Array(configurations), source)
	return held, err
}

// settler writes what runs mean.
type settler struct {
	events *signals.Signals
	notify *notification.Notifier
}

// advance takes the runs, which history did not refuse, into the memories of their slices. The caller holds the assignments.
// A run that is not newer than the state changes nothing, so a batch may come twice or late. One that is ahead of the clock
// counts as of now, so that a fast clock does not hide what comes after it.
func (s *settler) advance(ctx context.Context, tx *sql.Tx, held map[key]kept, runs []plugins.Run, refused []plugins.Refusal) error {
	skip := make(map[string]bool, len(refused))
	for _, r := range refused {
		skip[r.RunID] = true
	}
	runs = slices.DeleteFunc(slices.Clone(runs), func(r plugins.Run) bool { return skip[r.ID] })
	slices.SortStableFunc(runs, func(a, b plugins.Run) int { return a.ExecutedAt.Compare(b.ExecutedAt) })
	var changes []Transition
	newest := make(map[key]plugins.Run, len(runs))
	var order []key
	for _, run := range runs {
		k := keyOf(run)
		v, ok := held[k]
		at := run.ExecutedAt.UTC().Truncate(time.Microsecond) // as the database keeps it
		ahead := at.After(v.clock)
		if ahead {
			at = v.clock.UTC()
		}
		if !ok || run.ID == v.newest || !at.After(v.memory.last) && !(ahead && at.Equal(v.memory.last)) { // equal: another that is ahead, of the same batch
			continue
		}
		before := v.memory.effective()
		v.memory.step(run.Status, at, &v.thresholds)
		held[k] = v
		if after := v.memory.effective(); after != before && v.on {
			changes = append(changes, Transition{SystemID: k.systemID, ConfigurationID: k.configurationID, SourceID: &run.SourceID,
				From: before, To: after, At: at, Cause: causeRun, RunID: &run.ID})
		}
		if _, known := newest[k]; !known {
			order = append(order, k)
		}
		newest[k] = run
	}
	if len(order) == 0 {
		return nil
	}
	if err := writeStates(ctx, tx, held, newest, order); err != nil {
		return fmt.Errorf("write states: %w", err)
	}
	return s.changed(ctx, tx, changes)
}

func writeStates(ctx context.Context, tx *sql.Tx, held map[key]kept, newest map[key]plugins.Run, order []key) error {
	var (
		systems, configurations, sources, statuses, lasts, messages, ids []string
		sinces, times                                                    []time.Time
		latencies                                                        []*int32
		seen, failed, down                                               []int64
	)
	for _, k := range order {
		run, m := newest[k], held[k].memory
		systems, configurations, sources = append(systems, k.systemID), append(configurations, k.configurationID), append(sources, run.SourceID)
		since := m.since
		if since.IsZero() { // it is unknown still
			since = m.last
		}
		statuses, sinces, times = append(statuses, string(orUnknown(m.status))), append(sinces, since), append(times, m.last)
		lasts, latencies, messages = append(lasts, string(run.Status)), append(latencies, run.LatencyMs), append(messages, run.Message)
		ids, seen = append(ids, run.ID), append(seen, int64(m.seen))
		failed, down = append(failed, int64(m.failed)), append(down, int64(m.down))
	}
	_, err := tx.ExecContext(ctx, statesWriteSQL, pq.Array(systems), pq.Array(configurations), pq.Array(sources), pq.Array(statuses),
		pq.Array(sinces), pq.Array(times), pq.Array(lasts), pq.Array(latencies), pq.Array(messages), pq.Array(ids), pq.Array(seen),
		pq.Array(failed), pq.Array(down))
	return err
}

func orUnknown(s plugins.Status) plugins.Status {
	if s == "" {
		return unknown
	}
	return s
}

// changed keeps the transitions of slices, and settles their checks. The caller holds the assignments.
func (s *settler) changed(ctx context.Context, tx *sql.Tx, changes []Transition) error {
	if len(changes) == 0 {
		return nil
	}
	if err := keepTransitions(ctx, tx, changes); err != nil {
		return err
	}
	causes := make(map[key]Transition, len(changes))
	var keys []key
	for _, c := range changes {
		k := key{c.SystemID, c.ConfigurationID}
		if _, known := causes[k]; !known {
			keys = append(keys, k)
		}
		causes[k] = c
	}
	return s.settle(ctx, tx, keys, func(k key) (string, *string) { return causes[k].Cause, causes[k].RunID })
}

func keepTransitions(ctx context.Context, tx *sql.Tx, changes []Transition) error {
	for part := range slices.Chunk(changes, transitionsMax) {
		var (
			systems, configurations, from, to, causes []string
			sources, runs                             []*string
			times                                     []time.Time
		)
		for _, c := range part {
			systems, configurations, sources = append(systems, c.SystemID), append(configurations, c.ConfigurationID), append(sources, c.SourceID)
			from, to, times = append(from, string(c.From)), append(to, string(c.To)), append(times, c.At)
			causes, runs = append(causes, c.Cause), append(runs, c.RunID)
		}
		if _, err := tx.ExecContext(ctx, transitionsInsertSQL, pq.Array(systems), pq.Array(configurations), pq.Array(sources),
			pq.Array(from), pq.Array(to), pq.Array(times), pq.Array(causes), pq.Array(runs)); err != nil {
			return fmt.Errorf("keep transitions: %w", err)
		}
	}
	return nil
}
