// Checkstack is a self-hosted monitoring and status backend. This package is its core: main.go runs it, gate.go is the
// front door, readiness.go says whether it is ready, loader.go runs the plugins, and rollup.go keeps the history.
//
// The life of the server, from top to bottom:
//
//	listen      /.checkstack/health and /ready answer; everything else waits at the gate
//	database    connect, or start the private cluster; the core's migrations; the master key
//	plugins     New, migrations, gate opens, Init, AfterPluginsReady
//	ready       until a signal
//	drain       /ready says no, requests are still served, so that load balancers turn away
//	stop        the listener closes, requests finish, plugins close in reverse order, the pool, the private cluster
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"checkstack/gen"
	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/series"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more is no reason to die
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		for first := time.Now(); time.Since(first) < 200*time.Millisecond; { // some send it to the process and to its group
			<-signals
		}
		os.Exit(1) // the second one does not wait for anything
	}()
	p := plugins.Process{Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(run(ctx, os.Args[1:], gen.Plugins, p))
}

// run does what the arguments say and returns the exit code: 0 done, 1 failed, 2 not understood.
func run(ctx context.Context, args []string, table []plugins.Entry, p plugins.Process) int {
	p.Version = buildVersion().Version
	c := &config{drain: 5 * time.Second}
	if plugins.IsTerminal(p.Stdin) {
		c.drain = 0
	}
	commands, err := plugins.Commands([]plugins.Command{
		{
			Name: "serve", Summary: "run the server until a signal",
			Flags: func(f *plugins.Flags) {
				c.serveFlags(f)
				c.settings = plugins.Settings(f, table)
			},
			Run: func(ctx context.Context, p plugins.Process) int { return serve(ctx, c, table, p) },
		},
		{
			Name: "rollup", Summary: "roll the history up once, by hand, and print a summary as JSON", Flags: c.rollupFlags,
			Run: func(ctx context.Context, p plugins.Process) int { return rollup(ctx, c, p) },
		},
		{
			Name: "export", Summary: "write the hours and the days of the history to standard output", Flags: c.exportFlags,
			Run: func(ctx context.Context, p plugins.Process) int { return export(ctx, c, p) },
		},
		{
			Name: "version", Summary: "say what this program was built from",
			Run: func(_ context.Context, p plugins.Process) int {
				v := buildVersion()
				fmt.Fprintf(p.Stdout, "checkstack %s %s %s\n", v.Version, v.Commit, v.Go)
				return 0
			},
		},
	}, table)
	if err != nil {
		fmt.Fprintf(p.Stderr, "checkstack: %v\n", err)
		return 1
	}
	return plugins.Execute(ctx, commands, args, p)
}

// config is what the flags and the environment say to the commands of the core.
type config struct {
	databaseURL string
	data        string
	existing    bool // a private cluster is not made where there is none
	dbConns     int
	listen      string
	baseURL     string
	web         fs.FS
	bootTimeout time.Duration
	readyWait   time.Duration
	readyCache  time.Duration
	gateQueue   int
	drain       time.Duration
	stopTimeout time.Duration
	demo        bool
	settings    map[string]any // of the plugins, by their IDs
	masterKey   string         // empty: that of the private cluster's folder, or none
	previousKey string
	now         time.Time // zero: the time by the database's clock
	ahead       bool
	from, to    time.Time
	format      string
}

// databaseFlags are those of every command that uses the database.
func (c *config) databaseFlags(f *plugins.Flags) {
	f.Secret(&c.databaseURL, "DATABASE_URL",
		"the PostgreSQL database, postgres://user:password@host/database (default a private cluster in -data)")
	f.Text(&c.data, "data", ".checkstack", "`folder` of the private database cluster, used if DATABASE_URL is not set",
		func(s string) error {
			if s == "" {
				return errors.New("expected a folder")
			}
			return nil
		})
	f.Number(&c.dbConns, "db-conns", 16, 4, 500, "most connections to the database")
	f.Duration(&c.bootTimeout, "boot-timeout", 5*time.Minute, time.Second, 24*time.Hour, "how long the whole boot may take")
}

