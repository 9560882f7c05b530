package main

// Speed goals, as ratios to a baseline of the same run, or as rates. None of them is a timed test: a slow machine shows
// slow figures and fails nothing.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/gen"
	"checkstack/plugins"
	"checkstack/sql/postgres/postgrestest"
)

// discard is a response writer that costs nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func nothing(http.ResponseWriter, *http.Request) {}

func pattern(i int) string { return fmt.Sprintf("GET /api/x/kind%d/{id}/part", i) }

// quiet is a house whose log is off, as it is for requests that succeed at the default level.
func quiet(b *testing.B) *house {
	h := newHouse(b, 0, 10)
	off := slog.New(slog.DiscardHandler)
	h.door.log, h.ready.log = off, off
	h.gate.open()
	return h
}

// A plugin route through gate, overlay and mux, against a bare ServeMux with the same 1,000 routes. The two take turns in
// short slices, so that the ratio holds on a noisy machine. Goal: at most 1.15, and no more allocations.
func BenchmarkPluginRoute(b *testing.B) {
	h := quiet(b)
	rm := h.plugin("x")
	bare := http.NewServeMux()
	for i := range 1000 {
		bare.Handle(pattern(i), http.HandlerFunc(nothing))
		if err := rm.Handle(strings.Replace(pattern(i), "/api/x", "", 1), plugins.Public, http.HandlerFunc(nothing)); err != nil {
			b.Fatal(err)
		}
	}
	w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/api/x/kind500/7/part", nil)
	compare(b, 1000, func() { h.gate.ServeHTTP(w, r) }, func() { bare.ServeHTTP(w, r) })
}

// The whole front door, with request ID, headers and the log's decision, against the same bare ServeMux.
func BenchmarkFrontDoor(b *testing.B) {
	h := quiet(b)
	rm := h.plugin("x")
	bare := http.NewServeMux()
	for i := range 1000 {
		bare.Handle(pattern(i), http.HandlerFunc(nothing))
		rm.Handle(strings.Replace(pattern(i), "/api/x", "", 1), plugins.Public, http.HandlerFunc(nothing))
	}
	w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/api/x/kind500/7/part", nil)
	compare(b, 1000, func() { h.door.ServeHTTP(w, r) }, func() { bare.ServeHTTP(w, r) })
}

// compare runs f and its baseline in turns of n calls and reports the median time of each, their ratio, and what they allocate.
func compare(b *testing.B, n int, f, baseline func()) {
	var own, base []time.Duration
	for b.Loop() {
		start := time.Now()
		for range n {
			f()
		}
		middle := time.Now()
		for range n {
			baseline()
		}
		own, base = append(own, middle.Sub(start)), append(base, time.Since(middle))
	}
	slices.Sort(own)
	slices.Sort(base)
	f1, f2 := float64(own[len(own)/2].Nanoseconds())/float64(n), float64(base[len(base)/2].Nanoseconds())/float64(n)
	b.ReportMetric(0, "ns/op") // of no meaning here
	b.ReportMetric(f1, "ns/call")
	b.ReportMetric(f2, "baseline-ns/call")
	b.ReportMetric(f1/f2, "ratio")
	b.ReportMetric(testing.AllocsPerRun(100, f), "allocs/call")
	b.ReportMetric(testing.AllocsPerRun(100, baseline), "baseline-allocs/call")
}

// The open gate alone. Goal: at most 2 ns and no allocation.
func BenchmarkOpenGate(b *testing.B) {
	h := quiet(b)
	w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		if !h.gate.pass(w, r, "/") {
			b.Fatal("closed")
		}
	}
}

