package main

// The life of plugins. Booting all of them and enabling one while the server serves are the same code: start takes a set
// of plugins through the phases of the contract (see package plugins), stop takes them back out in reverse.
//
// The hard case is a hook that hangs or panics. Each hook runs in a goroutine of its own: a panic is an error of that
// plugin and phase, and a hook that is not back when its time is up is given up and named. Stopping goes on with the
// next plugin; no plugin pays for another.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
)

// state is how far a plugin has come.
type state int32

const (
	constructed  state = iota // waits for its turn
	initializing              // Init runs
	initialized               // Init is done: its routes are served from here on
	starting                  // AfterPluginsReady runs
	running
	stopping
	stopped
	failed
)

func (s state) String() string {
	return [...]string{"constructed", "initializing", "initialized", "starting", "running", "stopping", "stopped", "failed"}[s]
}

func (s state) serves() bool { return s >= initialized && s <= running }

// plugin is a plugin in this server.
type plugin struct {
	id       string
	requires []string
	room     *room
	service  plugins.Plugin
	instance plugins.Instance
	lease    *plugins.Lease
	open     bool // Init was called, so Close must be
}

// loader holds the plugins of this server.
type loader struct {
	log   *slog.Logger
	gate  *gate
	ready *readiness
	host  func() *plugins.Host // what is the same for all: pool, history, addresses
	fatal func(error)          // told when a plugin's background work has panicked

	settings map[string]any // what the plugins' flags say, by their IDs

	mu      sync.Mutex
	plugins []*plugin // each after those it requires
	steps   []step    // what the boot did
}

// step is a part of the boot and how long it took.
type step struct {
	phase, plugin string
	took          time.Duration
}

// bootError says in which phase of the boot, and in which plugin, something went wrong.
type bootError struct {
	phase, plugin string // plugin is empty for the core
	err           error
}

func (e *bootError) Error() string { return e.prefix() + e.err.Error() }
func (e *bootError) Unwrap() error { return e.err }

// public is the error without what nobody outside should see.
func (e *bootError) public() string { return e.prefix() + reason(e.err) }

func (e *bootError) prefix() string {
	if e.plugin == "" {
		return e.phase + ": "
	}
	return "plugin " + e.plugin + ": " + e.phase + ": "
}

// step runs one part of the boot, visible at /.checkstack/ready while it runs.
func (l *loader) step(ctx context.Context, phase, plugin string, f func(context.Context) error) error {
	l.ready.booting(phase, plugin)
	start := time.Now()
	err := call(ctx, f)
	took := time.Since(start)
	l.mu.Lock()
	l.steps = append(l.steps, step{phase, plugin, took})
	l.mu.Unlock()
	if err != nil {
		if e, ok := errors.AsType[*postgres.MigrationError](err); ok && plugin == "" && e.ID != coreSchema {
			plugin = e.ID // all plugins migrate in one step
		}
		return &bootError{phase, plugin, err}
	}
	level := slog.LevelInfo
	if phase == "construct" {
		level = slog.LevelDebug // a few microseconds each
	}
	l.log.Log(ctx, level, "boot step done", "phase", phase, "plugin", plugin, "took", took)
	return nil
}

// call runs a plugin's code until it returns, or until ctx is done and a moment has passed. A panic is an error, and so is
// ending the goroutine.
func call(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine")
		defer func() { done <- err }()
		err = plugins.Protect(func() error { return f(ctx) })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case err := <-done:
		if cause := context.Cause(ctx); err != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err) // why its context ended, before what came of that
		}
		return err
	case <-moment.C:
		return fmt.Errorf("it ignores that its time is up: %w", context.Cause(ctx))
	}
}

const coreSchema = "checkstack"

// openDatabase connects to the database and brings the core's schema up to date.
func openDatabase(ctx context.Context, cfg *config, log *slog.Logger) (*postgres.Database, error) {
	db, err := postgres.Open(ctx, postgres.Config{URL: cfg.databaseURL, DataDir: cfg.data, Existing: cfg.existing, Log: log, MaxConns: cfg.dbConns})
	if err != nil {
		return nil, err
	}
	if err := postgres.Migrate(ctx, db.DB, log, postgres.Set{ID: coreSchema, Files: coreMigrations()}); err != nil {
		return nil, errors.Join(err, db.Close(ctx))
	}
	return db, nil
}

// start takes the plugins of a table through all phases up to running. The first error ends it; the caller then stops
// what was started.
func (l *loader) start(ctx context.Context, table []plugins.Entry) ([]*plugin, error) {
	added, err := l.construct(ctx, table)
	if err != nil {
		return added, err
	}
	var sets []postgres.Set
	for _, p := range added {
		if p.instance.Migrations != nil {
			sets = append(sets, postgres.Set{ID: p.id, Files: p.instance.Migrations, PreviousIDs: p.instance.PreviousIDs})
		}
	}
	if len(sets) > 0 {
		err := l.step(ctx, "migrate", "", func(ctx context.Context) error {
			return postgres.Migrate(ctx, l.host().DB, l.log, sets...)
		})
		if err != nil {
			return added, err
		}
	}
	l.gate.open()
	for _, p := range added {
		p.open = true
		if err := l.hook(ctx, p, "Init", p.instance.Init, initializing, initialized); err != nil {
			return added, err
		}
	}
	for _, p := range added {
		if err := l.hook(ctx, p, "AfterPluginsReady", p.instance.AfterPluginsReady, starting, running); err != nil {
			return added, err
		}
	}
	return added, nil
}