func (c *config) serveFlags(f *plugins.Flags) {
	c.databaseFlags(f)
	f.Secret(new(string), "CHECKSTACK_ADMIN_TOKEN", // read by who makes the first administrator
		"the administrator's token that the first boot of an empty database makes (default a random one)")
	f.Secret(&c.masterKey, "CHECKSTACK_MASTER_KEY",
		"the key that seals what is kept secret, 32 bytes in hex or base64 (default that of the file master-key of a private cluster)")
	f.Secret(&c.previousKey, "CHECKSTACK_MASTER_KEY_PREVIOUS",
		"the key before that, which opens what it sealed until all of that is sealed anew (default none)")
	f.Check(func() error {
		if c.previousKey != "" && c.masterKey == "" && c.databaseURL != "" {
			return errors.New("expected a CHECKSTACK_MASTER_KEY for the CHECKSTACK_MASTER_KEY_PREVIOUS")
		}
		_, err := plugins.NewSecrets(c.masterKey, c.previousKey)
		return err
	})
	f.Text(&c.listen, "listen", ":3000", "`address` to listen on, host:port", func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
			return errors.New("expected host:port such as :3000 or 127.0.0.1:3000")
		}
		return nil
	})
	f.Func("base-url", "`origin` the server is reached at from outside (default http://localhost:<port>)", func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.TrimRight(s, "/") != u.Scheme+"://"+u.Host {
			return errors.New("expected an origin such as https://status.example.org")
		}
		host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
		c.baseURL = u.Scheme + "://" + host // as browsers write an origin
		return nil
	})
	f.Func("web", "`folder` of a web frontend: index.html, assets/ and vendor/", func(s string) error {
		root, err := os.OpenRoot(s) // links do not lead out of it
		if err != nil || !isFile(root.FS(), "index.html") {
			return errors.New("expected a folder with a file index.html")
		}
		c.web = root.FS()
		return nil
	})
	f.Duration(&c.readyWait, "ready-wait", 30*time.Second, 0, time.Hour, "how long a request waits for the boot")
	f.Duration(&c.readyCache, "ready-cache", time.Second, 0, time.Minute, "how long the result of the readiness probes is reused")
	f.Number(&c.gateQueue, "gate-queue", 1024, 0, 1_000_000, "most requests that wait for the boot")
	f.Duration(&c.drain, "drain", c.drain, 0, time.Hour,
		"how long requests are still served after SIGTERM, none by default if standard input is a terminal")
	f.Duration(&c.stopTimeout, "stop-timeout", 20*time.Second, time.Second, time.Hour, "how long stopping may take after that")
	f.Bool(&c.demo, "demo", true, "on the first boot with an empty catalog, create a system that checks this server")
}

func (c *config) rollupFlags(f *plugins.Flags) {
	c.existing = true
	c.databaseFlags(f)
	f.Time(&c.now, "now", "`time` to roll up for, RFC 3339 or a date (UTC), as in 2026-01-31T00:00:00Z (default now)")
	f.Bool(&c.ahead, "ahead", false, "let -now be in the future, which deletes what would be too old by then")
	f.Check(func() error {
		if c.now.After(time.Now()) && !c.ahead {
			return errors.New("expected a -now that is not in the future, because history would be deleted ahead of its time; -ahead allows it")
		}
		return nil
	})
}

func (c *config) exportFlags(f *plugins.Flags) {
	c.existing, c.to = true, time.Now()
	c.databaseFlags(f)
	f.Time(&c.from, "from", "`time` that the hours and days begin at or after, RFC 3339 or a date (UTC) (default the beginning)")
	f.Time(&c.to, "to", "`time` that they begin before, RFC 3339 or a date (UTC) (default now)")
	f.Choice(&c.format, "format", string(series.CSV), "`format` of what is written: csv, or json, an object a line", string(series.CSV), string(series.JSON))
	f.Check(func() error {
		if !c.from.Before(c.to) {
			return errors.New("expected a -from that is before -to, which is now if it is not given")
		}
		return nil
	})
}

