package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

func okay(context.Context) (plugins.Result, error) { return plugins.Result{OK: true}, nil }

// booted is a house that has booted, with the probes given.
func booted(t testing.TB, probes ...plugins.Probe) *house {
	h := newHouse(t, 0, 10)
	for _, p := range probes {
		prober{h.ready, "x"}.Register(p)
	}
	h.gate.open()
	h.ready.finish("")
	return h
}

const coreInit = `{"name":"core.init","critical":true,"ok":true,"durationMs":0}`

func TestReadyAnswersEveryStateOfTheBootToTheLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 0, 10)
		states := []struct {
			name    string
			enter   func()
			status  int
			body    string
			retry   string
			verbose string
		}{
			{"just started", func() {}, 503, `{"ready":false,"reason":"initializing","phase":"starting","checks":[]}`, "1", "[-]core.init failed: initializing starting\nnot ready\n"},
			{"booting", func() { h.ready.booting("Init", "catalog") }, 503, `{"ready":false,"reason":"initializing","phase":"Init","plugin":"catalog","checks":[]}`, "1", "[-]core.init failed: initializing Init catalog\nnot ready\n"},
			{"failed", func() { h.ready.finish("plugin x: Init: no luck") }, 503, `{"ready":false,"error":"plugin x: Init: no luck","checks":[]}`, "5", "[-]core.init failed: plugin x: Init: no luck\nnot ready\n"},
			{"booted", func() { h.ready.finish("") }, 200, `{"ready":true,"checks":[` + coreInit + `]}`, "", "[+]core.init ok\nready\n"},
			{"draining", func() { h.ready.drain() }, 503, `{"ready":false,"reason":"shutting down","checks":[]}`, "5", "[-]core.init failed: shutting down\nnot ready\n"},
		}
		for _, s := range states {
			s.enter()
			for _, path := range []string{"/.checkstack/ready", "/.checkstack/ready/core.init"} {
				expect(t, h.do("GET", path), s.status, s.body, "Retry-After", s.retry, "Content-Type", "application/json", "Cache-Control", "no-store", "X-Content-Type-Options", "nosniff")
				expect(t, h.do("GET", path+"?verbose"), s.status, s.verbose, "Retry-After", s.retry, "Cache-Control", "no-store")
			}
			if t.Failed() {
				t.Fatalf("in state %s", s.name)
			}
		}
	})
}

func TestHeadGivesTheSameStatusAndHeadersAndNoBody(t *testing.T) {
	h := booted(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, client := serveOn(t, ln, h.door)
	for _, path := range []string{"/.checkstack/health", "/.checkstack/ready", "/.checkstack/ready/none"} {
		get, err := client.Get(server + path)
		if err != nil {
			t.Fatal(err)
		}
		get.Body.Close()
		head, err := client.Head(server + path)
		if err != nil {
			t.Fatal(err)
		}
		head.Body.Close()
		for _, r := range []map[string][]string{get.Header, head.Header} {
			delete(r, "X-Request-Id")
			delete(r, "Date")
		}
		if get.StatusCode != head.StatusCode || fmt.Sprint(get.Header) != fmt.Sprint(head.Header) || get.ContentLength != head.ContentLength {
			t.Errorf("%s: GET %d %v, HEAD %d %v", path, get.StatusCode, get.Header, head.StatusCode, head.Header)
		}
	}
}

func TestEveryKindOfProbeIsReportedInTheOrderOfRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := []plugins.Probe{
			{Name: "fine", Check: okay},
			{Name: "talks", Check: func(context.Context) (plugins.Result, error) {
				time.Sleep(25 * time.Millisecond) // the bubble's time
				return plugins.Result{OK: true, Message: "3 jobs"}, nil
			}},
			{Name: "panics", Check: func(context.Context) (plugins.Result, error) { panic("boom") }},
			{Name: "exits", Check: func(context.Context) (plugins.Result, error) { runtime.Goexit(); return plugins.Result{OK: true}, nil }},
			{Name: "errs", Check: func(context.Context) (plugins.Result, error) { return plugins.Result{OK: true}, errors.New("no luck") }},
			{Name: "leaks", Check: func(context.Context) (plugins.Result, error) {
				_, err := net.Dial("tcp", "127.0.0.1:1")
				return plugins.Result{}, err
			}},
			{Name: "says no", Optional: true, Check: func(context.Context) (plugins.Result, error) { return plugins.Result{Message: "not yet"}, nil }},
		}
		h := booted(t, probes...)
		entries := []string{coreInit,
			`{"name":"fine","critical":true,"ok":true,"durationMs":0}`,
			`{"name":"talks","critical":true,"ok":true,"message":"3 jobs","durationMs":25}`,
			`{"name":"panics","critical":true,"ok":false,"error":"panic: boom","durationMs":0}`,
			`{"name":"exits","critical":true,"ok":false,"error":"the check ended its goroutine","durationMs":0}`,
			`{"name":"errs","critical":true,"ok":false,"error":"no luck","durationMs":0}`,
			`{"name":"leaks","critical":true,"ok":false,"error":"dial: connect: connection refused","durationMs":0}`,
			`{"name":"says no","critical":false,"ok":false,"message":"not yet","durationMs":0}`,
		}
		expect(t, h.do("GET", "/.checkstack/ready"), 503, `{"ready":false,"checks":[`+strings.Join(entries, ",")+`]}`, "Retry-After", "1")
		expect(t, h.do("GET", "/.checkstack/ready?verbose"), 503, "[+]core.init ok\n[+]fine ok\n[+]talks ok\n[-]panics failed: panic: boom\n"+
			"[-]exits failed: the check ended its goroutine\n[-]errs failed: no luck\n[-]leaks failed: dial: connect: connection refused\n[-]says no failed: not yet\nnot ready\n")
		expect(t, h.do("GET", "/.checkstack/ready/errs"), 503, `{"ready":false,"checks":[`+entries[5]+`]}`, "Retry-After", "1")
		expect(t, h.do("GET", "/.checkstack/ready/says%20no"), 200, `{"ready":true,"checks":[`+entries[7]+`]}`, "Retry-After", "")
		expect(t, h.do("GET", "/.checkstack/ready/fine?verbose"), 200, "[+]fine ok\nready\n")
		expect(t, h.do("GET", "/.checkstack/ready/none"), 404, `{"error":"Not Found","message":"no such probe"}`)
	})
}

