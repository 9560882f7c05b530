package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"checkstack/gen"
	"checkstack/plugins"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// instance is a whole server in this process, as main runs it, on a real port and a real database.
type instance struct {
	t      testing.TB
	log    *logBook
	stop   context.CancelFunc
	url    string
	exited chan struct{}
	code   int // once exited is closed
}

// boot starts a server and returns when it listens.
func boot(t testing.TB, table []plugins.Entry, database string, args ...string) *instance {
	ctx, cancel := context.WithCancel(context.Background())
	in := &instance{t: t, log: newLogBook(), stop: cancel, exited: make(chan struct{})}
	getenv := func(name string) string {
		return map[string]string{"DATABASE_URL": database, "CHECKSTACK_ADMIN_TOKEN": adminToken}[name]
	}
	args = append([]string{"-listen=127.0.0.1:0", "-drain=0s", "-ready-cache=0s", "-demo=false"}, args...)
	go func() {
		defer close(in.exited)
		in.code = run(ctx, args, table, plugins.Process{Getenv: getenv, Stdout: io.Discard, Stderr: in.log})
		in.log.end()
	}()
	t.Cleanup(func() {
		in.stop()
		<-in.exited
	})
	in.url = "http://" + in.log.wait(t, "listening")["addr"].(string)
	return in
}

const adminToken = "cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// get returns status and body of a request, and "gone" if there is no server any more.
func (in *instance) get(path string, header ...string) string {
	r, _ := http.NewRequest("GET", in.url+path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return "gone"
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s %s", res.StatusCode, res.Header.Get("Retry-After"), body)
}

func (in *instance) expect(path, want string, header ...string) {
	in.t.Helper()
	if got := in.get(path, header...); got != want {
		in.t.Errorf("%s: %s, want %s", path, got, want)
	}
}

// until asks again and again until the answer has a part that the test waits for.
func (in *instance) until(path, part string) {
	in.t.Helper()
	for {
		got := in.get(path)
		if strings.Contains(got, part) {
			return
		}
		if got == "gone" {
			in.t.Fatalf("the server has gone before %s said %s:\n%s", path, part, in.log)
		}
	}
}

// exit waits until the server has exited and returns its exit code.
func (in *instance) exit() int {
	<-in.exited
	return in.code
}

// logBook is a JSON log that tests wait for. A record that a test holds blocks the server that writes it.
type logBook struct {
	mu      sync.Mutex
	changed *sync.Cond
	records []map[string]any
	raw     bytes.Buffer
	rest    []byte // the beginning of a line
	ended   bool
	holds   map[string]chan struct{}
}

func newLogBook() *logBook {
	l := &logBook{holds: make(map[string]chan struct{})}
	l.changed = sync.NewCond(&l.mu)
	return l
}

func (l *logBook) Write(p []byte) (int, error) {
	var hold chan struct{}
	l.mu.Lock()
	l.raw.Write(p)
	l.rest = append(l.rest, p...) // of a process a write may be more than a line, or less
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			break
		}
		var record map[string]any
		if err := json.Unmarshal(line, &record); err == nil {
			l.records = append(l.records, record)
			hold = l.holds[fmt.Sprint(record["msg"])]
		}
		l.rest = rest
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return len(p), nil
}

// hold makes the server wait when it logs msg, until the returned function is called. Whoever logs then waits too.
func (l *logBook) hold(msg string) (release func()) {
	c := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds[msg] = c
	return sync.OnceFunc(func() { close(c) })
}

func (l *logBook) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.changed.Broadcast()
}

// wait returns the first record with a message, when it is there.
func (l *logBook) wait(t testing.TB, msg string) map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for _, r := range l.records {
			if r["msg"] == msg {
				return r
			}
		}
		if l.ended {
			t.Fatalf("the server ended and did not log %q:\n%s", msg, l.raw.String())
		}
		l.changed.Wait()
	}
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.String()
}

func hooked(hook func(p *recorder, ctx context.Context, phase string) error) []plugins.Entry {
	return []plugins.Entry{entry(new(events), hook, "x")}
}

