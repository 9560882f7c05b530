package catalog

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// What configuration as code does with systems and groups. A document of it manages those that come from it: the field
// ManagedBy has its name, and by hand nobody changes them then. All of this is done in the caller's transaction, whose
// commit makes a whole document true at once. Whoever holds groups and systems holds the groups first.
//
// The hard case is a hand that changes what a document is about to take over. Both hold the row, so one waits for the
// other: the document overwrites what the hand has done, or the hand finds that the document manages it.

var (
	//go:embed sql/systems_named.sql
	systemsNamed string
	//go:embed sql/groups_named.sql
	groupsNamed string
	//go:embed sql/systems_managed.sql
	systemsManaged string
	//go:embed sql/groups_managed.sql
	groupsManaged string
	//go:embed sql/systems_release.sql
	releaseSystems string
	//go:embed sql/groups_release.sql
	releaseGroups string
)

// hold locks a row with a statement that says who manages it.
func hold(ctx context.Context, tx *sql.Tx, what, statement, id string) (owner *string, err error) {
	err = tx.QueryRowContext(ctx, statement, id).Scan(&owner)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, plugins.NotFound(what)
	case err != nil:
		return nil, fmt.Errorf("lock a %s: %w", what, err)
	}
	return owner, nil
}

// byHand is hold for a change that a person asks for: that is [plugins.Managed] where a document manages the row.
func byHand(ctx context.Context, tx *sql.Tx, what, statement, id string) error {
	owner, err := hold(ctx, tx, what, statement, id)
	if err == nil && owner != nil {
		return plugins.Managed(*owner)
	}
	return err
}

// named returns the entries with names, by their folded names, and holds them until tx ends.
func (s *entries[T]) named(ctx context.Context, tx *sql.Tx, names []string) (map[string]T, error) {
	folded := make([]string, len(names))
	for i, name := range names {
		folded[i] = plugins.Fold(name)
	}
	found, err := plugins.Rows(ctx, tx, s.scan, s.namedSQL, pq.Array(folded))
	if err != nil {
		return nil, fmt.Errorf("find %ss by name: %w", s.what, err)
	}
	byName := make(map[string]T, len(found))
	for _, e := range found {
		byName[plugins.Fold(System(e).Name)] = e
	}
	return byName, nil
}

// managed returns what a document manages, by name.
func (s *entries[T]) managed(ctx context.Context, db plugins.Queryer, owner string) ([]T, error) {
	found, err := plugins.Rows(ctx, db, s.scan, s.managedSQL, owner)
	if err != nil {
		return nil, fmt.Errorf("find the %ss of a document: %w", s.what, err)
	}
	return found, nil
}

// release gives what a document manages to people.
func (s *entries[T]) release(ctx context.Context, tx *sql.Tx, owner, id string) error {
	one := sql.NullString{String: id, Valid: id != ""}
	if one.Valid && !plugins.IsID(id) {
		return nil
	}
	if _, err := tx.ExecContext(ctx, s.releaseSQL, owner, one); err != nil {
		return fmt.Errorf("release the %ss of a document: %w", s.what, err)
	}
	return nil
}

// SystemsNamed returns the systems with names, whatever their case, by [plugins.Fold] of their names. It holds them, so
// that nobody else changes or deletes them until tx ends. A name that no system has is left out.
func (c *Catalog) SystemsNamed(ctx context.Context, tx *sql.Tx, names []string) (map[string]System, error) {
	return c.systems.named(ctx, tx, names)
}

// GroupsNamed is SystemsNamed for groups.
func (c *Catalog) GroupsNamed(ctx context.Context, tx *sql.Tx, names []string) (map[string]Group, error) {
	return c.groups.named(ctx, tx, names)
}

// ManagedSystems returns the systems that a document manages, by name.
func (c *Catalog) ManagedSystems(ctx context.Context, db plugins.Queryer, owner string) ([]System, error) {
	return c.systems.managed(ctx, db, owner)
}

// ManagedGroups returns the groups that a document manages, by name.
func (c *Catalog) ManagedGroups(ctx context.Context, db plugins.Queryer, owner string) ([]Group, error) {
	return c.groups.managed(ctx, db, owner)
}

// UpdateSystem replaces the name, the description, the metadata and who manages it of the system with the ID of s,
// whoever manages it before, and calls what was given to OnSystemChanged. The error for a name that is taken has status
// 409, and tx is of no more use after it.
func (c *Catalog) UpdateSystem(ctx context.Context, tx *sql.Tx, s System) (System, error) {
	if !plugins.IsID(s.ID) {
		return System{}, plugins.NotFound("system")
	}
	return c.systems.update(ctx, tx, s)
}

