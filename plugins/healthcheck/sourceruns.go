// What a source found. Its runs come in batches, up to 5,000 at a time, late by a moment or by weeks, and by far not
// always in order. All of them go into the history. The state of a check follows the newest one only, and only if that
// is newer than what the same source reported last.
//
// Meanwhile anybody may remove the check, the system, or the source. A run then finds its assignment or it does not: it
// is kept, or refused by name, and the others of its batch do not notice.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

var (
	//go:embed sql/source_lock.sql
	sourceLockSQL string
	//go:embed sql/source_keep.sql
	sourceKeepSQL string
)

// notAssigned is why a run is refused that its source had not to make.
const notAssigned = "not assigned to this satellite"

// RecordFrom records what a source found, in the caller's transaction: at most 5,000 runs, of which those are refused
// that are not of a check that this source has to make. once is for a caller who knows that he never recorded these
// runs before; see [plugins.History].RecordOnce. The state of a check at this source moves to its newest run, never
// back. The runs' SourceID is not looked at. Nothing is kept unless tx commits.
func (h *Healthcheck) RecordFrom(
	ctx context.Context, tx *sql.Tx, source string, runs []plugins.Run, once bool,
) (plugins.Recorded, error) {
	held, err := lockSource(ctx, tx, source, runs)
	if err != nil {
		return plugins.Recorded{}, fmt.Errorf("lock the assignments of a source: %w", err)
	}
	var refused []plugins.Refusal
	kept := make([]plugins.Run, 0, len(runs))
	for _, run := range runs {
		if !held[keyOf(run)].here {
			refused = append(refused, plugins.Refusal{RunID: run.ID, Reason: notAssigned})
			continue
		}
		run.SourceID, run.Message = source, engine.Shorten(run.Message, maxMessage)
		kept = append(kept, run)
	}
	if len(kept) == 0 {
		return plugins.Recorded{Refused: refused}, nil
	}
	record := h.host.History.Record
	if once {
		record = h.host.History.RecordOnce
	}
	recorded, err := record(ctx, tx, kept)
	if err != nil {
		return plugins.Recorded{}, fmt.Errorf("record runs: %w", err)
	}
	if err := h.recorder.settler.advance(ctx, tx, held, kept, recorded.Refused); err != nil {
		return plugins.Recorded{}, fmt.Errorf("advance states: %w", err)
	}
	recorded.Refused = append(refused, recorded.Refused...)
	return recorded, nil
}

// lockSource locks a source and the assignments that runs are of, and returns those that the source has, each with what is
// remembered of it.
func lockSource(ctx context.Context, tx *sql.Tx, source string, runs []plugins.Run) (map[key]kept, error) {
	var locked string
	switch err := tx.QueryRowContext(ctx, sourceLockSQL, source).Scan(&locked); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	asked := make(map[key]bool)
	for _, run := range runs {
		if k := keyOf(run); plugins.IsID(k.configurationID) && plugins.Text("", k.systemID, plugins.MaxName) == nil {
			asked[k] = true
		}
	}
	systems, configurations := columns(slices.Collect(maps.Keys(asked)))
	return hold(ctx, tx, source, sourceKeepSQL, pq.Array(systems), pq.Array(configurations), source)
}

// keyOf returns which check a run is of, as the database writes it.
func keyOf(run plugins.Run) key {
	return key{run.SystemID, strings.ToLower(run.ConfigurationID)}
}
