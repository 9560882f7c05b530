package main

// Readiness: named probes, run all at once, one evaluation shared by everybody who asks, and the platform's endpoints.
//
// The hard case is a probe that hangs. It is past its deadline after 2 s and reported as failed; its goroutine cannot be
// stopped, so it is remembered, and as long as it has not returned the probe is reported as still running and not started
// again. A thousand calls a second against a hung database cost one goroutine per probe.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"checkstack/plugins"
)

// readiness knows the state of the boot and all probes.
type readiness struct {
	ctx   context.Context // of all checks; ended by close
	end   context.CancelFunc
	log   *slog.Logger
	reuse time.Duration // how long the result of an evaluation answers further calls

	mu       sync.Mutex
	phase    string // what the boot does now, and for which plugin
	plugin   string
	booted   bool
	failure  string // why the boot failed
	draining bool
	probes   []*probe    // in the order of their first registration
	latest   *evaluation // nil when what it would say is out of date

	work sync.WaitGroup // evaluations and checks that have not returned
}

// probe is a registered probe and what is known about it. Its fields are guarded by readiness.mu.
type probe struct {
	plugins.Probe
	owner   string
	running time.Time // since when a check runs; zero while none does
	failing bool      // what the last evaluation said
}

// check is one probe's entry in the answer.
type check struct {
	Name       string `json:"name"`
	Critical   bool   `json:"critical"`
	OK         bool   `json:"ok"`
	Message    string `json:"message,omitempty"`
	Error      string `json:"error,omitempty"`
	DurationMs int64  `json:"durationMs"`
}

// evaluation is one run of all probes. Each result is there once its channel is closed, the rest once done is.
type evaluation struct {
	results []*result
	done    chan struct{}
	at      time.Time // when it was done
	ready   bool
	body    []byte // the answer as JSON
}

type result struct {
	check
	done chan struct{}
}

func newReadiness(log *slog.Logger, reuse time.Duration) *readiness {
	r := &readiness{log: log, reuse: reuse, phase: "starting"}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.register("", plugins.Probe{Name: "core.init", Check: func(context.Context) (plugins.Result, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.booted {
			return plugins.Result{Message: "init not complete"}, nil
		}
		return plugins.Result{OK: true}, nil
	}})
	return r
}

// booting says what the boot does now; plugin is empty for the core.
func (r *readiness) booting(phase, plugin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.plugin = phase, plugin
}

// finish ends the booting state: with the reason why the boot failed, or empty if it did not.
func (r *readiness) finish(failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.booted, r.failure, r.latest = failure == "", failure, nil
}

