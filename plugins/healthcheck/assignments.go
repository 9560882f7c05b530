// Assignments: which configurations are checked for which systems. Systems are the catalog's, in a schema that nothing here
// refers to. So whoever assigns holds the system's row while it writes, and the catalog tells of every system it
// removes inside the transaction that removes it: no assignment outlives its system.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"time"

	"checkstack/plugins"
)

var (
	//go:embed sql/assign.sql
	assignSQL string
	//go:embed sql/unassign.sql
	unassignSQL string
	//go:embed sql/assignments.sql
	assignmentsSQL string
	//go:embed sql/assignable.sql
	assignableSQL string
	//go:embed sql/assigned.sql
	assignedSQL string
	//go:embed sql/assignments_lock.sql
	assignmentsLockSQL string
	//go:embed sql/assignments_delete.sql
	assignmentsDeleteSQL string
)

// maxChecks is how many checks one system may have, so that its status stays a page.
const maxChecks = 500

// Assignment is a configuration that is checked for a system.
type Assignment struct {
	SystemID        string     `json:"systemId"`
	ConfigurationID string     `json:"configurationId"`
	Name            string     `json:"name"` // of the configuration
	Type            string     `json:"type"`
	Enabled         bool       `json:"enabled"`
	NextRunAt       *time.Time `json:"nextRunAt"` // nil while it is not enabled
	CreatedAt       time.Time  `json:"createdAt"`
}

// AssignmentInput is what an editor says of an assignment.
type AssignmentInput struct {
	Enabled *bool `json:"enabled"` // required
}

// Validate asks for enabled.
func (in *AssignmentInput) Validate() error {
	if in.Enabled == nil {
		return plugins.Invalid("enabled", "expected true or false")
	}
	return nil
}

func (h *Healthcheck) assign(r *http.Request, in AssignmentInput) (Assignment, error) {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return Assignment{}, err
	}
	ctx := r.Context()
	var a Assignment
	err = plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) (err error) {
		if err := h.catalog.LockSystem(ctx, tx, system); err != nil {
			return err
		}
		a, err = assign(ctx, tx, system, configuration, *in.Enabled)
		return err
	})
	if err == nil {
		h.scheduler.wake()
	}
	return a, err
}

// assign writes an assignment. The caller holds the system's row.
func assign(ctx context.Context, tx *sql.Tx, system, configuration string, enabled bool) (Assignment, error) {
	a := Assignment{SystemID: system, ConfigurationID: configuration}
	var others int
	err := tx.QueryRowContext(ctx, assignableSQL, system, configuration).Scan(&a.Name, &a.Type, &others)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return a, plugins.NotFound("configuration")
	case err != nil:
		return a, fmt.Errorf("read configuration: %w", err)
	case others >= maxChecks:
		return a, &plugins.Error{Status: http.StatusConflict, Title: "Limit reached",
			Message: fmt.Sprintf("a system may have at most %d checks", maxChecks)}
	}
	var next time.Time
	err = tx.QueryRowContext(ctx, assignSQL, system, configuration, enabled).Scan(&a.Enabled, &next, &a.CreatedAt)
	if err != nil {
		return a, fmt.Errorf("write assignment: %w", err)
	}
	if enabled {
		a.NextRunAt = &next
	}
	return a, nil
}

func (h *Healthcheck) unassign(r *http.Request, _ plugins.None) (plugins.None, error) {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return plugins.None{}, err
	}
	ctx := r.Context()
	return plugins.None{}, plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, unassignSQL, system, configuration)
		return removed("assignment", result, err)
	})
}

func (h *Healthcheck) listAssignments(r *http.Request, _ plugins.None) (plugins.List[Assignment], error) {
	system, err := h.systemOf(r)
	if err != nil {
		return plugins.List[Assignment]{}, err
	}
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Assignment]{}, err
	}
	return plugins.ListRows(r.Context(), h.host.DB, page, scanAssignment, assignmentsSQL, system)
}

func scanAssignment(row plugins.Row) (Assignment, error) {
	var a Assignment
	var next time.Time
	err := row.Scan(&a.SystemID, &a.ConfigurationID, &a.Name, &a.Type, &a.Enabled, &next, &a.CreatedAt)
	if a.Enabled {
		a.NextRunAt = &next
	}
	return a, err
}

// forgetSystem ends all assignments of a system, in the transaction that removes it.
func (h *Healthcheck) forgetSystem(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, assignmentsLockSQL, id, nil); err != nil {
		return fmt.Errorf("lock assignments: %w", err)
	}
	if _, err := tx.ExecContext(ctx, assignmentsDeleteSQL, id); err != nil {
		return fmt.Errorf("delete assignments: %w", err)
	}
	return nil
}

// systemOf returns the ID of the system that a request is about, which must exist.
func (h *Healthcheck) systemOf(r *http.Request) (string, error) {
	id, err := plugins.PathID(r, "systemId", "system")
	if err != nil {
		return "", err
	}
	_, err = h.catalog.System(r.Context(), id)
	return id, err
}

func assignmentPath(r *http.Request) (system, configuration string, err error) {
	if system, err = plugins.PathID(r, "systemId", "system"); err != nil {
		return "", "", err
	}
	configuration, err = plugins.PathID(r, "configurationId", "configuration")
	return system, configuration, err
}
