// Assignments: which configurations are checked for which systems, and from where. Systems are the catalog's, in a
// schema that nothing here refers to. So whoever assigns holds the system's row while it writes, and the catalog tells
// of every system it removes inside the transaction that removes it: no assignment outlives its system.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
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
	//go:embed sql/assignment_managed.sql
	assignmentManagedSQL string
	//go:embed sql/assignment_status.sql
	assignmentStatusSQL string
	//go:embed sql/states_forget.sql
	statesForgetSQL string
)

const (
	maxChecks       = 500    // of one system, so that its status stays a page
	maxSources      = 50     // of one check
	maxSourceChecks = 10_000 // of one source beside this server, so that its list stays one answer
)

// Assignment is a configuration that is checked for a system.
type Assignment struct {
	SystemID        string         `json:"systemId"`
	ConfigurationID string         `json:"configurationId"`
	Name            string         `json:"name"` // of the configuration
	Type            string         `json:"type"`
	Enabled         bool           `json:"enabled"`
	Sources         []string       `json:"sources"`    // where the check is made: "local" for this server, first, and the IDs of satellites
	Thresholds      Thresholds     `json:"thresholds"` // how many runs change the status
	Quorum          *int           `json:"quorum"`     // how many sources must see that something is wrong; nil: any
	Status          plugins.Status `json:"status"`     // of the check as a whole
	Since           time.Time      `json:"since"`
	NextRunAt       *time.Time     `json:"nextRunAt"` // on this server; nil while it does not make the check
	ManagedBy       *string        `json:"managedBy"` // the document that owns it; nil: people do
	CreatedAt       time.Time      `json:"createdAt"`

	// HeartbeatToken is what the target of a check of type heartbeat reports with, and HeartbeatPath where to. They are shown
	// once, when the token is made.
	HeartbeatToken string `json:"heartbeatToken,omitempty"`
	HeartbeatPath  string `json:"heartbeatPath,omitempty"`
}

// AssignmentInput is what an editor says of an assignment. What is left out stays as it is, or is the default of a new one.
type AssignmentInput struct {
	Enabled    *bool       `json:"enabled,omitempty"`    // by default true
	Sources    []string    `json:"sources,omitempty"`    // "local" and the IDs of satellites, 1 to 50, each once; by default "local"
	Thresholds *Thresholds `json:"thresholds,omitempty"` // by default those of [DefaultThresholds]
	Quorum     *int        `json:"quorum,omitempty"`     // 1 to 50; 1, the default, is any source
}

// Validate checks the thresholds, the quorum, and that the sources could be some.
func (in *AssignmentInput) Validate() error {
	if in.Thresholds != nil {
		if err := in.Thresholds.complete(); err != nil {
			return err
		}
	}
	if in.Quorum != nil && (*in.Quorum < 1 || *in.Quorum > maxSources) {
		return plugins.Invalid("quorum", "expected a whole number of sources from 1 to %d, not %d", maxSources, *in.Quorum)
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
		a, err = h.assignByHand(ctx, tx, system, configuration, in, 0)
		return err
	})
	if err == nil {
		h.scheduler.wake()
	}
	return a, err
}

// editable holds an assignment that people own, or that is not there. One that a document owns is a conflict. Nothing that
// comes before an assignment in the order of locks may be locked after it.
func editable(ctx context.Context, tx *sql.Tx, system, configuration string) error {
	var owner *string
	err := tx.QueryRowContext(ctx, assignmentManagedSQL, system, configuration).Scan(&owner)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("read assignment: %w", err)
	case owner != nil:
		return plugins.Managed(*owner)
	}
	return nil
}

// Assign has a configuration checked for a system, in the caller's transaction, which holds the system; owner is the document
// that owns the assignment, or nil. What is wrong with in is told as by the API.
func (h *Healthcheck) Assign(ctx context.Context, tx *sql.Tx, system, configuration string, in AssignmentInput, owner *string) (Assignment, error) {
	a, _, err := h.assignAnyhow(ctx, tx, system, configuration, in, owner, 0)
	return a, err
}

// assignByHand is Assign for people: an assignment that a document owns is a conflict. The first run is due a little later than now.
func (h *Healthcheck) assignByHand(
	ctx context.Context, tx *sql.Tx, system, configuration string, in AssignmentInput, later time.Duration,
) (Assignment, error) {
	a, before, err := h.assignAnyhow(ctx, tx, system, configuration, in, nil, later)
	if err == nil && before != nil {
		err = plugins.Managed(*before)
	}
	return a, err
}

