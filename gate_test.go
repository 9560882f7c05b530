package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres/postgrestest"
)

// house is the front door with nothing behind it but what a test puts there.
type house struct {
	gate  *gate
	door  *door
	ready *readiness
	log   *safeBuffer
}

func newHouse(t testing.TB, wait time.Duration, queue int, web ...fs.FS) *house {
	h := &house{log: new(safeBuffer)}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &server{log: log}
	s.gate, s.ready = newGate(wait, queue), newReadiness(log, time.Second)
	if len(web) > 0 {
		s.gate.web = web[0]
	}
	s.gate.booted.Store(true)
	s.loader = &loader{log: log, gate: s.gate, ready: s.ready, fatal: func(error) {}}
	s.coreRoutes("http://status.test")
	s.door = &door{log: log, next: s.gate, origin: "http://status.test", answered: tally{n: make(map[answered]int64)}}
	h.gate, h.door, h.ready = s.gate, s.door, s.ready
	t.Cleanup(s.ready.end)
	return h
}

// plugin adds a running plugin to the house.
func (h *house) plugin(id string) *room {
	rm := h.gate.admit(id)
	rm.become(running)
	return rm
}

// do makes a request without a network in between.
func (h *house) do(method, path string, header ...string) *httptest.ResponseRecorder {
	return h.doContext(context.Background(), method, path, header...)
}

func (h *house) doContext(ctx context.Context, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	return w
}

// safeBuffer is a log that tests read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, s) })
}

// serveOn serves h on a listener until the test ends.
func serveOn(t testing.TB, ln net.Listener, h http.Handler) (url string, client *http.Client) {
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: h}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, server.Client()
}

func expect(t *testing.T, w *httptest.ResponseRecorder, status int, body string, header ...string) {
	t.Helper()
	if w.Code != status || w.Body.String() != body {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, body)
	}
	for i := 0; i < len(header); i += 2 {
		if got := w.Header().Get(header[i]); got != header[i+1] {
			t.Errorf("%s: got %q, want %q", header[i], got, header[i+1])
		}
	}
}

const (
	bodyBootTimeout = `{"error":"Backend not ready","message":"boot timeout"}`
	bodyInitFailed  = `{"error":"Backend init failed","message":"plugin x: Init: no luck"}`
)

func TestPlatformPathsAnswerAtAnyTimeAndNothingElseDoes(t *testing.T) {
	states := map[string]func(*house){
		"booting": func(*house) {},
		"open":    func(h *house) { h.gate.open() },
		"failed":  func(h *house) { h.gate.fail("x") },
	}
	for name, enter := range states {
		h := newHouse(t, time.Minute, 1)
		enter(h)
		expect(t, h.do("GET", "/.checkstack/health"), 200, `{"status":"ok"}`,
			"Content-Type", "application/json", "Cache-Control", "no-store", "X-Content-Type-Options", "nosniff")
		expect(t, h.do("GET", "/x/../.checkstack/./health"), 307, "<a href=\"/.checkstack/health\">Temporary Redirect</a>.\n\n")
		for _, path := range []string{"/.checkstack/", "/.checkstack", "/.checkstack/nothing", "/.checkstack/health/", "/.checkstack/ready/a/b"} {
			expect(t, h.do("GET", path), 404, `{"error":"Not Found","message":"GET `+path+` is not served here"}`,
				"Content-Type", "application/json", "Cache-Control", "no-store", "X-Content-Type-Options", "nosniff")
		}
		expect(t, h.do("POST", "/.checkstack/ready"), 405, `{"error":"Method Not Allowed","message":"POST /.checkstack/ready is not served here"}`,
			"Allow", "GET, HEAD", "Content-Type", "application/json", "Cache-Control", "no-store")
		if t.Failed() {
			t.Fatalf("in state %s", name)
		}
	}
}

func TestRequestsWaitForTheGateAndAreRefusedAfterTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 30*time.Second, 10)
		start := time.Now()
		expect(t, h.do("GET", "/api/x/y"), 503, bodyBootTimeout, "Retry-After", "5", "Content-Type", "application/json")
		if waited := time.Since(start); waited != 30*time.Second {
			t.Errorf("waited %v", waited)
		}
		time.AfterFunc(7*time.Second, func() { h.gate.open() })
		start = time.Now()
		expect(t, h.do("GET", "/api/x/y"), 404, `{"error":"Plugin not found","plugin":"x"}`)
		if waited := time.Since(start); waited != 7*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestRequestsAreToldThatTheBootFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 30*time.Second, 10)
		time.AfterFunc(time.Second, func() { h.gate.fail("plugin x: Init: no luck") })
		start := time.Now()
		expect(t, h.do("GET", "/api/x/y"), 503, bodyInitFailed, "Retry-After", "5") // failed while it waited
		expect(t, h.do("GET", "/api/x/y"), 503, bodyInitFailed, "Retry-After", "5") // failed before it came
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %v", waited)
		}
		// A plugin's Init fails after the gate has opened.
		h = newHouse(t, 30*time.Second, 10)
		h.gate.open()
		h.gate.fail("plugin x: Init: no luck")
		expect(t, h.do("GET", "/api/x/y"), 503, bodyInitFailed, "Retry-After", "5")
	})
}

