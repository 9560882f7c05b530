// The history of all checks: raw runs, their sums by hour, and their sums by day, each kept for its time.
//
// A run is counted the moment it is stored, in the hour it was executed in. Nothing is ever computed again from what
// was there before: an old day's hours are moved into the day by one statement that deletes and adds, and readers add
// hours and days. So every run is in exactly one row at any moment, whoever is killed, late, or repeats himself.
//
// The hard example: the hours of 1 March were rolled up into days long ago. A satellite that was cut off then comes
// back, and its runs make new hours on 1 March. A reader sees the day and the hours, and their sum is right. The next
// roll-up finds the hours and adds them to the day that is there: counts and sums add up, the least and the greatest
// are taken, the distributions of latencies are merged, and the 95th percentile is read from the result.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"checkstack/plugins"
	"github.com/lib/pq"
)

var (
	//go:embed sql/migrations/*.sql
	migrationFiles embed.FS
	//go:embed sql/record.sql
	recordSQL string
	//go:embed sql/record_late.sql
	recordLateSQL string
	//go:embed sql/runs.sql
	runsSQL string
	//go:embed sql/runs_count.sql
	runsCountSQL string
	//go:embed sql/series.sql
	seriesSQL string
	//go:embed sql/rollup_turn.sql
	rollupTurnSQL string
	//go:embed sql/rollup_days.sql
	rollupDaysSQL string
	//go:embed sql/rollup_lock_day.sql
	rollupLockDaySQL string
	//go:embed sql/rollup_day.sql
	rollupDaySQL string
	//go:embed sql/expire_days.sql
	expireDaysSQL string
	//go:embed sql/expire_runs.sql
	expireRunsSQL string
)

// coreMigrations are the migrations of the schema checkstack.
func coreMigrations() fs.FS {
	files, _ := fs.Sub(migrationFiles, "sql/migrations") // fails only for a path that is not well formed
	return files
}

const (
	// How long things are kept where a check has no retention of its own, in days of 24 hours (SPEC D).
	rawDays, hourlyDays, dailyDays = 7, 30, 365

	maxBatch, maxRuns, maxPoints = 5000, 500, 2000  // runs in a batch, runs in a list, buckets of a series
	maxMessage, maxResult        = 10_000, 64 << 10 // bytes
	maxID                        = 200              // characters of the ID of a system or a source
	expireSize                   = 10_000           // rows that one transaction deletes, about

	// A run of this age may have its hour rolled up at the same moment: from the shortest retention of hours, less a
	// day, to the longest of raw runs and a day, as what is older is refused. So a batch locks a few days at most.
	lateFrom, lateUntil = 6 * 24 * time.Hour, 31 * 24 * time.Hour
)

// why says in words why the database refuses a run.
var why = map[string]string{
	"future": "executedAt: more than 5 minutes in the future",
	"old":    "executedAt: too old, before all that is kept of this check",
	"late":   "executedAt: too old, before the raw runs that are kept of this check",
	"result": "result: expected a JSON value that can be stored",
}

// history implements [plugins.History], and ages what it holds.
type history struct {
	db  *sql.DB
	log *slog.Logger

	// The first roll-up comes between first and twice that after the start, so that servers that start together do not
	// all try at once; the others come every hour.
	first, every time.Duration

	stored, known, refused             atomic.Int64 // runs
	rollups, failures, moved, rolledUp atomic.Int64 // the last one is the Unix time of the last success, in seconds
}

func newHistory(db *sql.DB, log *slog.Logger) *history {
	return &history{db: db, log: log, first: 2 * time.Minute, every: time.Hour}
}

// batch is a list of runs as the database takes it: one array for each column.
type batch struct {
	place                                                                 []int // of each run in the list given
	run, configuration, system, source, status, message, result, executed pq.StringArray
	latency                                                               pq.Int32Array // -1: none
	late                                                                  pq.Int32Array // days since 1970-01-01 to lock
}

