package agent

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/satellite/wire"
)

const testToken = "sat_a-token-that-is-secret"

// oracle is what a server does, as simply as it can be: it applies a batch if its number is above the highest of its journal,
// and counts.
type oracle struct {
	// fault is asked before each request; it answers by itself, or returns false.
	fault func(w http.ResponseWriter, r *http.Request) bool
	// lost is asked after a batch was applied; the answer is not sent if it returns true.
	lost func() bool
	// poison is a run that spoils its batch.
	poison func(wire.Run) bool
	// copies says that numbers may come again with other runs.
	copies bool

	mu      sync.Mutex
	token   string
	id      string // of the satellite
	checks  []wire.Check
	version int
	changed chan struct{} // closed when checks change
	highest map[string]int64
	content map[string]string // of each number
	counted map[string]int    // how often each run was counted
	raw     map[string]bool   // runs that came without a number
	forgot  bool              // the IDs of runs are not known any more
	seen    seen
}

// seen is what came to a server.
type seen struct {
	asked    []string // the queries for assignments
	runs     []wire.Run
	batches  []int // how many runs were in each batch that was applied
	repeated int
	beats    []beat
	journals []string
}

// now is what came so far.
func (o *oracle) now() seen {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen
}

// beat is a heartbeat and when it came.
type beat struct {
	at time.Time
	wire.Heartbeat
}

func newOracle(checks ...wire.Check) *oracle {
	return &oracle{
		token: testToken, id: "0191d0a4-7c00-4000-8000-00000000000a", checks: checks, changed: make(chan struct{}), highest: map[string]int64{}, content: map[string]string{},
		counted: map[string]int{}, raw: map[string]bool{},
	}
}

// assign replaces the checks.
func (o *oracle) assign(checks ...wire.Check) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checks = checks
	o.version++
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.fault != nil && o.fault(w, r) {
		return
	}
	o.mu.Lock()
	token := o.token
	o.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		plugins.WriteError(w, r, &plugins.Error{Status: 401, Message: "no token, but " + r.Header.Get("Authorization")})
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/satellite/assignments":
		o.assignments(w, r)
	case "POST /api/satellite/runs":
		o.ingest(w, r)
	case "POST /api/satellite/heartbeat":
		var in wire.Heartbeat
		if !read(w, r, r.Body, &in) {
			return
		}
		o.mu.Lock()
		o.seen.beats = append(o.seen.beats, beat{time.Now(), in})
		o.mu.Unlock()
		plugins.WriteJSON(w, r, 200, wire.HeartbeatAnswer{ServerTime: time.Now(), SkewMs: time.Until(in.SentAt).Milliseconds()})
	default:
		plugins.WriteError(w, r, plugins.NotFound("route "+r.URL.Path))
	}
}

// read decodes a body as strictly as the server does.
func read(w http.ResponseWriter, r *http.Request, body io.Reader, in interface{ Validate() error }) bool {
	data, err := io.ReadAll(body)
	if err == nil {
		err = plugins.Decode(data, in)
	}
	if err == nil {
		err = in.Validate()
	}
	if err == nil && r.Header.Get("Content-Type") != "application/json" {
		err = errors.New("no JSON")
	}
	if err != nil {
		plugins.WriteError(w, r, err)
	}
	return err == nil
}

