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
//
// Package record stores and counts runs, package series reads; what is here ages: hours become days, and what is old goes.
package main

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/record"
	"checkstack/sql/series"
)

var (
	//go:embed sql/migrations/*.sql
	migrationFiles embed.FS
	//go:embed sql/rollup_turn.sql
	rollupTurnSQL string
	//go:embed sql/rollup_days.sql
	rollupDaysSQL string
	//go:embed sql/rollup_parts.sql
	rollupPartsSQL string
	//go:embed sql/rollup_lock_day.sql
	rollupLockDaySQL string
	//go:embed sql/rollup_part.sql
	rollupPartSQL string
	//go:embed sql/expire_days.sql
	expireDaysSQL string
	//go:embed sql/expire_days_own.sql
	expireDaysOwnSQL string
	//go:embed sql/expire_runs.sql
	expireRunsSQL string
	//go:embed sql/expire_runs_own.sql
	expireRunsOwnSQL string
	//go:embed sql/drop_partition.sql
	dropPartitionSQL string
	//go:embed sql/retention.sql
	retentionSQL string
	//go:embed sql/retention_set.sql
	retentionSetSQL string
	//go:embed sql/retention_sweep.sql
	retentionSweepSQL string
)

// coreMigrations are the migrations of the schema checkstack.
func coreMigrations() fs.FS {
	files, _ := fs.Sub(migrationFiles, "sql/migrations") // fails only for a path that is not well formed
	return files
}

// history implements [plugins.History], and ages what it holds.
type history struct {
	*series.Reader
	*record.Recorder
	db   *sql.DB
	log  *slog.Logger
	keep plugins.Retention // of a check that has none of its own

	// One transaction moves about so many hours, or deletes so many rows, so that it takes less than a second, and the same
	// memory however much there is to do.
	part, batch int

	// The first roll-up comes between first and twice that after the start, so that servers that start together do not
	// all try at once; the others come every hour.
	first, every time.Duration

	// progress is told what was done and how many days are left, after each transaction of a roll-up. Without it the log
	// is, every 5 seconds.
	progress func(done RollupSummary, daysLeft int64)

	running, daysLeft, hoursLeft      atomic.Int64 // the latter two of the roll-up at work
	rollups, failures, days, hours    atomic.Int64
	daysExpired, runsExpired, blocked atomic.Int64
	rolledUp                          atomic.Int64 // when the last one succeeded, in seconds of Unix time
}

func newHistory(db *sql.DB, log *slog.Logger) *history {
	keep := plugins.DefaultRetention()
	return &history{
		Reader:   &series.Reader{DB: db},
		Recorder: &record.Recorder{DB: db, RawDays: keep.RawDays, DailyDays: keep.DailyDays},
		db:       db, log: log, keep: keep, part: 12_000, batch: 10_000, first: 2 * time.Minute, every: time.Hour,
	}
}

// Retention implements [plugins.History].
func (h *history) Retention(ctx context.Context, systemID, configurationID string) (plugins.Retention, error) {
	r := h.keep
	if err := checkKey(systemID, configurationID); err != nil {
		return r, err
	}
	err := h.db.QueryRowContext(ctx, retentionSQL, systemID, configurationID).Scan(&r.RawDays, &r.HourlyDays, &r.DailyDays)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("read a retention: %w", err)
	}
	return r, nil
}

// SetRetention implements [plugins.History]. Where it makes the raw retention longer, runs from before the time for which
// raw runs are there still count as older than it, because nothing tells a repeat of them. tx must end within an hour.
func (h *history) SetRetention(ctx context.Context, tx *sql.Tx, systemID, configurationID string, r *plugins.Retention) error {
	if err := checkKey(systemID, configurationID); err != nil {
		return err
	}
	reset := r == nil
	if reset {
		r = &h.keep
	}
	if err := r.Validate(); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, retentionSetSQL, systemID, configurationID, r.RawDays, r.HourlyDays, r.DailyDays, reset,
		h.keep.RawDays)
	if err != nil {
		return fmt.Errorf("set a retention: %w", err)
	}
	return nil
}