// hook runs a hook between two states.
func (l *loader) hook(ctx context.Context, p *plugin, phase string, f func(context.Context) error, during, after state) error {
	p.room.become(during)
	if f != nil {
		if err := l.step(ctx, phase, p.id, f); err != nil {
			p.room.become(failed)
			return err
		}
	}
	p.room.become(after)
	return nil
}

// construct calls New for every plugin of a table, each after those it requires.
func (l *loader) construct(ctx context.Context, table []plugins.Entry) ([]*plugin, error) {
	entries := make(map[string]plugins.Entry)
	requires := make(map[string][]string)
	services := make(map[string]plugins.Plugin)
	for _, p := range l.list() {
		requires[p.id], services[p.id] = p.requires, p.service
	}
	for _, e := range table {
		if _, twice := requires[e.ID]; twice {
			return nil, &bootError{"construct", e.ID, errors.New("there are two plugins with this ID")}
		}
		entries[e.ID], requires[e.ID] = e, e.Requires
	}
	order, err := plugins.Sort(requires)
	if err != nil {
		return nil, &bootError{"construct", "", err}
	}
	var added []*plugin
	for _, id := range order {
		if e, isNew := entries[id]; isNew {
			added = append(added, &plugin{id: id, requires: e.Requires, room: l.gate.admit(id)})
		}
	}
	for _, p := range added {
		e := entries[p.id]
		host := l.host()
		host.ID, host.Log, host.Settings = p.id, l.log.With("plugin", p.id), l.settings[p.id]
		host.Routes, host.Callers, host.Readiness = p.room, p.room, prober{l.ready, p.id}
		p.lease = plugins.Lend(ctx, host, l.fatal)
		err := l.step(ctx, "construct", p.id, func(context.Context) error {
			p.service = e.New(host, func(id string) plugins.Plugin {
				if !slices.Contains(e.Requires, id) {
					panic(fmt.Sprintf("%s is not among the plugins it requires", id))
				}
				return services[id]
			})
			p.instance = p.service.Plugin()
			return nil
		})
		if err != nil {
			return added, err
		}
		services[p.id] = p.service
	}
	l.mu.Lock()
	l.plugins = append(l.plugins, added...)
	l.mu.Unlock()
	return added, nil
}

// bootSteps returns what the boot did so far.
func (l *loader) bootSteps() []step {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.steps)
}

// list returns the plugins of this server, each after those it requires.
func (l *loader) list() []*plugin {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.plugins)
}