func TestTheServerAnswersEveryStateFromTheFirstMomentToTheLast(t *testing.T) {
	_, database := postgrestest.New(t)
	inNew, inInit := make(chan struct{}), make(chan struct{})
	hook := func(p *recorder, _ context.Context, phase string) error {
		switch phase {
		case "New":
			<-inNew
		case "Init":
			if err := p.host.Routes.Handle("GET /y", plugins.Public, text("y")); err != nil {
				return err
			}
			<-inInit
		}
		return nil
	}
	in := boot(t, hooked(hook), database, "-ready-wait=50ms")
	in.expect("/.checkstack/health", `200  {"status":"ok"}`)
	in.until("/.checkstack/ready", `"phase":"construct"`)
	in.expect("/.checkstack/ready", `503 1 {"ready":false,"reason":"initializing","phase":"construct","plugin":"x","checks":[]}`)
	in.expect("/api/x/y", "503 5 "+bodyBootTimeout)
	in.expect("/page", "503 5 "+bodyBootTimeout)
	close(inNew)
	in.until("/.checkstack/ready", `"phase":"Init"`)
	in.expect("/.checkstack/ready", `503 1 {"ready":false,"reason":"initializing","phase":"Init","plugin":"x","checks":[]}`)
	in.expect("/api/x/y", `503 1 {"error":"Plugin not ready","plugin":"x","state":"initializing"}`)
	in.expect("/api/z/y", `404  {"error":"Plugin not found","plugin":"z"}`)
	close(inInit)
	in.log.wait(t, "ready")
	if got := in.get("/.checkstack/ready"); !strings.HasPrefix(got, `200  {"ready":true,"checks":[{"name":"core.init","critical":true,"ok":true,"durationMs":`) {
		t.Error(got)
	}
	in.expect("/api/x/y", "200  y")
	in.expect("/api/plugins", `200  [{"id":"x","version":"dev","enabled":true,"state":"running","requires":[],"remote":false}]`)
	in.expect("/api/config", `200  {"baseUrl":"`+strings.Replace(in.url, "127.0.0.1", "localhost", 1)+`"}`)
	if got := in.get("/api/about"); !regexp.MustCompile(`^200  {"version":"dev","commit":"[^"]+","go":"go1[^"]*","plugins":\[{"id":"x","version":"dev"}\]}$`).MatchString(got) {
		t.Error(got)
	}
	release := in.log.hold("draining")
	in.stop()
	in.log.wait(t, "draining")
	in.expect("/.checkstack/ready", `503 5 {"ready":false,"reason":"shutting down","checks":[]}`)
	in.expect("/.checkstack/health", `200  {"status":"ok"}`)
	in.expect("/api/x/y", "200  y") // still served
	release()
	if code := in.exit(); code != 0 {
		t.Errorf("exit code %d\n%s", code, in.log)
	}
}

func TestRequestsThatArriveDuringTheBootAreServedOnceTheirPluginIs(t *testing.T) {
	_, database := postgrestest.New(t)
	inNew := make(chan struct{})
	hook := func(p *recorder, _ context.Context, phase string) error {
		switch phase {
		case "New":
			<-inNew
		case "Init":
			return p.host.Routes.Handle("GET /y", plugins.Public, text("y"))
		}
		return nil
	}
	in := boot(t, hooked(hook), database)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { in.expect("/api/x/y", "200  y") })
	}
	in.until("/.checkstack/metrics", "checkstack_gate_waiting 100")
	close(inNew)
	all.Wait()
}

