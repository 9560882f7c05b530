// The watch notices what does not happen: that no result comes, and that a source came or went. One server at a time has it,
// every second, and says so in a row of the database.
//
// The hard case is the time that nobody watched, because all servers were down or the database was. Then results and reports
// could not come, and that is nobody's fault but ours. So when the row is old, what could have come meanwhile gets that much
// longer, and for half a minute nothing is called stale.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"checkstack/plugins"
)

var (
	//go:embed sql/watch.sql
	watchSQL string
	//go:embed sql/stale.sql
	staleSQL string
	//go:embed sql/beats_shift.sql
	beatsShiftSQL string
	//go:embed sql/unsettled.sql
	unsettledSQL string
	//go:embed sql/settled.sql
	settledSQL string
	//go:embed sql/expire.sql
	expireSQL string
)

const (
	watchEvery  = time.Second
	watchGap    = 10 * time.Second // without a watch, after which nobody is blamed
	watchGrace  = 30 * time.Second // after such a gap, in which nothing is called stale
	staleEvery  = 3 * time.Second  // which takes a look at every state
	staleBatch  = 1000             // slices that are called stale in one transaction
	expireEvery = time.Hour
)

// watch notices what does not happen.
type watch struct {
	db      *sql.DB
	log     *slog.Logger
	settler *settler
	woken   chan struct{} // holds an element when a source may have come or gone
	outage  outage
	patient time.Time     // until when nothing is called stale
	every   time.Duration // how often what is stale is looked for
	sought  time.Time     // when what is stale was last looked for
	expired time.Time     // when old transitions were last forgotten
}

// loop watches until ctx ends.
func (w *watch) loop(ctx context.Context) {
	w.patient = time.Now().Add(watchGrace)
	for ctx.Err() == nil {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.outage.began(w.log, "nobody watches whether results come", err)
			w.patient = time.Now().Add(watchGrace)
		} else {
			w.outage.ended(w.log, "results are watched again")
		}
		pause(ctx, watchEvery, w.woken)
	}
}

// look has the watch once, unless another server has it.
func (w *watch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for more := true; more; {
		err := plugins.Tx(ctx, w.db, func(tx *sql.Tx) (err error) {
			more = false
			var gap float64
			switch err := tx.QueryRowContext(ctx, watchSQL).Scan(&gap); {
			case errors.Is(err, sql.ErrNoRows):
				return nil
			case err != nil:
				return fmt.Errorf("take the watch: %w", err)
			}
			if missed := time.Duration(gap * float64(time.Second)); missed > watchGap {
				w.patient = time.Now().Add(watchGrace)
				w.log.Info("nobody watched whether results come", "for", missed.Round(time.Second).String())
				if _, err := tx.ExecContext(ctx, beatsShiftSQL, gap); err != nil {
					return fmt.Errorf("give reports more time: %w", err)
				}
			}
			if more, err = w.settleSource(ctx, tx); err != nil || more {
				return err
			}
			if now := time.Now(); now.Before(w.patient) || now.Sub(w.sought) < w.every {
				return nil
			}
			more, err = w.findStale(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	if time.Since(w.sought) >= w.every {
		w.sought = time.Now()
	}
	if time.Since(w.expired) < expireEvery {
		return nil
	}
	w.expired = time.Now()
	_, err := w.db.ExecContext(ctx, expireSQL)
	return err
}

// settleSource settles the checks of one source that came or went, and reports whether there was one.
func (w *watch) settleSource(ctx context.Context, tx *sql.Tx) (found bool, err error) {
	var source string
	switch err := tx.QueryRowContext(ctx, unsettledSQL).Scan(&source); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("find a source that came or went: %w", err)
	}
	keys, err := plugins.Rows(ctx, tx, func(row plugins.Row) (k key, err error) {
		err = row.Scan(&k.systemID, &k.configurationID)
		return k, err
	}, sourceAssignmentsLockSQL, source)
	if err != nil {
		return false, fmt.Errorf("lock the assignments of a source: %w", err)
	}
	if err := w.settler.settle(ctx, tx, keys, func(key) (string, *string) { return causeSource, nil }); err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, settledSQL, source)
	return true, err
}

// findStale finds the slices that have had no result for three intervals, and reports whether there may be more.
func (w *watch) findStale(ctx context.Context, tx *sql.Tx) (more bool, err error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	changes, err := plugins.Rows(ctx, tx, func(row plugins.Row) (Transition, error) {
		c := Transition{SourceID: new(string), To: stale, At: now, Cause: causeStale}
		err := row.Scan(&c.SystemID, &c.ConfigurationID, c.SourceID, &c.From)
		return c, err
	}, staleSQL, staleBatch)
	if err != nil {
		return false, fmt.Errorf("find what is stale: %w", err)
	}
	return len(changes) == staleBatch, w.settler.changed(ctx, tx, changes)
}