// withDatabase runs a command that needs the database and no server. It returns the exit code; what failed is logged.
func withDatabase(ctx context.Context, cfg *config, p plugins.Process, do func(*postgres.Database) error) int {
	boot, cancel := context.WithTimeoutCause(ctx, cfg.bootTimeout, fmt.Errorf("not done within the boot timeout of %v", cfg.bootTimeout))
	db, err := openDatabase(boot, cfg, p.Log)
	cancel()
	if err != nil {
		p.Log.Error("cannot open the database", "error", err)
		return 1
	}
	err = do(db)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := errors.Join(err, db.Close(stop)); err != nil {
		p.Log.Error("the command failed", "error", err)
		return 1
	}
	return 0
}

// server is one run of "checkstack serve".
type server struct {
	cfg     *config
	log     *slog.Logger
	started time.Time
	gate    *gate
	door    *door
	ready   *readiness
	loader  *loader
	http    *http.Server
	store   atomic.Pointer[store] // nil until the boot has reached the database
	secrets *plugins.Secrets      // nil until then, too

	work       context.Context // of the core's own background work
	endWork    context.CancelFunc
	background sync.WaitGroup
}

// store is where everything is kept.
type store struct {
	*postgres.Database
	history *history
}

func serve(ctx context.Context, cfg *config, table []plugins.Entry, p plugins.Process) int {
	log := p.Log
	s := &server{cfg: cfg, log: log, started: time.Now()}
	s.work, s.endWork = context.WithCancel(context.WithoutCancel(ctx))
	defer s.endWork()
	ctx, fatal := context.WithCancelCause(ctx)
	defer fatal(nil)
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	if err := s.listen(requests, fatal, p.Getenv); err != nil {
		log.Error("cannot listen", "error", err)
		return 1
	}
	boot, cancel := context.WithTimeoutCause(ctx, cfg.bootTimeout, fmt.Errorf("not done within the boot timeout of %v", cfg.bootTimeout))
	started, err := s.boot(boot, table)
	cancel()
	code := 0
	switch {
	case ctx.Err() != nil && context.Cause(ctx) == context.Canceled:
		log.Info("stopping during the boot")
	case err != nil:
		code = 1
		s.fail(err)
	default:
		s.background.Go(func() { s.store.Load().history.run(s.work) })
		s.gate.booted.Store(true)
		s.ready.finish("")
		log.Info("ready", "took", time.Since(s.started), "plugins", len(started), "url", s.loader.host().BaseURL)
		<-ctx.Done()
		if cause := context.Cause(ctx); cause != context.Canceled {
			log.Error("cannot go on", "error", cause)
			code = 1
		}
		s.drain(code == 0)
	}
	if !s.stop(started, endRequests) {
		code = 1
	}
	return code
}

// listen opens the port and starts to serve: health and readiness answer from here on.
func (s *server) listen(requests context.Context, fatal func(error), getenv func(string) string) error {
	ln, err := net.Listen("tcp", s.cfg.listen)
	if err != nil {
		return err
	}
	baseURL := cmp.Or(s.cfg.baseURL, fmt.Sprintf("http://localhost:%d", ln.Addr().(*net.TCPAddr).Port))
	s.ready = newReadiness(s.log, s.cfg.readyCache)
	s.gate = newGate(s.cfg.readyWait, s.cfg.gateQueue)
	s.loader = &loader{log: s.log, gate: s.gate, ready: s.ready, fatal: fatal, settings: s.cfg.settings}
	s.loader.host = func() *plugins.Host {
		st := s.store.Load()
		h := &plugins.Host{DB: st.DB, History: st.history, Notices: st, Secrets: s.secrets,
			BaseURL: baseURL, LocalURL: localURL(ln.Addr().(*net.TCPAddr)), Demo: s.cfg.demo, Getenv: getenv}
		if st.Private() {
			h.DataDir = s.cfg.data
		}
		return h
	}
	s.gate.web = s.cfg.web
	s.coreRoutes(baseURL)
	s.door = &door{log: s.log, next: s.gate, origin: baseURL, answered: tally{n: make(map[answered]int64)}}
	s.http = &http.Server{
		Handler:           s.door,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	s.background.Go(func() {
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			fatal(fmt.Errorf("serve: %w", err))
		}
	})
	s.log.Info("listening", "addr", ln.Addr().String(), "version", buildVersion().Version)
	return nil
}