func TestABootThatFailsSaysWhyClosesWhatItOpenedAndExits1(t *testing.T) {
	_, database := postgrestest.New(t)
	ways := map[string]struct {
		phase, want string
		fail        func() error
	}{
		"New panics":              {"New", "plugin x: construct: panic: no luck", func() error { panic("no luck") }},
		"Init errs":               {"Init", "plugin x: Init: no luck", func() error { return errors.New("no luck") }},
		"Init panics":             {"Init", "plugin x: Init: panic: no luck", func() error { panic("no luck") }},
		"AfterPluginsReady errs":  {"AfterPluginsReady", "plugin x: AfterPluginsReady: no luck", func() error { return errors.New("no luck") }},
		"an address is kept back": {"Init", "plugin x: Init: dial: connect: connection refused", func() error { _, err := net.Dial("tcp", "127.0.0.1:1"); return err }},
		"Init hangs":              {"Init", "plugin x: Init: it ignores that its time is up: not done within the boot timeout of 1s", func() error { select {} }},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			ev := new(events)
			arrived := make(chan struct{})
			hook := func(p *recorder, _ context.Context, phase string) error {
				if phase == way.phase {
					if phase == "New" {
						<-arrived // a request waits at the gate
					}
					return way.fail()
				}
				return nil
			}
			timeout := "-boot-timeout=1h"
			if strings.Contains(way.want, "boot timeout") {
				timeout = "-boot-timeout=1s"
			}
			in := boot(t, []plugins.Entry{entry(ev, hook, "x"), entry(ev, nil, "y", "x")}, database, timeout)
			if way.phase == "New" {
				parked := make(chan string)
				go func() { parked <- in.get("/api/x/y") }()
				in.until("/.checkstack/metrics", "checkstack_gate_waiting 1")
				close(arrived)
				if got, want := <-parked, `503 5 {"error":"Backend init failed","message":"`+way.want+`"}`; got != want {
					t.Errorf("parked: %s, want %s", got, want)
				}
			} else {
				release := in.log.hold("boot failed")
				record := in.log.wait(t, "boot failed")
				if record["plugin"] != "x" || record["phase"] != way.phase || strings.Contains(way.want, "panic") != (record["stack"] != nil) {
					t.Errorf("logged %v", record)
				}
				in.expect("/.checkstack/ready", `503 5 {"ready":false,"error":"`+way.want+`","checks":[]}`)
				in.expect("/.checkstack/health", `200  {"status":"ok"}`)
				release()
			}
			if code := in.exit(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			want := map[string]string{"New": "", "Init": "Close:x", "AfterPluginsReady": "Close:y Close:x"}[way.phase]
			if _, closed, _ := strings.Cut(ev.String(), "Close:"); want != strings.TrimSuffix("Close:"+closed, "Close:") {
				t.Errorf("events %s, want closed %q", ev, want)
			}
		})
	}
}

