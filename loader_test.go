package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

// recorder is a plugin whose every hook is written down, and does what the test says.
type recorder struct {
	id     string
	host   *plugins.Host
	events *events
	hook   func(p *recorder, ctx context.Context, phase string) error // may be nil
}

type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(s string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, s)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.list, " ")
}

func (p *recorder) Plugin() plugins.Instance {
	do := func(phase string) func(context.Context) error {
		return func(ctx context.Context) error {
			p.events.add(phase + ":" + p.id)
			if p.hook != nil {
				return p.hook(p, ctx, phase)
			}
			return nil
		}
	}
	return plugins.Instance{Init: do("Init"), AfterPluginsReady: do("AfterPluginsReady"), Close: do("Close")}
}

func entry(ev *events, hook func(*recorder, context.Context, string) error, id string, requires ...string) plugins.Entry {
	return plugins.Entry{ID: id, Requires: requires, New: func(h *plugins.Host, need plugins.Lookup) plugins.Plugin {
		for _, r := range requires {
			if need(r).(*recorder).id != r {
				panic("wrong plugin")
			}
		}
		p := &recorder{id: id, host: h, events: ev, hook: hook}
		ev.add("New:" + id)
		if hook != nil {
			if err := hook(p, context.Background(), "New"); err != nil {
				panic(err)
			}
		}
		return p
	}}
}

func newLoader(t testing.TB) (*house, *loader) {
	h := newHouse(t, 0, 10)
	l := &loader{log: slog.New(slog.NewTextHandler(h.log, nil)), gate: h.gate, ready: h.ready,
		host: func() *plugins.Host { return &plugins.Host{} }, fatal: func(err error) { t.Error(err) }}
	return h, l
}

func TestEachPhaseIsFinishedForEveryPluginBeforeTheNextBegins(t *testing.T) {
	ev := new(events)
	h, l := newLoader(t)
	isOpen := false
	hook := func(p *recorder, _ context.Context, phase string) error {
		if phase == "New" && h.gate.isOpen.Load() {
			t.Error("the gate is open before Init")
		}
		isOpen = h.gate.isOpen.Load()
		return nil
	}
	// The table is in no order at all.
	started, err := l.start(t.Context(), []plugins.Entry{entry(ev, hook, "c", "a", "b"), entry(ev, hook, "a"), entry(ev, hook, "b", "a")})
	if err != nil {
		t.Fatal(err)
	}
	if !isOpen {
		t.Error("the gate is not open during Init")
	}
	for _, p := range started {
		if p.room.current() != running {
			t.Errorf("%s is %s", p.id, p.room.current())
		}
	}
	if err := l.stop(t.Context(), started); err != nil {
		t.Error(err)
	}
	want := "New:a New:b New:c Init:a Init:b Init:c AfterPluginsReady:a AfterPluginsReady:b AfterPluginsReady:c Close:c Close:b Close:a"
	if ev.String() != want {
		t.Errorf("got  %s\nwant %s", ev, want)
	}
	if n := len(l.list()); n != 0 {
		t.Errorf("%d plugins left", n)
	}
}