// localURL is how this machine reaches an address that was listened on.
func localURL(a *net.TCPAddr) string {
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// boot takes the server from listening to ready.
func (s *server) boot(ctx context.Context, table []plugins.Entry) ([]*plugin, error) {
	err := s.loader.step(ctx, "database", "", func(ctx context.Context) error {
		db, err := openDatabase(ctx, s.cfg, s.log)
		if err == nil {
			s.store.Store(&store{db, newHistory(db.DB, s.log)})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.loader.step(ctx, "secrets", "", s.openSecrets); err != nil {
		return nil, err
	}
	pulse := newPulse()
	s.background.Go(func() { pulse.run(s.work, s.store.Load().PingContext) })
	s.ready.register("", plugins.Probe{Name: "core.database", Check: pulse.check})
	return s.loader.start(ctx, table)
}

// openSecrets takes the master key from the environment, or from the folder of the private cluster.
func (s *server) openSecrets(context.Context) (err error) {
	key := s.cfg.masterKey
	if key == "" && s.store.Load().Private() {
		var made bool
		if key, made, err = plugins.MasterKey(s.cfg.data); err != nil {
			return err
		}
		if made {
			s.log.Info("made the master key: back it up, and not where the database's backup is", "folder", s.cfg.data, "file", "master-key")
		}
	}
	s.secrets, err = plugins.NewSecrets(key, s.cfg.previousKey)
	return err
}

// fail tells everybody why the boot failed, for long enough that somebody who asks at that moment hears it.
func (s *server) fail(err error) {
	e, ok := errors.AsType[*bootError](err)
	if !ok {
		e = &bootError{phase: "boot", err: err}
	}
	s.ready.finish(e.public())
	s.gate.fail(e.public())
	attrs := []any{"phase", e.phase, "plugin", e.plugin, "error", e.err}
	if p, ok := errors.AsType[*plugins.PanicError](err); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	s.log.Error("boot failed", attrs...)
	time.Sleep(50 * time.Millisecond)
}

// drain turns load balancers away while requests are still served.
func (s *server) drain(wait bool) {
	s.ready.drain()
	s.log.Info("draining", "for", s.cfg.drain)
	if wait {
		time.Sleep(s.cfg.drain)
	}
}

// stop ends everything in order, and reports whether all of it ended well. Each step has a share of the stop timeout; a
// step that ignores its share is given up when the whole time is over.
func (s *server) stop(started []*plugin, endRequests func()) bool {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.stopTimeout)
	defer cancel()
	s.ready.drain()
	if !s.gate.booted.Load() { // for requests that wait for the boot; after it they are served to the end
		s.gate.fail("shutting down")
	}
	var doing atomic.Value
	ended := make(chan bool, 1)
	go func() {
		ok := true
		for _, step := range []struct {
			name string
			do   func(context.Context) error
		}{
			{"requests", func(ctx context.Context) error {
				half, cancel := portion(ctx, 2)
				defer cancel()
				err := s.http.Shutdown(half)
				endRequests()
				if err != nil {
					s.log.Warn("requests that take too long are cut off")
					err = s.http.Shutdown(ctx)
				}
				return err
			}},
			{"plugins", func(ctx context.Context) error { return s.loader.stop(ctx, started) }},
			{"probes", s.ready.close},
			{"background work", s.wait},
			{"database", func(ctx context.Context) error {
				if st := s.store.Load(); st != nil {
					return st.Close(ctx)
				}
				return nil
			}},
		} {
			doing.Store(step.name)
			part, cancel := portion(ctx, 2)
			if err := step.do(part); err != nil {
				s.log.Error("stopping did not end well", "step", step.name, "error", err)
				ok = false
			}
			cancel()
		}
		ended <- ok
	}()
	watchdog := time.NewTimer(s.cfg.stopTimeout + time.Second)
	defer watchdog.Stop()
	select {
	case ok := <-ended:
		s.log.Info("stopped", "took", time.Since(begin), "clean", ok)
		return ok
	case <-watchdog.C:
		s.log.Error("stopping takes too long and is given up", "step", doing.Load(), "after", time.Since(begin))
		return false
	}
}

// wait ends the core's own background work and waits for it.
func (s *server) wait(ctx context.Context) error {
	s.endWork()
	return call(ctx, func(context.Context) error {
		s.background.Wait()
		return nil
	})
}