// Record implements [plugins.History]. A run is known by its system, source, ID and time of execution, to the
// microsecond. It is refused if a field is not as it must be, if it was executed more than 5 minutes in the future by
// the database's clock, or if it is older than the raw retention of its check, when nothing could tell any more that it
// was counted before. What is wrong with a message is no reason to lose a result: characters that cannot be stored are
// replaced, and what is beyond 10,000 bytes is cut off.
//
// Others that record runs of the same checks wait until tx ends. A transaction that records more than one batch may
// have to be repeated (SQLSTATE 40P01, see [plugins.Tx]). The figures in metrics include what is rolled back
// afterwards.
func (h *history) Record(ctx context.Context, tx *sql.Tx, runs []plugins.Run) (plugins.Recorded, error) {
	if len(runs) > maxBatch {
		return plugins.Recorded{}, plugins.Invalid("runs", "expected at most %d runs, not %d", maxBatch, len(runs))
	}
	reasons := make([]string, len(runs))
	b := gather(runs, reasons, time.Now())
	if len(b.late) > 0 {
		if _, err := tx.ExecContext(ctx, recordLateSQL, b.late); err != nil {
			return plugins.Recorded{}, fmt.Errorf("lock the days of late runs: %w", err)
		}
	}
	var done plugins.Recorded
	var places pq.Int64Array
	var codes pq.StringArray
	err := tx.QueryRowContext(ctx, recordSQL, b.run, b.configuration, b.system, b.source, b.status, b.latency, b.message,
		b.result, b.executed, rawDays, dailyDays).Scan(&done.Stored, &places, &codes)
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
	h.stored.Add(int64(done.Stored))
	h.known.Add(int64(done.Known))
	h.refused.Add(int64(len(done.Refused)))
	return done, nil
}

// gather makes a batch of the runs that can be stored, as far as they themselves tell, and says why the others cannot.
func gather(runs []plugins.Run, reasons []string, now time.Time) *batch {
	b, none := &batch{}, int32(-1)
	for i := range runs {
		r := &runs[i]
		if reasons[i] = refusal(r); reasons[i] != "" {
			continue
		}
		if age := now.Sub(r.ExecutedAt); age > lateFrom && age < lateUntil {
			b.late = append(b.late, epochDay(r.ExecutedAt))
		}
		b.place = append(b.place, i)
		b.run = append(b.run, r.ID)
		b.configuration = append(b.configuration, r.ConfigurationID)
		b.system = append(b.system, r.SystemID)
		b.source = append(b.source, r.SourceID)
		b.status = append(b.status, string(r.Status))
		b.message = append(b.message, storable(r.Message))
		b.result = append(b.result, string(r.Result))
		b.executed = append(b.executed, timestamp(r.ExecutedAt))
		b.latency = append(b.latency, *cmp.Or(r.LatencyMs, &none))
	}
	slices.Sort(b.late)
	b.late = slices.Compact(b.late)
	return b
}

// refusal says why a run cannot be stored, as far as the run itself tells; "" if it can.
func refusal(r *plugins.Run) string {
	switch {
	case !uuid(r.ID):
		return "id: expected a UUID"
	case !uuid(r.ConfigurationID):
		return "configurationId: expected a UUID"
	case r.SystemID == "" || !key(r.SystemID):
		return fmt.Sprintf("systemId: expected a text of 1 to %d characters", maxID)
	case !key(r.SourceID):
		return fmt.Sprintf("sourceId: expected a text of at most %d characters", maxID)
	case r.Status != plugins.Healthy && r.Status != plugins.Degraded && r.Status != plugins.Unhealthy:
		return "status: expected healthy, degraded or unhealthy"
	case r.LatencyMs != nil && *r.LatencyMs < 0:
		return "latencyMs: expected a number of milliseconds from 0"
	case !dated(r.ExecutedAt):
		return "executedAt: expected a time in the years 1 to 9999"
	case len(r.Result) > maxResult:
		return fmt.Sprintf("result: expected at most %d bytes", maxResult)
	case !utf8.Valid(r.Result) || slices.Contains(r.Result, 0):
		return why["result"]
	}
	return ""
}

func uuid(s string) bool { return plugins.IsID(strings.ToLower(s)) }

// key reports whether s can be part of a key.
func key(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxID && !strings.ContainsRune(s, 0)
}