func checkKey(systemID, configurationID string) error {
	switch {
	case systemID == "" || !series.IsKey(systemID):
		return plugins.Invalid("systemId", "expected a text of 1 to %d characters", series.MaxID)
	case !series.IsUUID(configurationID):
		return plugins.Invalid("configurationId", "expected a UUID")
	}
	return nil
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

// LogValue is the summary as it is logged.
func (s RollupSummary) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("days", s.Days), slog.Int64("hourlyRowsMoved", s.HourlyRowsMoved),
		slog.Int64("dailyRowsInserted", s.DailyRowsInserted), slog.Int64("dailyRowsMerged", s.DailyRowsMerged),
		slog.Int64("dailyRowsExpired", s.DailyRowsExpired), slog.Int64("runsExpired", s.RunsExpired),
		slog.Int64("durationMs", s.DurationMs), slog.Bool("skipped", s.Skipped))
}

// errNotOurTurn says that another server holds the lock of the roll-up.
var errNotOurTurn = errors.New("another server rolls up")

// Rollup moves the hours of whole UTC days that are older at now than the hourly retention into days, then deletes the
// days older than the daily retention, then the raw runs an hour older than theirs, in transactions of about 12,000 hours
// or 10,000 other rows. Raw runs that are kept the longest of all go by the UTC day, when all of it has expired. Only one
// server does it at a time. It can be ended at any moment by ctx or by a kill: what was committed stays, and the next one
// goes on from there. With an error the summary says what was done before it.
//
// A zero now is the time by the database's clock. One that is ahead of it ages the history ahead of its time: it deletes runs
// that Record would still know.
func (h *history) Rollup(ctx context.Context, now time.Time) (RollupSummary, error) {
	begun := time.Now()
	h.running.Add(1)
	defer h.running.Add(-1)
	r := rolling{history: h, now: "now", told: begun}
	if !now.IsZero() {
		r.now = series.Timestamp(now)
	}
	err := r.age(ctx)
	r.done.Skipped = errors.Is(err, errNotOurTurn)
	r.done.DurationMs = time.Since(begun).Milliseconds()
	switch {
	case r.done.Skipped:
		return r.done, nil
	case err != nil:
		h.failures.Add(1)
		return r.done, fmt.Errorf("roll up: %w", err)
	}
	h.rollups.Add(1)
	h.rolledUp.Store(time.Now().Unix())
	return r.done, nil
}

// rolling is a roll-up at work.
type rolling struct {
	*history
	now  string
	done RollupSummary
	told time.Time // when the log was told
}

// age does the work of Rollup. Nothing expires before it was rolled up.
func (r *rolling) age(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"make partitions", r.Prepare},
		{"move hours into days", r.moveDays},
		{"expire days", r.expireDays},
		{"expire days of runs", r.dropPartitions},
		{"make partitions", r.Prepare}, // those of these days, where now is so far ahead of the clock that they were dropped
		{"expire runs", r.expireRuns},
		{"forget retentions", r.forget},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// moveDays moves the hours that are due, the oldest day first.
func (r *rolling) moveDays(ctx context.Context) error {
	defer r.daysLeft.Store(0)
	var days []time.Time
	err := r.turn(ctx, func(tx *sql.Tx) (err error) {
		days, err = plugins.Rows(ctx, tx, func(row plugins.Row) (day time.Time, err error) {
			err = row.Scan(&day)
			return day, err
		}, rollupDaysSQL, r.now, r.keep.HourlyDays)
		return err
	})
	if err != nil {
		return fmt.Errorf("list the days that are due: %w", err)
	}
	for i, day := range days {
		r.daysLeft.Store(int64(len(days) - i))
		if err := r.moveDay(ctx, day); err != nil {
			return fmt.Errorf("move the hours of %s: %w", day.UTC().Format(time.DateOnly), err)
		}
	}
	return nil
}

// part is some systems of a day.
type part struct {
	last  string // system
	hours int64  // rows
}