func TestAPluginMayCallTheServersOwnAPIWhenAllPluginsAreReady(t *testing.T) {
	_, database := postgrestest.New(t)
	got := make(chan string, 1)
	hook := func(p *recorder, ctx context.Context, phase string) error {
		switch phase {
		case "Init":
			return p.host.Routes.Handle("GET /y", plugins.Public, text("mine"))
		case "AfterPluginsReady":
			r, _ := http.NewRequestWithContext(ctx, "GET", p.host.LocalURL+"/api/x/y", nil)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			got <- string(body)
			return err
		}
		return nil
	}
	in := boot(t, hooked(hook), database)
	if body := <-got; body != "mine" {
		t.Error(body)
	}
	in.log.wait(t, "ready")
	in.stop()
	if code := in.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestBackgroundWorkThatPanicsStopsTheServerWithExitCode1(t *testing.T) {
	_, database := postgrestest.New(t)
	hook := func(p *recorder, _ context.Context, phase string) error {
		if phase == "AfterPluginsReady" {
			p.host.Go(func(context.Context) { panic("boom") })
		}
		return nil
	}
	if code := boot(t, hooked(hook), database).exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestAStopDuringTheBootIsACleanStopAndReleasesWhoeverWaits(t *testing.T) {
	_, database := postgrestest.New(t)
	inNew := make(chan struct{})
	hook := func(p *recorder, ctx context.Context, phase string) error {
		switch phase {
		case "New":
			<-inNew
		case "Init":
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	in := boot(t, hooked(hook), database)
	parked := make(chan string)
	go func() { parked <- in.get("/api/x/y") }()
	in.until("/.checkstack/metrics", "checkstack_gate_waiting 1")
	close(inNew)
	in.until("/.checkstack/ready", `"phase":"Init"`)
	in.stop()
	if got := <-parked; got != `503 5 {"error":"Backend init failed","message":"shutting down"}` {
		t.Errorf("who waited got %s", got)
	}
	if code := in.exit(); code != 0 {
		t.Errorf("exit code %d\n%s", code, in.log)
	}
}

func TestAStopThatExceedsItsTimeIsEndedAndNamesWhatHung(t *testing.T) {
	_, database := postgrestest.New(t)
	inside, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	hook := func(p *recorder, _ context.Context, phase string) error {
		switch phase {
		case "Init":
			return p.host.Routes.Handle("GET /y", plugins.Public, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				close(inside)
				<-release
			}))
		case "Close":
			<-release
		}
		return nil
	}
	in := boot(t, hooked(hook), database, "-stop-timeout=1s")
	in.log.wait(t, "ready")
	go in.get("/api/x/y")
	<-inside
	in.stop()
	if code := in.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := in.log.String(); !strings.Contains(log, `"step":"plugins"`) || !strings.Contains(log, "plugin x: ") || !strings.Contains(log, "Close: it ignores that its time is up") {
		t.Errorf("the log does not name what hung:\n%s", log)
	}
}

// link is a TCP proxy to a database, for tests that take the database away.
type link struct {
	net.Listener
	database string // address of the real one, a Unix socket or host:port
	network  string
}

func newLink(t *testing.T, database string) (l *link, dsn string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	if u, err := url.Parse(database); err == nil && u.Host != "" {
		l = &link{ln, cmp.Or(u.Host, "localhost:5432"), "tcp"}
		u.Host = ln.Addr().String()
		return l, u.String()
	}
	dir := regexp.MustCompile(`host='([^']*)'`).FindStringSubmatch(database)
	if dir == nil {
		t.Fatalf("neither a URL nor a Unix socket: %s", database)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return &link{ln, filepath.Join(dir[1], ".s.PGSQL.5432"), "unix"}, fmt.Sprintf("%s host=127.0.0.1 port=%d", database, port)
}

// carry passes connections on until the listener is closed.
func (l *link) carry() {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			server, err := net.Dial(l.network, l.database)
			if err != nil {
				return
			}
			defer server.Close()
			go io.Copy(server, client)
			io.Copy(client, server)
		}()
	}
}

func TestADatabaseThatIsAwayAtBootIsWaitedForUntilTheBootDeadline(t *testing.T) {
	_, database := postgrestest.New(t)
	l, dsn := newLink(t, database)
	addr := l.Addr().String()
	l.Close() // nobody listens
	in := boot(t, nil, dsn)
	in.expect("/.checkstack/ready", `503 1 {"ready":false,"reason":"initializing","phase":"database","checks":[]}`)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Listener = ln
	defer ln.Close()
	go l.carry()
	in.log.wait(t, "ready")

	ln.Close()
	never := boot(t, nil, dsn, "-boot-timeout=1s")
	release := never.log.hold("boot failed")
	never.log.wait(t, "boot failed")
	got := never.get("/.checkstack/ready")
	release()
	if !strings.HasPrefix(got, `503 5 {"ready":false,"error":"database: `) || strings.Contains(got, strings.Split(addr, ":")[1]) || strings.Contains(got, "checkstack") {
		t.Error(got)
	}
	if code := never.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestReadyAnswersWithinItsDeadlineWhileTheDatabaseIsFrozenOrStoppedAndComesBack(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Dir(dir), 0o755)
	data := filepath.Join(dir, "d")
	hook := func(p *recorder, _ context.Context, phase string) error {
		if phase == "Init" {
			p.host.Readiness.Register(plugins.Probe{Name: "x.query", Check: func(ctx context.Context) (plugins.Result, error) {
				var one int
				err := p.host.DB.QueryRowContext(ctx, "SELECT 1").Scan(&one)
				return plugins.Result{OK: one == 1}, err
			}})
		}
		return nil
	}
	in := boot(t, hooked(hook), "", "-data="+data)
	in.log.wait(t, "ready")
	until := func(what string, ok func(status int, body string) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			start := time.Now()
			got := in.get("/.checkstack/ready")
			if took := time.Since(start); took > 2500*time.Millisecond {
				t.Fatalf("%s: answered after %v: %s", what, took, got)
			}
			if strings.Contains(got, data) || strings.Contains(got, "5432") || strings.Contains(got, "SELECT") {
				t.Fatalf("%s: says too much: %s", what, got)
			}
			if status, _ := strconv.Atoi(got[:3]); ok(status, got) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: still %s", what, got)
			}
		}
	}
	until("at first", func(status int, body string) bool { return status == 200 })
	pids := freeze(t, data)
	until("frozen", func(status int, body string) bool {
		return status == 503 && strings.Contains(body, `"x.query","critical":true,"ok":false`)
	})
	until("frozen for long", func(status int, body string) bool { return strings.Contains(body, `no answer for 11s`) })
	signalAll(t, pids, syscall.SIGCONT)
	until("back", func(status int, body string) bool { return status == 200 })
	signalAll(t, pids[:1], syscall.SIGINT) // the server ends in order, and is started again
	until("stopped", func(status int, body string) bool { return status == 503 })
	until("started again", func(status int, body string) bool { return status == 200 })
	in.stop()
	if code := in.exit(); code != 0 {
		t.Errorf("exit code %d\n%s", code, in.log)
	}
}

