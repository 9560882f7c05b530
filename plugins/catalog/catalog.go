// Package catalog knows what is watched: systems, and groups that put systems together. It requires notification, where
// it registers both as targets that people can subscribe to.
//
// Other plugins keep rows that refer to a system by its ID, in schemas of their own and without a foreign key, so that
// none knows the tables of another. What a foreign key would have done is done by two calls. [Catalog.LockSystem], in
// the transaction that writes such a row, holds the system against being deleted; [Catalog.OnSystemDeleted] has the row
// removed in the transaction that deletes the system. The hard case is both at once:
//
//	assign:  begin, LockSystem ok ........ insert, commit
//	delete:         begin, lock waits ................... lock ok, OnSystemDeleted sees the row, delete, commit
//
// The other way round LockSystem waits, and then finds no system. In no order does a row survive its system.
package catalog

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"

	"checkstack/plugins"
	"checkstack/plugins/notification"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Catalog is the plugin's service.
type Catalog struct {
	host    *plugins.Host
	notify  *notification.Notifier
	systems *entries[System]
	groups  *entries[Group]
	deleted hooks[func(context.Context, *sql.Tx, string) error] // of systems
}

// New builds the plugin.
func New(host *plugins.Host, notify *notification.Notifier) *Catalog {
	return &Catalog{
		host:   host,
		notify: notify,
		systems: &entries[System]{
			db: host.DB, what: "system", path: "/api/" + host.ID + "/systems/",
			insertSQL: insertSystem, updateSQL: updateSystem, findSQL: findSystem, listSQL: listSystems, holdSQL: holdSystem,
			namedSQL: systemsNamed, managedSQL: systemsManaged, releaseSQL: releaseSystems,
		},
		groups: &entries[Group]{
			db: host.DB, what: "group", path: "/api/" + host.ID + "/groups/",
			insertSQL: insertGroup, updateSQL: updateGroup, findSQL: findGroup, listSQL: listGroups, holdSQL: lockGroupMembers,
			namedSQL: groupsNamed, managedSQL: groupsManaged, releaseSQL: releaseGroups,
		},
	}
}

// Plugin returns the plugin's hooks.
func (c *Catalog) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: c.init, AfterPluginsReady: c.afterPluginsReady}
}

func (c *Catalog) init(context.Context) error {
	handle := c.host.Routes.Handle
	return errors.Join(
		handle("GET /systems", plugins.Public, plugins.JSON(c.systems.list)),
		handle("POST /systems", plugins.Editor, plugins.JSON(c.systems.create)),
		handle("GET /systems/{id}", plugins.Public, plugins.JSON(c.systems.find)),
		handle("PUT /systems/{id}", plugins.Editor, plugins.JSON(c.systems.replace)),
		handle("DELETE /systems/{id}", plugins.Editor, plugins.JSON(c.deleteSystem)),
		handle("GET /groups", plugins.Public, plugins.JSON(c.groups.list)),
		handle("POST /groups", plugins.Editor, plugins.JSON(c.groups.create)),
		handle("GET /groups/{id}", plugins.Public, plugins.JSON(c.findGroup)),
		handle("PUT /groups/{id}", plugins.Editor, plugins.JSON(c.groups.replace)),
		handle("DELETE /groups/{id}", plugins.Editor, plugins.JSON(c.deleteGroup)),
		handle("PUT /groups/{id}/systems/{systemId}", plugins.Editor, plugins.JSON(c.join)),
		handle("DELETE /groups/{id}/systems/{systemId}", plugins.Editor, plugins.JSON(c.leave)),
	)
}

func (c *Catalog) afterPluginsReady(ctx context.Context) error {
	return errors.Join(
		c.notify.RegisterTarget(ctx, c.host, SystemTarget, notification.Resources{List: c.systemResources, Find: c.systemResource}),
		c.notify.RegisterTarget(ctx, c.host, GroupTarget, notification.Resources{List: c.groupResources, Find: c.groupResource}),
	)
}