func TestAParkedRequestWaitsForItsOwnPluginAndANewOneDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 30*time.Second, 10)
		slow := h.gate.admit("slow")
		h.gate.admit("never")
		slow.Handle("GET /y", plugins.Public, text("served"))
		var all sync.WaitGroup
		all.Go(func() { expect(t, h.do("GET", "/api/slow/y"), 200, "served") })
		all.Go(func() { expect(t, h.do("GET", "/api/never/y"), 503, bodyBootTimeout) })
		all.Go(func() { expect(t, h.do("GET", "/api/config"), 200, `{"baseUrl":"http://status.test"}`) })
		synctest.Wait()
		h.gate.open()
		slow.become(initializing)
		synctest.Wait()
		if n := h.gate.waiting.Load(); n != 2 {
			t.Errorf("%d requests wait", n)
		}
		expect(t, h.do("GET", "/api/slow/y"), 503, `{"error":"Plugin not ready","plugin":"slow","state":"initializing"}`, "Retry-After", "1")
		time.Sleep(time.Second)
		slow.become(initialized)
		all.Wait()
		// One whose boot fails while it waits for its plugin hears of it.
		h = newHouse(t, 30*time.Second, 10)
		failing := h.gate.admit("never")
		all.Go(func() { expect(t, h.do("GET", "/api/never/y"), 503, bodyInitFailed, "Retry-After", "5") })
		synctest.Wait()
		h.gate.open()
		failing.become(initializing)
		failing.become(failed) // its own, even: a moment later all are told why
		synctest.Wait()
		h.gate.fail("plugin x: Init: no luck")
		all.Wait()
	})
}

func TestWhileTheBootGoesOnNobodyIsToldThatATokenIsMissing(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.booted.Store(false)
	h.gate.open()
	h.plugin("x").Handle("GET /y", plugins.Viewer, text("y"))
	expect(t, h.do("GET", "/api/x/y", "Authorization", "Bearer e"), 503, `{"error":"Backend not ready","message":"nobody can tell yet who calls"}`, "Retry-After", "1")
}

func TestPathsAreCleanedBeforeTheGateLooksAtThem(t *testing.T) {
	h := newHouse(t, 0, 10)
	gated := []string{"/.checkstack/../api/x", "/.checkstack/../.checkstackx", "//api/x", "/api/.checkstack/../x", "/.checkstackx"}
	for _, path := range gated {
		expect(t, h.do("GET", path), 503, bodyBootTimeout)
	}
	h.gate.open()
	h.plugin("x").Handle("GET /y", plugins.Public, text("y"))
	for path, clean := range map[string]string{"/api/x/../x/y": "/api/x/y", "//api/x/y": "/api/x/y", "/.checkstack/../api/x/y": "/api/x/y",
		"/api/../.checkstack/health": "/.checkstack/health", "/api/x/../../.checkstack/health": "/.checkstack/health"} {
		expect(t, h.do("GET", path), 307, `<a href="`+clean+`">Temporary Redirect</a>.`+"\n\n", "Location", clean)
	}
	expect(t, h.do("GET", "/api/x/y/../../z/y"), 307, "<a href=\"/api/z/y\">Temporary Redirect</a>.\n\n")
}