func TestAFailingOptionalProbeDoesNotMakeTheServerUnready(t *testing.T) {
	h := booted(t, plugins.Probe{Name: "spare", Optional: true, Check: func(context.Context) (plugins.Result, error) { return plugins.Result{}, errors.New("away") }})
	if w := h.do("GET", "/.checkstack/ready"); w.Code != 200 || !strings.HasPrefix(w.Body.String(), `{"ready":true,`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAThousandConcurrentCallsRunAProbeOnceAndOneThatLeavesCancelsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		h := booted(t, plugins.Probe{Name: "slow", Check: func(ctx context.Context) (plugins.Result, error) {
			runs.Add(1)
			select {
			case <-time.After(time.Second):
				return plugins.Result{OK: true}, nil
			case <-ctx.Done():
				return plugins.Result{}, ctx.Err()
			}
		}})
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				if i%10 == 0 { // these callers go away, the very first among them
					w := h.doContext(ctx, "GET", "/.checkstack/ready")
					if w.Body.Len() != 0 {
						t.Errorf("a caller that left was answered: %s", w.Body)
					}
					return
				}
				if w := h.do("GET", "/.checkstack/ready"); w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("the probe ran %d times", n)
		}
		h.do("GET", "/.checkstack/ready") // within a second: the same result
		if n := runs.Load(); n != 1 {
			t.Errorf("the result was not reused: %d runs", n)
		}
		time.Sleep(time.Second)
		h.do("GET", "/.checkstack/ready")
		if n := runs.Load(); n != 2 {
			t.Errorf("after the reuse time: %d runs", n)
		}
		h.ready.reuse = 0
		h.do("GET", "/.checkstack/ready")
		h.do("GET", "/.checkstack/ready")
		if n := runs.Load(); n != 4 {
			t.Errorf("with no reuse: %d runs", n)
		}
	})
}

