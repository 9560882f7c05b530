package plugins

import (
	"context"
	"io/fs"
	"net/http"
)

// Routes is the part of the server's address space that belongs to one plugin: /api/<ID>/ and /assets/plugins/<ID>/.
// Its methods may be called at any time, also while the server serves, and from several goroutines.
type Routes interface {
	// Handle serves pattern, an [http.ServeMux] pattern without a host, below /api/<ID>: "GET /items/{id}" answers
	// GET /api/<ID>/items/{id}, and r.Pattern is the full pattern. Only callers with the access named reach the handler.
	// The body of a request must arrive within a minute, unless the handler sets another read deadline with
	// [http.ResponseController]; [JSON] lifts it once it has the body.
	// A malformed pattern, or one that conflicts with another of the plugin, is an error and changes nothing.
	Handle(pattern string, access Access, h http.Handler) error

	// Remove takes back a pattern given to Handle and waits until the requests it is serving have finished, so it must
	// not be called from its own handler. It gives up waiting after 30 s with an error; the route is gone all the same.
	Remove(pattern string) error

	// Assets serves files below /assets/plugins/<ID>/ to everybody. A second call replaces the files.
	Assets(files fs.FS) error
}

// Access says who may call a route. Each value includes those before it. The zero value is Admin, so that a route that
// states nothing is for administrators.
type Access int

// The kinds of access, from the narrowest.
const (
	Admin  Access = iota // administrators
	Editor               // those who may change what is monitored
	Viewer               // everyone with a valid token
	Public               // everyone
	Own                  // everyone, and the handler itself reads the Authorization header, which is not an API token
)

// String returns the name used in the API: "admin", "editor", "viewer", "public" or "own".
func (a Access) String() string {
	switch a {
	case Admin:
		return "admin"
	case Editor:
		return "editor"
	case Viewer:
		return "viewer"
	case Public:
		return "public"
	case Own:
		return "own"
	}
	return "unknown"
}

// Principal is who makes a request.
type Principal struct {
	ID   string // unique among all principals
	Name string // for people
	Role Access // Admin, Editor or Viewer
}

// May reports whether the principal may use a route of the given access. A nil principal is nobody: it may use public
// routes only.
func (p *Principal) May(a Access) bool {
	return a >= Public || p != nil && p.Role <= a
}

// Callers is where the plugin that knows who calls says so.
type Callers interface {
	// Identify registers how the caller of a request is found, until the plugin is closed. f returns nil and no error for a
	// request without credentials, and an [Error] with status 401 for credentials that are not valid. It is called for
	// routes that are not public, and for every request with an Authorization header, but never for those that are [Own].
	// While nothing is registered, only public routes can be used, and those that are Own.
	Identify(f func(*http.Request) (*Principal, error))
}

type principalKey struct{}

// WithPrincipal returns a context that carries who makes the request.
func WithPrincipal(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns who makes the request, or nil for an anonymous one.
func PrincipalOf(ctx context.Context) *Principal {
	p, _ := ctx.Value(principalKey{}).(*Principal)
	return p
}