func TestConnectIsRefused(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	h.plugin("x").Handle("/{a}", plugins.Public, text("x"))
	for _, target := range []string{"//", "/api/x/y", "//api/x/%2F", "/.checkstack/ready"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL.Path = "CONNECT", target
		w := httptest.NewRecorder()
		h.door.ServeHTTP(w, r)
		if w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("CONNECT %s: %d, Allow %q", target, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestOf2000RequestsParkedDuringTheBoot1024AreServedAndTheRestRefusedAtOnce(t *testing.T) {
	h := newHouse(t, time.Minute, 1024)
	rm := h.gate.admit("x") // its Init comes after the gate has opened, as in every boot
	server := httptest.NewServer(h.door)
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	var early, served, refused, lost atomic.Int64
	refusals := make(chan struct{}, 2000)
	var opened atomic.Bool
	var all sync.WaitGroup
	for range 2000 {
		all.Go(func() {
			res, err := client.Get(server.URL + "/api/x/y")
			if err != nil {
				lost.Add(1)
				t.Error(err)
				return
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			switch {
			case res.StatusCode == 200 && string(body) == "served":
				served.Add(1)
				if !opened.Load() {
					early.Add(1)
				}
			case res.StatusCode == 503 && string(body) == bodyBootTimeout:
				refused.Add(1)
				refusals <- struct{}{}
			default:
				t.Errorf("%d %s", res.StatusCode, body)
			}
		})
	}
	for range 2000 - 1024 { // every refusal comes while the gate is closed
		<-refusals
	}
	if waiting := h.gate.waiting.Load(); waiting != 1024 {
		t.Errorf("%d requests wait", waiting)
	}
	opened.Store(true)
	h.gate.open()
	rm.become(initializing)
	rm.Handle("GET /y", plugins.Public, text("served"))
	rm.become(initialized)
	all.Wait()
	if served.Load() != 1024 || refused.Load() != 976 || lost.Load() != 0 || early.Load() != 0 {
		t.Errorf("served %d (%d early), refused %d, lost %d", served.Load(), early.Load(), refused.Load(), lost.Load())
	}
	if waiting := h.gate.waiting.Load(); waiting != 0 {
		t.Errorf("%d requests still counted as waiting", waiting)
	}
}

// pipes is a listener whose connections are pipes, so that a server can live in a synctest bubble: the bubble fails the
// test if a goroutine is left in it.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	p.conns <- b
	return a, nil
}

func TestParkedRequestsLeaveNoGoroutineAndGiveUpTheirPlaceWhenTheClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 30*time.Second, 50)
		h.plugin("x").Handle("GET /y", plugins.Public, text("served"))
		ln := &pipes{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: h.door}
		var all sync.WaitGroup
		all.Go(func() { server.Serve(ln) })
		transport := &http.Transport{DialContext: ln.dial}
		client := &http.Client{Transport: transport}

		ctx, goAway := context.WithCancel(t.Context())
		for range 50 {
			all.Go(func() {
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://x/api/x/y", nil)
				if _, err := client.Do(r); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		if n := h.gate.waiting.Load(); n != 50 {
			t.Fatalf("%d wait", n)
		}
		goAway()
		synctest.Wait()
		if n := h.gate.waiting.Load(); n != 0 {
			t.Errorf("%d still wait for clients that are gone", n)
		}
		var served atomic.Int64
		for range 50 {
			all.Go(func() {
				res, err := client.Get("http://x/api/x/y")
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				if body, _ := io.ReadAll(res.Body); string(body) == "served" {
					served.Add(1)
				}
			})
		}
		synctest.Wait()
		h.gate.open()
		synctest.Wait()
		if served.Load() != 50 {
			t.Errorf("%d served", served.Load())
		}
		transport.CloseIdleConnections()
		server.Shutdown(t.Context())
		all.Wait()
	})
}

func TestABodyMustArriveWithinAMinuteAndAHandlerMayTakeLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 0, 50)
		h.gate.open()
		rm := h.plugin("x")
		work := func(r *http.Request, _ map[string]int) (string, error) {
			select {
			case <-time.After(2 * time.Minute):
				return "done", nil
			case <-r.Context().Done():
				return "", r.Context().Err()
			}
		}
		rm.Handle("POST /work", plugins.Public, plugins.JSON(work))
		rm.Handle("GET /work", plugins.Public, plugins.JSON(func(r *http.Request, _ plugins.None) (string, error) { return work(r, nil) }))
		ln := &pipes{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: h.door, ReadHeaderTimeout: 10 * time.Second}
		var all sync.WaitGroup
		all.Go(func() { server.Serve(ln) })
		transport := &http.Transport{DialContext: ln.dial}
		send := func(method string, body io.Reader, want string) {
			t.Helper()
			r, _ := http.NewRequest(method, "http://x/api/x/work", body)
			r.Header.Set("Content-Type", "application/json")
			res, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if got, _ := io.ReadAll(res.Body); string(got) != want {
				t.Errorf("%s: %s, want %s", method, got, want)
			}
		}
		send("GET", nil, `"done"`)
		send("POST", strings.NewReader(`{}`), `"done"`)
		stalled, more := io.Pipe()
		start := time.Now()
		send("POST", stalled, `{"error":"Request Timeout","message":"the body did not arrive in time; try again"}`)
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v for a body", waited)
		}
		more.Close()
		transport.CloseIdleConnections()
		server.Shutdown(t.Context())
		all.Wait()
	})
}

