// Assignments: which configurations are checked for which systems, and from where. Systems are the catalog's, in a
// schema that nothing here refers to. So whoever assigns holds the system's row while it writes, and the catalog tells
// of every system it removes inside the transaction that removes it: no assignment outlives its system.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

var (
	//go:embed sql/assign.sql
	assignSQL string
	//go:embed sql/assign_sources.sql
	assignSourcesSQL string
	//go:embed sql/sources_assignable.sql
	sourcesAssignableSQL string
	//go:embed sql/assignment_sources.sql
	assignmentSourcesSQL string
	//go:embed sql/assignments.sql
	assignmentsSQL string
	//go:embed sql/assignable.sql
	assignableSQL string
	//go:embed sql/assigned.sql
	assignedSQL string
)

const (
	maxChecks       = 500    // of one system, so that its status stays a page
	maxSources      = 50     // of one check
	maxSourceChecks = 10_000 // of one source beside this server, so that its list stays one answer
)

// Assignment is a configuration that is checked for a system.
type Assignment struct {
	SystemID        string     `json:"systemId"`
	ConfigurationID string     `json:"configurationId"`
	Name            string     `json:"name"` // of the configuration
	Type            string     `json:"type"`
	Enabled         bool       `json:"enabled"`
	Sources         []string   `json:"sources"`   // where the check is made: "local" for this server, first, and the IDs of satellites
	NextRunAt       *time.Time `json:"nextRunAt"` // on this server; nil while it does not make the check
	CreatedAt       time.Time  `json:"createdAt"`
}

// AssignmentInput is what an editor says of an assignment.
type AssignmentInput struct {
	Enabled *bool `json:"enabled"` // required

	// Sources are "local" and the IDs of satellites, 1 to 50, each once. Without them they stay as they are; those of a
	// new assignment are then "local".
	Sources []string `json:"sources,omitempty"`
}

// Validate asks for enabled, and for sources that could be some.
func (in *AssignmentInput) Validate() error {
	if in.Enabled == nil {
		return plugins.Invalid("enabled", "expected true or false")
	}
	if in.Sources == nil {
		return nil
	}
	if n := len(in.Sources); n < 1 || n > maxSources {
		return plugins.Invalid("sources", "expected 1 to %d sources, not %d", maxSources, n)
	}
	for i, s := range in.Sources {
		if name, err := plugins.Name("sources", s); err != nil || name != s {
			return plugins.Invalid("sources", "expected %q or the ID of a satellite as each source", local)
		}
		if slices.Contains(in.Sources[:i], s) {
			return plugins.Invalid("sources", "expected each source once, but %q is there again", s)
		}
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
		a, err = assign(ctx, tx, system, configuration, *in.Enabled, in.Sources)
		return err
	})
	if err == nil {
		h.scheduler.wake()
	}
	return a, err
}

// assign writes an assignment. Without sources they stay as they are. The caller holds the system's row.
func assign(ctx context.Context, tx *sql.Tx, system, configuration string, enabled bool, sources []string) (Assignment, error) {
	a := Assignment{SystemID: system, ConfigurationID: configuration}
	var others int
	err := tx.QueryRowContext(ctx, assignableSQL, system, configuration).Scan(&a.Name, &a.Type, &others)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return a, plugins.NotFound("configuration")
	case err != nil:
		return a, fmt.Errorf("read configuration: %w", err)
	case others >= maxChecks:
		return a, limitReached("a system may have at most %d checks", maxChecks)
	}
	var here *bool // nil: as it is
	satellites := slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return s == local })
	if sources != nil {
		here = new(len(satellites) < len(sources))
		if err := assignable(ctx, tx, system, configuration, satellites); err != nil {
			return a, err
		}
	}
	var isHere bool
	var next time.Time
	err = tx.QueryRowContext(ctx, assignSQL, system, configuration, enabled, here).Scan(&a.Enabled, &isHere, &next, &a.CreatedAt)
	if err != nil {
		return a, fmt.Errorf("write assignment: %w", err)
	}
	if sources != nil {
		if _, err := tx.ExecContext(ctx, assignSourcesSQL, system, configuration, pq.Array(satellites), isHere); err != nil {
			return a, fmt.Errorf("write the sources of an assignment: %w", err)
		}
	}
	if err := tx.QueryRowContext(ctx, assignmentSourcesSQL, system, configuration).Scan(pq.Array(&satellites)); err != nil {
		return a, fmt.Errorf("read the sources of an assignment: %w", err)
	}
	a.place(isHere, satellites, next)
	return a, announce(ctx, tx)
}

// assignable holds the satellites that are to make a check. One that does not exist is an error.
func assignable(ctx context.Context, tx *sql.Tx, system, configuration string, satellites []string) error {
	if len(satellites) == 0 {
		return nil
	}
	checks := make(map[string]int) // others of each
	_, err := plugins.Rows(ctx, tx, func(row plugins.Row) (id string, err error) {
		var others int
		err = row.Scan(&id, &others)
		checks[id] = others
		return id, err
	}, sourcesAssignableSQL, system, configuration, pq.Array(satellites))
	if err != nil {
		return fmt.Errorf("read sources: %w", err)
	}
	for _, id := range satellites {
		others, exists := checks[id]
		switch {
		case !exists:
			return plugins.Invalid("sources", "expected %q or the ID of a satellite as each source, but there is no satellite %q", local, id)
		case others >= maxSourceChecks:
			return limitReached("a satellite may have at most %d checks", maxSourceChecks)
		}
	}
	return nil
}

// place says where an assignment is checked, and when next if it is so here.
func (a *Assignment) place(here bool, satellites []string, next time.Time) {
	a.Sources = []string{}
	if here {
		a.Sources = append(a.Sources, local)
	}
	a.Sources = append(a.Sources, satellites...)
	if here && a.Enabled {
		a.NextRunAt = &next
	}
}

func limitReached(format string, limit int) error {
	return &plugins.Error{Status: http.StatusConflict, Title: "Limit reached", Message: fmt.Sprintf(format, limit)}
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
	var here bool
	var satellites []string
	var next time.Time
	err := row.Scan(&a.SystemID, &a.ConfigurationID, &a.Name, &a.Type, &a.Enabled, &here, pq.Array(&satellites), &next, &a.CreatedAt)
	a.place(here, satellites, next)
	return a, err
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
