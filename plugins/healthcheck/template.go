// Templates: what ${system.name} stands for. The catalog's word on a system is kept with each assignment of a template, and is
// written anew by the transaction that changes the system, so that a run reads nothing of another plugin, and a satellite
// gets what is true now. A system that lacks what a template needs cannot be assigned to it; one that loses it later has a
// check that cannot be made, which is an error of ours and not an outage of the system.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck/engine"
)

var (
	//go:embed sql/vars_set.sql
	varsSetSQL string
	//go:embed sql/template_systems.sql
	templateSystemsSQL string
	//go:embed sql/vars_refresh.sql
	varsRefreshSQL string
)

// varsOf is what placeholders stand for with a system: its ID, its name, and what in its metadata is a text, a number or a bool.
func varsOf(s catalog.System) map[string]string {
	vars := map[string]string{"system.id": s.ID, "system.name": s.Name}
	for name, value := range s.Metadata {
		switch v := value.(type) {
		case string:
			vars["system.metadata."+name] = v
		case json.Number:
			vars["system.metadata."+name] = v.String()
		case bool, float64, int:
			vars["system.metadata."+name] = fmt.Sprint(v)
		}
	}
	return vars
}

// fits reports what a template needs that a system does not have, as an error of the field.
func (r *registry) fits(c Configuration, s catalog.System) (vars json.RawMessage, err error) {
	if !c.Template {
		return nil, nil
	}
	if vars, err = json.Marshal(varsOf(s)); err != nil {
		return nil, fmt.Errorf("write what placeholders stand for: %w", err)
	}
	kind, done, ok := r.begin(c.Type)
	if !ok {
		return vars, nil // nobody can tell here
	}
	defer done()
	assertions, err := json.Marshal(c.Assertions)
	if err != nil {
		return nil, fmt.Errorf("write assertions: %w", err)
	}
	spec, err := r.spec(kind, check{configurationID: c.ID, config: c.stored, assertions: assertions, vars: vars})
	if err != nil {
		return nil, err
	}
	_, err = engine.Compile(spec)
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		return nil, plugins.Invalid("", "the configuration %q does not fit the system %q: %s: %s", c.Name, s.Name, e.Field, e.Message)
	}
	if _, ours := errors.AsType[*engine.Fault](err); ours {
		return vars, nil // another server may have it
	}
	return vars, err
}

// holdSystems holds the systems that a configuration is assigned to, if it is to be a template, so that what is kept of them stays
// true: they come before the assignments in the order of locks. The caller holds the configuration.
func (h *Healthcheck) holdSystems(ctx context.Context, tx *sql.Tx, id string, template bool) error {
	if !template {
		return nil
	}
	ids, err := templateSystems(ctx, tx, id, template)
	if err != nil {
		return err
	}
	_, err = h.catalog.HoldSystems(ctx, tx, ids)
	return err
}

// templateSystems returns the systems that a configuration is assigned to, if it is a template, or was one.
func templateSystems(ctx context.Context, tx *sql.Tx, id string, template bool) ([]string, error) {
	ids, err := plugins.Rows(ctx, tx, func(row plugins.Row) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	}, templateSystemsSQL, id, template)
	if err != nil {
		return nil, fmt.Errorf("read the systems of a configuration: %w", err)
	}
	return ids, nil
}

// revisit looks again at the systems that a changed configuration is assigned to. The caller holds the configuration.
func (h *Healthcheck) revisit(ctx context.Context, tx *sql.Tx, c Configuration) error {
	ids, err := templateSystems(ctx, tx, c.ID, c.Template)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(ids, 500) {
		systems, err := h.catalog.Systems(ctx, tx, part)
		if err != nil {
			return err
		}
		vars := make([]*string, len(systems))
		keys := make([]string, len(systems))
		for i, s := range systems {
			text, err := h.types.fits(c, s)
			if err != nil {
				return err
			}
			if text != nil {
				vars[i] = new(string(text))
			}
			keys[i] = s.ID
		}
		if _, err := tx.ExecContext(ctx, varsSetSQL, c.ID, pq.Array(keys), pq.Array(vars)); err != nil {
			return fmt.Errorf("write what placeholders stand for: %w", err)
		}
	}
	return nil
}

// systemChanged brings the assignments of templates up to what the catalog says, in the transaction that changes the system.
func (h *Healthcheck) systemChanged(ctx context.Context, tx *sql.Tx, s catalog.System) error {
	vars, err := json.Marshal(varsOf(s))
	if err != nil {
		return fmt.Errorf("write what placeholders stand for: %w", err)
	}
	result, err := tx.ExecContext(ctx, varsRefreshSQL, s.ID, string(vars))
	if err != nil {
		return fmt.Errorf("write what placeholders stand for: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return announce(ctx, tx)
}