// upload begins a request over a connection of its own, whose body never comes whole.
func upload(t *testing.T, address, path string) (conn net.Conn, answer func() string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path)
	return conn, func() string {
		all, _ := io.ReadAll(conn) // to its end: the connection is closed after the answer
		head, body, _ := strings.Cut(string(all), "\r\n\r\n")
		status, head, _ := strings.Cut(head, "\r\n")
		if strings.Contains(head, "Connection: close") {
			status += ", closed"
		}
		return strings.TrimSpace(status + " " + body)
	}
}

func TestABodyThatDoesNotComeWholeIsNoInvalidInput(t *testing.T) {
	h := newHouse(t, 0, 50)
	h.gate.open()
	rm := h.plugin("x")
	inside := make(chan struct{}, 2)
	guarded := plugins.Guard(plugins.JSON(func(*http.Request, map[string]int) (string, error) { return "done", nil }),
		func(*http.Request) (func(), error) { inside <- struct{}{}; return func() {}, nil })
	rm.Handle("POST /{case}", plugins.Public, guarded)
	server := httptest.NewUnstartedServer(h.door)
	ctx, end := context.WithCancel(t.Context())
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()

	cut, answer := upload(t, address, "/api/x/cut")
	<-inside
	cut.(*net.TCPConn).CloseWrite()
	if got := answer(); got != `HTTP/1.1 503 Service Unavailable, closed {"error":"Incomplete body","message":"the connection failed before the body had arrived; try again"}` {
		t.Errorf("a body that is cut off: %s", got)
	}
	_, answer = upload(t, address, "/api/x/ended")
	<-inside
	end() // the body's read does not look at it
	if got := answer(); got != `HTTP/1.1 408 Request Timeout, closed {"error":"Request Timeout","message":"the body did not arrive in time; try again"}` {
		t.Errorf("a body whose request has ended: %s", got)
	}
	server.Close() // waits for the log
	for _, want := range []string{"level=WARN msg=request method=POST path=/api/x/cut route=\"POST /api/x/{case}\" status=499",
		"level=WARN msg=request method=POST path=/api/x/ended route=\"POST /api/x/{case}\" status=408"} {
		if log := h.log.String(); strings.Count(log, want) != 1 {
			t.Errorf("no single %s in\n%s", want, log)
		}
	}
}

// One body stalls in its handler, one after an answer that did not wait for it.
func TestAStopDoesNotWaitForBodiesThatStall(t *testing.T) {
	_, database := postgrestest.New(t)
	inside := make(chan struct{})
	hook := func(p *recorder, _ context.Context, phase string) error {
		if phase != "Init" {
			return nil
		}
		h := plugins.JSON(func(*http.Request, map[string]int) (string, error) { return "done", nil })
		return errors.Join(
			p.host.Routes.Handle("POST /stalled", plugins.Public, plugins.Guard(h, func(*http.Request) (func(), error) {
				close(inside)
				return func() {}, nil
			})),
			p.host.Routes.Handle("POST /refused", plugins.Viewer, h))
	}
	in := boot(t, hooked(hook), database)
	in.log.wait(t, "ready")
	address := strings.TrimPrefix(in.url, "http://")
	_, stalled := upload(t, address, "/api/x/stalled")
	_, refused := upload(t, address, "/api/x/refused")
	<-inside
	in.log.wait(t, "request") // its record comes before the answer, which waits for some of the body
	in.stop()
	if got := stalled(); !strings.HasPrefix(got, "HTTP/1.1 408 Request Timeout, closed ") {
		t.Errorf("a stalled body is answered with %q", got)
	}
	if got := refused(); !strings.HasPrefix(got, "HTTP/1.1 401 Unauthorized, closed ") {
		t.Errorf("a request that is refused is answered with %q", got)
	}
	if code := in.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	stopped := in.log.wait(t, "stopped")
	if took, err := time.ParseDuration(stopped["took"].(string)); stopped["clean"] != true || err != nil || took > 6*time.Second {
		t.Errorf("stopped: %v", stopped)
	}
	if strings.Contains(in.log.String(), "requests that take too long are cut off") {
		t.Error("the stop waited for its patience with requests to end")
	}
}

