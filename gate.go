package main

// The front door. Every request passes here, in this order:
//
//	/.checkstack/…            the platform's own paths, at any time
//	the boot gate             parks everything else until the plugin routes can be served
//	/api/<id>/…               the mux of the plugin, found in the overlay: a map under a lock
//	/assets/plugins/<id>/…    likewise, unless the web frontend has that file
//	everything else           the static mux: core routes, assets, the page
//
// A plugin's mux takes and forgets patterns while it serves (plugins.Mux). So routes, and whole plugins, come and go with
// no request lost: what is removed answers the requests that it has, and is closed only after them.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"checkstack/plugins"
)

// gate is the server's http.Handler below the request log.
type gate struct {
	wait  time.Duration // how long a request waits for the boot
	queue int64         // how many may wait at once

	isOpen  atomic.Bool
	booted  atomic.Bool            // all plugins are running
	failure atomic.Pointer[string] // why the boot failed
	opened  chan struct{}          // closed when the gate opens
	broken  chan struct{}          // closed when the boot fails
	once    struct{ open, fail sync.Once }
	waiting atomic.Int64

	platform *room
	static   *room
	web      fs.FS // the web frontend; nil for none

	mu    sync.RWMutex
	rooms map[string]*room // by plugin ID

	identify atomic.Pointer[identifier]
}

// identifier finds the caller of a request, for as long as the plugin that registered it lives.
type identifier struct {
	owner string
	find  func(*http.Request) (*plugins.Principal, error)
}

func newGate(wait time.Duration, queue int) *gate {
	g := &gate{wait: wait, queue: int64(queue), opened: make(chan struct{}), broken: make(chan struct{}), rooms: make(map[string]*room)}
	g.platform, g.static = newRoom(nil, ""), newRoom(g, "")
	return g
}

// open lets all parked requests go on, and from now on every request at once.
func (g *gate) open() {
	g.once.open.Do(func() {
		g.isOpen.Store(true)
		close(g.opened)
	})
}

// fail answers all parked requests, and from now on every request, with the reason.
func (g *gate) fail(reason string) {
	g.failure.CompareAndSwap(nil, &reason) // the first reason is the one that matters
	g.isOpen.Store(false)
	g.once.fail.Do(func() { close(g.broken) })
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The short way, which nearly every request goes: it finds what the long one below would find, without cleaning the
	// path, because the plugin's mux sends a request with an unclean path to the clean one.
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/"); ok && g.isOpen.Load() && r.Method != http.MethodConnect {
		id, _, _ := strings.Cut(rest, "/")
		if rm := g.room(id); rm != nil && rm.current().serves() {
			rm.mux.ServeHTTP(w, r)
			return
		}
	}
	p := path.Clean("/" + r.URL.Path)
	if r.Method == http.MethodConnect {
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		plugins.WriteError(w, r, &plugins.Error{Status: http.StatusMethodNotAllowed, Message: "CONNECT is not served here"})
		return
	}
	if p == "/.checkstack" || strings.HasPrefix(p, "/.checkstack/") {
		w.Header()["Cache-Control"] = headerNoStore
		w.Header()["X-Content-Type-Options"] = headerNosniff
		g.platform.mux.ServeHTTP(w, r)
		return
	}
	if !g.pass(w, r, p) {
		return
	}
	if id := g.owner(p); id == "" {
		g.static.mux.ServeHTTP(w, r)
	} else if rm := g.room(id); rm == nil {
		plugins.WriteJSON(w, r, http.StatusNotFound, map[string]any{"error": "Plugin not found", "plugin": id})
	} else if st := rm.current(); !st.serves() {
		w.Header().Set("Retry-After", "1")
		plugins.WriteJSON(w, r, http.StatusServiceUnavailable, map[string]any{"error": "Plugin not ready", "plugin": id, "state": st.String()})
	} else {
		rm.mux.ServeHTTP(w, r)
	}
}

// owner returns the ID of the plugin that a cleaned path belongs to, or "" if it is the core's.
func (g *gate) owner(p string) string {
	rest, ok := strings.CutPrefix(p, "/api/")
	if !ok {
		if rest, ok = strings.CutPrefix(p, "/assets/plugins/"); !ok || isFile(g.web, p[1:]) {
			return "" // the frontend's own file comes first
		}
	}
	id, _, _ := strings.Cut(rest, "/")
	if slices.Contains(coreNames, id) {
		return ""
	}
	return id
}