func TestWhateverHookFailsEveryPluginWhoseInitWasCalledIsClosedInReverse(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	ways := map[string]func() error{
		"returns an error":   func() error { return errors.New("no luck") },
		"panics":             func() error { panic("no luck") },
		"ends its goroutine": func() error { runtime.Goexit(); return nil },
	}
	for way, fail := range ways {
		for _, phase := range []string{"New", "Init", "AfterPluginsReady", "Close"} {
			for i, culprit := range ids {
				ev := new(events)
				_, l := newLoader(t)
				hook := func(p *recorder, _ context.Context, now string) error {
					if now == phase && p.id == culprit {
						return fail()
					}
					return nil
				}
				var table []plugins.Entry
				for j, id := range ids {
					table = append(table, entry(ev, hook, id, ids[:j]...))
				}
				started, err := l.start(t.Context(), table)
				stopErr := l.stop(t.Context(), started)

				want := ids[:0:0] // what must be closed
				switch phase {
				case "Init":
					want = slices.Clone(ids[:i+1])
				case "AfterPluginsReady", "Close":
					want = slices.Clone(ids)
				}
				slices.Reverse(want)
				var closed []string
				for _, e := range ev.list {
					if id, ok := strings.CutPrefix(e, "Close:"); ok {
						closed = append(closed, id)
					}
				}
				if !slices.Equal(closed, want) {
					t.Errorf("%s of %s %s: closed %v, want %v", phase, culprit, way, closed, want)
				}
				got, where := err, "plugin "+culprit+": "+phase+": "
				switch phase {
				case "Close":
					got = stopErr
				case "New":
					where = "plugin " + culprit + ": construct: "
					fallthrough
				default:
					if stopErr != nil {
						t.Errorf("%s of %s %s: stopping: %v", phase, culprit, way, stopErr)
					}
				}
				if got == nil || !strings.HasPrefix(got.Error(), where) {
					t.Errorf("%s of %s %s: error %v", phase, culprit, way, got)
				}
			}
		}
	}
}

func TestAHookThatHangsIsGivenUpAndNamedAndTheOthersAreStillClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ev := new(events)
		_, l := newLoader(t)
		release := make(chan struct{})
		hook := func(p *recorder, ctx context.Context, phase string) error {
			if deadline, ok := ctx.Deadline(); phase == "Close" && (!ok || time.Until(deadline) <= 0) {
				t.Errorf("%s has no time to close", p.id)
			}
			if p.id == "b" && (phase == "Init" || phase == "Close") {
				<-release // ignores its context
			}
			return nil
		}
		boot, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("not done within 1m0s"))
		defer cancel()
		started, err := l.start(boot, []plugins.Entry{entry(ev, hook, "a"), entry(ev, hook, "b", "a"), entry(ev, hook, "c", "b")})
		if err == nil || err.Error() != "plugin b: Init: it ignores that its time is up: not done within 1m0s" {
			t.Error(err)
		}
		begin := time.Now()
		grace, cancelStop := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancelStop()
		err = l.stop(grace, started)
		if err == nil || err.Error() != "plugin b: Close: it ignores that its time is up: context deadline exceeded" {
			t.Error(err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if want := "New:a New:b New:c Init:a Init:b Close:b Close:a"; ev.String() != want {
			t.Errorf("got %s, want %s", ev, want)
		}
		close(release)
	})
}

func TestClosingAPluginRevokesAllOfItInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ev := new(events)
		h, l := newLoader(t)
		inFlight := make(chan struct{})
		hook := func(p *recorder, ctx context.Context, phase string) error {
			switch phase {
			case "Init":
				p.host.Readiness.Register(plugins.Probe{Name: p.id, Check: okay})
				p.host.OnClose(func(context.Context) error { ev.add("undo1"); return errors.New("undo failed") })
				p.host.OnClose(func(context.Context) error { ev.add("undo2"); panic("boom") })
				return p.host.Routes.Handle("GET /y", plugins.Public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-inFlight
					ev.add("answered")
					io.WriteString(w, "y")
				}))
			case "AfterPluginsReady":
				p.host.Go(func(ctx context.Context) { <-ctx.Done(); ev.add("background") })
			}
			return nil
		}
		started, err := l.start(t.Context(), []plugins.Entry{entry(ev, hook, "x")})
		if err != nil {
			t.Fatal(err)
		}
		ev.list = nil
		h.ready.finish("")
		var all sync.WaitGroup
		all.Go(func() { expect(t, h.do("GET", "/api/x/y"), 200, "y") })
		synctest.Wait()
		all.Go(func() {
			err := l.stop(t.Context(), started)
			if err == nil || err.Error() != "plugin x: OnClose: panic: boom\nundo failed" {
				t.Error(err)
			}
		})
		synctest.Wait()
		expect(t, h.do("GET", "/api/x/y"), 404, `{"error":"Plugin not found","plugin":"x"}`)
		if ev.String() != "" {
			t.Errorf("closed before its requests have finished: %s", ev)
		}
		close(inFlight)
		all.Wait()
		if want := "answered background Close:x undo2 undo1"; ev.String() != want {
			t.Errorf("got %s, want %s", ev, want)
		}
		expect(t, h.do("GET", "/.checkstack/ready"), 200, `{"ready":true,"checks":[`+coreInit+`]}`)
		if _, err := l.start(t.Context(), []plugins.Entry{entry(ev, nil, "x")}); err != nil { // and it can come back
			t.Error(err)
		}
	})
}