func TestARequestForAPluginThatIsNotInitialisedSaysSo(t *testing.T) {
	h := newHouse(t, 0, 10)
	rm := h.gate.admit("catalog")
	rm.Handle("GET /systems", plugins.Public, text("systems"))
	h.gate.open()
	for st, name := range map[state]string{constructed: "constructed", initializing: "initializing", failed: "failed", stopping: "stopping"} {
		rm.become(st)
		expect(t, h.do("GET", "/api/catalog/systems"), 503, `{"error":"Plugin not ready","plugin":"catalog","state":"`+name+`"}`, "Retry-After", "1")
	}
	for _, st := range []state{initialized, starting, running} {
		rm.become(st)
		expect(t, h.do("GET", "/api/catalog/systems"), 200, "systems")
	}
	if err := h.gate.evict(t.Context(), rm); err != nil {
		t.Fatal(err)
	}
	expect(t, h.do("GET", "/api/catalog/systems"), 404, `{"error":"Plugin not found","plugin":"catalog"}`)
	expect(t, h.do("GET", "/assets/plugins/catalog/x.js"), 404, `{"error":"Plugin not found","plugin":"catalog"}`)
}

func TestRoutesCanBeAddedAndRemovedAfter10000Requests(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /first", plugins.Public, text("first"))
	for range 10_000 {
		if w := h.do("GET", "/api/x/first"); w.Code != 200 {
			t.Fatal(w.Code)
		}
	}
	if err := rm.Handle("GET /items/{id}", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.PathValue("id"), r.Pattern)
	})); err != nil {
		t.Fatal(err)
	}
	expect(t, h.do("GET", "/api/x/items/a%2Fb"), 200, "a/b GET /api/x/items/{id}")
	expect(t, h.do("POST", "/api/x/items/7"), 405, `{"error":"Method Not Allowed","message":"POST /api/x/items/7 is not served here"}`, "Allow", "GET, HEAD")
	if err := rm.Remove("GET /items/{id}"); err != nil {
		t.Fatal(err)
	}
	expect(t, h.do("GET", "/api/x/items/7"), 404, `{"error":"Not Found","message":"GET /api/x/items/7 is not served here"}`)
	expect(t, h.do("GET", "/api/x/first"), 200, "first")
}

func TestABadPatternIsAnErrorThatNamesPluginAndPatternAndChangesNothing(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /items/{id}", plugins.Public, text("good"))
	for pattern, want := range map[string]string{
		"GET /items/{other}": "conflicts with",
		"GET /items/{id}":    "conflicts with",
		"/items/{id}/../x":   "unclean path",
		"GET /{":             "bad wildcard",
		"GET items":          "must begin with /",
		"example.org/items":  "must begin with /",
		"":                   "must begin with /",
		"GE T /x":            "must begin with /",
		"G@T /x":             "invalid method",
		"GET /{a}/{a}":       "duplicate wildcard",
		"GET /items//x":      "unclean path",
	} {
		err := rm.Handle(pattern, plugins.Public, text("bad"))
		if err == nil {
			t.Errorf("%q: no error", pattern)
			continue
		}
		if !strings.HasPrefix(err.Error(), fmt.Sprintf("plugin x: route %q: ", pattern)) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), ".go:") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if err := rm.Handle("GET /ok", plugins.Public, nil); err == nil {
		t.Error("a nil handler was accepted")
	}
	if err := rm.Handle("GET /ok", plugins.Access(9), text("x")); err == nil {
		t.Error("an unknown access was accepted")
	}
	if err := rm.Remove("GET /nothing"); err == nil || err.Error() != `plugin x: route "GET /nothing": there is no such route` {
		t.Errorf("remove: %v", err)
	}
	expect(t, h.do("GET", "/api/x/items/1"), 200, "good")
	if n := len(rm.mux.Handlers()); n != 1 {
		t.Errorf("%d routes", n)
	}
}

func TestRemovingARouteWaitsForItsRequestsAndForNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 0, 10)
		h.gate.open()
		rm := h.plugin("x")
		release, other := make(chan struct{}), make(chan struct{})
		rm.Handle("GET /slow", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			io.WriteString(w, "slow")
		}))
		rm.Handle("GET /other", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-other }))
		var all sync.WaitGroup
		all.Go(func() { expect(t, h.do("GET", "/api/x/slow"), 200, "slow") })
		all.Go(func() { h.do("GET", "/api/x/other") })
		synctest.Wait()
		removed := false
		all.Go(func() {
			if err := rm.Remove("GET /slow"); err != nil {
				t.Error(err)
			}
			removed = true
		})
		synctest.Wait()
		if removed {
			t.Error("removed while its request is in flight")
		}
		if w := h.do("GET", "/api/x/slow"); w.Code != 404 {
			t.Errorf("a new request got %d", w.Code)
		}
		close(release)
		synctest.Wait()
		if !removed {
			t.Error("not removed when its request has finished")
		}
		// The plugin goes: the wait ends with the last request, or with the time.
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.gate.evict(short, rm); err == nil || err.Error() != `1 requests still in "GET /api/x/other": context deadline exceeded` {
			t.Errorf("evict: %v", err)
		}
		close(other)
		all.Wait()
	})
}