// Adding a route to a server that has 10,000. Goal: at most 100 µs.
func BenchmarkAddRoute(b *testing.B) {
	h := quiet(b)
	rm := h.plugin("x")
	for i := range 10_000 {
		if err := rm.Handle(fmt.Sprintf("GET /kind%d/{id}", i), plugins.Public, http.HandlerFunc(nothing)); err != nil {
			b.Fatal(err)
		}
	}
	i := 10_000
	for b.Loop() {
		if err := rm.Handle(fmt.Sprintf("GET /kind%d/{id}", i), plugins.Public, http.HandlerFunc(nothing)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// Removing a plugin with 20 routes from a server that has 10,000, with nothing in flight. Goal: at most 10 µs.
func BenchmarkRemovePlugin(b *testing.B) {
	h := quiet(b)
	other := h.plugin("other")
	for i := range 10_000 {
		other.Handle(fmt.Sprintf("GET /kind%d/{id}", i), plugins.Public, http.HandlerFunc(nothing))
	}
	var removing time.Duration
	for b.Loop() {
		rm := h.plugin("x")
		for i := range 20 {
			rm.Handle(fmt.Sprintf("GET /kind%d/{id}", i), plugins.Public, http.HandlerFunc(nothing))
		}
		start := time.Now()
		if err := h.gate.evict(b.Context(), rm); err != nil {
			b.Fatal(err)
		}
		removing += time.Since(start)
	}
	b.ReportMetric(float64(removing.Nanoseconds())/float64(b.N), "ns/removal")
}

// Readiness with 50 probes of 50 ms each. Goals: 60 ms for an evaluation, 20 µs for a reused one.
func BenchmarkReady(b *testing.B) {
	slow := func(ctx context.Context) (plugins.Result, error) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
		return plugins.Result{OK: true}, nil
	}
	var probes []plugins.Probe
	for i := range 50 {
		probes = append(probes, plugins.Probe{Name: fmt.Sprint("probe", i), Check: slow})
	}
	for name, reuse := range map[string]time.Duration{"evaluated": 0, "reused": time.Hour} {
		b.Run(name, func(b *testing.B) {
			h := booted(b, probes...)
			h.ready.reuse = reuse
			w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/.checkstack/ready", nil)
			h.ready.ServeHTTP(w, r)
			b.ReportAllocs()
			for b.Loop() {
				h.ready.ServeHTTP(w, r)
			}
		})
	}
}

// End to end over a socket: 32 connections that are kept alive, the load generator in this process. Goals on 2 cores: a plugin
// route without a database 25,000 requests a second, with one SELECT 8,000, readiness with 10 probes that query 20,000.
func BenchmarkEndToEnd(b *testing.B) {
	_, database := postgrestest.New(b)
	hook := func(p *recorder, ctx context.Context, phase string) error {
		if phase != "Init" {
			return nil
		}
		for i := range 10 {
			p.host.Readiness.Register(plugins.Probe{Name: fmt.Sprint("query", i), Check: func(ctx context.Context) (plugins.Result, error) {
				var n int
				err := p.host.DB.QueryRowContext(ctx, "SELECT 1").Scan(&n)
				return plugins.Result{OK: n == 1}, err
			}})
		}
		type answer struct {
			Value string `json:"value"`
		}
		p.host.Routes.Handle("GET /select/{id}", plugins.Public, plugins.JSON(func(r *http.Request, _ plugins.None) (answer, error) {
			var a answer
			err := p.host.DB.QueryRowContext(r.Context(), "SELECT $1::text", r.PathValue("id")).Scan(&a.Value)
			return a, err
		}))
		return p.host.Routes.Handle("GET /plain/{id}", plugins.Public, plugins.JSON(func(r *http.Request, _ plugins.None) (answer, error) {
			return answer{r.PathValue("id")}, nil
		}))
	}
	in := boot(b, hooked(hook), database, "-ready-cache=1s")
	in.log.wait(b, "ready")
	for name, path := range map[string]string{"plain": "/api/x/plain/7", "select": "/api/x/select/7", "ready": "/.checkstack/ready"} {
		b.Run(name, func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			var clients sync.WaitGroup
			b.ResetTimer()
			for range 32 {
				clients.Go(func() {
					if err := load(strings.TrimPrefix(in.url, "http://"), path, &left); err != nil {
						b.Error(err)
					}
				})
			}
			clients.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// load makes requests over one connection until none are left. It is as lean as can be, because it runs on the same cores as the
// server that is measured.
func load(addr, path string, left *atomic.Int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\n\r\n")
	in := bufio.NewReader(conn)
	for left.Add(-1) >= 0 {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		length := 0
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("%s", line)
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				for _, c := range bytes.TrimSpace(value) {
					length = 10*length + int(c-'0')
				}
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := in.Discard(length); err != nil {
			return err
		}
	}
	return nil
}

// A boot with all plugins on a database that is migrated. Goals: 300 ms, and 40 MiB of resident memory when idle. The memory is
// that of this process after a collection, so it is an upper bound.
func BenchmarkBoot(b *testing.B) {
	_, database := postgrestest.New(b)
	first := boot(b, gen.Plugins, database)
	first.log.wait(b, "ready")
	first.stop()
	first.exit()
	b.ResetTimer()
	var listening, ready time.Duration
	for range b.N {
		start := time.Now()
		in := boot(b, gen.Plugins, database)
		listening += time.Since(start)
		in.log.wait(b, "ready")
		ready += time.Since(start)
		in.stop()
		in.exit()
	}
	b.ReportMetric(float64(listening.Microseconds())/1000/float64(b.N), "ms-to-listen")
	b.ReportMetric(float64(ready.Microseconds())/1000/float64(b.N), "ms-to-ready")
	runtime.GC()
	if status, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, resident int
		fmt.Sscan(string(status), &size, &resident)
		b.ReportMetric(float64(resident*os.Getpagesize())/(1<<20), "MiB-resident")
	}
}

// The program as its user starts it, with a cluster of its own: from nothing, and again. Goals: health answers within 100 ms
// of the start, ready after 10 s the first time, with initdb, and after 1 s from then on.
func BenchmarkStart(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "checkstack")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	start := func(data string) (health, ready time.Duration) {
		log := newLogBook()
		cmd := exec.Command(binary, "-listen="+addr, "-data="+data, "-drain=0s")
		cmd.Env, cmd.Stderr = append(os.Environ(), "DATABASE_URL="), log
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for {
			if res, err := http.Get("http://" + addr + "/.checkstack/health"); err == nil {
				res.Body.Close()
				break
			}
		}
		health = time.Since(begin)
		exited := make(chan error, 1)
		go func() {
			exited <- cmd.Wait()
			log.end()
		}()
		log.wait(b, "ready")
		ready = time.Since(begin)
		cmd.Process.Signal(os.Interrupt)
		if err := <-exited; err != nil {
			b.Fatalf("%v\n%s", err, log)
		}
		return health, ready
	}
	var health, first, again time.Duration
	for range b.N {
		dir := b.TempDir()
		os.Chmod(filepath.Dir(dir), 0o755) // as root the database's server runs as another user
		os.Chmod(dir, 0o755)
		h, f := start(filepath.Join(dir, "data"))
		_, a := start(filepath.Join(dir, "data"))
		health, first, again = health+h, first+f, again+a
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(health.Microseconds())/1000/float64(b.N), "ms-to-health")
	b.ReportMetric(first.Seconds()/float64(b.N), "s-to-ready-with-initdb")
	b.ReportMetric(again.Seconds()/float64(b.N), "s-to-ready-again")
}
