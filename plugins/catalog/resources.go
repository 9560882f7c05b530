package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/notification"
)

// The catalog's systems and groups as things that people can subscribe to. A group is a parent of its systems: who
// watches the group watches them.

var (
	// SystemTarget is every system of the catalog.
	SystemTarget = notification.Target{Type: "catalog.system", Name: "System", Description: "One system"}

	// GroupTarget is every group of the catalog.
	GroupTarget = notification.Target{
		Type: "catalog.group", Name: "Group", Description: "All systems of a group, also those that join it later",
	}
)

var (
	//go:embed sql/system_resources.sql
	listSystemResources string
	//go:embed sql/system_resource.sql
	findSystemResource string
	//go:embed sql/group_resources.sql
	listGroupResources string
)

func scanSystemResource(row plugins.Row) (notification.Resource, error) {
	s := notification.Resource{Type: SystemTarget.Type}
	var groups []string
	err := row.Scan(&s.ID, &s.Name, pq.Array(&groups))
	s.Parents = make([]notification.Ancestor, len(groups))
	for i, id := range groups {
		s.Parents[i] = notification.Ancestor{Type: GroupTarget.Type, ID: id}
	}
	return s, err
}

func scanGroupResource(row plugins.Row) (notification.Resource, error) {
	g := notification.Resource{Type: GroupTarget.Type, Parents: []notification.Ancestor{}}
	err := row.Scan(&g.ID, &g.Name)
	return g, err
}

func (c *Catalog) systemResources(ctx context.Context, page plugins.Page) (plugins.List[notification.Resource], error) {
	return plugins.ListRows(ctx, c.host.DB, page, scanSystemResource, listSystemResources)
}

func (c *Catalog) groupResources(ctx context.Context, page plugins.Page) (plugins.List[notification.Resource], error) {
	return plugins.ListRows(ctx, c.host.DB, page, scanGroupResource, listGroupResources)
}

func (c *Catalog) systemResource(ctx context.Context, id string) (notification.Resource, error) {
	id = strings.ToLower(id) // a UUID in upper case is the same one
	if !plugins.IsID(id) {
		return notification.Resource{}, plugins.NotFound("system")
	}
	s, err := scanSystemResource(c.host.DB.QueryRowContext(ctx, findSystemResource, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return notification.Resource{}, plugins.NotFound("system")
	case err != nil:
		return notification.Resource{}, fmt.Errorf("read a system as a resource: %w", err)
	}
	return s, nil
}

func (c *Catalog) groupResource(ctx context.Context, id string) (notification.Resource, error) {
	id = strings.ToLower(id) // a UUID in upper case is the same one
	if !plugins.IsID(id) {
		return notification.Resource{}, plugins.NotFound("group")
	}
	g, err := c.groups.read(ctx, c.host.DB, id)
	if err != nil {
		return notification.Resource{}, err
	}
	return notification.Resource{Type: GroupTarget.Type, ID: g.ID, Name: g.Name, Parents: []notification.Ancestor{}}, nil
}