func TestEightGoroutinesAddRemoveAndServe(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /steady", plugins.Public, text("steady"))
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			present := false // each goroutine owns one pattern: the plain model beside the real thing
			pattern, path := fmt.Sprintf("GET /own/%d/{id}", g), fmt.Sprintf("/api/x/own/%d/7", g)
			for range 300 {
				var err error
				if present = !present; present {
					err = rm.Handle(pattern, plugins.Public, text("own"))
				} else {
					err = rm.Remove(pattern)
				}
				if err != nil {
					t.Error(err)
				}
				for range rnd.IntN(3) {
					want := 404
					if present {
						want = 200
					}
					if w := h.do("GET", path); w.Code != want {
						t.Errorf("%s: %d, want %d", path, w.Code, want)
					}
				}
			}
		})
		all.Go(func() {
			for range 1000 {
				if w := h.do("GET", "/api/x/steady"); w.Code != 200 {
					t.Errorf("steady: %d", w.Code)
				}
			}
		})
	}
	all.Wait()
}

func TestAccessIsAskedForBeforeTheHandler(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	whoami := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := plugins.PrincipalOf(r.Context()); p != nil {
			io.WriteString(w, p.Name)
		}
	})
	for _, access := range []plugins.Access{plugins.Admin, plugins.Editor, plugins.Viewer, plugins.Public, plugins.Own} {
		rm.Handle("GET /"+access.String(), access, whoami)
	}
	var undeclared plugins.Access
	rm.Handle("GET /undeclared", undeclared, whoami)

	const anonymous = `{"error":"Unauthorized","message":"this needs a token: Authorization: Bearer <token>"}`
	expect(t, h.do("GET", "/api/x/viewer"), 401, anonymous, "WWW-Authenticate", `Bearer realm="checkstack"`) // nobody can tell who calls
	h.plugin("auth").Identify(func(r *http.Request) (*plugins.Principal, error) {
		switch r.Header.Get("Authorization") {
		case "":
			return nil, nil
		case "Bearer e":
			return &plugins.Principal{ID: "1", Name: "Edith", Role: plugins.Editor}, nil
		}
		return nil, &plugins.Error{Status: 401, Message: "the token is not valid"}
	})
	expect(t, h.do("GET", "/api/x/public"), 200, "")
	expect(t, h.do("GET", "/api/x/public", "Authorization", "Bearer e"), 200, "Edith")
	expect(t, h.do("GET", "/api/x/public", "Authorization", "Bearer no"), 401, `{"error":"Unauthorized","message":"the token is not valid"}`)
	expect(t, h.do("GET", "/api/x/own", "Authorization", "Bearer e"), 200, "") // the handler's own to read
	expect(t, h.do("GET", "/api/x/own", "Authorization", "Bearer no"), 200, "")
	expect(t, h.do("GET", "/api/x/viewer"), 401, anonymous)
	expect(t, h.do("GET", "/api/x/viewer", "Authorization", "Bearer e"), 200, "Edith")
	expect(t, h.do("GET", "/api/x/editor", "Authorization", "Bearer e"), 200, "Edith")
	for _, path := range []string{"/api/x/admin", "/api/x/undeclared"} {
		expect(t, h.do("GET", path, "Authorization", "Bearer e"), 403, `{"error":"Forbidden","message":"this needs the role admin, the token has the role editor"}`)
	}
	expect(t, h.do("GET", "/.checkstack/health", "Authorization", "Bearer no"), 200, `{"status":"ok"}`) // no plugin's code
	h.gate.evict(t.Context(), h.gate.room("auth"))
	expect(t, h.do("GET", "/api/x/viewer", "Authorization", "Bearer e"), 401, anonymous) // the plugin has gone
}