func (o *oracle) assignments(w http.ResponseWriter, r *http.Request) {
	wait, err := strconv.Atoi(r.URL.Query().Get("wait"))
	if err != nil {
		plugins.WriteError(w, r, plugins.Invalid("wait", "%v", err))
		return
	}
	o.mu.Lock()
	o.seen.asked = append(o.seen.asked, r.URL.RawQuery)
	o.mu.Unlock()
	timer := time.NewTimer(time.Duration(wait) * time.Second)
	defer timer.Stop()
	for {
		o.mu.Lock()
		etag, checks, changed := fmt.Sprintf(`"v%d"`, o.version), o.checks, o.changed
		o.mu.Unlock()
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") != etag {
			plugins.WriteJSON(w, r, 200, wire.Assignments{Satellite: o.id, Checks: checks})
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (o *oracle) ingest(w http.ResponseWriter, r *http.Request) {
	z, err := gzip.NewReader(r.Body)
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		plugins.WriteError(w, r, plugins.Invalid("", "no gzip: %v", err))
		return
	}
	var b wire.Batch
	if !read(w, r, z, &b) {
		return
	}
	if i := slices.IndexFunc(b.Runs, func(run wire.Run) bool { return o.poison != nil && o.poison(run) }); i >= 0 {
		plugins.WriteError(w, r, plugins.Invalid(fmt.Sprintf("runs[%d]", i), "poison"))
		return
	}
	answer, err := o.apply(b)
	if err != nil {
		plugins.WriteError(w, r, err)
		return
	}
	if o.lost != nil && o.lost() {
		panic(http.ErrAbortHandler)
	}
	plugins.WriteJSON(w, r, 200, answer)
}

// apply records a batch. The error says that it broke a promise.
func (o *oracle) apply(b wire.Batch) (wire.Answer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	answer := wire.Answer{Refused: []plugins.Refusal{}}
	if b.Batch != nil {
		key := fmt.Sprint(b.Journal, *b.Batch)
		data, err := json.Marshal(b.Runs)
		if err != nil {
			return answer, err
		}
		if before, ok := o.content[key]; ok && before != string(data) && !o.copies {
			return answer, fmt.Errorf("batch %d has other runs than before", *b.Batch)
		}
		o.content[key] = string(data)
		if *b.Batch <= o.highest[b.Journal] {
			o.seen.repeated++
			answer.Known = len(b.Runs)
			return answer, nil
		}
		o.highest[b.Journal] = *b.Batch
		if !slices.Contains(o.seen.journals, b.Journal) {
			o.seen.journals = append(o.seen.journals, b.Journal)
		}
	}
	o.seen.batches = append(o.seen.batches, len(b.Runs))
	for _, run := range b.Runs {
		if o.raw[run.RunID] || b.Batch == nil && o.counted[run.RunID] > 0 && !o.forgot {
			answer.Known++
			continue
		}
		if b.Batch == nil {
			o.raw[run.RunID] = true
		}
		o.counted[run.RunID]++
		o.seen.runs = append(o.seen.runs, run)
		answer.Stored++
	}
	return answer, nil
}

// total is how many runs were counted. It fails the test if one was counted twice.
func (o *oracle) total(t *testing.T) int {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, n := range o.counted {
		if n != 1 {
			t.Errorf("run %s was counted %d times", id, n)
		}
	}
	return len(o.counted)
}

// check is a check of a test.
func check(i, seconds int) wire.Check {
	return wire.Check{SystemID: fmt.Sprintf("system-%d", i), ConfigurationID: "0191d0a4-7c00-4000-8000-000000000001", Name: "n",
		Type: "fake", Config: json.RawMessage(`{}`), IntervalSeconds: seconds, TimeoutMs: 5000}
}

// fakeTypes makes runs that take some time and find nothing.
type fakeTypes struct {
	takes func(healthcheck.SourceCheck) time.Duration // nil: no time

	mu      sync.Mutex
	started []start
	made    map[string]bool // the IDs of the runs that were returned
	running map[string]int
	all     int // that are running
	most    int // at once
	overlap bool
	cut     int // runs that were cut short
}

// start is when which check was started.
type start struct {
	at     time.Time
	system string
}

func (f *fakeTypes) Names() []string { return []string{"fake"} }

func (f *fakeTypes) Run(ctx context.Context, c healthcheck.SourceCheck) (plugins.Run, error) {
	f.mu.Lock()
	if f.made == nil {
		f.made, f.running = map[string]bool{}, map[string]int{}
	}
	f.started = append(f.started, start{time.Now(), c.SystemID})
	f.running[c.SystemID]++
	f.overlap = f.overlap || f.running[c.SystemID] > 1
	f.all++
	f.most = max(f.most, f.all)
	f.mu.Unlock()
	if f.takes != nil {
		pause(ctx, f.takes(c), nil)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[c.SystemID]--
	f.all--
	if ctx.Err() != nil {
		f.cut++
		return plugins.Run{}, context.Cause(ctx)
	}
	id := plugins.NewID()
	f.made[id] = true
	return plugins.Run{ID: id, ConfigurationID: c.ConfigurationID, SystemID: c.SystemID, Status: plugins.Healthy,
		Message: "ok", ExecutedAt: time.Now().UTC()}, nil
}

// times are when a check was started, as seconds since a time.
func (f *fakeTypes) times(system string, since time.Time) (all []float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.started {
		if s.system == system {
			all = append(all, s.at.Sub(since).Seconds())
		}
	}
	return all
}

// count is how many runs were returned.
func (f *fakeTypes) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.made)
}

// logBook is a log to look into. Whatever is logged, it has no token in it.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBook) count(text string) int { return strings.Count(l.String(), text) }

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// pipes is a network in memory, which works where time does not pass by itself.
type pipes struct {
	conns chan net.Conn

	mu   sync.Mutex
	down bool
	open []net.Conn
}

func (p *pipes) Accept() (net.Conn, error) {
	conn, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p *pipes) Close() error {
	close(p.conns)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil, errors.New("the network is down")
	}
	here, there := net.Pipe()
	p.open = append(p.open, here)
	p.conns <- there
	return here, nil
}

// cut ends all connections; while it is down there are no new ones.
func (p *pipes) cut(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

// world is a server, a network, and a disk, for one satellite after the other.
type world struct {
	server *oracle
	net    *pipes
	types  *fakeTypes
	log    *logBook
	dir    string
	stop   func()
}

// newWorld must be called in a bubble of time, and closed there.
func newWorld(t *testing.T, o *oracle) *world {
	t.Helper()
	w := &world{server: o, net: &pipes{conns: make(chan net.Conn)}, types: &fakeTypes{}, log: &logBook{}, dir: t.TempDir()}
	server := &http.Server{Handler: o, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go server.Serve(w.net)
	w.stop = func() {
		server.Close()
		w.net.cut(true)
		time.Sleep(time.Hour) // handlers that answer late end too
		if strings.Contains(w.log.String(), testToken) {
			t.Errorf("the token is in the log:\n%s", w.log)
		}
	}
	return w
}

// start starts a satellite; what it returns stops it and returns its error.
func (w *world) start(t *testing.T) (*agent, func() error) {
	t.Helper()
	transport := &http.Transport{DialContext: w.net.dial}
	cfg := Config{Server: "http://server", Token: testToken, Dir: w.dir, Size: 64 << 20, Checks: 64, Version: "v1", Log: w.log.logger()}
	a, err := newAgent(cfg, transport, w.types)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.run(ctx, nil) }()
	return a, func() error {
		cancel()
		err := <-done
		transport.CloseIdleConnections()
		return err
	}
}
