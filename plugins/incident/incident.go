// Package incident keeps incidents: what is broken, how badly, which systems it concerns, and what is being done about
// it. It requires catalog, whose systems incidents refer to, and notification, where people subscribe to them.
//
// Whatever is done to an incident is an entry in its timeline, written in the transaction that does it. Entries have
// the numbers 1, 2, 3, … without a gap, because each change holds the incident's row; the order of the locks is always
// systems first, by ID, then the incident, so that two changes never wait for each other in a circle:
//
//	edit:           system a, system b ─► incident 1 ─► timeline
//	delete system:  system a ─► incidents 1, 2 of it ─► their timelines
package incident

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/notification"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Incidents is the plugin's service.
type Incidents struct {
	host    *plugins.Host
	catalog *catalog.Catalog
	notify  *notification.Notifier
}

// New builds the plugin.
func New(host *plugins.Host, catalog *catalog.Catalog, notify *notification.Notifier) *Incidents {
	return &Incidents{host: host, catalog: catalog, notify: notify}
}

// Plugin returns the plugin's hooks.
func (p *Incidents) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: p.init, AfterPluginsReady: p.afterPluginsReady}
}

func (p *Incidents) init(context.Context) error {
	remove := p.catalog.OnSystemDeleted(p.systemDeleted)
	p.host.OnClose(func(context.Context) error {
		remove()
		return nil
	})
	handle := p.host.Routes.Handle
	return errors.Join(
		handle("GET /incidents", plugins.Public, plugins.JSON(p.list)),
		handle("POST /incidents", plugins.Editor, plugins.JSON(p.open)),
		handle("GET /incidents/{id}", plugins.Public, plugins.JSON(p.find)),
		handle("PUT /incidents/{id}", plugins.Editor, plugins.JSON(p.replace)),
		handle("PATCH /incidents/{id}", plugins.Editor, plugins.JSON(p.edit)),
		handle("DELETE /incidents/{id}", plugins.Editor, plugins.JSON(p.remove)),
		handle("GET /incidents/{id}/timeline", plugins.Public, plugins.JSON(p.listTimeline)),
		handle("GET /incidents/{id}/timeline/{number}", plugins.Public, plugins.JSON(p.findEntry)),
		handle("POST /incidents/{id}/updates", plugins.Editor, plugins.JSON(p.update)),
		handle("POST /incidents/{id}/resolve", plugins.Editor, plugins.JSON(p.resolve)),
	)
}

func (p *Incidents) afterPluginsReady(ctx context.Context) error {
	return errors.Join(p.notify.RegisterSpec(ctx, p.host, systemSpec), p.notify.RegisterSpec(ctx, p.host, groupSpec))
}
