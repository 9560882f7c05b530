// The end of assignments: one by one, with their system, or with their configuration. In one transaction each goes with
// its states, and its history is kept for as long as any other from then on: it ages, and is gone when it is old.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/http"

	"checkstack/plugins"
)

var (
	//go:embed sql/assignment_lock.sql
	assignmentLockSQL string
	//go:embed sql/unassign.sql
	unassignSQL string
	//go:embed sql/assignments_lock.sql
	assignmentsLockSQL string
	//go:embed sql/assignments_delete.sql
	assignmentsDeleteSQL string
	//go:embed sql/configuration_lock.sql
	configurationLockSQL string
	//go:embed sql/configuration_delete.sql
	configurationDeleteSQL string
)

func (h *Healthcheck) unassign(r *http.Request, _ plugins.None) (plugins.None, error) {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return plugins.None{}, err
	}
	ctx := r.Context()
	return plugins.None{}, plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		if err := h.endAssignments(ctx, tx, assignmentLockSQL, system, configuration); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, unassignSQL, system, configuration)
		return removed("assignment", result, err)
	})
}

// forgetSystem ends all assignments of a system, in the transaction that removes it.
func (h *Healthcheck) forgetSystem(ctx context.Context, tx *sql.Tx, id string) error {
	if err := h.endAssignments(ctx, tx, assignmentsLockSQL, id, nil); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, assignmentsDeleteSQL, id); err != nil {
		return fmt.Errorf("delete assignments: %w", err)
	}
	return nil
}

func (h *Healthcheck) deleteConfiguration(r *http.Request, _ plugins.None) (plugins.None, error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return plugins.None{}, err
	}
	ctx := r.Context()
	return plugins.None{}, plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, configurationLockSQL, id); err != nil {
			return fmt.Errorf("lock configuration: %w", err)
		}
		if err := h.endAssignments(ctx, tx, assignmentsLockSQL, nil, id); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, configurationDeleteSQL, id)
		return removed("configuration", result, err)
	})
}

// endAssignments prepares the removal of assignments: those that lock selects for a system, or nil, and a
// configuration, or nil, are locked, and how long their history is kept is the default again.
func (h *Healthcheck) endAssignments(ctx context.Context, tx *sql.Tx, lock string, system, configuration any) error {
	var own []key
	_, err := plugins.Rows(ctx, tx, func(row plugins.Row) (k key, err error) {
		var ofItsOwn bool
		err = row.Scan(&k.systemID, &k.configurationID, &ofItsOwn)
		if ofItsOwn {
			own = append(own, k)
		}
		return k, err
	}, lock, system, configuration)
	if err != nil {
		return fmt.Errorf("lock assignments: %w", err)
	}
	for _, k := range own {
		if err := h.host.History.SetRetention(ctx, tx, k.systemID, k.configurationID, nil); err != nil {
			return fmt.Errorf("reset the retention of a check: %w", err)
		}
	}
	return announce(ctx, tx)
}

// removed makes of a deletion that found nothing the error that there is no such thing.
func removed(what string, result sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("delete %s: %w", what, err)
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return plugins.NotFound(what)
}