// room returns the room of a plugin, or nil.
func (g *gate) room(id string) *room {
	g.mu.RLock()
	rm := g.rooms[id]
	g.mu.RUnlock()
	return rm
}

// coreNames are the names below /api/ that belong to the core; the generator refuses them as plugin IDs.
var coreNames = []string{"plugins", "about", "config", "openapi.json"}

// pass waits until the gate is open. It returns false when it has answered the request itself, or nobody waits any more.
func (g *gate) pass(w http.ResponseWriter, r *http.Request, p string) bool {
	return g.isOpen.Load() || g.park(w, r, p)
}

// park keeps a request until its plugin serves it: first until the gate opens, which is before the plugins' Init, and then,
// since it is waiting anyway, until the Init of its own plugin is done.
func (g *gate) park(w http.ResponseWriter, r *http.Request, p string) bool {
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.queue {
		refuse(w, r, "Backend not ready", "boot timeout")
		return false
	}
	timeout := time.NewTimer(g.wait)
	defer timeout.Stop()
	wait := func(until <-chan struct{}) bool {
		select {
		case <-until:
		case <-g.broken:
		case <-timeout.C:
			refuse(w, r, "Backend not ready", "boot timeout")
			return false
		case <-r.Context().Done():
			return false
		}
		if reason := g.failure.Load(); reason != nil {
			refuse(w, r, "Backend init failed", *reason)
			return false
		}
		return true
	}
	if !wait(g.opened) {
		return false
	}
	rm := g.room(g.owner(p))
	return rm == nil || wait(rm.settled)
}

func refuse(w http.ResponseWriter, r *http.Request, what, why string) {
	w.Header().Set("Retry-After", "5")
	plugins.WriteJSON(w, r, http.StatusServiceUnavailable, map[string]any{"error": what, "message": why})
}

// authorize finds out who calls and whether they may. It returns the request to go on with, or nil once it has answered.
func (g *gate) authorize(w http.ResponseWriter, r *http.Request, access plugins.Access) *http.Request {
	var caller *plugins.Principal
	find := g.identify.Load()
	if find != nil {
		var err error
		if caller, err = find.find(r); err != nil {
			plugins.WriteError(w, r, err)
			return nil
		}
	}
	switch {
	case caller.May(access) && caller == nil:
		return r
	case find == nil && !g.booted.Load(): // who could tell is not there yet
		plugins.WriteError(w, r, &plugins.Error{Status: http.StatusServiceUnavailable, Title: "Backend not ready", Message: "nobody can tell yet who calls"})
	case caller.May(access):
		return r.WithContext(plugins.WithPrincipal(r.Context(), caller))
	case caller == nil:
		plugins.WriteError(w, r, &plugins.Error{Status: http.StatusUnauthorized, Message: "this needs a token: Authorization: Bearer <token>"})
	default:
		plugins.WriteError(w, r, &plugins.Error{Status: http.StatusForbidden,
			Message: fmt.Sprintf("this needs the role %s, the token has the role %s", access, caller.Role)})
	}
	return nil
}

// admit makes a room for a plugin. Requests for it are answered with 503 until its state says that it serves.
func (g *gate) admit(id string) *room {
	rm := newRoom(g, id)
	g.mu.Lock()
	g.rooms[id] = rm
	g.mu.Unlock()
	return rm
}

// evict takes a plugin's room away and waits until the requests in it have finished.
func (g *gate) evict(ctx context.Context, rm *room) error {
	g.mu.Lock()
	if g.rooms[rm.id] == rm {
		delete(g.rooms, rm.id)
	}
	g.mu.Unlock()
	if find := g.identify.Load(); find != nil && find.owner == rm.id {
		g.identify.CompareAndSwap(find, nil)
	}
	return rm.mux.Close(ctx)
}