// DeleteSystem deletes a system, whoever manages it, as its route does.
func (c *Catalog) DeleteSystem(ctx context.Context, tx *sql.Tx, id string) error {
	if !plugins.IsID(id) {
		return plugins.NotFound("system")
	}
	if _, err := hold(ctx, tx, "system", lockSystemForDelete, id); err != nil {
		return err
	}
	return c.removeSystem(ctx, tx, id)
}

// CreateGroup is CreateSystem for groups. The new one is empty.
func (c *Catalog) CreateGroup(ctx context.Context, tx *sql.Tx, g Group) (Group, error) {
	return c.groups.insert(ctx, tx, g)
}

// UpdateGroup is UpdateSystem for groups. Its systems stay as they are.
func (c *Catalog) UpdateGroup(ctx context.Context, tx *sql.Tx, g Group) (Group, error) {
	if !plugins.IsID(g.ID) {
		return Group{}, plugins.NotFound("group")
	}
	return c.groups.update(ctx, tx, g)
}

// DeleteGroup deletes a group, whoever manages it. Its systems stay.
func (c *Catalog) DeleteGroup(ctx context.Context, tx *sql.Tx, id string) error {
	if !plugins.IsID(id) {
		return plugins.NotFound("group")
	}
	if err := c.notify.Forget(ctx, tx, GroupTarget, id); err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, deleteGroup, id)
	if err != nil {
		return fmt.Errorf("delete a group: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, plugins.NotFound("group"))
	}
	return nil
}

//go:embed sql/group_memberships.sql
var groupMemberships string

// GroupMembers returns the IDs of the systems of groups, in the order of their names, by the IDs of the groups. A group
// that is empty, or does not exist, is left out.
func (c *Catalog) GroupMembers(ctx context.Context, db plugins.Queryer, groupIDs []string) (map[string][]string, error) {
	ids := slices.DeleteFunc(slices.Clone(groupIDs), func(id string) bool { return !plugins.IsID(id) })
	members := make(map[string][]string)
	_, err := plugins.Rows(ctx, db, func(row plugins.Row) (system string, err error) {
		var group string
		err = row.Scan(&group, &system)
		members[group] = append(members[group], system)
		return system, err
	}, groupMemberships, pq.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read the systems of groups: %w", err)
	}
	return members, nil
}

var (
	//go:embed sql/members_lock.sql
	lockMembers string
	//go:embed sql/members_crowded.sql
	membersCrowded string
	//go:embed sql/members_replace.sql
	replaceMembers string
)

// SetMembers makes systems those of a group, whoever manages it, and takes all others out of it. A group or a system that
// does not exist is a [plugins.NotFound]; more than a group or a system may have is status 409.
func (c *Catalog) SetMembers(ctx context.Context, tx *sql.Tx, groupID string, systemIDs []string) error {
	ids := slices.Compact(append([]string{}, slices.Sorted(slices.Values(systemIDs))...)) // never null
	switch {
	case !plugins.IsID(groupID):
		return plugins.NotFound("group")
	case slices.ContainsFunc(ids, func(id string) bool { return !plugins.IsID(id) }):
		return plugins.NotFound("system")
	case len(ids) > maxSystemsInGroup:
		return tooMany("a group has at most %d systems", maxSystemsInGroup)
	}
	if _, err := hold(ctx, tx, "group", lockGroupMembers, groupID); err != nil {
		return err
	}
	found, err := plugins.Rows(ctx, tx, scanID, lockMembers, pq.Array(ids))
	switch {
	case err != nil:
		return fmt.Errorf("lock systems: %w", err)
	case len(found) < len(ids):
		return plugins.NotFound("system")
	}
	var crowded bool
	if err := tx.QueryRowContext(ctx, membersCrowded, groupID, pq.Array(ids), maxGroupsOfSystem).Scan(&crowded); err != nil {
		return fmt.Errorf("count memberships: %w", err)
	}
	if crowded {
		return tooMany("a system is in at most %d groups", maxGroupsOfSystem)
	}
	if _, err := tx.ExecContext(ctx, replaceMembers, groupID, pq.Array(ids)); err != nil {
		return fmt.Errorf("replace the systems of a group: %w", err)
	}
	return nil
}

// ReleaseSystems gives the systems that a document manages to people: the one with an ID, or all of them if that is empty.
// What the document does not manage stays as it is.
func (c *Catalog) ReleaseSystems(ctx context.Context, tx *sql.Tx, owner, id string) error {
	return c.systems.release(ctx, tx, owner, id)
}

// ReleaseGroups is ReleaseSystems for groups.
func (c *Catalog) ReleaseGroups(ctx context.Context, tx *sql.Tx, owner, id string) error {
	return c.groups.release(ctx, tx, owner, id)
}
