package series

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// Raw runs are in one partition for each UTC day. A list asks each check's index in each of them only for as many runs
// as it needs, so that neither depends on how long the history is. Only where a source is asked for, runs of others are
// read over, at worst all of the checks that it made.

var (
	//go:embed runs.sql
	runsSQL string
	//go:embed run.sql
	runSQL string
	//go:embed runs_count.sql
	runsCountSQL string
)

// Runs implements [plugins.History].
func (r *Reader) Runs(ctx context.Context, q plugins.RunsQuery) ([]plugins.Run, error) {
	switch {
	case q.SystemID == "" || !IsKey(q.SystemID):
		return nil, plugins.Invalid("systemId", "expected a text of 1 to %d characters", MaxID)
	case q.ConfigurationID != "" && !IsUUID(q.ConfigurationID):
		return nil, plugins.Invalid("configurationId", "expected a UUID")
	case !isSource(q.SourceID):
		return nil, errSource()
	case q.BeforeID != "" && (q.Before.IsZero() || !IsUUID(q.BeforeID)):
		return nil, plugins.Invalid("beforeId", "expected a UUID, and a time in before")
	case !IsTime(q.Before):
		return nil, plugins.Invalid("before", "expected a time in the years 1 to 9999")
	case !IsTime(q.From) || !IsTime(q.To):
		return nil, plugins.Invalid("from", "expected times in the years 1 to 9999")
	case q.Limit < 1 || q.Limit > MaxRuns:
		return nil, plugins.Invalid("limit", "expected a whole number from 1 to %d", MaxRuns)
	}
	before := "infinity"
	from, to := within(q)
	if !q.Before.IsZero() {
		before = Timestamp(q.Before)
	}
	configuration := sql.NullString{String: q.ConfigurationID, Valid: q.ConfigurationID != ""}
	beforeID := cmp.Or(q.BeforeID, "00000000-0000-0000-0000-000000000000") // no ID is less
	runs, err := plugins.Rows(ctx, r.DB, scanRun, runsSQL, q.SystemID, configuration, before, beforeID, q.Limit, q.SourceID,
		statuses(q.Statuses), from, to)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return runs, nil
}

func scanRun(row plugins.Row) (run plugins.Run, err error) {
	err = row.Scan(&run.ID, &run.ConfigurationID, &run.SystemID, &run.SourceID, &run.Status, &run.LatencyMs, &run.Message,
		(*[]byte)(&run.Result), &run.ExecutedAt)
	run.ExecutedAt = run.ExecutedAt.UTC()
	return run, err
}

// statuses is a list of statuses as a statement takes it: none is null, and stands for all.
func statuses(all []plugins.Status) any {
	if len(all) == 0 {
		return nil
	}
	return pq.Array(all)
}

// within is the range of times of a query, as a statement takes it.
func within(q plugins.RunsQuery) (from, to string) {
	from, to = "-infinity", "infinity"
	if !q.From.IsZero() {
		from = Timestamp(q.From)
	}
	if !q.To.IsZero() {
		to = Timestamp(q.To)
	}
	return from, to
}

// Run implements [plugins.History].
func (r *Reader) Run(ctx context.Context, systemID, runID string) (plugins.Run, error) {
	if systemID == "" || !IsKey(systemID) || !IsUUID(runID) {
		return plugins.Run{}, plugins.NotFound("run")
	}
	run, err := scanRun(r.DB.QueryRowContext(ctx, runSQL, systemID, runID))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return plugins.Run{}, plugins.NotFound("run")
	case err != nil:
		return plugins.Run{}, fmt.Errorf("find a run: %w", err)
	}
	return run, nil
}

// CountRuns implements [plugins.History].
func (r *Reader) CountRuns(ctx context.Context, q plugins.RunsQuery) (n int, err error) {
	switch {
	case q.SystemID == "" || !IsKey(q.SystemID):
		return 0, plugins.Invalid("systemId", "expected a text of 1 to %d characters", MaxID)
	case q.ConfigurationID != "" && !IsUUID(q.ConfigurationID):
		return 0, plugins.Invalid("configurationId", "expected a UUID")
	case !isSource(q.SourceID):
		return 0, errSource()
	}
	from, to := within(q)
	if err := r.DB.QueryRowContext(ctx, runsCountSQL, q.SystemID, q.ConfigurationID, q.SourceID,
		statuses(q.Statuses), from, to).Scan(&n); err != nil {
		return 0, fmt.Errorf("count runs: %w", err)
	}
	return n, nil
}