// drain makes the server unready from now on.
func (r *readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

// close ends the context of all checks and waits for them, or until ctx is done; a check that ignores its context is named.
func (r *readiness) close(ctx context.Context) error {
	r.end()
	done := make(chan struct{})
	go func() {
		r.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, p := range r.probes {
		if !p.running.IsZero() {
			names = append(names, p.Name)
		}
	}
	return fmt.Errorf("probes still running: %s", strings.Join(names, ", "))
}

// prober is plugins.Readiness for one plugin.
type prober struct {
	readiness *readiness
	owner     string
}

// Register implements plugins.Readiness.
func (p prober) Register(probe plugins.Probe) {
	if probe.Name == "" || probe.Check == nil || strings.HasPrefix(probe.Name, "core.") {
		p.readiness.log.Warn("probe ignored: it needs a name that does not begin with core., and a check", "plugin", p.owner, "probe", probe.Name)
		return
	}
	p.readiness.register(p.owner, probe)
}

func (r *readiness) register(owner string, p plugins.Probe) {
	if p.Timeout <= 0 {
		p.Timeout = 2 * time.Second
	}
	added, was := &probe{Probe: p, owner: owner}, (*probe)(nil)
	r.mu.Lock()
	r.latest = nil
	if i := slices.IndexFunc(r.probes, func(q *probe) bool { return q.Name == p.Name }); i >= 0 {
		was, r.probes[i] = r.probes[i], added
	} else {
		r.probes = append(r.probes, added)
	}
	r.mu.Unlock()
	if was != nil {
		r.log.Warn("probe replaced", "probe", p.Name, "plugin", owner, "was", was.owner)
	}
}

// revoke forgets a plugin's probes.
func (r *readiness) revoke(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = nil
	r.probes = slices.DeleteFunc(r.probes, func(p *probe) bool { return p.owner == owner })
}

// evaluation returns the one that is running or was done less than r.reuse ago, otherwise a new one.
func (r *readiness) evaluation() *evaluation {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.latest; e != nil {
		select {
		case <-e.done:
			if time.Since(e.at) < r.reuse {
				return e
			}
		default:
			return e
		}
	}
	e := &evaluation{done: make(chan struct{})}
	for _, p := range r.probes {
		e.results = append(e.results, &result{check{Name: p.Name, Critical: !p.Optional}, make(chan struct{})})
	}
	r.latest = e
	probes := slices.Clone(r.probes)
	r.work.Go(func() { r.evaluate(e, probes) })
	return e
}

func (r *readiness) evaluate(e *evaluation, probes []*probe) {
	for i, p := range probes {
		r.work.Go(func() {
			r.check(p, &e.results[i].check)
			close(e.results[i].done)
		})
	}
	e.ready = true
	checks := make([]*check, len(probes))
	for i, res := range e.results {
		<-res.done
		checks[i] = &res.check
		e.ready = e.ready && (res.OK || !res.Critical)
	}
	e.body = readyBody(e.ready, checks)
	e.at = time.Now()
	close(e.done)
}

// check runs one probe, for at most its timeout, and logs a change of its state.
func (r *readiness) check(p *probe, c *check) {
	start := time.Now()
	r.mu.Lock()
	since := p.running
	if since.IsZero() {
		p.running = start
	}
	r.mu.Unlock()
	if !since.IsZero() {
		c.Error = "still running since " + since.UTC().Format(time.RFC3339)
	} else {
		r.run(p, c)
		c.DurationMs = time.Since(start).Milliseconds()
	}
	r.mu.Lock()
	changed := p.failing == c.OK
	p.failing = !c.OK
	r.mu.Unlock()
	switch {
	case changed && c.OK:
		r.log.Info("probe is ok again", "probe", p.Name)
	case changed:
		r.log.Warn("probe failed", "probe", p.Name, "critical", c.Critical, "reason", cmp.Or(c.Error, c.Message))
	}
}

func (r *readiness) run(p *probe, c *check) {
	ctx, cancel := context.WithTimeout(r.ctx, p.Timeout)
	answered := make(chan check, 1)
	r.work.Go(func() {
		defer cancel()
		got := check{Error: "the check ended its goroutine"} // what runtime.Goexit leaves
		defer func() {
			r.mu.Lock()
			p.running = time.Time{}
			r.mu.Unlock()
			answered <- got
		}()
		var res plugins.Result
		err := plugins.Protect(func() (err error) { res, err = p.Check(ctx); return err })
		if ctx.Err() == context.DeadlineExceeded {
			got = check{Error: timedOut(p.Timeout)}
		} else if err != nil {
			got = check{Error: reason(err)}
		} else {
			got = check{OK: res.OK, Message: res.Message}
		}
	})
	got := check{Error: timedOut(p.Timeout)}
	select {
	case got = <-answered:
	case <-ctx.Done():
		select {
		case got = <-answered: // it ended at that very moment
		default:
		}
	}
	c.OK, c.Message, c.Error = got.OK, got.Message, got.Error
}

func timedOut(after time.Duration) string { return fmt.Sprintf("timed out after %v", after) }

// reason is what an error says to people without a login: for an error of the network or the database only its kind,
// because its text may hold an address, SQL, or a row.
func reason(err error) string {
	if state := plugins.SQLState(err); state != "" {
		return "database error " + state
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host name could not be resolved"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Op + ": " + e.Err.Error()
	}
	if plugins.Unreachable(err) {
		return "the connection was lost"
	}
	return err.Error()
}

func readyBody(ready bool, checks []*check) []byte {
	if checks == nil {
		checks = []*check{}
	}
	body, _ := json.Marshal(struct { // plain values: it cannot fail
		Ready  bool     `json:"ready"`
		Checks []*check `json:"checks"`
	}{ready, checks})
	return body
}

// notBooted is the answer in every state but the normal one.
type notBooted struct {
	Ready  bool     `json:"ready"`
	Reason string   `json:"reason,omitempty"`
	Phase  string   `json:"phase,omitempty"`
	Plugin string   `json:"plugin,omitempty"`
	Error  string   `json:"error,omitempty"`
	Checks []string `json:"checks"`
}

// stopped returns the answer while probes do not matter, and its Retry-After in seconds; nil once booted.
func (r *readiness) stopped() (*notBooted, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failure != "":
		return &notBooted{Error: r.failure, Checks: []string{}}, "5"
	case r.draining:
		return &notBooted{Reason: "shutting down", Checks: []string{}}, "5"
	case !r.booted:
		return &notBooted{Reason: "initializing", Phase: r.phase, Plugin: r.plugin, Checks: []string{}}, "1"
	}
	return nil, ""
}

// ServeHTTP answers /.checkstack/ready and /.checkstack/ready/{probe}.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	verbose := req.URL.Query().Has("verbose")
	if no, retry := r.stopped(); no != nil {
		w.Header().Set("Retry-After", retry)
		if verbose {
			writeText(w, http.StatusServiceUnavailable, fmt.Sprintf("[-]core.init failed: %s\nnot ready\n",
				cmp.Or(no.Error, strings.TrimSpace(no.Reason+" "+no.Phase+" "+no.Plugin))))
			return
		}
		plugins.WriteJSON(w, req, http.StatusServiceUnavailable, no)
		return
	}
	e, name := r.evaluation(), req.PathValue("probe")
	wait, shown := e.done, e.results
	if name != "" {
		i := slices.IndexFunc(e.results, func(res *result) bool { return res.Name == name })
		if i < 0 {
			plugins.WriteError(w, req, plugins.NotFound("probe"))
			return
		}
		wait, shown = e.results[i].done, e.results[i:i+1]
	}
	select {
	case <-wait:
	case <-req.Context().Done(): // the caller has gone; the evaluation goes on for the others
		return
	}
	var ready bool
	var body []byte
	if name == "" {
		ready, body = e.ready, e.body
	} else { // the others may still run
		ready = shown[0].OK || !shown[0].Critical
		body = readyBody(ready, []*check{&shown[0].check})
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	if verbose {
		writeText(w, status, verboseText(ready, shown))
		return
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func verboseText(ready bool, results []*result) string {
	var b strings.Builder
	for _, res := range results {
		if res.OK {
			fmt.Fprintf(&b, "[+]%s ok\n", res.Name)
		} else {
			fmt.Fprintf(&b, "[-]%s failed: %s\n", res.Name, cmp.Or(res.Error, res.Message, "no reason given"))
		}
	}
	return b.String() + map[bool]string{true: "ready\n", false: "not ready\n"}[ready]
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text)
}

// pulse knows when the database answered last. Readiness asks the pulse and not the database: so a failover of less than 10 s takes no
// replica out, and a database that is frozen holds up one goroutine, not the answer.
type pulse struct {
	last atomic.Int64 // nanoseconds since start
	from time.Time
}

const (
	pulseEvery = time.Second
	pulseGrace = 10 * time.Second
)

func newPulse() *pulse { return &pulse{from: time.Now()} }

// run pings every second until ctx is done.
func (p *pulse) run(ctx context.Context, ping func(context.Context) error) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, pulseGrace)
		if ping(limited) == nil {
			p.last.Store(int64(time.Since(p.from)))
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *pulse) check(context.Context) (plugins.Result, error) {
	silent := (time.Since(p.from) - time.Duration(p.last.Load())).Truncate(time.Second)
	switch {
	case silent > pulseGrace:
		return plugins.Result{Message: fmt.Sprintf("no answer for %v", silent)}, nil
	case silent > 3*pulseEvery:
		return plugins.Result{OK: true, Message: fmt.Sprintf("no answer for %v; not ready after %v", silent, pulseGrace)}, nil
	}
	return plugins.Result{OK: true}, nil
}

// metrics writes what the server counts, in the Prometheus text format, version 0.0.4.
func (s *server) metrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP checkstack_%s %s\n# TYPE checkstack_%s %s\n", name, help, name, kind)
	}
	one := func(name, kind, help string, value float64) {
		family(name, kind, help)
		fmt.Fprintf(&b, "checkstack_%s %g\n", name, value)
	}
	v := buildVersion()
	family("build_info", "gauge", "What this binary was built from.")
	fmt.Fprintf(&b, "checkstack_build_info{version=%q,commit=%q,go=%q} 1\n", v.Version, v.Commit, v.Go)
	family("boot_step_seconds", "gauge", "How long each step of the boot took.")
	for _, st := range s.loader.bootSteps() {
		fmt.Fprintf(&b, "checkstack_boot_step_seconds{phase=%q,plugin=%q} %g\n", st.phase, st.plugin, st.took.Seconds())
	}
	bit := map[bool]float64{true: 1}
	no, _ := s.ready.stopped()
	e := &evaluation{}
	if no == nil {
		e = s.ready.evaluation()
		<-e.done
	}
	one("ready", "gauge", "Whether the server is ready: 1 yes, 0 no.", bit[e.ready])
	family("probe_ok", "gauge", "What each readiness probe says: 1 ok, 0 failing. None before the boot is done and while draining.")
	for _, c := range e.results {
		fmt.Fprintf(&b, "checkstack_probe_ok{probe=%q,critical=\"%t\"} %g\n", c.Name, c.Critical, bit[c.OK])
	}
	one("gate_waiting", "gauge", "Requests that wait for the boot.", float64(s.gate.waiting.Load()))
	family("http_requests_total", "counter", "Requests by route and status; an empty route: none matched.")
	n := s.door.answered.counts()
	for _, k := range slices.SortedFunc(maps.Keys(n), func(a, b answered) int {
		return cmp.Or(strings.Compare(a.pattern, b.pattern), a.status-b.status)
	}) {
		fmt.Fprintf(&b, "checkstack_http_requests_total{route=%q,code=\"%d\"} %d\n", k.pattern, k.status, n[k])
	}
	if st := s.store.Load(); st != nil {
		pool := st.Stats()
		one("database_connections", "gauge", "Open connections to the database.", float64(pool.OpenConnections))
		one("database_connections_in_use", "gauge", "Connections to the database that are in use.", float64(pool.InUse))
		one("database_waits_total", "counter", "How often a connection had to be waited for.", float64(pool.WaitCount))
		one("database_wait_seconds_total", "counter", "How long connections had to be waited for.", pool.WaitDuration.Seconds())
		st.history.metrics(one)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(b.Bytes())
}
