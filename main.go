// Checkstack is a self-hosted monitoring and status backend. This package is its core: main.go runs it, gate.go is the
// front door, readiness.go says whether it is ready, loader.go runs the plugins, and rollup.go keeps the history.
//
// The life of the server, from top to bottom:
//
//	listen      /.checkstack/health and /ready answer; everything else waits at the gate
//	database    connect, or start the private cluster; the core's migrations
//	plugins     New, migrations, gate opens, Init, AfterPluginsReady
//	ready       until a signal
//	drain       /ready says no, requests are still served, so that load balancers turn away
//	stop        the listener closes, requests finish, plugins close in reverse order, the pool, the private cluster
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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
	os.Exit(run(ctx, os.Args[1:], process{os.Getenv, os.Stdin, os.Stdout, os.Stderr, gen.Plugins}))
}

// process is what run needs of the process it is in.
type process struct {
	getenv func(string) string
	stdin  *os.File // only asked whether it is a terminal
	stdout io.Writer
	stderr io.Writer
	table  []plugins.Entry
}

// run does what the arguments say and returns the exit code: 0 done, 1 failed, 2 not understood.
func run(ctx context.Context, args []string, p process) int {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	var do func(context.Context, *config, process, *slog.Logger) int
	switch command {
	case "serve":
		do = serve
	case "rollup":
		do = rollup
	case "version":
		do = func(_ context.Context, _ *config, p process, _ *slog.Logger) int {
			v := buildVersion()
			fmt.Fprintf(p.stdout, "checkstack %s %s %s\n", v.Version, v.Commit, v.Go)
			return 0
		}
	default:
		fmt.Fprintf(p.stderr, "checkstack: unknown command %q; the commands are serve (the default), rollup and version\n", command)
		return 2
	}
	cfg, err := parse(command, args, p)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		fmt.Fprintf(p.stderr, "checkstack: %v; see checkstack %s -h\n", err, command)
		return 2
	}
	return do(ctx, cfg, p, cfg.logger(p.stderr))
}

// config is what the flags and the environment say.
type config struct {
	databaseURL string // DATABASE_URL: a secret, so there is no flag
	data        string
	existing    bool // a private cluster is not made where there is none
	dbConns     int
	logFormat   string
	logLevel    slog.Level
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
	now         time.Time
}

