// Package record stores runs of checks, and adds each one that is new to the sum of its hour.
//
// Both happen in one statement in the caller's transaction, so a run that is stored is counted, and the other way round. What
// tells that a run was sent before is its raw row, as long as it is kept. The hard example: a satellite was cut off for 40
// days, and sends what it kept. Of its runs of the last 7 days each gets a raw row. For the older ones there is none any more,
// and if the satellite is cut off again before it hears that they are stored, it sends them again. So they are taken only from
// a caller who knows in the same transaction that he never recorded them, by the number of the satellite's batch: they are
// added to hours of days that were rolled up long ago, and the next roll-up adds these hours to the days.
package record

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"checkstack/plugins"
	"checkstack/sql/series"

	"github.com/lib/pq"
)

var (
	//go:embed record.sql
	recordSQL string
	//go:embed lock_days.sql
	lockDaysSQL string
	//go:embed make_partitions.sql
	makePartitionsSQL string
)

// MaxBatch is the most runs that are recorded at a time.
const MaxBatch = 5000

const (
	maxMessage, maxResult = 10_000, 64 << 10 // bytes

	// The hours of runs of this age may be rolled up at the same moment: the shortest retention of hours, less a day.
	lateFrom = 6 * 24 * time.Hour
)

// why says in words why the database refuses a run.
var why = map[string]string{
	"future": "executedAt: more than 5 minutes in the future",
	"old":    "executedAt: too old, before all that is kept of this check",
	"late":   "executedAt: too old, before the raw runs that are kept of this check",
	"result": "result: expected a JSON value that can be stored",
}

// Recorder implements the part of [plugins.History] that records.
type Recorder struct {
	DB *sql.DB

	// How long raw runs and days are kept of a check that has no retention of its own, in days of 24 hours.
	RawDays, DailyDays int

	// Runs since the start, also those that were rolled back afterwards.
	Stored, Known, Refused atomic.Int64
}

// Prepare makes the partitions of raw runs that are missing: from a day before the longest retention of any check to a week
// ahead. It may run on any number of servers at once.
func (r *Recorder) Prepare(ctx context.Context) error {
	err := plugins.Tx(ctx, r.DB, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, makePartitionsSQL, r.RawDays)
		return err
	})
	if err != nil {
		return fmt.Errorf("make partitions of raw runs: %w", err)
	}
	return nil
}

// Record implements [plugins.History]. A run is known by its system, source, ID and time of execution, to the
// microsecond. It is refused if a field is not as it must be, if it was executed more than 5 minutes in the future by
// the database's clock, or if it is older than the raw retention of its check, when nothing could tell any more that it
// was counted before. What is wrong with a message is no reason to lose a result: characters that cannot be stored are
// replaced, and what is beyond 10,000 bytes is cut off.
//
// Others that record runs of the same checks wait until tx ends. A transaction that records more than one batch may
// have to be repeated (SQLSTATE 40P01, see [plugins.Tx]), and so has one that found no partition for a run (40001), as after
// the restore of an old backup: tx is rolled back then, and the partitions are there when Record returns.
func (r *Recorder) Record(ctx context.Context, tx *sql.Tx, runs []plugins.Run) (plugins.Recorded, error) {
	return r.record(ctx, tx, runs, false)
}

// RecordOnce implements [plugins.History]. It takes runs as old as the days that are kept of their check, and otherwise does as
// [Recorder.Record].
func (r *Recorder) RecordOnce(ctx context.Context, tx *sql.Tx, runs []plugins.Run) (plugins.Recorded, error) {
	return r.record(ctx, tx, runs, true)
}

func (r *Recorder) record(ctx context.Context, tx *sql.Tx, runs []plugins.Run, once bool) (done plugins.Recorded, err error) {
	if len(runs) > MaxBatch {
		return done, plugins.Invalid("runs", "expected at most %d runs, not %d", MaxBatch, len(runs))
	}
	reasons := make([]string, len(runs))
	b := gather(runs, reasons, time.Now())
	if len(b.late) > 0 {
		if _, err := tx.ExecContext(ctx, lockDaysSQL, b.late); err != nil {
			return done, fmt.Errorf("lock the days of late runs: %w", err)
		}
	}
	var places pq.Int64Array
	var codes pq.StringArray
	err = tx.QueryRowContext(ctx, recordSQL, b.run, b.configuration, b.system, b.source, b.status, b.latency, b.message,
		b.result, b.executed, r.RawDays, r.DailyDays, once).Scan(&done.Stored, &places, &codes)
	if unprepared(err) {
		_ = tx.Rollback() // it has failed, and its connection may be the last one for the repair
		err = r.repair(ctx, err)
	}
	if err != nil {
		return plugins.Recorded{}, fmt.Errorf("record %d runs: %w", len(runs), err)
	}
	for i, place := range places {
		reasons[b.place[place-1]] = why[codes[i]]
	}
	for i, reason := range reasons {
		if reason != "" {
			done.Refused = append(done.Refused, plugins.Refusal{RunID: runs[i].ID, Reason: reason})
		}
	}
	done.Known = len(runs) - len(done.Refused) - done.Stored
	r.Stored.Add(int64(done.Stored))
	r.Known.Add(int64(done.Known))
	r.Refused.Add(int64(len(done.Refused)))
	return done, nil
}

