package checks

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// httpCompile makes a check of a type and a configuration.
func httpCompile(t testing.TB, kind engine.Type, config string) engine.Check {
	t.Helper()
	check, err := kind.Compile(json.RawMessage(config))
	if err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	return check
}

// httpOnce makes one run as the scheduler would.
func httpOnce(t testing.TB, kind engine.Type, timeout time.Duration, config string) engine.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), timeout, fmt.Errorf("timed out after %s", timeout))
	defer cancel()
	return httpCompile(t, kind, config).Run(ctx)
}

// httpGet is a value that was measured, or nil.
func httpGet(out engine.Outcome, path string) any {
	value, _ := out.Measured.Get(path)
	return value
}

// httpBad reports a run that is not unhealthy with a message, without latency, and with a detail among what was measured.
func httpBad(t *testing.T, name string, out engine.Outcome, message, detail string) {
	t.Helper()
	said, _ := httpGet(out, "error").(string)
	if out.Fault != nil || out.Status != plugins.Unhealthy || out.Latency != nil || out.Message != message || !strings.Contains(said, detail) {
		t.Errorf("%s: got %s %q, latency %v, error %q, fault %v; want unhealthy %q without latency and %q", name,
			out.Status, out.Message, out.Latency, said, out.Fault, message, detail)
	}
}

// httpServer answers like a system would.
func httpServer(t testing.TB) *httptest.Server {
	s := httptest.NewServer(httpHandler())
	t.Cleanup(s.Close)
	return s
}

// httpSecureServer is httpServer over TLS, with HTTP/2, and a configuration of TLS that trusts it.
func httpSecureServer(t testing.TB, change func(*httptest.Server)) (*httptest.Server, string) {
	s := httptest.NewUnstartedServer(httpHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{}
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, httpPEM("CERTIFICATE", s.Certificate().Raw)
}

func httpHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"ok":true}`) })
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "gopher://x/", http.StatusFound) })
	mux.HandleFunc("/badplace", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{"http://[::1"}
		w.WriteHeader(302)
	})
	mux.HandleFunc("/noplace", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(302) })
	mux.HandleFunc("/307", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/echo", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/303", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/echo", http.StatusSeeOther) })
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "cut")
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprint(w, ".")
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		block := []byte(strings.Repeat("a", 64<<10))
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, r *http.Request) { // 1 GiB of zeros, if anybody read it all
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		block := make([]byte, 1<<20)
		for range 1 << 10 {
			if _, err := z.Write(block); err != nil {
				return
			}
		}
		z.Close()
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			fmt.Fprint(w, "plain text")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, "compressed text")
		z.Close()
	})
	mux.HandleFunc("/longheader", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("a", 300<<10))
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		fmt.Fprint(w, "at last")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		w.Header().Set("X-Version", r.Proto)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, r.Host, r.UserAgent(), r.Header.Get("X-Key"), r.Header.Get("Content-Type"), body[:n])
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) })
	return mux
}

// httpListen listens on a free port of this machine, and lets do speak with everybody who connects, until the connection is closed.
func httpListen(t testing.TB, do func(*net.TCPConn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				do(c.(*net.TCPConn))
			}()
		}
	}()
	return l
}

// httpSay answers every request with the same bytes, and closes the connection. It reads on, so that nothing is lost by a reset.
func httpSay(t testing.TB, answer string) string {
	return "http://" + httpListen(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		fmt.Fprint(c, answer)
		c.CloseWrite()
		for _, err := c.Read(make([]byte, 4096)); err == nil; _, err = c.Read(make([]byte, 4096)) {
		}
	}).Addr().String()
}

// httpClientCertificate makes a certificate and its key, in PEM.
func httpClientCertificate(t testing.TB) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return httpPEM("CERTIFICATE", der), httpPEM("PRIVATE KEY", secret)
}
