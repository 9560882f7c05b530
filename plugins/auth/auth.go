// Package auth knows who calls. It is a plugin that requires no other, and it is the one that tells the server who
// makes a request, so that every route can say what a caller must be allowed to do.
//
// Callers show an API token, "Authorization: Bearer cs_…". A token has one of three roles, each including those after
// it: admin, editor, viewer. The database keeps SHA-256 of a token and never the token: 256 random bits need no salt
// and no slow hash, and one indexed query answers for each request. Nothing is cached, so a token that is revoked on
// one server is refused by all of them from that moment on.
//
// The hard case is the first token: nobody could ask for it. The first server that boots on an empty database makes it,
// and must not leave one behind that nobody knows, whenever it is killed. So it is made known before it is valid:
//
//	begin, lock ─► is there any token? ─► insert ─► write it to a file, to the log ─► commit
//
// A crash before the commit leaves a text that is not a token, and the next boot makes another.
package auth

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"checkstack/plugins"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Auth is the plugin's service.
type Auth struct {
	host *plugins.Host
}

// New builds the plugin.
func New(host *plugins.Host) *Auth {
	return &Auth{host: host}
}

// Plugin returns the plugin's hooks.
func (a *Auth) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: a.init}
}

func (a *Auth) init(ctx context.Context) error {
	if err := a.makeFirstToken(ctx); err != nil {
		return err
	}
	a.host.Callers.Identify(a.identify)
	handle := a.host.Routes.Handle
	return errors.Join(
		handle("GET /me", plugins.Viewer, plugins.JSON(a.me)),
		handle("GET /tokens", plugins.Admin, plugins.JSON(a.listTokens)),
		handle("POST /tokens", plugins.Admin, plugins.JSON(a.createToken)),
		handle("GET /tokens/{id}", plugins.Admin, plugins.JSON(a.findToken)),
		handle("DELETE /tokens/{id}", plugins.Admin, plugins.JSON(a.revokeToken)),
	)
}
