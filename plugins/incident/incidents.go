package incident

import (
	"cmp"
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
	"checkstack/plugins/notification"
)

// What can be done with an incident.

// incident is an incident as the API shows it.
type incident struct {
	ID         string     `json:"id"`
	Title      string     `json:"title"`
	Severity   string     `json:"severity"`  // minor, major or critical
	Status     string     `json:"status"`    // investigating, identified, monitoring or resolved
	SystemIDs  []string   `json:"systemIds"` // sorted
	CreatedAt  time.Time  `json:"createdAt"`
	UpdatedAt  time.Time  `json:"updatedAt"`
	ResolvedAt *time.Time `json:"resolvedAt"`
}

// detail is an incident with the newest entries of its timeline.
type detail struct {
	incident
	Timeline []entry `json:"timeline"`
}

func scanIncident(row plugins.Row) (i incident, err error) {
	err = row.Scan(&i.ID, &i.Title, &i.Severity, &i.Status, pq.Array(&i.SystemIDs), &i.CreatedAt, &i.UpdatedAt, &i.ResolvedAt)
	return i, err
}

//go:embed sql/incident_find.sql
var findIncident string

func read(ctx context.Context, db plugins.Queryer, id string) (incident, error) {
	i, err := scanIncident(db.QueryRowContext(ctx, findIncident, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return incident{}, plugins.NotFound("incident")
	case err != nil:
		return incident{}, fmt.Errorf("read an incident: %w", err)
	}
	return i, nil
}

//go:embed sql/incident_list.sql
var listIncidents string

func (p *Incidents) list(r *http.Request, _ plugins.None) (plugins.List[incident], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[incident]{}, err
	}
	f, err := filterOf(r)
	if err != nil {
		return plugins.List[incident]{}, err
	}
	return plugins.ListRows(r.Context(), p.host.DB, page, scanIncident, listIncidents, f.status, f.systemID)
}

func (p *Incidents) find(r *http.Request, _ plugins.None) (detail, error) {
	id, err := plugins.PathID(r, "id", "incident")
	if err != nil {
		return detail{}, err
	}
	i, err := read(r.Context(), p.host.DB, id)
	if err != nil {
		return detail{}, err
	}
	timeline, err := p.timeline(r.Context(), id, plugins.Page{Limit: maxTimeline})
	return detail{i, timeline.Items}, err
}

//go:embed sql/incident_insert.sql
var insertIncident string

func (p *Incidents) open(r *http.Request, in opening) (plugins.Created[incident], error) {
	ctx := r.Context()
	var opened incident
	err := plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
		if err := p.lockSystems(ctx, tx, in.SystemIDs); err != nil {
			return err
		}
		id := plugins.NewID()
		if _, err := tx.ExecContext(ctx, insertIncident, id, in.Title, in.Severity); err != nil {
			return fmt.Errorf("open an incident: %w", err)
		}
		if err := setSystems(ctx, tx, id, in.SystemIDs); err != nil {
			return err
		}
		if _, err := addEntry(ctx, tx, id, entry{Kind: "opened", Status: new("investigating"), Message: in.Message}); err != nil {
			return err
		}
		if opened, err = read(ctx, tx, id); err != nil {
			return err
		}
		return p.tell(ctx, tx, opened, opened.SystemIDs, news{"1", trouble(opened.Severity), opened.Title, in.Message})
	})
	return plugins.Created[incident]{Location: "/api/" + p.host.ID + "/incidents/" + opened.ID, Value: opened}, err
}

// lockSystems holds systems, sorted by ID, against being deleted until tx ends.
func (p *Incidents) lockSystems(ctx context.Context, tx *sql.Tx, ids []string) error {
	for _, id := range ids {
		err := p.catalog.LockSystem(ctx, tx, id)
		if e, ok := errors.AsType[*plugins.Error](err); ok && e.Status == http.StatusNotFound {
			return plugins.Invalid("systemIds", "expected IDs of systems; there is no system %s", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

//go:embed sql/systems_replace.sql
var replaceSystems string

func setSystems(ctx context.Context, tx *sql.Tx, incident string, ids []string) error {
	if _, err := tx.ExecContext(ctx, replaceSystems, incident, pq.Array(ids)); err != nil {
		return fmt.Errorf("set the systems of an incident: %w", err)
	}
	return nil
}

// change runs f in a transaction that holds an incident, which f is told as it is, and returns the incident afterwards.
// The systems are held first.
func (p *Incidents) change(
	r *http.Request, systems []string, f func(ctx context.Context, tx *sql.Tx, i incident) error,
) (incident, error) {
	ctx := r.Context()
	id, err := plugins.PathID(r, "id", "incident")
	if err != nil {
		return incident{}, err
	}
	var changed incident
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) error {
		if err := p.lockSystems(ctx, tx, systems); err != nil {
			return err
		}
		i, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := f(ctx, tx, i); err != nil {
			return err
		}
		changed, err = read(ctx, tx, id)
		return err
	})
	return changed, err
}

//go:embed sql/incident_lock.sql
var lockIncident string

// lock holds an incident and returns it as the last change left it.
func lock(ctx context.Context, tx *sql.Tx, id string) (incident, error) {
	var locked bool
	err := tx.QueryRowContext(ctx, lockIncident, id).Scan(&locked)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return incident{}, plugins.NotFound("incident")
	case err != nil:
		return incident{}, fmt.Errorf("lock an incident: %w", err)
	}
	return read(ctx, tx, id)
}

func (p *Incidents) replace(r *http.Request, in replacement) (incident, error) {
	return p.edit(r, edit(in))
}

//go:embed sql/incident_edit.sql
var editIncident string

// edit changes what differs; an edit that changes nothing leaves no entry.
func (p *Incidents) edit(r *http.Request, in edit) (incident, error) {
	var wanted []string
	if in.SystemIDs != nil {
		wanted = *in.SystemIDs
	}
	return p.change(r, wanted, func(ctx context.Context, tx *sql.Tx, i incident) error {
		title, severity := i.Title, i.Severity
		var done changes
		if in.Title != nil && *in.Title != title {
			done.Title = &change{title, *in.Title}
			title = *in.Title
		}
		if in.Severity != nil && *in.Severity != severity {
			done.Severity = &change{severity, *in.Severity}
			severity = *in.Severity
		}
		if in.SystemIDs != nil {
			done.SystemsAdded, done.SystemsRemoved = without(wanted, i.SystemIDs), without(i.SystemIDs, wanted)
		}
		moved := len(done.SystemsAdded)+len(done.SystemsRemoved) > 0
		if done.Title == nil && done.Severity == nil && !moved {
			return nil
		}
		if _, err := tx.ExecContext(ctx, editIncident, i.ID, title, severity); err != nil {
			return fmt.Errorf("edit an incident: %w", err)
		}
		if moved {
			if err := setSystems(ctx, tx, i.ID, wanted); err != nil {
				return err
			}
		}
		e, err := addEntry(ctx, tx, i.ID, entry{Kind: "edited", Changes: &done})
		if err != nil || i.Status == "resolved" {
			return err
		}
		if i, err = read(ctx, tx, i.ID); err != nil {
			return err
		}
		return p.tellEdit(ctx, tx, i, e)
	})
}

// without returns the IDs of a that are not in b, which is sorted.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(id string) bool {
		_, found := slices.BinarySearch(b, id)
		return found
	})
}

