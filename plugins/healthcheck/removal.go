// The end of assignments: one by one, with their system, or with their configuration. In one transaction each goes with
// its states, and its history is kept for as long as any other from then on: it ages, and is gone when it is old.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/http"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/notification"
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
	//go:embed sql/transitions_count.sql
	transitionsCountSQL string
)

// Removed is what a deletion took with it. The history of what is gone ages, and can be read until then.
type Removed struct {
	Configurations int `json:"configurations"`
	Assignments    int `json:"assignments"`
	Transitions    int `json:"transitions"` // of their statuses

	owners []string // the documents that owned the assignments
}

// others is a conflict if there are owners beside the one whose thing is removed, nil being people: what a document assigns is not
// taken from under it.
func others(owners []string, owner *string) error {
	for _, o := range owners {
		if owner == nil || o != *owner {
			return plugins.Managed(o)
		}
	}
	return nil
}

func (h *Healthcheck) unassign(r *http.Request, _ plugins.None) (gone Removed, err error) {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return gone, err
	}
	ctx := r.Context()
	err = plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) (err error) {
		if err := editable(ctx, tx, system, configuration); err != nil {
			return err
		}
		gone, err = h.Unassign(ctx, tx, system, configuration)
		return err
	})
	return gone, err
}

// Unassign ends an assignment in the caller's transaction. One that is not there is a [plugins.NotFound].
func (h *Healthcheck) Unassign(ctx context.Context, tx *sql.Tx, system, configuration string) (gone Removed, err error) {
	if gone, err = h.endAssignments(ctx, tx, assignmentLockSQL, system, configuration); err != nil {
		return gone, err
	}
	result, err := tx.ExecContext(ctx, unassignSQL, system, configuration)
	return gone, removed("assignment", result, err)
}

// forgetSystem ends all assignments of a system, in the transaction that removes it.
func (h *Healthcheck) forgetSystem(ctx context.Context, tx *sql.Tx, id string) error {
	gone, err := h.endAssignments(ctx, tx, assignmentsLockSQL, id, nil)
	if err != nil {
		return err
	}
	if len(gone.owners) > 0 {
		systems, err := h.catalog.Systems(ctx, tx, []string{id})
		if err != nil || len(systems) == 0 {
			return err
		}
		if err := others(gone.owners, systems[0].ManagedBy); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, assignmentsDeleteSQL, id); err != nil {
		return fmt.Errorf("delete assignments: %w", err)
	}
	return nil
}

func (h *Healthcheck) deleteConfiguration(r *http.Request, _ plugins.None) (gone Removed, err error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return gone, err
	}
	ctx := r.Context()
	err = plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) (err error) {
		if err := h.unmanaged(ctx, tx, id); err != nil {
			return err
		}
		if gone, err = h.DeleteConfiguration(ctx, tx, id); err != nil {
			return err
		}
		return others(gone.owners, nil)
	})
	return gone, err
}

// DeleteConfiguration removes a configuration with its assignments in the caller's transaction. An unknown ID is a
// [plugins.NotFound].
func (h *Healthcheck) DeleteConfiguration(ctx context.Context, tx *sql.Tx, id string) (gone Removed, err error) {
	if _, err := tx.ExecContext(ctx, configurationLockSQL, id); err != nil {
		return gone, fmt.Errorf("lock configuration: %w", err)
	}
	if gone, err = h.endAssignments(ctx, tx, assignmentsLockSQL, nil, id); err != nil {
		return gone, err
	}
	result, err := tx.ExecContext(ctx, configurationDeleteSQL, id)
	gone.Configurations = 1
	return gone, removed("configuration", result, err)
}

// endAssignments prepares the removal of assignments: those that lock selects for a system, or nil, and a
// configuration, or nil, are locked, and how long their history is kept is the default again.
func (h *Healthcheck) endAssignments(ctx context.Context, tx *sql.Tx, lock string, system, configuration any) (gone Removed, err error) {
	var own []key
	var ended []notification.Notice
	all, err := plugins.Rows(ctx, tx, func(row plugins.Row) (k key, err error) {
		var ofItsOwn, alerted bool
		var owner *string
		var name string
		err = row.Scan(&k.systemID, &k.configurationID, &ofItsOwn, &owner, &alerted, &name)
		if alerted {
			ended = append(ended, noMore(k, name))
		}
		if owner != nil {
			gone.owners = append(gone.owners, *owner)
		}
		if ofItsOwn {
			own = append(own, k)
		}
		return k, err
	}, lock, system, configuration)
	if err != nil {
		return gone, fmt.Errorf("lock assignments: %w", err)
	}
	if err := h.notify.Post(ctx, tx, ended); err != nil {
		return gone, err
	}
	for _, k := range own {
		if err := h.host.History.SetRetention(ctx, tx, k.systemID, k.configurationID, nil); err != nil {
			return gone, fmt.Errorf("reset the retention of a check: %w", err)
		}
	}
	gone.Assignments = len(all)
	systems, configurations := columns(all)
	if err := tx.QueryRowContext(ctx, transitionsCountSQL, pq.Array(systems), pq.Array(configurations)).Scan(&gone.Transitions); err != nil {
		return gone, fmt.Errorf("count transitions: %w", err)
	}
	return gone, announce(ctx, tx)
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