// routes returns the routes of the core and of all plugins, sorted by pattern.
func (g *gate) routes() []plugins.Route {
	g.mu.RLock()
	rooms := append(slices.Collect(maps.Values(g.rooms)), g.static)
	g.mu.RUnlock()
	var all []plugins.Route
	for _, rm := range rooms {
		for pattern, h := range rm.mux.Handlers() {
			rt := h.(*route)
			all = append(all, plugins.Route{Pattern: pattern, Access: rt.access, Handler: rt.handler})
		}
	}
	slices.SortFunc(all, func(a, b plugins.Route) int { return strings.Compare(a.Pattern, b.Pattern) })
	return all
}

// room is the address space of one plugin, or of the core. It implements plugins.Routes and plugins.Callers.
type room struct {
	gate    *gate  // nil for the platform's room
	id      string // "" for the core
	life    atomic.Int32
	settled chan struct{} // closed when the plugin is initialized, or has gone
	once    sync.Once
	mux     *plugins.Mux
}

func newRoom(g *gate, id string) *room {
	return &room{gate: g, id: id, settled: make(chan struct{}), mux: plugins.NewMux()}
}

func (rm *room) current() state { return state(rm.life.Load()) }

func (rm *room) become(st state) {
	rm.life.Store(int32(st))
	if st >= initialized && st != failed { // who waits for a plugin that failed is told with all others why the boot did
		rm.once.Do(func() { close(rm.settled) })
	}
}

// Handle implements plugins.Routes.
func (rm *room) Handle(pattern string, access plugins.Access, h http.Handler) error {
	full, err := rm.full(pattern)
	switch {
	case err != nil:
	case h == nil:
		err = errors.New("the handler is nil")
	case access < plugins.Admin || access > plugins.Own:
		err = fmt.Errorf("there is no access %d", access)
	default:
		err = rm.mux.Add(full, &route{rm.gate, access, h})
	}
	return rm.wrap(pattern, err)
}

// Remove implements plugins.Routes.
func (rm *room) Remove(pattern string) error {
	full, err := rm.full(pattern)
	if err == nil {
		err = rm.remove(full)
	}
	return rm.wrap(pattern, err)
}

func (rm *room) remove(full string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return rm.mux.Remove(ctx, full)
}

// Assets implements plugins.Routes.
func (rm *room) Assets(files fs.FS) error {
	pattern := "GET /assets/plugins/" + rm.id + "/{file...}"
	var err error
	if rm.mux.Has(pattern) {
		err = rm.remove(pattern)
	}
	if err == nil {
		err = rm.mux.Add(pattern, &route{nil, plugins.Public, fileServer(files, "")})
	}
	return rm.wrap(pattern, err)
}

// Identify implements plugins.Callers.
func (rm *room) Identify(find func(*http.Request) (*plugins.Principal, error)) {
	rm.gate.identify.Store(&identifier{rm.id, find})
}

// full turns a plugin's pattern into the one that is served.
func (rm *room) full(pattern string) (string, error) {
	method, p, found := strings.Cut(strings.TrimSpace(pattern), " ")
	if !found {
		method, p = "", method
	}
	p = strings.TrimLeft(p, " \t")
	if !strings.HasPrefix(p, "/") {
		return "", errors.New("the path must begin with /, as in \"GET /items/{id}\"")
	}
	if strings.HasPrefix(p, "/api/") {
		return "", fmt.Errorf("the path is below /api/%s already: leave that out", rm.id)
	}
	if q := p + "/"; strings.Contains(strings.TrimSuffix(q, "//"), "//") || strings.Contains(q, "/./") || strings.Contains(q, "/../") {
		return "", errors.New("a request's path is cleaned, so this unclean path can never match")
	}
	return strings.TrimLeft(method+" /api/"+rm.id+p, " "), nil
}

func (rm *room) wrap(pattern string, err error) error {
	if err != nil {
		err = fmt.Errorf("plugin %s: route %q: %w", rm.id, pattern, err)
	}
	return err
}

// route is the handler of one pattern behind the question who calls.
type route struct {
	gate    *gate // nil for routes that never ask
	access  plugins.Access
	handler http.Handler
}

func (rt *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rt.gate != nil && rt.access != plugins.Own && (rt.access != plugins.Public || r.Header["Authorization"] != nil) {
		if r = rt.gate.authorize(w, r, rt.access); r == nil {
			return
		}
	}
	rt.handler.ServeHTTP(w, r)
}

