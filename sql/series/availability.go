package series

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"time"

	"checkstack/plugins"

	"github.com/lib/pq"
)

var (
	//go:embed availability_windows.sql
	availabilityWindowsSQL string
	//go:embed availability.sql
	availabilitySQL string
)

// windows are the names of the windows of availability, the shortest first.
var windows = [...]string{"24h", "7d", "30d", "90d", "365d"}

// Availability implements [plugins.History]. All windows of all systems are as of one moment, by the database's clock.
// An hour counts in the windows that it begins in, and so does a day that is kept only as a day. A system that was
// never checked, or does not exist, has windows without runs.
func (r *Reader) Availability(ctx context.Context, systemIDs []string) ([]plugins.Availability, error) {
	if len(systemIDs) > MaxSystems {
		return nil, plugins.Invalid("systemId", "expected at most %d systems, not %d", MaxSystems, len(systemIDs))
	}
	for _, id := range systemIDs {
		if id == "" || !IsKey(id) {
			return nil, plugins.Invalid("systemId", "expected texts of 1 to %d characters", MaxID)
		}
	}
	var from [len(windows)]time.Time
	var parts []part
	err := plugins.Tx(ctx, r.DB, func(tx *sql.Tx) (err error) {
		var setting string
		err = tx.QueryRowContext(ctx, availabilityWindowsSQL).Scan(&from[0], &from[1], &from[2], &from[3], &from[4], &setting)
		if err != nil {
			return err
		}
		parts, err = plugins.Rows(ctx, tx, scanPart, availabilitySQL, pq.Array(systemIDs),
			from[0], from[1], from[2], from[3], from[4])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the availability of %d systems: %w", len(systemIDs), err)
	}
	bySystem := make(map[string][]part, len(systemIDs))
	for _, p := range parts {
		bySystem[p.system] = append(bySystem[p.system], p)
	}
	all := make([]plugins.Availability, len(systemIDs))
	for i, id := range systemIDs {
		all[i] = plugins.Availability{SystemID: id, Windows: make([]plugins.Window, len(windows))}
		for n := range windows {
			w := plugins.Window{Name: windows[n], From: from[n].UTC()}
			for _, p := range bySystem[id] {
				if p.in[n] {
					w.Runs += p.runs
					w.Unhealthy += p.unhealthy
				}
			}
			w.Availability = availability(w.Runs, w.Unhealthy)
			all[i].Windows[n] = w
		}
	}
	return all, nil
}

// part is what a system has in a stretch of time, and the windows that this is in.
type part struct {
	system          string
	in              [len(windows)]bool
	runs, unhealthy int64
}

func scanPart(row plugins.Row) (p part, err error) {
	p.in[4] = true
	err = row.Scan(&p.system, &p.in[0], &p.in[1], &p.in[2], &p.in[3], &p.runs, &p.unhealthy)
	return p, err
}