// storable makes a text that the database can hold of one from anywhere.
func storable(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(s[:min(len(s), maxMessage)], "") // without a character that was cut in two
}

// Runs implements [plugins.History].
func (h *history) Runs(ctx context.Context, q plugins.RunsQuery) ([]plugins.Run, error) {
	switch {
	case q.SystemID == "" || !key(q.SystemID):
		return nil, plugins.Invalid("systemId", "expected a text of 1 to %d characters", maxID)
	case q.ConfigurationID != "" && !uuid(q.ConfigurationID):
		return nil, plugins.Invalid("configurationId", "expected a UUID")
	case q.BeforeID != "" && (q.Before.IsZero() || !uuid(q.BeforeID)):
		return nil, plugins.Invalid("beforeId", "expected a UUID, and a time in before")
	case !dated(q.Before):
		return nil, plugins.Invalid("before", "expected a time in the years 1 to 9999")
	case q.Limit < 1 || q.Limit > maxRuns:
		return nil, plugins.Invalid("limit", "expected a whole number from 1 to %d", maxRuns)
	}
	before := "infinity"
	if !q.Before.IsZero() {
		before = timestamp(q.Before)
	}
	configuration := sql.NullString{String: q.ConfigurationID, Valid: q.ConfigurationID != ""}
	beforeID := cmp.Or(q.BeforeID, "00000000-0000-0000-0000-000000000000") // no ID is less
	return list(ctx, h.db, func(row *sql.Rows, r *plugins.Run) error {
		err := row.Scan(&r.ID, &r.ConfigurationID, &r.SystemID, &r.SourceID, &r.Status, &r.LatencyMs, &r.Message,
			(*[]byte)(&r.Result), &r.ExecutedAt)
		r.ExecutedAt = r.ExecutedAt.UTC()
		return err
	}, runsSQL, q.SystemID, configuration, before, beforeID, q.Limit)
}

// CountRuns implements [plugins.History].
func (h *history) CountRuns(ctx context.Context, systemID, configurationID string) (n int, err error) {
	err = h.db.QueryRowContext(ctx, runsCountSQL, systemID, configurationID).Scan(&n)
	return n, err
}

// Series implements [plugins.History]. Its buckets follow each other without a gap, also those without a run, and each
// is the sum of all that was executed from its start to its end. Below a day they are as long as the fewest whole hours
// that keep to Points, except that a day that is kept only as a day is a bucket of its own; else all are as many whole
// days long as it takes. The range is widened to whole hours, and where it begins or ends in a day that is kept only as
// a day, to that day.
func (h *history) Series(ctx context.Context, q plugins.SeriesQuery) ([]plugins.Bucket, error) {
	q.Points = cmp.Or(q.Points, 200)
	switch {
	case !uuid(q.ConfigurationID):
		return nil, plugins.Invalid("configurationId", "expected a UUID")
	case q.SystemID == "" || !key(q.SystemID):
		return nil, plugins.Invalid("systemId", "expected a text of 1 to %d characters", maxID)
	case !dated(q.From):
		return nil, plugins.Invalid("from", "expected a time in the years 1 to 9999")
	case !dated(q.To.Add(24 * time.Hour)): // the last bucket ends less than a day after it
		return nil, plugins.Invalid("to", "expected a time before 9999-12-31T00:00:00Z")
	case !q.From.Before(q.To):
		return nil, plugins.Invalid("to", "expected a time after from")
	case q.Points < 1 || q.Points > maxPoints:
		return nil, plugins.Invalid("points", "expected a whole number from 1 to %d", maxPoints)
	}
	return list(ctx, h.db, func(row *sql.Rows, b *plugins.Bucket) error {
		var latencies, latencySum int64
		err := row.Scan(&b.Start, &b.End, &b.Runs, &b.Healthy, &b.Degraded, &b.Unhealthy, &latencies, &latencySum,
			&b.MinMs, &b.MaxMs, &b.P95Ms)
		b.Start, b.End = b.Start.UTC(), b.End.UTC()
		if b.Runs > 0 {
			b.Availability = new(float64(b.Healthy+b.Degraded) / float64(b.Runs))
		}
		if latencies > 0 {
			b.AverageMs = new(float64(latencySum) / float64(latencies))
		}
		return err
	}, seriesSQL, q.SystemID, q.ConfigurationID, timestamp(q.From), timestamp(q.To.Add(time.Microsecond-1)), q.Points)
}