// moveDay moves the hours of one UTC day, one part after the other. Between two of them readers see some of the day's
// checks as days and the others as hours, which comes to the same.
func (r *rolling) moveDay(ctx context.Context, day time.Time) error {
	defer r.hoursLeft.Store(0)
	var parts []part
	err := r.turn(ctx, func(tx *sql.Tx) (err error) {
		parts, err = plugins.Rows(ctx, tx, func(row plugins.Row) (p part, err error) {
			err = row.Scan(&p.last, &p.hours)
			return p, err
		}, rollupPartsSQL, series.Timestamp(day), r.part)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		r.hoursLeft.Add(p.hours)
	}
	before, after := r.done.HourlyRowsMoved, ""
	for _, p := range parts {
		if err := r.movePart(ctx, day, after, p.last); err != nil {
			return err
		}
		after = p.last
		r.hoursLeft.Add(-p.hours)
		r.tell(ctx)
	}
	if r.done.HourlyRowsMoved > before {
		r.done.Days++
		r.days.Add(1)
	}
	return nil
}

// movePart moves the hours of the systems after one up to another.
func (r *rolling) movePart(ctx context.Context, day time.Time, after, last string) error {
	var moved, inserted, merged int64
	err := r.turn(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, rollupLockDaySQL, record.LockKey(day)); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, rollupPartSQL, series.Timestamp(day), r.now, r.keep.HourlyDays, after, last).
			Scan(&moved, &inserted, &merged)
	})
	if err != nil {
		return err
	}
	r.hours.Add(moved)
	r.done.HourlyRowsMoved += moved
	r.done.DailyRowsInserted += inserted
	r.done.DailyRowsMerged += merged
	return nil
}

// expireDays deletes daily rows: of the checks without a retention of their own, then of the others.
func (r *rolling) expireDays(ctx context.Context) error {
	count := func(n int64) { r.done.DailyRowsExpired += n; r.daysExpired.Add(n) }
	if err := r.expire(ctx, count, expireDaysSQL, byTime, r.keep.DailyDays); err != nil {
		return err
	}
	return r.expire(ctx, count, expireDaysOwnSQL, byCheck)
}

// expireRuns deletes raw runs that are kept shorter than those which go with their partition.
func (r *rolling) expireRuns(ctx context.Context) error {
	if err := r.expire(ctx, r.countRuns, expireRunsSQL, byTime, r.keep.RawDays); err != nil {
		return err
	}
	return r.expire(ctx, r.countRuns, expireRunsOwnSQL, byCheck, r.keep.RawDays)
}

func (r *rolling) countRuns(n int64) {
	r.done.RunsExpired += n
	r.runsExpired.Add(n)
}

// Where a list of what expires begins, as arrays: a time, or a system and a configuration.
const byTime, byCheck = "{-infinity}", `{"",00000000-0000-0000-0000-000000000000}`

// expire deletes what a statement says is due, in batches, until there is nothing left. Each batch begins where the one before
// it ended, and does not read again what is older and stays.
func (r *rolling) expire(ctx context.Context, count func(int64), statement, from string, args ...any) error {
	for {
		var n int64
		var next sql.NullString
		err := r.turn(ctx, func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, statement, append([]any{r.now, from, r.batch}, args...)...).Scan(&n, &next)
		})
		if err != nil || n == 0 {
			return err
		}
		from = next.String
		count(n)
		r.tell(ctx)
	}
}

// dropPartitions drops the partitions of raw runs of which all has expired. Where somebody is using the runs for so long that
// others would have to wait, that is left for the next roll-up.
func (r *rolling) dropPartitions(ctx context.Context) error {
	for {
		var name sql.NullString
		var runs sql.NullInt64
		err := r.turn(ctx, func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, dropPartitionSQL, r.now, r.keep.RawDays).Scan(&name, &runs)
		})
		switch {
		case plugins.SQLState(err) == "55P03": // lock not available
			r.blocked.Add(1)
			r.log.WarnContext(ctx, "old runs are not dropped while others read them; the next roll-up tries again", "error", err)
			return nil
		case err != nil || !name.Valid:
			return err
		}
		r.log.DebugContext(ctx, "dropped a partition of raw runs", "partition", name.String, "runs", runs.Int64)
		r.countRuns(runs.Int64)
		r.tell(ctx)
	}
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

// forget deletes what is left of retentions that were put back to the defaults.
func (r *rolling) forget(ctx context.Context) error {
	return r.turn(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, retentionSweepSQL, r.keep.RawDays)
		return err
	})
}

// tell tells how far the roll-up is.
func (r *rolling) tell(ctx context.Context) {
	if r.progress != nil {
		r.progress(r.done, r.daysLeft.Load())
	} else if time.Since(r.told) >= 5*time.Second {
		r.told = time.Now()
		r.log.InfoContext(ctx, "rolling up", "done", r.done, "daysLeft", r.daysLeft.Load(), "hoursOfDayLeft", r.hoursLeft.Load())
	}
}