// door is the outermost handler: it gives every request an ID, the API's headers and a log record, and survives panics.
type door struct {
	log      *slog.Logger
	next     http.Handler
	origin   string // of -base-url: the one origin that browsers may call from
	bodies   plugins.Bodies
	answered tally
}

// Values of headers that are the same for every response, shared so that setting them allocates nothing.
var (
	headerNoStore = []string{"no-store"}
	headerNosniff = []string{"nosniff"}
	headerDeny    = []string{"DENY"}
	headerCSP     = []string{"default-src 'none'; frame-ancestors 'none'"}
	headerHSTS    = []string{"max-age=31536000; includeSubDomains"}
)

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	h := w.Header()
	id := r.Header.Get("X-Request-Id")
	if !wellFormedID(id) {
		id = fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
		r.Header["X-Request-Id"] = []string{id} // for handlers and their logs
	}
	h["X-Request-Id"] = r.Header["X-Request-Id"][:1:1]
	r, received := d.bodies.Receive(w, r)
	defer received()
	res := plugins.NewResponse(w, r)
	defer d.finish(res, r, start)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		h["X-Content-Type-Options"] = headerNosniff
		h["X-Frame-Options"] = headerDeny
		h["Content-Security-Policy"] = headerCSP
		h["Strict-Transport-Security"] = headerHSTS
		if origin := r.Header.Get("Origin"); origin != "" && d.cors(res, r, origin) {
			return
		}
	}
	d.next.ServeHTTP(res, r)
}

// cors lets pages of the base URL's origin use the API. It returns true when it has answered a preflight request.
func (d *door) cors(w http.ResponseWriter, r *http.Request, origin string) bool {
	h, allowed := w.Header(), origin == d.origin
	h.Add("Vary", "Origin")
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "Content-Length")
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	if allowed {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// wellFormedID reports whether a request ID from outside is taken over.
func wellFormedID(id string) bool {
	return id != "" && len(id) <= 128 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// finish answers a request whose handler panicked, counts the request, and logs it.
func (d *door) finish(res *plugins.Response, r *http.Request, start time.Time) {
	v := recover()
	if v != nil && v != http.ErrAbortHandler {
		d.log.Error("handler panicked", "panic", v, "method", r.Method, "path", plugins.ShownPath(r.URL.Path),
			"requestId", r.Header.Get("X-Request-Id"), "stack", string(debug.Stack()))
		if res.Status() == 0 {
			plugins.WriteError(res, r, fmt.Errorf("panic: %v", v))
			v = nil
		}
	}
	status := cmp.Or(res.Status(), http.StatusOK)
	if r.Context().Err() != nil && (res.Status() == 0 || res.Err() != nil && status >= 500) {
		status = 499 // the client went away first: what failed then is no error of ours
	}
	d.answered.add(r.Pattern, status)
	level := slog.LevelDebug
	switch {
	case strings.HasPrefix(r.URL.Path, "/.checkstack/"): // probes ask every second; what changes is logged where it changes
	case status >= 500:
		level = slog.LevelError
	case status >= 400:
		level = slog.LevelWarn
	}
	if ctx := r.Context(); d.log.Enabled(ctx, level) {
		attrs := []slog.Attr{
			slog.String("method", r.Method), slog.String("path", plugins.ShownPath(r.URL.Path)), slog.String("route", r.Pattern),
			slog.Int("status", status), slog.Int64("bytes", res.Bytes()), slog.Duration("took", time.Since(start)),
			slog.String("remote", r.RemoteAddr), slog.String("requestId", r.Header.Get("X-Request-Id")),
		}
		if err := res.Err(); err != nil {
			attrs = append(attrs, slog.String("error", err.Error()))
		}
		d.log.LogAttrs(ctx, level, "request", attrs...)
	}
	if v != nil {
		panic(http.ErrAbortHandler) // too late for an answer: the client must not take what it has for complete
	}
}

// tally counts responses by route pattern and status. Patterns are those registered, so it is bounded.
type tally struct {
	mu sync.Mutex
	n  map[answered]int64
}

type answered struct {
	pattern string // "" where none matched
	status  int
}

func (t *tally) add(pattern string, status int) {
	t.mu.Lock()
	t.n[answered{pattern, status}]++
	t.mu.Unlock()
}

func (t *tally) counts() map[answered]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}