// assignAnyhow is Assign where the first run is due a little later than now. It also returns who owned the assignment before.
func (h *Healthcheck) assignAnyhow(
	ctx context.Context, tx *sql.Tx, system, configuration string, in AssignmentInput, owner *string, later time.Duration,
) (a Assignment, before *string, err error) {
	a = Assignment{SystemID: system, ConfigurationID: configuration}
	if err := in.Validate(); err != nil {
		return a, nil, err
	}
	c, others, err := scanAssignable(tx.QueryRowContext(ctx, assignableSQL, system, configuration))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return a, nil, plugins.NotFound("configuration")
	case err != nil:
		return a, nil, fmt.Errorf("read configuration: %w", err)
	case others >= maxChecks:
		return a, nil, limitReached("a system may have at most %d checks", maxChecks)
	}
	var vars, thresholds, initial *string
	if c.Template {
		systems, err := h.catalog.HoldSystems(ctx, tx, []string{system}) // as this transaction has it; who changes it afterwards finds the assignment
		if err != nil {
			return a, nil, err
		}
		if len(systems) == 0 {
			return a, nil, plugins.NotFound("system")
		}
		text, err := h.types.fits(c, systems[0])
		if err != nil {
			return a, nil, err
		}
		vars = new(string(text))
	}
	if in.Thresholds != nil {
		text, err := json.Marshal(in.Thresholds)
		if err != nil {
			return a, nil, fmt.Errorf("write thresholds: %w", err)
		}
		thresholds = new(string(text))
	}
	if c.Type == heartbeat { // those of all others are what nothing stands for
		text, err := json.Marshal(DefaultThresholds(heartbeat))
		if err != nil {
			return a, nil, fmt.Errorf("write thresholds: %w", err)
		}
		initial = new(string(text))
	}
	a.Name, a.Type = c.Name, c.Type
	var here *bool // nil: as it is
	satellites := slices.DeleteFunc(slices.Clone(in.Sources), func(s string) bool { return s == local })
	if in.Sources != nil {
		if c.Type == heartbeat && len(satellites) > 0 {
			return a, nil, plugins.Invalid("sources", "expected %q alone, because it is this server that the target reports to", local)
		}
		here = new(len(satellites) < len(in.Sources))
		if err := assignable(ctx, tx, system, configuration, satellites); err != nil {
			return a, nil, err
		}
	}
	var isHere, existed, wasOn, fresh bool
	var next time.Time
	var kept []byte
	err = tx.QueryRowContext(ctx, assignSQL, system, configuration, in.Enabled, here, thresholds, in.Quorum, vars, owner, !c.Enabled,
		later.Milliseconds(), initial).Scan(&a.Enabled, &isHere, &next, &a.CreatedAt, &a.Status, &a.Since, &kept, &a.Quorum, &existed, &wasOn, &before, &fresh)
	if err != nil {
		return a, nil, fmt.Errorf("write assignment: %w", err)
	}
	if !fresh || len(satellites) > 0 { // a new one has none
		if in.Sources != nil {
			if _, err := tx.ExecContext(ctx, assignSourcesSQL, system, configuration, pq.Array(satellites), isHere); err != nil {
				return a, nil, fmt.Errorf("write the sources of an assignment: %w", err)
			}
		}
		if err := tx.QueryRowContext(ctx, assignmentSourcesSQL, system, configuration).Scan(pq.Array(&satellites)); err != nil {
			return a, nil, fmt.Errorf("read the sources of an assignment: %w", err)
		}
	}
	if c.Type == heartbeat && !existed {
		if a.HeartbeatToken, err = h.renewBeat(ctx, tx, key{system, configuration}); err != nil {
			return a, nil, err
		}
		a.HeartbeatPath = h.beatPath(a.HeartbeatToken)
	}
	if on := a.Enabled && c.Enabled; !fresh || !on { // nobody has seen a new one that is on, and so it is unknown, as it was written
		if on && existed && !wasOn {
			err = h.turned(ctx, tx, []key{{system, configuration}}, true)
		} else {
			err = h.settle(ctx, tx, []key{{system, configuration}})
		}
		if err != nil {
			return a, nil, err
		}
		if err := tx.QueryRowContext(ctx, assignmentStatusSQL, system, configuration).Scan(&a.Status, &a.Since); err != nil {
			return a, nil, fmt.Errorf("read the status of an assignment: %w", err)
		}
	}
	if a.Thresholds, err = parseThresholds(kept); err != nil {
		return a, nil, fmt.Errorf("read thresholds: %w", err)
	}
	a.ManagedBy = owner
	a.place(isHere, !c.Enabled, satellites, next)
	return a, before, announce(ctx, tx)
}

// turned settles checks that were turned on or off. Nobody has looked at one that was off, so what was seen before is
// forgotten when it is on again.
func (h *Healthcheck) turned(ctx context.Context, tx *sql.Tx, keys []key, on bool) error {
	if on {
		systems, configurations := columns(keys)
		if _, err := tx.ExecContext(ctx, statesForgetSQL, pq.Array(systems), pq.Array(configurations)); err != nil {
			return fmt.Errorf("forget what was seen of checks: %w", err)
		}
	}
	return h.settle(ctx, tx, keys)
}

// settle makes the statuses of checks anew after an edit. The caller holds the assignments.
func (h *Healthcheck) settle(ctx context.Context, tx *sql.Tx, keys []key) error {
	return h.recorder.settler.settle(ctx, tx, keys, func(key) (string, *string) { return causeEdit, nil })
}

// scanAssignable reads a configuration and how many other checks the system has.
func scanAssignable(row plugins.Row) (c Configuration, others int, err error) {
	c, err = scanConfiguration(trailing{row, &others})
	return c, others, err
}

// trailing reads a last column beyond those that a function asks for.
type trailing struct {
	row  plugins.Row
	last any
}

// Scan reads a row.
func (t trailing) Scan(dest ...any) error { return t.row.Scan(append(dest, t.last)...) }

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
func (a *Assignment) place(here, held bool, satellites []string, next time.Time) {
	a.Sources = []string{}
	if here {
		a.Sources = append(a.Sources, local)
	}
	a.Sources = append(a.Sources, satellites...)
	if here && a.Enabled && !held {
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
	var here, held bool
	var satellites []string
	var next time.Time
	var thresholds []byte
	err := row.Scan(&a.SystemID, &a.ConfigurationID, &a.Name, &a.Type, &a.Enabled, &held, &here, pq.Array(&satellites), &next, &a.CreatedAt,
		&thresholds, &a.Quorum, &a.Status, &a.Since, &a.ManagedBy)
	if err == nil {
		a.Thresholds, err = parseThresholds(thresholds)
	}
	a.place(here, held, satellites, next)
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