// run rolls up every hour until ctx ends. What fails is tried again at the next hour.
func (h *history) run(ctx context.Context) {
	if err := h.Prepare(ctx); err != nil && ctx.Err() == nil { // Record makes those that it misses
		h.log.ErrorContext(ctx, "the week to come is not prepared; it is tried again with the roll-up", "error", err)
	}
	for wait := h.first + rand.N(h.first); ; wait = h.every {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		s, err := h.Rollup(ctx, time.Time{})
		switch {
		case err == nil:
			h.log.InfoContext(ctx, "rolled up", "summary", s)
		case ctx.Err() == nil:
			h.log.ErrorContext(ctx, "the roll-up failed; it is tried again within the hour", "error", err)
		}
	}
}

// metrics tells one the figures of this server since its start.
func (h *history) metrics(one func(name, kind, help string, value float64)) {
	figure := func(kind, name, help string, n *atomic.Int64) { one(name, kind, help, float64(n.Load())) }
	figure("counter", "runs_stored_total", "Runs of checks that were recorded.", &h.Stored)
	figure("counter", "runs_known_total", "Runs that were sent again and not counted again.", &h.Known)
	figure("counter", "runs_refused_total", "Runs that could not be recorded.", &h.Refused)
	figure("counter", "rollups_total", "Roll-ups that came to their end.", &h.rollups)
	figure("counter", "rollup_failures_total", "Roll-ups that failed.", &h.failures)
	figure("gauge", "rollup_running", "Roll-ups at work.", &h.running)
	figure("gauge", "rollup_days_left", "Days that the roll-up at work still has to move.", &h.daysLeft)
	figure("gauge", "rollup_hourly_rows_left", "Hourly rows of the day that the roll-up moves at the moment.", &h.hoursLeft)
	figure("counter", "rollup_days_total", "Days whose hours were moved.", &h.days)
	figure("counter", "rollup_hourly_rows_total", "Hourly rows moved into days.", &h.hours)
	figure("counter", "daily_rows_expired_total", "Daily rows deleted.", &h.daysExpired)
	figure("counter", "runs_expired_total", "Runs deleted.", &h.runsExpired)
	figure("counter", "rollup_drops_blocked_total", "Partitions of runs that were in use and could not be dropped.", &h.blocked)
	if at := h.rolledUp.Load(); at != 0 { // left out until then: 1970 would be an alert after every start
		one("rollup_last_success_seconds", "gauge", "When the last roll-up came to its end, Unix time.", float64(at))
	}
}

// rollup is the command that rolls up once, by hand, and prints what it did.
func rollup(ctx context.Context, cfg *config, p plugins.Process) int {
	return withDatabase(ctx, cfg, p, func(db *postgres.Database) error {
		h, erase := newHistory(db.DB, p.Log), func() {}
		if plugins.IsTerminal(p.Stderr) {
			h.progress, erase = line(p.Stderr)
		}
		summary, err := h.Rollup(ctx, cfg.now)
		erase()
		if summary.Skipped {
			p.Log.Warn("another server rolls up at this moment, and does the rest")
		}
		return errors.Join(err, json.NewEncoder(p.Stdout).Encode(summary))
	})
}

// export is the command that writes the hours and the days of all checks.
func export(ctx context.Context, cfg *config, p plugins.Process) int {
	return withDatabase(ctx, cfg, p, func(db *postgres.Database) error {
		n, err := series.Export(ctx, db.DB, p.Stdout, cfg.from, cfg.to, series.Format(cfg.format))
		if err == nil {
			p.Log.Info("exported", "rows", n)
		}
		return err
	})
}

// line returns what writes the progress of a roll-up to a terminal, over and over in one line, and what erases it.
func line(terminal io.Writer) (progress func(RollupSummary, int64), erase func()) {
	var told time.Time
	return func(s RollupSummary, daysLeft int64) {
		if time.Since(told) < 100*time.Millisecond {
			return
		}
		told = time.Now()
		fmt.Fprintf(terminal, "\r\x1b[K%d of %d days, %d hours moved; %d days and %d runs expired",
			s.Days, int64(s.Days)+daysLeft, s.HourlyRowsMoved, s.DailyRowsExpired, s.RunsExpired)
	}, func() { fmt.Fprint(terminal, "\r\x1b[K") }
}