// freeze stops a private cluster, and returns its processes. The server is the first to stop: until then it may start another child,
// for a connection of this moment, which would not be among those that were found, and would answer.
func freeze(t *testing.T, data string) []int {
	t.Helper()
	server := serverProcesses(t, data)[:1]
	signalAll(t, server, syscall.SIGSTOP)
	for deadline := time.Now().Add(time.Minute); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", server[0]))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the server does not stop: %s, %v", stat, err)
		}
		if bytes.Contains(stat, []byte(") T ")) {
			break
		}
	}
	pids := serverProcesses(t, data)
	signalAll(t, pids, syscall.SIGSTOP)
	return pids
}

// serverProcesses returns the process of a private cluster's server and its children.
func serverProcesses(t *testing.T, data string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "*", "postmaster.pid"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	first, _ := os.ReadFile(files[0])
	postmaster, _, _ := strings.Cut(string(first), "\n")
	pid, err := strconv.Atoi(postmaster)
	if err != nil {
		t.Fatal(err)
	}
	pids = append(pids, pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		text, _ := os.ReadFile(s)
		var child, parent int
		if i := bytes.LastIndexByte(text, ')'); i > 0 {
			fmt.Sscan(string(text), &child)
			fmt.Sscan(string(text[i+3:]), &parent)
		}
		if parent == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

func signalAll(t *testing.T, pids []int, sig syscall.Signal) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

func TestThreeServersBootingAtOnceOnAnEmptyDatabaseAllBecomeReady(t *testing.T) {
	db, database := postgrestest.New(t)
	if _, err := db.Exec("DROP SCHEMA checkstack CASCADE"); err != nil { // its table of migrations is there otherwise
		t.Fatal(err)
	}
	var servers []*instance
	for range 3 {
		servers = append(servers, boot(t, gen.Plugins, database, "-demo=true"))
	}
	for _, in := range servers {
		in.log.wait(t, "ready")
	}
	for _, in := range servers {
		in.stop()
	}
	for _, in := range servers {
		if code := in.exit(); code != 0 {
			t.Errorf("exit code %d\n%s", code, in.log)
		}
	}
}

func TestMetricsAreInThePrometheusTextFormat(t *testing.T) {
	_, database := postgrestest.New(t)
	in := boot(t, hooked(nil), database)
	in.log.wait(t, "ready")
	in.get("/.checkstack/ready")
	in.get("/api/nothing/here")
	in.get("/api/about")
	_, body, _ := strings.Cut(in.get("/.checkstack/metrics"), "  ")
	for _, want := range []string{
		`checkstack_http_requests_total{route="GET /api/about",code="200"} 1`,
		`checkstack_http_requests_total{route="",code="404"} 1`,
		`checkstack_probe_ok{probe="core.database",critical="true"} 1`,
		`checkstack_ready 1`,
		`checkstack_boot_step_seconds{phase="Init",plugin="x"} `,
		`checkstack_gate_waiting 0`,
		`checkstack_database_connections `,
		`checkstack_build_info{version="dev",`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	sample := regexp.MustCompile(`^[a-z_]+({[a-z]+="[^"]*"(,[a-z]+="[^"]*")*})? [-+0-9.eE]+$`)
	typed := make(map[string]bool)
	for _, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		if f := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") {
			typed[f[2]] = true
		} else if !strings.HasPrefix(line, "# HELP ") && (!sample.MatchString(line) || !typed[strings.FieldsFunc(line, func(r rune) bool { return r == '{' || r == ' ' })[0]]) {
			t.Errorf("not a sample of a family: %s", line)
		}
	}
}