//go:embed sql/incident_status.sql
var setStatus string

func (p *Incidents) update(r *http.Request, in note) (plugins.Created[entry], error) {
	var added entry
	i, err := p.change(r, nil, func(ctx context.Context, tx *sql.Tx, i incident) (err error) {
		if i.Status == "resolved" && in.Status != "" {
			return alreadyResolved()
		}
		if added, err = advance(ctx, tx, i.ID, in.Status, entry{Kind: "update", Message: in.Message}); err != nil {
			return err
		}
		i.Status = cmp.Or(in.Status, i.Status)
		return p.tell(ctx, tx, i, i.SystemIDs, news{fmt.Sprint(added.Number), notification.Info, i.Title, in.Message})
	})
	location := fmt.Sprintf("/api/%s/incidents/%s/timeline/%d", p.host.ID, i.ID, added.Number)
	return plugins.Created[entry]{Location: location, Value: added}, err
}

func (p *Incidents) resolve(r *http.Request, in *resolution) (incident, error) {
	if in == nil {
		in = &resolution{}
	}
	return p.change(r, nil, func(ctx context.Context, tx *sql.Tx, i incident) error {
		if i.Status == "resolved" {
			return alreadyResolved()
		}
		e, err := advance(ctx, tx, i.ID, "resolved", entry{Kind: "resolved", Message: in.Message})
		if err != nil {
			return err
		}
		i.Status = "resolved"
		return p.tell(ctx, tx, i, i.SystemIDs, news{fmt.Sprint(e.Number), notification.Recovered, i.Title, in.Message})
	})
}

// advance sets the status of an incident, if it is not empty, and adds an entry that says so.
func advance(ctx context.Context, tx *sql.Tx, id, status string, e entry) (entry, error) {
	if _, err := tx.ExecContext(ctx, setStatus, id, status); err != nil {
		return entry{}, fmt.Errorf("set the status of an incident: %w", err)
	}
	if status != "" {
		e.Status = &status
	}
	return addEntry(ctx, tx, id, e)
}

func alreadyResolved() error {
	return &plugins.Error{
		Status:  http.StatusConflict,
		Title:   "Already resolved",
		Message: "the incident is resolved; open another one",
	}
}

//go:embed sql/incident_delete.sql
var deleteIncident string

func (p *Incidents) remove(r *http.Request, _ plugins.None) (plugins.None, error) {
	id, err := plugins.PathID(r, "id", "incident")
	if err != nil {
		return plugins.None{}, err
	}
	return plugins.None{}, plugins.Tx(r.Context(), p.host.DB, func(tx *sql.Tx) error {
		i, err := lock(r.Context(), tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(r.Context(), deleteIncident, id); err != nil {
			return fmt.Errorf("delete an incident: %w", err)
		}
		if i.Status == "resolved" {
			return nil
		}
		return p.tell(r.Context(), tx, i, i.SystemIDs, news{"deleted", notification.Recovered, i.Title, "The incident was deleted."})
	})
}

var (
	//go:embed sql/system_deleted_lock.sql
	lockSystemIncidents string
	//go:embed sql/system_deleted.sql
	forgetSystem string
)

// systemDeleted takes a system out of its incidents, in the transaction that deletes it.
func (p *Incidents) systemDeleted(ctx context.Context, tx *sql.Tx, system string) error {
	if _, err := tx.ExecContext(ctx, lockSystemIncidents, system); err != nil {
		return fmt.Errorf("lock the incidents of a system: %w", err)
	}
	id, name := authorOf(ctx)
	if _, err := tx.ExecContext(ctx, forgetSystem, system, id, name); err != nil {
		return fmt.Errorf("take a system out of its incidents: %w", err)
	}
	return nil
}