// list runs a statement and returns what read makes of each row, never nil.
func list[T any](ctx context.Context, on interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, read func(*sql.Rows, *T) error, statement string, args ...any) ([]T, error) {
	rows, err := on.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("query the history: %w", err)
	}
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		var one T
		if err := read(rows, &one); err != nil {
			return nil, fmt.Errorf("read a row of the history: %w", err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("query the history: %w", err)
	}
	return all, nil
}

// dated reports whether the database and RFC 3339 can both hold t.
func dated(t time.Time) bool { return t.UTC().Year() >= 1 && t.UTC().Year() <= 9999 }

// epochDay is the number of the UTC day of t, from 1970-01-01 on.
func epochDay(t time.Time) int32 { return int32(t.Unix() / 86400) }

// timestamp writes a time to the microsecond, as the database keeps it, and never a later one.
func timestamp(t time.Time) string {
	return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}

// RollupSummary says what one roll-up did.
type RollupSummary struct {
	Days              int   `json:"days"` // UTC days that had hours to move
	HourlyRowsMoved   int64 `json:"hourlyRowsMoved"`
	DailyRowsInserted int64 `json:"dailyRowsInserted"`
	DailyRowsMerged   int64 `json:"dailyRowsMerged"` // daily rows that were there and were added to
	DailyRowsExpired  int64 `json:"dailyRowsExpired"`
	RunsExpired       int64 `json:"runsExpired"`
	DurationMs        int64 `json:"durationMs"`
	Skipped           bool  `json:"-"` // another server is at it, and does the rest
}

// errNotOurTurn says that another server holds the lock of the roll-up.
var errNotOurTurn = errors.New("another server rolls up")

// Rollup moves the hours of whole UTC days that are older at now than the hourly retention into days, then deletes the
// days older than the daily retention, then the raw runs an hour older than theirs, in transactions of one day or about
// 10,000 rows. Only one server does it at a time. It can be ended at any moment by ctx or by a kill: what was committed
// stays, and the next one goes on from there. With an error the summary says what was done before it.
//
// A now that is ahead of the clock ages the history ahead of its time: it deletes runs that Record would still know.
func (h *history) Rollup(ctx context.Context, now time.Time) (RollupSummary, error) {
	begun := time.Now()
	var s RollupSummary
	err := h.age(ctx, timestamp(now), &s)
	s.Skipped = errors.Is(err, errNotOurTurn)
	s.DurationMs = time.Since(begun).Milliseconds()
	h.moved.Add(s.HourlyRowsMoved)
	switch {
	case s.Skipped:
		return s, nil
	case err != nil:
		h.failures.Add(1)
		return s, fmt.Errorf("roll up: %w", err)
	}
	h.rollups.Add(1)
	h.rolledUp.Store(time.Now().Unix())
	return s, nil
}

// age does the work of Rollup and adds what it did to s.
func (h *history) age(ctx context.Context, now string, s *RollupSummary) error {
	logged := time.Now()
	progress := func() {
		if time.Since(logged) >= 5*time.Second {
			logged = time.Now()
			h.log.InfoContext(ctx, "rolling up", "summary", *s)
		}
	}
	var days []time.Time
	err := h.turn(ctx, func(tx *sql.Tx) (err error) {
		read := func(row *sql.Rows, day *time.Time) error { return row.Scan(day) }
		days, err = list(ctx, tx, read, rollupDaysSQL, now, hourlyDays)
		return err
	})
	if err != nil {
		return fmt.Errorf("list the days that are due: %w", err)
	}
	for _, day := range days {
		var moved, inserted, merged int64
		err := h.turn(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, rollupLockDaySQL, epochDay(day)); err != nil {
				return err
			}
			return tx.QueryRowContext(ctx, rollupDaySQL, timestamp(day), now, hourlyDays).Scan(&moved, &inserted, &merged)
		})
		if err != nil {
			return fmt.Errorf("move the hours of %s: %w", day.UTC().Format(time.DateOnly), err)
		}
		if moved > 0 {
			s.Days++
		}
		s.HourlyRowsMoved += moved
		s.DailyRowsInserted += inserted
		s.DailyRowsMerged += merged
		progress()
	}
	if err := h.expire(ctx, expireDaysSQL, now, dailyDays, &s.DailyRowsExpired, progress); err != nil {
		return fmt.Errorf("expire days: %w", err)
	}
	if err := h.expire(ctx, expireRunsSQL, now, rawDays, &s.RunsExpired, progress); err != nil {
		return fmt.Errorf("expire runs: %w", err)
	}
	return nil
}