func TestAHungProbeCostsOneGoroutineOverAThousandCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		release := make(chan struct{})
		h := booted(t, plugins.Probe{Name: "hung", Check: func(context.Context) (plugins.Result, error) { // ignores its context
			runs.Add(1)
			<-release
			return plugins.Result{OK: true}, nil
		}}, plugins.Probe{Name: "fine", Check: okay}, plugins.Probe{Name: "quick", Timeout: 50 * time.Millisecond, Check: func(ctx context.Context) (plugins.Result, error) {
			<-ctx.Done() // respects it
			return plugins.Result{}, ctx.Err()
		}})
		h.ready.reuse = 0
		since := time.Now().UTC().Format(time.RFC3339)
		quick := `{"name":"quick","critical":true,"ok":false,"error":"timed out after 50ms","durationMs":50}`
		fine := `{"name":"fine","critical":true,"ok":true,"durationMs":0}`
		expect(t, h.do("GET", "/.checkstack/ready"), 503, `{"ready":false,"checks":[`+coreInit+`,{"name":"hung","critical":true,"ok":false,"error":"timed out after 2s","durationMs":2000},`+fine+`,`+quick+`]}`)
		for range 1000 {
			synctest.Wait() // lets the one that respects its context return, which it does a moment after its deadline
			expect(t, h.do("GET", "/.checkstack/ready"), 503, `{"ready":false,"checks":[`+coreInit+`,{"name":"hung","critical":true,"ok":false,"error":"still running since `+since+`","durationMs":0},`+fine+`,`+quick+`]}`)
		}
		synctest.Wait()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if n := strings.Count(string(stacks), ".(*readiness).run.func1("); n != 1 {
			t.Errorf("%d goroutines run checks:\n%s", n, stacks)
		}
		if runs.Load() != 1 {
			t.Errorf("started %d times", runs.Load())
		}
		// The single probe beside the hung one does not wait for it.
		start := time.Now()
		expect(t, h.do("GET", "/.checkstack/ready/fine"), 200, `{"ready":true,"checks":[`+fine+`]}`)
		if time.Since(start) != 0 {
			t.Errorf("waited %v", time.Since(start))
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.ready.close(short); err == nil || err.Error() != "probes still running: hung" {
			t.Errorf("close: %v", err)
		}
		close(release)
		if err := h.ready.close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAProbeIsReplacedByItsNameInItsPlaceAndDisappearsWithItsPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := booted(t, plugins.Probe{Name: "a", Check: okay}, plugins.Probe{Name: "b", Check: okay})
		names := func() (names []string) {
			var body struct{ Checks []check }
			if err := json.Unmarshal(h.do("GET", "/.checkstack/ready").Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			for _, c := range body.Checks {
				names = append(names, fmt.Sprint(c.Name, c.OK))
			}
			return names
		}
		if got := fmt.Sprint(names()); got != "[core.inittrue atrue btrue]" {
			t.Error(got)
		}
		prober{h.ready, "y"}.Register(plugins.Probe{Name: "a", Check: func(context.Context) (plugins.Result, error) { return plugins.Result{}, nil }})
		if got := fmt.Sprint(names()); got != "[core.inittrue afalse btrue]" { // although the old result could be reused
			t.Error(got)
		}
		if log := h.log.String(); strings.Count(log, `level=WARN msg="probe replaced" probe=a plugin=y was=x`) != 1 {
			t.Error(log)
		}
		for _, bad := range []plugins.Probe{{Name: "core.init", Check: okay}, {Name: "", Check: okay}, {Name: "c"}} {
			prober{h.ready, "y"}.Register(bad)
		}
		h.ready.revoke("y")
		if got := fmt.Sprint(names()); got != "[core.inittrue btrue]" {
			t.Error(got)
		}
	})
}

func TestEveryChangeOfAProbeIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ok atomic.Bool
		ok.Store(true)
		h := booted(t, plugins.Probe{Name: "p", Check: func(context.Context) (plugins.Result, error) {
			if !ok.Load() {
				return plugins.Result{}, errors.New("away")
			}
			return plugins.Result{OK: true}, nil
		}})
		h.ready.reuse = 0
		for _, now := range []bool{true, true, false, false, false, true, true, false} {
			ok.Store(now)
			h.do("GET", "/.checkstack/ready")
			synctest.Wait()
		}
		log := h.log.String()
		if fails, back := strings.Count(log, `msg="probe failed" probe=p critical=true reason=away`), strings.Count(log, `msg="probe is ok again" probe=p`); fails != 2 || back != 1 {
			t.Errorf("%d failures and %d recoveries logged:\n%s", fails, back, log)
		}
	})
}

func TestTheDatabaseProbeFailsOnlyAfterTenSecondsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulse()
		var frozen atomic.Pointer[chan struct{}]
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() {
			p.run(ctx, func(ctx context.Context) error {
				if thawed := frozen.Load(); thawed != nil {
					select {
					case <-*thawed:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return nil
			})
		})
		see := func(want plugins.Result) {
			t.Helper()
			synctest.Wait()
			if got, err := p.check(t.Context()); got != want || err != nil {
				t.Errorf("%+v %v, want %+v", got, err, want)
			}
		}
		time.Sleep(100 * time.Millisecond)
		see(plugins.Result{OK: true})
		thawed := make(chan struct{})
		frozen.Store(&thawed)
		time.Sleep(3 * time.Second)
		see(plugins.Result{OK: true})
		time.Sleep(6 * time.Second)
		see(plugins.Result{OK: true, Message: "no answer for 9s; not ready after 10s"})
		time.Sleep(2 * time.Second)
		see(plugins.Result{Message: "no answer for 11s"})
		close(thawed)
		time.Sleep(time.Second)
		see(plugins.Result{OK: true})
		cancel()
		work.Wait()
	})
}
