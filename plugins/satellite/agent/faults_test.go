package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins/satellite/wire"
)

// A day on which everything goes wrong that can.
func TestEveryRunIsCountedOnceWhateverTheNetworkDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chance := func(percent int) bool { return rand.IntN(100) < percent }
		var calm atomic.Bool
		o := newOracle(check(1, 20), check(2, 20), check(3, 60))
		o.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if calm.Load() {
				return false
			}
			switch {
			case chance(10):
				w.WriteHeader(http.StatusServiceUnavailable)
			case chance(5):
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusTooManyRequests)
			case chance(5):
				panic(http.ErrAbortHandler)
			case chance(5): // and too late
				pause(r.Context(), 10*time.Minute, nil)
				return false
			default:
				return false
			}
			return true
		}
		o.lost = func() bool {
			if !calm.Load() && chance(5) { // an answer that comes too late
				pause(context.Background(), 2*sendTimeout, nil)
			}
			return !calm.Load() && chance(20)
		}
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		for range 10 {
			time.Sleep(time.Duration(1+rand.IntN(60*60)) * time.Second)
			w.net.cut(rand.IntN(3) == 0)
			if rand.IntN(4) == 0 {
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				w.dir = copyOf(t, w.dir)
				a, stop = w.start(t)
			}
		}
		calm.Store(true)
		time.Sleep(5 * time.Minute)
		o.assign()
		settle(t, w, a)
		dropped := a.journal.State().Dropped
		stop()
		made, n := w.types.count(), w.server.total(t)
		if made != n || dropped > 0 || len(o.now().journals) != 1 || o.now().repeated < 20 {
			t.Errorf("%d were made, %d counted, %d lost; %d batches were repeated, of %d journals", made, n, dropped, o.now().repeated, len(o.now().journals))
		}
		t.Logf("%d runs in %d batches, %d repeated", n, len(o.now().batches), o.now().repeated)
	})
}

// childEnv makes a process of this test a satellite: it holds the server and the folder.
const childEnv = "AGENT_TEST_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		server, dir, _ := strings.Cut(task, "|")
		log := &logBook{}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { // until its input ends, or it is killed
			os.Stdin.Read(make([]byte, 1))
			cancel()
		}()
		err := Run(ctx, Config{Server: server, Token: testToken, Dir: dir, Size: 16 << 20, Checks: 64, Version: "v1", Log: log.logger()})
		fmt.Print(log)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The same over real connections, with real checks, and a process that is killed for real.
func TestEveryRunIsCountedOnceOverRealConnectionsWhenTheProcessIsKilled(t *testing.T) {
	var (
		hits, requests atomic.Int64
		calm           atomic.Bool
	)
	o := newOracle()
	o.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if calm.Load() || !strings.HasSuffix(r.URL.Path, "/runs") {
			return false
		}
		switch requests.Add(1) % 6 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		case 4:
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.(*net.TCPConn).SetLinger(0) // a reset
				conn.Close()
			}
			return true
		}
		return false
	}
	o.lost = func() bool { return !calm.Load() && requests.Load()%6 == 2 }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /target", func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	mux.Handle("/", o)
	server := httptest.NewServer(mux)
	defer server.Close()
	var checks []wire.Check
	for i := range 30 {
		c := check(i, 1)
		c.Type, c.Config = "http", json.RawMessage(`{"url":"`+server.URL+`/target"}`)
		checks = append(checks, c)
	}
	o.assign(checks...)
	dir := t.TempDir()
	const kills = 3
	for range kills {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+server.URL+"|"+dir)
		stdin, err := cmd.StdinPipe() // which stays open
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.Output()
		if err == nil || err.Error() != "signal: killed" {
			t.Fatalf("it ended with %v\n%s", err, out)
		}
		stdin.Close()
		cancel()
	}
	o.assign()
	calm.Store(true)
	a, err := newAgent(Config{Server: server.URL, Token: testToken, Dir: dir, Size: 16 << 20, Checks: 64, Log: (&logBook{}).logger()},
		http.DefaultTransport, &fakeTypes{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		more, err := a.sender.next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	dropped := a.journal.State().Dropped
	if err := a.journal.Close(); err != nil {
		t.Fatal(err)
	}
	n := int64(o.total(t))
	// What was found in the last second before a kill is not in the journal yet.
	if lost := hits.Load() - n; n < 30 || lost > kills*2*int64(len(checks)) || dropped > 0 || len(o.now().journals) != 1 {
		t.Errorf("%d requests were made, %d runs counted, %d said to be lost, of %d journals", hits.Load(), n, dropped, len(o.now().journals))
	}
	t.Logf("%d requests, %d runs counted in %d batches, %d repeated", hits.Load(), n, len(o.now().batches), o.now().repeated)
}

func TestAStopEndsWithExitCode0AndLosesNothing(t *testing.T) {
	var hits atomic.Int64
	began := make(chan struct{}, 100)
	o := newOracle()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /target", func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	mux.HandleFunc("GET /slow", func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
	})
	mux.Handle("/", o)
	server := httptest.NewServer(mux)
	defer server.Close()
	fast, slow := check(1, 1), check(2, 1)
	fast.Type, fast.Config = "http", json.RawMessage(`{"url":"`+server.URL+`/target"}`)
	slow.Type, slow.Config, slow.TimeoutMs = "http", json.RawMessage(`{"url":"`+server.URL+`/slow"}`), 60_000
	o.assign(fast, slow)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+server.URL+"|"+dir)
	var out bytes.Buffer
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-began
	stdin.Close() // it stops
	if err := cmd.Wait(); err != nil {
		t.Fatalf("it ended with %v\n%s", err, &out)
	}
	a, err := newAgent(Config{Server: server.URL, Token: testToken, Dir: dir, Size: 16 << 20, Checks: 64, Log: (&logBook{}).logger()},
		http.DefaultTransport, &fakeTypes{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.journal.Close()
	for more := true; more; {
		if more, err = a.sender.next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := o.total(t); int64(n) < hits.Load()-1 || int64(n) > hits.Load() {
		t.Errorf("%d requests were made, and %d runs counted\n%s", hits.Load(), n, &out)
	}
	for _, r := range o.now().runs {
		if r.SystemID != "system-1" {
			t.Errorf("a run that was cut short is recorded: %+v", r)
		}
	}
}

func TestASatelliteThatCannotStartSaysWhy(t *testing.T) {
	cfg := Config{Server: "http://127.0.0.1:1", Token: testToken, Dir: t.TempDir(), Size: 1 << 20, Checks: 1, Log: (&logBook{}).logger()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, cfg); err != nil {
		t.Errorf("a stop before it has begun: %v", err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := cfg
	taken.Listen = busy.Addr().String()
	if err := Run(ctx, taken); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that is taken: %v", err)
	}
	a, err := newAgent(cfg, http.DefaultTransport, &fakeTypes{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.journal.Close()
	if err := Run(ctx, cfg); err == nil || !strings.Contains(err.Error(), "another process uses the folder") {
		t.Errorf("a folder that is in use: %v", err)
	}
}