func TestAPluginCanBeStartedBesideThoseThatRun(t *testing.T) {
	ev := new(events)
	_, l := newLoader(t)
	if _, err := l.start(t.Context(), []plugins.Entry{entry(ev, nil, "a")}); err != nil {
		t.Fatal(err)
	}
	late, err := l.start(t.Context(), []plugins.Entry{entry(ev, nil, "b", "a")})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]plugins.Entry{{entry(ev, nil, "a")}, {entry(ev, nil, "c", "d")}, {entry(ev, nil, "c", "c")}} {
		if _, err := l.start(t.Context(), bad); err == nil {
			t.Errorf("%v was started", bad[0].ID)
		}
	}
	if err := l.stop(t.Context(), late); err != nil {
		t.Error(err)
	}
	if want := "New:a Init:a AfterPluginsReady:a New:b Init:b AfterPluginsReady:b Close:b"; ev.String() != want {
		t.Errorf("got %s, want %s", ev, want)
	}
}

func TestBackgroundWorkThatPanicsIsFatal(t *testing.T) {
	_, l := newLoader(t)
	told := make(chan error, 1)
	l.fatal = func(err error) { told <- err }
	hook := func(p *recorder, _ context.Context, phase string) error {
		if phase == "AfterPluginsReady" {
			p.host.Go(func(context.Context) { panic("boom") })
		}
		return nil
	}
	started, err := l.start(t.Context(), []plugins.Entry{entry(new(events), hook, "x")})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-told; err.Error() != "plugin x: background work panicked: boom" {
		t.Error(err)
	}
	if err := l.stop(t.Context(), started); err != nil {
		t.Error(err)
	}
}

func TestRandomTablesStartAfterWhatTheyRequireAndStopBefore(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		ev := new(events)
		_, l := newLoader(t)
		n := 1 + rnd.IntN(12)
		requires := make(map[string][]string)
		var table []plugins.Entry
		for i := range n { // IDs are dealt so that the order of the names says nothing
			id := fmt.Sprintf("p%02d", (i*7+3)%97)
			var needs []string
			for have := range requires {
				if rnd.IntN(3) == 0 {
					needs = append(needs, have)
				}
			}
			requires[id] = needs
			table = append(table, entry(ev, nil, id, needs...))
		}
		rnd.Shuffle(n, func(i, j int) { table[i], table[j] = table[j], table[i] })
		started, err := l.start(t.Context(), table)
		if err != nil {
			t.Fatal(seed, err)
		}
		if err := l.stop(t.Context(), started); err != nil {
			t.Fatal(seed, err)
		}
		at := make(map[string]int)
		for i, e := range ev.list {
			at[e] = i
		}
		for id, needs := range requires {
			for _, need := range needs {
				for _, phase := range []string{"New:", "Init:", "AfterPluginsReady:"} {
					if at[phase+need] > at[phase+id] {
						t.Fatalf("seed %d: %s%s before %s", seed, phase, id, need)
					}
				}
				if at["Close:"+need] < at["Close:"+id] {
					t.Fatalf("seed %d: %s closed before %s", seed, need, id)
				}
			}
		}
	}
}