// stop closes plugins in reverse order, each with an equal share of the time that is left until ctx's deadline. Nothing is skipped:
// what went wrong, or was not done in time, is in the error, with the plugin's name.
func (l *loader) stop(ctx context.Context, ps []*plugin) error {
	var errs []error
	for i, p := range slices.Backward(ps) {
		share, cancel := portion(ctx, i+1)
		if err := l.close(share, p); err != nil {
			errs = append(errs, fmt.Errorf("plugin %s: %w", p.id, err))
		}
		cancel()
	}
	gone := make(map[*plugin]bool)
	for _, p := range ps {
		gone[p] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plugins = slices.DeleteFunc(l.plugins, func(p *plugin) bool { return gone[p] })
	return errors.Join(errs...)
}

// portion returns a context with 1/n of the time that ctx has left.
func portion(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
}

// close takes everything of one plugin back: routes, requests in flight, probes, background work, then Close, then what it
// contributed to others. Each may use half of the time that is left, so that one that hangs leaves some for the next.
func (l *loader) close(ctx context.Context, p *plugin) error {
	start := time.Now()
	p.room.become(stopping)
	var errs []error
	do := func(what string, f func(context.Context) error) {
		part, cancel := portion(ctx, 2)
		defer cancel()
		if err := call(part, f); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	do("routes", func(ctx context.Context) error { return l.gate.evict(ctx, p.room) })
	l.ready.revoke(p.id)
	if p.lease != nil {
		do("background work", p.lease.Stop)
	}
	if p.open && p.instance.Close != nil {
		do("Close", p.instance.Close)
	}
	if p.lease != nil {
		do("OnClose", p.lease.Undo)
	}
	p.open = false
	p.room.become(stopped)
	l.log.Debug("plugin closed", "plugin", p.id, "took", time.Since(start))
	return errors.Join(errs...)
}

// pluginInfo is a plugin in the answer of GET /api/plugins.
type pluginInfo struct {
	ID       string   `json:"id"`
	Version  string   `json:"version"`
	Enabled  bool     `json:"enabled"`
	State    string   `json:"state"`
	Requires []string `json:"requires"`
	Remote   bool     `json:"remote"`
}

func (l *loader) info(version string) []pluginInfo {
	infos := []pluginInfo{}
	for _, p := range l.list() {
		requires := slices.Sorted(slices.Values(p.requires))
		infos = append(infos, pluginInfo{p.id, version, true, p.room.current().String(), append([]string{}, requires...), false})
	}
	return infos
}

// coreRoutes installs what the server itself answers: the platform's paths, what there is to know about the server, and
// the page.
func (s *server) coreRoutes(baseURL string) {
	serve := func(rm *room, pattern string, h http.Handler) {
		if err := rm.mux.Add(pattern, &route{rm.gate, plugins.Public, h}); err != nil {
			panic(err) // two patterns of ours conflict
		}
	}
	serve(s.gate.platform, "GET /.checkstack/health", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plugins.WriteJSON(w, r, http.StatusOK, map[string]string{"status": "ok"})
	}))
	serve(s.gate.platform, "GET /.checkstack/ready", s.ready)
	serve(s.gate.platform, "GET /.checkstack/ready/{probe}", s.ready)
	serve(s.gate.platform, "GET /.checkstack/metrics", http.HandlerFunc(s.metrics))

	v := buildVersion()
	serve(s.gate.static, "GET /api/plugins", plugins.JSON(func(*http.Request, plugins.None) ([]pluginInfo, error) {
		return s.loader.info(v.Version), nil
	}))
	serve(s.gate.static, "GET /api/about", plugins.JSON(func(*http.Request, plugins.None) (about, error) {
		a := about{version: v, Plugins: []pluginVersion{}}
		for _, p := range s.loader.list() {
			a.Plugins = append(a.Plugins, pluginVersion{p.id, v.Version})
		}
		return a, nil
	}))
	serve(s.gate.static, "GET /api/config", plugins.JSON(func(*http.Request, plugins.None) (map[string]string, error) {
		return map[string]string{"baseUrl": baseURL}, nil
	}))
	serve(s.gate.static, "GET /api/openapi.json", plugins.JSON(func(*http.Request, plugins.None) (json.RawMessage, error) {
		return plugins.OpenAPI("Checkstack", v.Version, s.gate.routes())
	}))
	serve(s.gate.static, "GET /assets/{file...}", fileServer(s.gate.web, "assets/"))
	serve(s.gate.static, "GET /vendor/{file...}", fileServer(s.gate.web, "vendor/"))
	serve(s.gate.static, "GET /{path...}", http.HandlerFunc(s.page))
}

// version is what this binary was built from.
type version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func buildVersion() version {
	v := version{Version: "dev", Commit: "unknown", Go: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}

type about struct {
	version
	Plugins []pluginVersion `json:"plugins"`
}

type pluginVersion struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// page answers a browser: the web frontend's index.html, for every path that is the frontend's to interpret.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	html := strings.Contains(r.Header.Get("Accept"), "text/html")
	if strings.HasPrefix(p, "/api/") || p == "/api" || p != "/" && !html {
		plugins.WriteError(w, r, plugins.NotFound("page"))
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if serveFile(w, r, s.gate.web, "index.html") {
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	io.WriteString(w, builtinPage)
}

// builtinPage is shown where there is no web frontend.
const builtinPage = `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Checkstack</title>
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em}</style>
<h1>Checkstack</h1>
<p>The server is running. It has an API and no page of its own yet.</p>
<ul>
<li><a href="/api/openapi.json">The API, as an OpenAPI document</a>, <a href="/api/plugins">the plugins that serve it</a></li>
<li><a href="/.checkstack/ready?verbose">Whether it is ready</a>, <a href="/.checkstack/metrics">what it counts</a></li>
</ul>
</html>
`

// fileServer serves the files of a folder by the path value "file", below a prefix. Anything but a regular file is 404.
func fileServer(files fs.FS, prefix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !serveFile(w, r, files, prefix+r.PathValue("file")) {
			plugins.WriteError(w, r, plugins.NotFound("file"))
		}
	})
}

// serveFile answers with a file. Not http.ServeFileFS: that one sends whoever asks for an index.html to the folder.
func serveFile(w http.ResponseWriter, r *http.Request, files fs.FS, name string) bool {
	if !isFile(files, name) {
		return false
	}
	f, err := files.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	content, ok := f.(io.ReadSeeker)
	info, err := f.Stat()
	if !ok || err != nil {
		return false
	}
	http.ServeContent(w, r, name, info.ModTime(), content)
	return true
}

func isFile(files fs.FS, name string) bool {
	if files == nil || !fs.ValidPath(name) {
		return false
	}
	info, err := fs.Stat(files, name)
	return err == nil && info.Mode().IsRegular()
}
