package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
)

// once runs an http check with a config as the scheduler would.
func once(t *testing.T, timeout time.Duration, config string) (plugins.Run, httpResult) {
	t.Helper()
	types := &registry{log: slog.New(slog.DiscardHandler)}
	if _, err := types.add(newHTTPCheck()); err != nil {
		t.Fatal(err)
	}
	normal, err := types.validate(ConfigurationInput{Type: "http", Config: json.RawMessage(config)})
	if err != nil {
		t.Fatal(err)
	}
	run, err := types.run(t.Context(), check{kind: "http", config: normal, timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	var result httpResult
	if err := json.Unmarshal(run.Result, &result); err != nil {
		t.Fatalf("result %s: %v", run.Result, err)
	}
	return run, result
}

// server answers like a system would.
func server(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"ok":true}`) })
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "gopher://x/", http.StatusFound) })
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
	mux.HandleFunc("/longheader", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("a", 300<<10))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.Host, r.UserAgent(), r.Header.Get("X-Key"), body[:n])
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func TestAnHTTPCheckSaysHowASystemIs(t *testing.T) {
	s := server(t)
	for _, test := range []struct {
		name, config string
		status       plugins.Status
		message      string
		result       httpResult
	}{
		{"good", `"url":"$/ok"`, plugins.Healthy, "status 200", httpResult{StatusCode: 200, BodyBytes: 11}},
		{"good body", `"url":"$/ok","expectBody":"\"ok\":true"`, plugins.Healthy, "status 200", httpResult{StatusCode: 200, BodyBytes: 11}},
		{"wrong body", `"url":"$/ok","expectBody":"secret"`, plugins.Unhealthy,
			"status 200, but the expected text is not in the body of 11 bytes", httpResult{StatusCode: 200, BodyBytes: 11}},
		{"wrong status", `"url":"$/down"`, plugins.Unhealthy, "expected status 2xx, got 503", httpResult{StatusCode: 503}},
		{"a status is wanted", `"url":"$/down","expectStatus":[200,503]`, plugins.Healthy, "status 503", httpResult{StatusCode: 503}},
		{"a class is wanted", `"url":"$/down","expectStatus":["5xx"]`, plugins.Healthy, "status 503", httpResult{StatusCode: 503}},
		{"another is wanted", `"url":"$/ok","expectStatus":["3xx",404]`, plugins.Unhealthy, "expected status 3xx, 404, got 200",
			httpResult{StatusCode: 200, BodyBytes: 11}},
		{"no body", `"url":"$/ok","method":"HEAD"`, plugins.Healthy, "status 200", httpResult{StatusCode: 200}},
		{"redirect", `"url":"$/moved"`, plugins.Healthy, "status 200", httpResult{StatusCode: 200, BodyBytes: 11, Redirects: 1}},
		{"redirect not followed", `"url":"$/moved","followRedirects":false,"expectStatus":[302]`, plugins.Healthy, "status 302",
			httpResult{StatusCode: 302, BodyBytes: 26}},
		{"endless", `"url":"$/endless"`, plugins.Healthy, "status 200", httpResult{StatusCode: 200, BodyBytes: 1 << 20}},
		{"text not in the first MiB", `"url":"$/endless","expectBody":"b"`, plugins.Unhealthy,
			"status 200, but the expected text is not in the first 1 MiB of the body", httpResult{StatusCode: 200, BodyBytes: 1 << 20}},
	} {
		run, result := once(t, time.Minute, "{"+strings.ReplaceAll(test.config, "$", s.URL)+"}")
		if run.Status != test.status || run.Message != test.message || result != test.result || run.LatencyMs == nil {
			t.Errorf("%s: got %s %q %+v %v; want %s %q %+v and a latency", test.name,
				run.Status, run.Message, result, run.LatencyMs, test.status, test.message, test.result)
		}
	}
}

func TestAnHTTPCheckWithoutACompleteAnswerIsUnhealthyAndHasNoLatency(t *testing.T) {
	s := server(t)
	refused := listener(t, "tcp", "127.0.0.1:0")
	refused.Close()
	reset := listener(t, "tcp", "127.0.0.1:0")
	go answer(reset, func(c *net.TCPConn) { c.SetLinger(0) })
	closed := listener(t, "tcp", "127.0.0.1:0")
	go answer(closed, func(*net.TCPConn) {})
	other := listener(t, "tcp", "127.0.0.1:0")
	go answer(other, func(c *net.TCPConn) { fmt.Fprint(c, "SSH-2.0-secret\r\n") })

	const early = "the connection was closed before the answer was complete"
	for _, test := range []struct{ name, url, message, detail string }{
		{"refused", "http://" + refused.Addr().String(), "connection refused", "connection refused"},
		{"reset", "http://" + reset.Addr().String(), "connection reset by peer", "connection reset by peer"},
		{"closed", "http://" + closed.Addr().String(), early, "EOF"},
		{"another protocol", "http://" + other.Addr().String(), "there was no valid HTTP answer", "malformed HTTP response"},
		{"no TLS there", strings.Replace(s.URL, "http", "https", 1) + "/ok", "there was no valid HTTP answer", "HTTP response to HTTPS client"},
		{"cut", s.URL + "/cut", early, "unexpected EOF"},
		{"redirect loop", s.URL + "/loop", "stopped after 10 redirects", "stopped after 10 redirects"},
		{"redirect to nowhere", s.URL + "/nowhere", "there was no valid HTTP answer", "unsupported protocol scheme"},
		{"long header", s.URL + "/longheader", "there was no valid HTTP answer", "headers exceeded"},
		{"no such host", "http://nothing.invalid/", "the host name ", ""},
	} {
		run, result := once(t, time.Minute, `{"url":"`+test.url+`"}`)
		if run.Status != plugins.Unhealthy || run.LatencyMs != nil || !strings.HasPrefix(run.Message, test.message) ||
			!strings.Contains(result.Error, test.detail) {
			t.Errorf("%s: got %s %q, latency %v, %+v; want unhealthy %q without latency and %q", test.name,
				run.Status, run.Message, run.LatencyMs, result, test.message, test.detail)
		}
		if strings.Contains(run.Message, "127.0.0.1") || strings.Contains(run.Message, "SSH") {
			t.Errorf("%s: the message %q tells what is not for everybody", test.name, run.Message)
		}
	}
}

func TestTheTimeoutOfAnHTTPCheckCoversAllOfTheAnswer(t *testing.T) {
	s := server(t)
	for _, path := range []string{"/silent", "/half", "/drip"} {
		start := time.Now()
		run, _ := once(t, 200*time.Millisecond, `{"url":"`+s.URL+path+`"}`)
		if took := time.Since(start); took < 200*time.Millisecond || took > 10*time.Second {
			t.Errorf("%s: took %s", path, took)
		}
		if run.Status != plugins.Unhealthy || run.Message != "timed out after 200ms" || run.LatencyMs != nil {
			t.Errorf("%s: got %s %q, latency %v", path, run.Status, run.Message, run.LatencyMs)
		}
	}
}

func TestAnHTTPCheckLooksAtCertificatesUnlessToldNotTo(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	run, result := once(t, time.Minute, `{"url":"`+s.URL+`","expectStatus":[404]}`)
	if run.Status != plugins.Unhealthy || run.Message != "the TLS certificate is signed by an unknown authority" || result.StatusCode != 0 {
		t.Errorf("with a certificate of its own: %s %q %+v", run.Status, run.Message, result)
	}
	run, result = once(t, time.Minute, `{"url":"`+s.URL+`","expectStatus":[404],"tlsVerify":false}`)
	if run.Status != plugins.Healthy || result.StatusCode != 404 {
		t.Errorf("with a certificate of its own, not looked at: %s %q %+v", run.Status, run.Message, result)
	}
}

func TestAnHTTPCheckReachesIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no IPv6: %v", err)
		return
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.NotFoundHandler()}}
	s.Start()
	t.Cleanup(s.Close)
	if run, _ := once(t, time.Minute, `{"url":"http://`+l.Addr().String()+`/","expectStatus":[404]}`); run.Status != plugins.Healthy {
		t.Errorf("got %s %q", run.Status, run.Message)
	}
}

func TestAnHTTPCheckSendsWhatIsConfigured(t *testing.T) {
	s := server(t)
	run, _ := once(t, time.Minute, `{"url":"`+s.URL+`/echo","method":"PATCH","headers":{"Host":"other.example","x-key":"k"},"body":"hello",
		"expectBody":"PATCH other.example Checkstack k hello"}`)
	if run.Status != plugins.Healthy {
		t.Errorf("got %s %q", run.Status, run.Message)
	}
}

func TestHeadersOfAnHTTPCheckAreNotForAnotherHost(t *testing.T) {
	got := make(chan http.Header, 1)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	t.Cleanup(target.Close)
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, target.URL, http.StatusFound)
			return
		}
		http.Redirect(w, r, "/away?token=secret", http.StatusFound)
		if r.Header.Get("X-Key") != "secret" {
			t.Error("the host itself did not get the header")
		}
	}))
	t.Cleanup(first.Close)
	run, result := once(t, time.Minute, `{"url":"`+first.URL+`/?token=secret","headers":{"X-Key":"secret","Authorization":"Bearer secret"}}`)
	if run.Status != plugins.Healthy || result.Redirects != 2 {
		t.Fatalf("got %s %q %+v", run.Status, run.Message, result)
	}
	if h := fmt.Sprint(<-got); strings.Contains(h, "secret") {
		t.Errorf("the other host got %s", h)
	}
}

func TestNothingThatIsSecretIsInARun(t *testing.T) {
	refused := listener(t, "tcp", "127.0.0.1:0")
	refused.Close()
	run, _ := once(t, time.Minute, `{"url":"http://`+refused.Addr().String()+`/?token=hush","headers":{"Authorization":"Bearer hush"},"body":"hush"}`)
	if text := run.Message + string(run.Result); strings.Contains(text, "hush") {
		t.Errorf("the run says %s", text)
	}
}

func TestARunThatIsCutShortIsNoRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	types := &registry{log: slog.New(slog.DiscardHandler)}
	if _, err := types.add(newHTTPCheck()); err != nil {
		t.Fatal(err)
	}
	_, err := types.run(ctx, check{kind: "http", config: json.RawMessage(`{"url":"` + s.URL + `"}`), timeout: time.Minute})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestRunsOfAnHTTPCheckLeaveNothingBehind counts connections, because with HTTP/2 they are the client's to close as well.
func TestRunsOfAnHTTPCheckLeaveNothingBehind(t *testing.T) {
	var mu sync.Mutex
	var opened int
	open := make(map[net.Conn]bool)
	quiet := make(chan struct{}, 1)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.EnableHTTP2 = true
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			open[c] = true
			opened++
		case http.StateClosed:
			if delete(open, c); len(open) == 0 && opened == 10 {
				quiet <- struct{}{}
			}
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newHTTPCheck()
	for range 10 {
		out := c.Run(t.Context(), json.RawMessage(`{"url":"`+s.URL+`","expectStatus":[404],"tlsVerify":false}`))
		if out.Status != plugins.Healthy {
			t.Errorf("got %+v", out)
		}
	}
	select {
	case <-quiet:
	case <-time.After(10 * time.Second):
		t.Errorf("of 10 connections %d are open", len(open))
	}
}

func listener(t *testing.T, network, address string) net.Listener {
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// answer reads the beginning of each request and lets do say something before the connection is closed.
func answer(l net.Listener, do func(*net.TCPConn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Read(make([]byte, 4096))
		do(c.(*net.TCPConn))
		c.Close()
	}
}
