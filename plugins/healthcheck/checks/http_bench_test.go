package checks

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
)

// httpTarget runs a server in another process, so that only what a check costs is measured.
func httpTarget(b *testing.B) string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestTheTargetOfTheBenchmarks$")
	cmd.Env = append(os.Environ(), "CHECKS_HTTP_TARGET=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(address) + "/health"
}

// TestTheTargetOfTheBenchmarks is that server, and tests nothing. It ends when its input does.
func TestTheTargetOfTheBenchmarks(t *testing.T) {
	if os.Getenv("CHECKS_HTTP_TARGET") == "" {
		return
	}
	l := httpListen(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Length: 11\r\n"+
			"Connection: close\r\n\r\n{\"ok\":true}")
	})
	os.Stdout.WriteString(l.Addr().String() + "\n")
	io.Copy(io.Discard, os.Stdin)
}

// BenchmarkHTTP compares a run of a check with what net/http alone needs for the same request: wall time, allocations, and the
// processor time of this process.
func BenchmarkHTTP(b *testing.B) {
	url := httpTarget(b)
	check := httpCompile(b, HTTP(nil), `{"url":"`+url+`"}`)
	client := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{KeepAlive: -1}).DialContext, DisableKeepAlives: true}}
	b.Run("50 at once", func(b *testing.B) {
		b.SetParallelism(50)
		before := httpCPU()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				if out := check.Run(ctx); out.Status != plugins.Healthy {
					b.Errorf("got %q %s", out.Message, out.Measured.Object())
				}
				cancel()
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
		b.ReportMetric(float64((httpCPU()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	})
	measure := func(name string, once func(context.Context)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := httpCPU()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				once(ctx)
				cancel()
			}
			b.ReportMetric(float64((httpCPU()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
	measure("check", func(ctx context.Context) {
		if out := check.Run(ctx); out.Status != plugins.Healthy {
			b.Fatalf("got %q %s", out.Message, out.Measured.Object())
		}
	})
	measure("bare", func(ctx context.Context) {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			b.Fatal(err)
		}
	})
}

// httpCPU is the processor time that this process has used.
func httpCPU() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