func TestEveryAPIResponseCarriesTheHeadersOfTheSpecification(t *testing.T) {
	h := newHouse(t, 0, 10)
	for _, path := range []string{"/api/plugins", "/api/nothing/x"} { // refused by the gate, then served, then 404
		for range 2 {
			w := h.do("GET", path)
			for name, want := range map[string]string{
				"X-Content-Type-Options":    "nosniff",
				"X-Frame-Options":           "DENY",
				"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'",
				"Strict-Transport-Security": "max-age=31536000; includeSubDomains",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s (%d): %s: %q", path, w.Code, name, got)
				}
			}
			h.gate.open()
		}
	}
}

func TestBrowsersMayCallFromTheBaseURLOnly(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	h.plugin("x").Handle("GET /y", plugins.Public, text("y"))
	const own, foreign = "http://status.test", "http://evil.test"

	expect(t, h.do("GET", "/api/x/y", "Origin", own), 200, "y", "Access-Control-Allow-Origin", own,
		"Access-Control-Allow-Credentials", "true", "Access-Control-Expose-Headers", "Content-Length", "Vary", "Origin")
	expect(t, h.do("GET", "/api/x/y", "Origin", foreign), 200, "y", "Access-Control-Allow-Origin", "", "Access-Control-Allow-Credentials", "", "Vary", "Origin")
	expect(t, h.do("OPTIONS", "/api/x/y", "Origin", own, "Access-Control-Request-Method", "PUT"), 204, "", "Access-Control-Allow-Origin", own,
		"Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS", "Access-Control-Allow-Headers", "Content-Type, Authorization", "Access-Control-Max-Age", "600")
	expect(t, h.do("OPTIONS", "/api/x/y", "Origin", foreign, "Access-Control-Request-Method", "PUT"), 204, "",
		"Access-Control-Allow-Origin", "", "Access-Control-Allow-Methods", "")
}

func TestARequestIDIsTakenOverIfItIsWellFormedElseMade(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	var seen string
	h.plugin("x").Handle("GET /y", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header.Get("X-Request-Id") }))
	long := strings.Repeat("a", 128)
	for given, kept := range map[string]bool{"abc-1_2.Z": true, long: true, long + "a": false, "a b": false, "a\"b": false, "é": false, "": false} {
		id := h.do("GET", "/api/x/y", "X-Request-Id", given).Header().Get("X-Request-Id")
		if (id == given) != kept || id == "" || id != seen || !strings.Contains(h.log.String(), "requestId="+id) {
			t.Errorf("given %q, returned %q, the handler saw %q", given, id, seen)
		}
	}
}

func TestTheLogHasOneRecordARequestWithALevelByStatus(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /{status}", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscan(r.PathValue("status"), &status)
		w.WriteHeader(status)
	}))
	for status, level := range map[int]string{200: "DEBUG", 302: "DEBUG", 404: "WARN", 499: "WARN", 500: "ERROR", 503: "ERROR"} {
		h.do("GET", fmt.Sprintf("/api/x/%d?token=secret", status))
		want := fmt.Sprintf(`level=%s msg=request method=GET path=/api/x/%d route="GET /api/x/{status}" status=%d bytes=0`, level, status, status)
		if log := h.log.String(); strings.Count(log, want) != 1 || strings.Contains(log, "secret") {
			t.Errorf("no single %s in\n%s", want, log)
		}
	}
}

func TestWhatFailsBecauseTheClientWentAwayIsNoErrorOfTheServer(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /{what}", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("what") {
		case "error":
			plugins.WriteError(w, r, r.Context().Err())
		case "answer":
			io.WriteString(w, "done")
		}
	}))
	gone, leave := context.WithCancel(t.Context())
	leave()
	for what, want := range map[string]string{"error": "level=WARN status=499", "nothing": "level=WARN status=499", "answer": "level=DEBUG status=200"} {
		h.door.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, "GET", "/api/x/"+what, nil))
		level, status, _ := strings.Cut(want, " ")
		record := fmt.Sprintf(`%s msg=request method=GET path=/api/x/%s route="GET /api/x/{what}" %s `, level, what, status)
		if log := h.log.String(); strings.Count(log, record) != 1 {
			t.Errorf("no single %s in\n%s", record, log)
		}
	}
}

