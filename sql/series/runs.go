package series

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"fmt"

	"checkstack/plugins"
)

// Raw runs are in one partition for each UTC day. A list asks each check's index in each of them only for as many runs
// as it needs, so that neither depends on how long the history is. Only where a source is asked for, runs of others are
// read over, at worst all of the checks that it made.

var (
	//go:embed runs.sql
	runsSQL string
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
	case q.Limit < 1 || q.Limit > MaxRuns:
		return nil, plugins.Invalid("limit", "expected a whole number from 1 to %d", MaxRuns)
	}
	before := "infinity"
	if !q.Before.IsZero() {
		before = Timestamp(q.Before)
	}
	configuration := sql.NullString{String: q.ConfigurationID, Valid: q.ConfigurationID != ""}
	beforeID := cmp.Or(q.BeforeID, "00000000-0000-0000-0000-000000000000") // no ID is less
	runs, err := plugins.Rows(ctx, r.DB, func(row plugins.Row) (run plugins.Run, err error) {
		err = row.Scan(&run.ID, &run.ConfigurationID, &run.SystemID, &run.SourceID, &run.Status, &run.LatencyMs, &run.Message,
			(*[]byte)(&run.Result), &run.ExecutedAt)
		run.ExecutedAt = run.ExecutedAt.UTC()
		return run, err
	}, runsSQL, q.SystemID, configuration, before, beforeID, q.Limit, q.SourceID)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return runs, nil
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
	if err := r.DB.QueryRowContext(ctx, runsCountSQL, q.SystemID, q.ConfigurationID, q.SourceID).Scan(&n); err != nil {
		return 0, fmt.Errorf("count runs: %w", err)
	}
	return n, nil
}