// batch is a list of runs as the database takes it: one array for each column.
type batch struct {
	place                                                                 []int // of each run in the list given
	run, configuration, system, source, status, message, result, executed pq.StringArray
	latency                                                               pq.Int32Array // -1: none
	late                                                                  pq.Int32Array // keys of the days to lock
}

// gather makes a batch of the runs that can be stored, as far as they themselves tell, and says why the others cannot.
func gather(runs []plugins.Run, reasons []string, now time.Time) *batch {
	b, none := &batch{}, int32(-1)
	for i := range runs {
		r := &runs[i]
		if reasons[i] = refusal(r); reasons[i] != "" {
			continue
		}
		if now.Sub(r.ExecutedAt) > lateFrom {
			b.late = append(b.late, LockKey(r.ExecutedAt))
		}
		b.place = append(b.place, i)
		b.run = append(b.run, r.ID)
		b.configuration = append(b.configuration, r.ConfigurationID)
		b.system = append(b.system, r.SystemID)
		b.source = append(b.source, r.SourceID)
		b.status = append(b.status, string(r.Status))
		b.message = append(b.message, storable(r.Message))
		b.result = append(b.result, string(r.Result))
		b.executed = append(b.executed, series.Timestamp(r.ExecutedAt))
		b.latency = append(b.latency, *cmp.Or(r.LatencyMs, &none))
	}
	slices.Sort(b.late)
	b.late = slices.Compact(b.late)
	return b
}

// LockKey is the key of the lock that recorders of late runs and the roll-up share for the UTC day of t. Days have it in
// common with every 32nd other, so that a batch over a year takes 32 locks and not 365.
func LockKey(t time.Time) int32 {
	day := t.Truncate(24*time.Hour).Unix() / 86400
	return int32((day%32 + 32) % 32)
}

// refusal says why a run cannot be stored, as far as the run itself tells; "" if it can.
func refusal(r *plugins.Run) string {
	switch {
	case !series.IsUUID(r.ID):
		return "id: expected a UUID"
	case !series.IsUUID(r.ConfigurationID):
		return "configurationId: expected a UUID"
	case r.SystemID == "" || !series.IsKey(r.SystemID):
		return fmt.Sprintf("systemId: expected a text of 1 to %d characters", series.MaxID)
	case !series.IsKey(r.SourceID):
		return fmt.Sprintf("sourceId: expected a text of at most %d characters", series.MaxID)
	case r.Status != plugins.Healthy && r.Status != plugins.Degraded && r.Status != plugins.Unhealthy:
		return "status: expected healthy, degraded or unhealthy"
	case r.LatencyMs != nil && *r.LatencyMs < 0:
		return "latencyMs: expected a number of milliseconds from 0"
	case !series.IsTime(r.ExecutedAt):
		return "executedAt: expected a time in the years 1 to 9999"
	case len(r.Result) > maxResult:
		return fmt.Sprintf("result: expected at most %d bytes", maxResult)
	case !utf8.Valid(r.Result) || slices.Contains(r.Result, 0):
		return why["result"]
	}
	return ""
}

// storable makes a text that the database can hold of one from anywhere.
func storable(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(s[:min(len(s), maxMessage)], "") // without a character that was cut in two
}

// unprepared reports whether there was no partition for a run. That has the SQLSTATE of a check constraint, but no constraint.
func unprepared(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.SQLState() == "23514" && e.Constraint == ""
}

// repeatable is an error of a transaction that will succeed when it is repeated.
type repeatable struct{ error }

// SQLState is that of a transaction which failed because of others.
func (repeatable) SQLState() string { return "40001" }

func (r repeatable) Unwrap() error { return r.error }

// repair makes the partitions that were missing, and the error one that has the caller's transaction repeated.
func (r *Recorder) repair(ctx context.Context, err error) error {
	if failed := r.Prepare(ctx); failed != nil {
		return errors.Join(err, failed)
	}
	return repeatable{err}
}