// parse reads the flags of a command. Each has a twin in the environment, which a flag overrides.
func parse(command string, args []string, p process) (*config, error) {
	c := &config{databaseURL: p.getenv("DATABASE_URL"), now: time.Now(), drain: 5 * time.Second}
	flags := flag.NewFlagSet("checkstack "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	duration := func(v *time.Duration, name string, def, low, high time.Duration, usage string) {
		*v = def
		flags.Func(name, fmt.Sprintf("%s, a `duration` from %s to %s (default %s)", usage, short(low), short(high), short(def)), func(s string) (err error) {
			if *v, err = time.ParseDuration(s); err != nil || *v < low || *v > high {
				return fmt.Errorf("expected a duration from %s to %s", short(low), short(high))
			}
			return nil
		})
	}
	number := func(v *int, name string, def, low, high int, usage string) {
		*v = def
		flags.Func(name, fmt.Sprintf("%s, a `number` from %d to %d (default %d)", usage, low, high, def), func(s string) (err error) {
			if *v, err = strconv.Atoi(s); err != nil || *v < low || *v > high {
				return fmt.Errorf("expected a whole number from %d to %d", low, high)
			}
			return nil
		})
	}
	text := func(v *string, name, def, usage, expected string, ok func(string) bool) {
		*v = def
		flags.Func(name, usage, func(s string) error {
			if *v = s; !ok(s) {
				return errors.New("expected " + expected)
			}
			return nil
		})
	}
	var level string
	text(&level, "log-level", "info", "least `level` of what is logged: debug, info, warn or error (default info)", "debug, info, warn or error",
		func(s string) bool {
			return c.logLevel.UnmarshalText([]byte(s)) == nil && !strings.ContainsAny(s, "+-")
		})
	text(&c.logFormat, "log-format", "", "`format` of the log: text or json (default text on a terminal, else json)", "text or json",
		func(s string) bool { return s == "text" || s == "json" })
	if command != "version" {
		text(&c.data, "data", ".checkstack", "`folder` of the private database cluster, used if DATABASE_URL is not set (default .checkstack)",
			"a folder", func(s string) bool { return s != "" })
		number(&c.dbConns, "db-conns", 16, 4, 500, "most connections to the database")
		duration(&c.bootTimeout, "boot-timeout", 5*time.Minute, time.Second, 24*time.Hour, "how long the whole boot may take")
	}
	switch command {
	case "serve":
		if isTerminal(p.stdin) {
			c.drain = 0
		}
		text(&c.listen, "listen", ":3000", "`address` to listen on, host:port (default :3000)", "host:port such as :3000 or 127.0.0.1:3000",
			func(s string) bool {
				_, port, err := net.SplitHostPort(s)
				_, bad := strconv.ParseUint(port, 10, 16)
				return err == nil && bad == nil
			})
		flags.Func("base-url", "`origin` the server is reached at from outside (default http://localhost:<port>)", func(s string) error {
			u, err := url.Parse(s)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.TrimRight(s, "/") != u.Scheme+"://"+u.Host {
				return errors.New("expected an origin such as https://status.example.org")
			}
			host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
			c.baseURL = u.Scheme + "://" + host // as browsers write an origin
			return nil
		})
		flags.Func("web", "`folder` of a web frontend: index.html, assets/ and vendor/", func(s string) error {
			root, err := os.OpenRoot(s) // links do not lead out of it
			if err != nil || !isFile(root.FS(), "index.html") {
				return errors.New("expected a folder with a file index.html")
			}
			c.web = root.FS()
			return nil
		})
		duration(&c.readyWait, "ready-wait", 30*time.Second, 0, time.Hour, "how long a request waits for the boot")
		duration(&c.readyCache, "ready-cache", time.Second, 0, time.Minute, "how long the result of the readiness probes is reused")
		number(&c.gateQueue, "gate-queue", 1024, 0, 1_000_000, "most requests that wait for the boot")
		duration(&c.drain, "drain", c.drain, 0, time.Hour, "how long requests are still served after SIGTERM, none by default if standard input is a terminal")
		duration(&c.stopTimeout, "stop-timeout", 20*time.Second, time.Second, time.Hour, "how long stopping may take after that")
		flags.BoolVar(&c.demo, "demo", true, "on the first boot with an empty catalog, create a system that checks this server")
	case "rollup":
		c.existing = true
		flags.Func("now", "`time` to roll up for, RFC 3339, as in 2026-01-31T00:00:00Z (default now)", func(s string) (err error) {
			if c.now, err = time.Parse(time.RFC3339, s); err != nil {
				return errors.New("expected a time such as 2026-01-31T00:00:00Z")
			}
			return nil
		})
	}
	var err error
	flags.VisitAll(func(f *flag.Flag) {
		if v := p.getenv(twin(f.Name)); v != "" && err == nil {
			if bad := flags.Set(f.Name, v); bad != nil {
				err = fmt.Errorf("invalid value %q for %s: %w", v, twin(f.Name), bad)
			}
		}
	})
	if parsed := flags.Parse(args); errors.Is(parsed, flag.ErrHelp) {
		usage(p.stdout, flags)
		return nil, parsed
	} else if err = cmp.Or(parsed, err); err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return c, err
}

// short writes a duration without the units that are zero: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// twin is the environment variable that says the same as a flag.
func twin(name string) string {
	return "CHECKSTACK_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func usage(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: %s [flags]\n\nCommands: serve (the default), rollup, version.\n\nFlags, each with the environment variable that says the same:\n", flags.Name())
	flags.VisitAll(func(f *flag.Flag) {
		arg, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && !strings.Contains(text, "(default") {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %s\n    \t%s\n    \t%s\n", strings.TrimSpace("-"+f.Name+" "+arg), text, twin(f.Name))
	})
	fmt.Fprint(w, "\nFrom the environment only, because they are secret:\n"+
		"  DATABASE_URL\n    \tthe PostgreSQL database, postgres://user:password@host/database (default a private cluster in -data)\n")
	if flags.Name() == "checkstack serve" {
		fmt.Fprint(w, "  CHECKSTACK_ADMIN_TOKEN\n    \tthe administrator's token that the first boot of an empty database makes (default a random one)\n")
	}
}

func (c *config) logger(w io.Writer) *slog.Logger {
	f, isFile := w.(*os.File)
	options := &slog.HandlerOptions{Level: c.logLevel, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // "1.5s" in JSON too, not nanoseconds
			return slog.String(a.Key, a.Value.Duration().String())
		}
		return a
	}}
	if c.logFormat == "text" || c.logFormat == "" && isFile && isTerminal(f) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// isTerminal reports whether f is a character device that is not the null device.
func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	info, err := f.Stat()
	null, nullErr := os.Stat(os.DevNull)
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !(nullErr == nil && os.SameFile(info, null))
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

	work       context.Context // of the core's own background work
	endWork    context.CancelFunc
	background sync.WaitGroup
}

// store is where everything is kept.
type store struct {
	*postgres.Database
	history *history
}

func serve(ctx context.Context, cfg *config, p process, log *slog.Logger) int {
	s := &server{cfg: cfg, log: log, started: time.Now()}
	s.work, s.endWork = context.WithCancel(context.WithoutCancel(ctx))
	defer s.endWork()
	ctx, fatal := context.WithCancelCause(ctx)
	defer fatal(nil)
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	if err := s.listen(requests, fatal, p); err != nil {
		log.Error("cannot listen", "error", err)
		return 1
	}
	boot, cancel := context.WithTimeoutCause(ctx, cfg.bootTimeout, fmt.Errorf("not done within the boot timeout of %v", cfg.bootTimeout))
	started, err := s.boot(boot, p)
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
func (s *server) listen(requests context.Context, fatal func(error), p process) error {
	ln, err := net.Listen("tcp", s.cfg.listen)
	if err != nil {
		return err
	}
	baseURL := cmp.Or(s.cfg.baseURL, fmt.Sprintf("http://localhost:%d", ln.Addr().(*net.TCPAddr).Port))
	s.ready = newReadiness(s.log, s.cfg.readyCache)
	s.gate = newGate(s.cfg.readyWait, s.cfg.gateQueue)
	s.loader = &loader{log: s.log, gate: s.gate, ready: s.ready, fatal: fatal}
	s.loader.host = func() *plugins.Host {
		st := s.store.Load()
		h := &plugins.Host{DB: st.DB, History: st.history, BaseURL: baseURL, LocalURL: localURL(ln.Addr().(*net.TCPAddr)), Demo: s.cfg.demo, Getenv: p.getenv}
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
func (s *server) boot(ctx context.Context, p process) ([]*plugin, error) {
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
	pulse := newPulse()
	s.background.Go(func() { pulse.run(s.work, s.store.Load().PingContext) })
	s.ready.register("", plugins.Probe{Name: "core.database", Check: pulse.check})
	return s.loader.start(ctx, p.table)
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