func TestAPanickingHandlerIsA500AndTheServerLives(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /early", plugins.Public, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	rm.Handle("GET /late", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic("boom")
	}))
	server := httptest.NewServer(h.door)
	defer server.Close()
	get := func(path string) (int, string, error) {
		r, _ := http.NewRequest("GET", server.URL+path, nil)
		r.Header.Set("X-Request-Id", "r1")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body), err
	}
	status, body, err := get("/api/x/early")
	if status != 500 || body != `{"error":"Internal error","message":"the server's log has the details, under request r1"}` || err != nil {
		t.Errorf("%d %s %v", status, body, err)
	}
	if log := h.log.String(); !strings.Contains(log, "handler panicked") || !strings.Contains(log, "gate_test.go") {
		t.Errorf("the log has no stack:\n%s", log)
	}
	if _, body, err := get("/api/x/late"); err == nil {
		t.Errorf("half an answer was taken for a whole one: %s", body)
	}
	if status, _, _ := get("/.checkstack/health"); status != 200 {
		t.Error("the server does not live")
	}
}

func TestUpgradesAndStreamsPassThroughEveryWrapper(t *testing.T) {
	h := newHouse(t, 0, 10)
	h.gate.open()
	rm := h.plugin("x")
	rm.Handle("GET /upgrade", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		buf.Flush()
		line, _ := buf.ReadString('\n')
		buf.WriteString(line)
		buf.Flush()
	}))
	next := make(chan struct{})
	rm.Handle("GET /stream", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.SetReadDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		for range 3 {
			io.WriteString(w, "tick\n")
			if err := control.Flush(); err != nil {
				t.Error(err)
			}
			<-next
		}
	}))
	server := httptest.NewServer(h.door)
	defer server.Close()

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /api/x/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	io.WriteString(conn, "hello\n")
	if line, _ := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("echo: %q", line)
	}

	res, err = http.Get(server.URL + "/api/x/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for range 3 { // each line arrives while the handler still runs
		if line, err := lines.ReadString('\n'); line != "tick\n" {
			t.Fatal(line, err)
		}
		next <- struct{}{}
	}
}

func TestAssetsAndPagesAreFoundInTheOrderOfTheSpecification(t *testing.T) {
	web := fstest.MapFS{
		"index.html":              {Data: []byte("<html>the page")},
		"assets/app.js":           {Data: []byte("app")},
		"assets/dir/index.html":   {Data: []byte("index")},
		"assets/plugins/x/own.js": {Data: []byte("the frontend's")},
		"vendor/v.js":             {Data: []byte("vendor")},
	}
	h := newHouse(t, 0, 10, web)
	h.gate.open()
	rm := h.plugin("x")
	rm.Assets(fstest.MapFS{"old.js": {Data: []byte("old")}})
	if err := rm.Assets(fstest.MapFS{"own.js": {Data: []byte("the plugin's")}, "more.js": {Data: []byte("more")}, "dir/a.js": {Data: []byte("a")}}); err != nil {
		t.Fatal(err)
	}
	const missing = `{"error":"Not Found","message":"no such file"}`
	for path, want := range map[string]string{
		"/assets/app.js":             "200 app",
		"/assets/dir/index.html":     "200 index",
		"/assets/plugins/x/own.js":   "200 the frontend's",
		"/assets/plugins/x/more.js":  "200 more",
		"/assets/plugins/x/dir/a.js": "200 a",
		"/assets/plugins/x/old.js":   "404 " + missing,
		"/assets/plugins/x/dir":      "404 " + missing,
		"/assets/plugins/x/dir/":     "404 " + missing,
		"/assets/plugins/x/%00":      "404 " + missing,
		"/assets/plugins/y/a.js":     `404 {"error":"Plugin not found","plugin":"y"}`,
		"/assets/none.js":            "404 " + missing,
		"/assets/%2e%2e/index.html":  "404 " + missing,
		"/vendor/v.js":               "200 vendor",
		"/vendor/none.js":            "404 " + missing,
		"/":                          "200 <html>the page",
		"/systems/7":                 "200 <html>the page",
		"/api":                       `404 {"error":"Not Found","message":"no such page"}`,
		"/api/":                      `404 {"error":"Not Found","message":"no such page"}`,
	} {
		w := h.do("GET", path, "Accept", "text/html,*/*")
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	expect(t, h.do("GET", "/systems/7", "Accept", "application/json"), 404, `{"error":"Not Found","message":"no such page"}`)
	expect(t, h.do("POST", "/systems/7", "Accept", "text/html"), 405, `{"error":"Method Not Allowed","message":"POST /systems/7 is not served here"}`, "Allow", "GET, HEAD")
	h = newHouse(t, 0, 10)
	h.gate.open()
	if w := h.do("GET", "/systems/7", "Accept", "text/html"); w.Code != 200 || !strings.Contains(w.Body.String(), "<h1>Checkstack</h1>") {
		t.Errorf("built-in page: %d %s", w.Code, w.Body)
	}
}
