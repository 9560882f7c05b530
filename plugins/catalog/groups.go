package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/http"
	"slices"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// Which system is in which group. Both sides are bounded, so that a group can be shown with all its systems, and a
// system with all its groups.
const (
	maxSystemsInGroup = 1000
	maxGroupsOfSystem = 100
)

var (
	//go:embed sql/group_insert.sql
	insertGroup string
	//go:embed sql/group_update.sql
	updateGroup string
	//go:embed sql/group_find.sql
	findGroup string
	//go:embed sql/group_list.sql
	listGroups string
)

// groupDetail is a group with what is in it.
type groupDetail struct {
	Group
	SystemIDs []string `json:"systemIds"` // in the order of the systems' names
}

func (c *Catalog) findGroup(r *http.Request, _ plugins.None) (groupDetail, error) {
	g, err := c.groups.find(r, plugins.None{})
	if err != nil {
		return groupDetail{}, err
	}
	ids, err := groupMembers(r.Context(), c.host.DB, g.ID)
	return groupDetail{g, ids}, err
}

//go:embed sql/groups_find.sql
var findGroups string

// Groups returns the groups with IDs, in the order of the IDs. An ID that no group has, whatever it is, is left out.
func (c *Catalog) Groups(ctx context.Context, db plugins.Queryer, ids []string) ([]Group, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !plugins.IsID(id) })
	if len(ids) == 0 {
		return []Group{}, nil
	}
	found, err := plugins.Rows(ctx, db, c.groups.scan, findGroups, pq.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read groups: %w", err)
	}
	return found, nil
}

// GroupSystems returns the IDs of the systems of a group, in the order of their names; [plugins.NotFound] if there is no
// such group.
func (c *Catalog) GroupSystems(ctx context.Context, db plugins.Queryer, groupID string) ([]string, error) {
	if !plugins.IsID(groupID) {
		return nil, plugins.NotFound("group")
	}
	if _, err := c.groups.read(ctx, db, groupID); err != nil {
		return nil, err
	}
	return groupMembers(ctx, db, groupID)
}

//go:embed sql/group_systems.sql
var groupSystems string

// groupMembers returns the IDs of the systems of a group, none if there is no such group.
func groupMembers(ctx context.Context, db plugins.Queryer, id string) ([]string, error) {
	ids, err := plugins.Rows(ctx, db, scanID, groupSystems, id, maxSystemsInGroup)
	if err != nil {
		return nil, fmt.Errorf("read the systems of a group: %w", err)
	}
	return ids, nil
}

func scanID(row plugins.Row) (id string, err error) {
	err = row.Scan(&id)
	return id, err
}

var (
	//go:embed sql/group_lock_delete.sql
	lockGroupForDelete string
	//go:embed sql/group_delete.sql
	deleteGroup string
)

func (c *Catalog) deleteGroup(r *http.Request, _ plugins.None) (plugins.None, error) {
	ctx := r.Context()
	id, err := plugins.PathID(r, "id", "group")
	if err != nil {
		return plugins.None{}, err
	}
	return plugins.None{}, plugins.Tx(ctx, c.host.DB, func(tx *sql.Tx) error {
		if err := byHand(ctx, tx, "group", lockGroupForDelete, id); err != nil {
			return err
		}
		return c.DeleteGroup(ctx, tx, id)
	})
}

// membership reads the two IDs in the path of a membership.
func membership(r *http.Request) (group, system string, err error) {
	if group, err = plugins.PathID(r, "id", "group"); err != nil {
		return "", "", err
	}
	system, err = plugins.PathID(r, "systemId", "system")
	return group, system, err
}

func (c *Catalog) join(r *http.Request, _ plugins.None) (plugins.None, error) {
	group, system, err := membership(r)
	if err != nil {
		return plugins.None{}, err
	}
	return plugins.None{}, plugins.Tx(r.Context(), c.host.DB, func(tx *sql.Tx) error {
		return addMember(r.Context(), tx, group, system)
	})
}

var (
	//go:embed sql/group_lock_members.sql
	lockGroupMembers string
	//go:embed sql/system_lock_members.sql
	lockSystemMembers string
	//go:embed sql/membership_count.sql
	countMemberships string
	//go:embed sql/membership_insert.sql
	insertMembership string
)

// addMember puts a system into a group that people own. It locks the group first and then the system, as everything does that locks
// both, so that the counts stay true until the row is there.
func addMember(ctx context.Context, tx *sql.Tx, group, system string) error {
	if err := byHand(ctx, tx, "group", lockGroupMembers, group); err != nil {
		return err
	}
	if err := lock(ctx, tx, "system", lockSystemMembers, system); err != nil {
		return err
	}
	var member bool
	var systems, groups int
	if err := tx.QueryRowContext(ctx, countMemberships, group, system).Scan(&member, &systems, &groups); err != nil {
		return fmt.Errorf("count memberships: %w", err)
	}
	switch {
	case member:
		return nil
	case systems >= maxSystemsInGroup:
		return tooMany("a group has at most %d systems", maxSystemsInGroup)
	case groups >= maxGroupsOfSystem:
		return tooMany("a system is in at most %d groups", maxGroupsOfSystem)
	}
	if _, err := tx.ExecContext(ctx, insertMembership, group, system); err != nil {
		return fmt.Errorf("put a system into a group: %w", err)
	}
	return nil
}

func tooMany(format string, bound int) error {
	return &plugins.Error{Status: http.StatusConflict, Title: "Too many", Message: fmt.Sprintf(format, bound)}
}

//go:embed sql/membership_delete.sql
var deleteMembership string

func (c *Catalog) leave(r *http.Request, _ plugins.None) (plugins.None, error) {
	group, system, err := membership(r)
	if err != nil {
		return plugins.None{}, err
	}
	return plugins.None{}, plugins.Tx(r.Context(), c.host.DB, func(tx *sql.Tx) error {
		if err := byHand(r.Context(), tx, "group", lockGroupMembers, group); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRowContext(r.Context(), deleteMembership, group, system).Scan(&exists); err != nil {
			return fmt.Errorf("take a system out of a group: %w", err)
		}
		if !exists {
			return plugins.NotFound("system")
		}
		return nil
	})
}
