// Package apply keeps what is monitored in files: configuration as code. A document names systems, groups, checks, satellites,
// who is checked by what, and who is told of it, as they are to be; applying it makes them so, in one transaction. It requires catalog,
// healthcheck, notification and satellite, whose functions it calls, and webhook, whose channels its command knows; and it keeps
// nothing of a document but its name and when it was applied.
//
//	document ── names, bounds ──► find, by name ──► compare ──► create, update, adopt, delete ──► plan
//	              refused: 400        owned by another document: 409      refused by the owner of the kind: the place in the document
//
// What comes from a document is managed by it: its owner is the name of the document, and nobody changes it by hand. So a
// document can be applied again and again: what it says is compared with what there is, and where nothing differs nothing is
// written. A dry run is the whole of that, rolled back at the end, and so finds every error that the real one would.
//
// The hard case is several servers that boot with the same file. Each applies it, and an advisory lock makes them take turns:
// the first one does the work, the others find nothing to do. What each of them read before it had the lock is not looked at.
package apply

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"net/http"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
	"checkstack/plugins/satellite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Applier is the plugin.
type Applier struct {
	host       *plugins.Host
	catalog    *catalog.Catalog
	checks     *healthcheck.Healthcheck
	satellites *satellite.Satellites
	notify     *notification.Notifier
}

// New builds the plugin.
func New(
	host *plugins.Host, cat *catalog.Catalog, checks *healthcheck.Healthcheck, satellites *satellite.Satellites, notify *notification.Notifier,
) *Applier {
	return &Applier{host, cat, checks, satellites, notify}
}

// Plugin describes the plugin to the server.
func (p *Applier) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: p.init, AfterPluginsReady: p.boot}
}

func (p *Applier) init(context.Context) error {
	handle := p.host.Routes.Handle
	return errors.Join(
		handle("POST /documents", plugins.Editor, plugins.JSONUpTo(maxDocument, p.post)),
		handle("GET /documents", plugins.Viewer, plugins.JSON(p.list)),
		handle("GET /documents/{name}", plugins.Viewer, plugins.JSON(p.find)),
		handle("POST /documents/{name}/release", plugins.Editor, plugins.JSON(p.release)),
		handle("GET /schema", plugins.Public, http.HandlerFunc(p.showSchema)),
	)
}
