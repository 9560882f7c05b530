package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// What other plugins can do with systems, and how one is deleted.

var (
	//go:embed sql/system_insert.sql
	insertSystem string
	//go:embed sql/system_update.sql
	updateSystem string
	//go:embed sql/system_find.sql
	findSystem string
	//go:embed sql/system_list.sql
	listSystems string
	//go:embed sql/system_hold.sql
	holdSystem string
)

// System returns the system with an ID; [plugins.NotFound] if there is none.
func (c *Catalog) System(ctx context.Context, id string) (System, error) {
	if !plugins.IsID(id) {
		return System{}, plugins.NotFound("system")
	}
	return c.systems.read(ctx, c.host.DB, id)
}

//go:embed sql/system_names.sql
var systemNames string

// SystemNames returns the names of systems by their IDs. An ID that no system has is left out.
func (c *Catalog) SystemNames(ctx context.Context, ids []string) (map[string]string, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !plugins.IsID(id) })
	if len(ids) == 0 {
		return map[string]string{}, nil
	}
	found, err := plugins.Rows(ctx, c.host.DB, func(row plugins.Row) (s System, err error) {
		err = row.Scan(&s.ID, &s.Name)
		return s, err
	}, systemNames, pq.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read the names of systems: %w", err)
	}
	names := make(map[string]string, len(found))
	for _, s := range found {
		names[s.ID] = s.Name
	}
	return names, nil
}

//go:embed sql/systems_find.sql
var findSystems string

// Systems returns the systems with IDs, in the order of the IDs. An ID that no system has, whatever it is, is left out.
func (c *Catalog) Systems(ctx context.Context, db plugins.Queryer, ids []string) ([]System, error) {
	return c.someSystems(ctx, db, findSystems, ids)
}

//go:embed sql/systems_hold.sql
var holdSystems string

// HoldSystems is Systems for whoever keeps what it says of them in the caller's transaction: until that ends nobody changes them.
func (c *Catalog) HoldSystems(ctx context.Context, tx *sql.Tx, ids []string) ([]System, error) {
	return c.someSystems(ctx, tx, holdSystems, ids)
}

func (c *Catalog) someSystems(ctx context.Context, db plugins.Queryer, statement string, ids []string) ([]System, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !plugins.IsID(id) })
	if len(ids) == 0 {
		return []System{}, nil
	}
	found, err := plugins.Rows(ctx, db, c.systems.scan, statement, pq.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read systems: %w", err)
	}
	return found, nil
}

// AllSystems returns a page of all systems, by name.
func (c *Catalog) AllSystems(ctx context.Context, db plugins.Queryer, page plugins.Page) (plugins.List[System], error) {
	return plugins.ListRows(ctx, db, page, c.systems.scan, listSystems, "")
}

// CreateSystem makes a system in the caller's transaction: its name, description, metadata and who manages it are taken
// from s and checked, the rest is assigned. The error for a name that is taken has status 409 and leaves tx usable.
func (c *Catalog) CreateSystem(ctx context.Context, tx *sql.Tx, s System) (System, error) {
	return c.systems.insert(ctx, tx, s)
}

//go:embed sql/catalog_empty.sql
var catalogEmpty string

// Empty reports whether there is neither a system nor a group.
func (c *Catalog) Empty(ctx context.Context, tx *sql.Tx) (empty bool, err error) {
	if err := tx.QueryRowContext(ctx, catalogEmpty).Scan(&empty); err != nil {
		return false, fmt.Errorf("look whether the catalog is empty: %w", err)
	}
	return empty, nil
}

//go:embed sql/system_lock.sql
var lockSystem string

// LockSystem holds a system against being deleted until tx ends; [plugins.NotFound] if there is none. It is for writers
// of rows that refer to the system. Whoever locks several locks them in the order of their IDs.
func (c *Catalog) LockSystem(ctx context.Context, tx *sql.Tx, id string) error {
	if !plugins.IsID(id) {
		return plugins.NotFound("system")
	}
	return lock(ctx, tx, "system", lockSystem, id)
}

// lock runs a statement that locks one row.
func lock(ctx context.Context, tx *sql.Tx, what, statement, id string) error {
	var locked bool
	err := tx.QueryRowContext(ctx, statement, id).Scan(&locked)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return plugins.NotFound(what)
	case err != nil:
		return fmt.Errorf("lock a %s: %w", what, err)
	}
	return nil
}

// OnSystemChanged has f called whenever a system is updated, inside the transaction that updates it, with the system as
// it is then. An error of f stops the update. The transaction may be given up and tried again, so f must have no effect
// outside it. The function returned takes f back; a call that is under way is not waited for.
func (c *Catalog) OnSystemChanged(f func(ctx context.Context, tx *sql.Tx, s System) error) (remove func()) {
	return c.systems.changed.add(f)
}

// OnSystemDeleted has f called whenever a system is deleted, inside the transaction that deletes it, before its row
// goes and while nobody else can hold it. An error of f stops the deletion. The transaction may be given up and tried
// again, so f must have no effect outside it. The function returned takes f back; a call that is under way is not
// waited for.
func (c *Catalog) OnSystemDeleted(f func(ctx context.Context, tx *sql.Tx, id string) error) (remove func()) {
	return c.deleted.add(f)
}

var (
	//go:embed sql/system_lock_delete.sql
	lockSystemForDelete string
	//go:embed sql/system_delete.sql
	deleteSystem string
)

func (c *Catalog) deleteSystem(r *http.Request, _ plugins.None) (plugins.None, error) {
	ctx := r.Context()
	id, err := plugins.PathID(r, "id", "system")
	if err != nil {
		return plugins.None{}, err
	}
	return plugins.None{}, plugins.Tx(ctx, c.host.DB, func(tx *sql.Tx) error {
		if err := byHand(ctx, tx, "system", lockSystemForDelete, id); err != nil {
			return err
		}
		return c.removeSystem(ctx, tx, id)
	})
}

// removeSystem ends a system that is held, and what refers to it.
func (c *Catalog) removeSystem(ctx context.Context, tx *sql.Tx, id string) error {
	for f := range c.deleted.all() {
		if err := f(ctx, tx, id); err != nil {
			return fmt.Errorf("remove what refers to a system: %w", err)
		}
	}
	if err := c.notify.Forget(ctx, tx, SystemTarget, id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, deleteSystem, id); err != nil {
		return fmt.Errorf("delete a system: %w", err)
	}
	return nil
}