// turn runs f in a transaction of its own if no other server is at it, else it returns errNotOurTurn.
func (h *history) turn(ctx context.Context, f func(*sql.Tx) error) error {
	return plugins.Tx(ctx, h.db, func(tx *sql.Tx) error {
		var ours bool
		if err := tx.QueryRowContext(ctx, rollupTurnSQL).Scan(&ours); err != nil {
			return err
		}
		if !ours {
			return errNotOurTurn
		}
		return f(tx)
	})
}

// expire deletes what one statement says is due, in batches, until there is nothing left.
func (h *history) expire(ctx context.Context, statement, now string, days int, expired *int64, progress func()) error {
	from := "-infinity" // what is due and older is gone, so that what is kept longer is not read again in each batch
	for {
		var n int64
		var end string
		err := h.turn(ctx, func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, statement, now, from, expireSize, days).Scan(&n, &end)
		})
		if err != nil {
			return err
		}
		*expired += n
		progress()
		if n == 0 {
			return nil
		}
		from = end
	}
}

// run rolls up every hour until ctx ends. What fails is tried again at the next hour.
func (h *history) run(ctx context.Context) {
	for wait := h.first + rand.N(h.first); ; wait = h.every {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		s, err := h.Rollup(ctx, time.Now())
		switch {
		case err == nil:
			h.log.InfoContext(ctx, "rolled up", "summary", s, "skipped", s.Skipped)
		case ctx.Err() == nil:
			h.log.ErrorContext(ctx, "the roll-up failed; it is tried again within the hour", "error", err)
		}
	}
}

// metrics tells one the figures of this server since its start.
func (h *history) metrics(one func(name, kind, help string, value float64)) {
	counter := func(name, help string, n *atomic.Int64) { one(name, "counter", help, float64(n.Load())) }
	counter("runs_stored_total", "Runs of checks that were recorded.", &h.stored)
	counter("runs_known_total", "Runs that were sent again and not counted again.", &h.known)
	counter("runs_refused_total", "Runs that could not be recorded.", &h.refused)
	counter("rollups_total", "Roll-ups that came to their end.", &h.rollups)
	counter("rollup_failures_total", "Roll-ups that failed.", &h.failures)
	counter("rollup_hourly_rows_total", "Hourly rows moved into days.", &h.moved)
	if at := h.rolledUp.Load(); at != 0 { // left out until then: 1970 would be an alert after every start
		one("rollup_last_success_seconds", "gauge", "When the last roll-up came to its end, Unix time.", float64(at))
	}
}

// rollup is the command that rolls up once, by hand, and prints what it did.
func rollup(ctx context.Context, cfg *config, p process, log *slog.Logger) int {
	boot, cancel := context.WithTimeout(ctx, cfg.bootTimeout)
	defer cancel()
	db, err := openDatabase(boot, cfg, log)
	if err != nil {
		log.Error("cannot open the database", "error", err)
		return 1
	}
	summary, err := newHistory(db.DB, log).Rollup(ctx, cfg.now)
	if summary.Skipped {
		log.Warn("another server rolls up at this moment; nothing was done")
	}
	printed := json.NewEncoder(p.stdout).Encode(summary)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := errors.Join(err, printed, db.Close(stop)); err != nil {
		log.Error("roll-up failed", "error", err)
		return 1
	}
	return 0
}
