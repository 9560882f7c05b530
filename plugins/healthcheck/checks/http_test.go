package checks

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

func httpPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// httpQuoted is a text in JSON.
func httpQuoted(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

func TestAnHTTPCheckSaysHowASystemIs(t *testing.T) {
	s := httpServer(t)
	for _, test := range []struct {
		name, config          string
		status                plugins.Status
		message               string
		code, size, redirects int
	}{
		{"good", `"url":"$/ok"`, plugins.Healthy, "status 200", 200, 11, 0},
		{"good body", `"url":"$/ok","expectBody":"\"ok\":true"`, plugins.Healthy, "status 200", 200, 11, 0},
		{"wrong body", `"url":"$/ok","expectBody":"secret"`, plugins.Unhealthy,
			"status 200, but the expected text is not in the body of 11 bytes", 200, 11, 0},
		{"wrong status", `"url":"$/down"`, plugins.Unhealthy, "expected status 2xx, got 503", 503, 0, 0},
		{"a status is wanted", `"url":"$/down","expectStatus":[200,503]`, plugins.Healthy, "status 503", 503, 0, 0},
		{"a class is wanted", `"url":"$/down","expectStatus":["5xx"]`, plugins.Healthy, "status 503", 503, 0, 0},
		{"another is wanted", `"url":"$/ok","expectStatus":["3xx",404]`, plugins.Unhealthy, "expected status 3xx, 404, got 200", 200, 11, 0},
		{"no body", `"url":"$/ok","method":"HEAD"`, plugins.Healthy, "status 200", 200, 0, 0},
		{"redirect", `"url":"$/moved"`, plugins.Healthy, "status 200", 200, 11, 1},
		{"redirect that leads nowhere", `"url":"$/noplace","expectStatus":[302]`, plugins.Healthy, "status 302", 302, 0, 0},
		{"redirect not followed", `"url":"$/moved","followRedirects":false,"expectStatus":[302]`, plugins.Healthy, "status 302", 302, 26, 0},
		{"endless", `"url":"$/endless"`, plugins.Healthy, "status 200", 200, 1 << 20, 0},
		{"text not in the first MiB", `"url":"$/endless","expectBody":"b"`, plugins.Unhealthy,
			"status 200, but the expected text is not in the first 1 MiB of the body", 200, 1 << 20, 0},
		{"gzip", `"url":"$/gzip","expectBody":"compressed text"`, plugins.Healthy, "status 200", 200, 15, 0},
		{"no gzip wanted", `"url":"$/gzip","headers":{"accept-encoding":"identity"},"expectBody":"plain text"`, plugins.Healthy, "status 200", 200, 10, 0},
		{"gzip bomb", `"url":"$/bomb"`, plugins.Healthy, "status 200", 200, 1 << 20, 0},
		{"notices before the answer", `"url":"$/early","expectBody":"at last"`, plugins.Healthy, "status 200", 200, 7, 0},
		{"large request", `"url":"$/count","method":"POST","expectBody":"65536","body":"` + strings.Repeat("a", 64<<10) + `"`, plugins.Healthy, "status 200", 200, 5, 0},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, "{"+strings.ReplaceAll(test.config, "$", s.URL)+"}")
		if out.Fault != nil || out.Status != test.status || out.Message != test.message || out.Latency == nil ||
			httpGet(out, "status") != test.code || httpGet(out, "size") != test.size || httpGet(out, "redirects") != test.redirects {
			t.Errorf("%s: got %s %q %s %v %v; want %s %q %d %d %d and a latency", test.name, out.Status, out.Message, out.Measured.Object(),
				out.Latency, out.Fault, test.status, test.message, test.code, test.size, test.redirects)
		}
	}
}

func TestAnHTTPCheckMeasuresWhatItsPathsSay(t *testing.T) {
	s, ca := httpSecureServer(t, nil)
	kind := HTTP(nil)
	out := httpOnce(t, kind, time.Minute, `{"url":"`+s.URL+`/ok","tls":{"ca":`+httpQuoted(ca)+`}}`)
	if out.Status != plugins.Healthy {
		t.Fatalf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	for _, path := range kind.Paths() {
		switch path.Name {
		case "body", "json.*", "header.*":
			continue
		}
		got := httpGet(out, path.Name)
		kinds := map[string]engine.Kind{"int": engine.Number, "float64": engine.Number, "string": engine.Text, "[]string": engine.Texts}
		if kinds[fmt.Sprintf("%T", got)] != path.Kind {
			t.Errorf("%s is %#v, want a value of kind %s", path.Name, got, path.Kind)
		}
	}
	for path, want := range map[string]any{"status": 200, "size": 11, "redirects": 0, "httpVersion": "2", "tls.version": "TLS 1.3",
		"address": strings.TrimPrefix(s.URL, "https://"), "phases.dnsMs": 0.0} {
		if got := httpGet(out, path); got != want {
			t.Errorf("%s is %#v, want %#v", path, got, want)
		}
	}
	if string(out.Measured.Body) != `{"ok":true}` || out.Measured.Header.Get("Content-Length") != "11" {
		t.Errorf("the body is %q, the header %v", out.Measured.Body, out.Measured.Header)
	}
	sum := 0.0
	for _, phase := range []string{"connectMs", "tlsMs", "firstByteMs"} {
		ms := httpGet(out, "phases."+phase).(float64)
		if sum += ms; ms <= 0 {
			t.Errorf("%s is %v", phase, ms)
		}
	}
	if total := httpGet(out, "phases.totalMs").(float64); sum > total || total != httpMilliseconds(*out.Latency) {
		t.Errorf("the phases are %v of %v ms, latency %s", sum, total, out.Latency)
	}
}

// TestARunThatFailsMeasuresOnlyHowFarItCame keeps assertions from being applied to what nothing is known of.
func TestARunThatFailsMeasuresOnlyHowFarItCame(t *testing.T) {
	refused := httpListen(t, nil)
	refused.Close()
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"http://`+refused.Addr().String()+`"}`)
	const want = `{"error":"dial tcp $: connect: connection refused"}`
	if got := strings.Replace(string(out.Measured.Object()), refused.Addr().String(), "$", 1); got != want || out.Measured.Body != nil {
		t.Errorf("measured %s, want %s", got, want)
	}
	out = httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+httpSay(t, "")+`"}`)
	for path, want := range map[string]bool{"address": true, "phases.connectMs": true, "phases.firstByteMs": false, "phases.totalMs": false, "status": false, "redirects": false} {
		if got := httpGet(out, path); (got != nil) != want {
			t.Errorf("%s of a connection that was closed is %v", path, got)
		}
	}
}

func TestAnHTTPCheckSpeaksTheVersionThatIsAskedFor(t *testing.T) {
	both, ca := httpSecureServer(t, nil)
	old, oldCA := httpSecureServer(t, func(s *httptest.Server) { s.EnableHTTP2 = false })
	clear := httptest.NewUnstartedServer(httpHandler())
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetHTTP1(true)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	for _, test := range []struct{ url, ca, version, want string }{
		{both.URL, ca, "", "HTTP/2.0"},
		{both.URL, ca, "1.1", "HTTP/1.1"},
		{both.URL, ca, "2", "HTTP/2.0"},
		{old.URL, oldCA, "", "HTTP/1.1"},
		{clear.URL, "", "", "HTTP/1.1"},
		{clear.URL, "", "1.1", "HTTP/1.1"},
		{clear.URL, "", "2", "HTTP/2.0"},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+test.url+`/307","version":"`+test.version+`","method":"PUT","body":"hello","headers":{"X-Key":"k","Content-Type":"a/b"},
			"tls":{"ca":`+httpQuoted(test.ca)+`},"expectBody":" Checkstack k a/b hello"}`)
		if out.Status != plugins.Healthy || out.Measured.Header.Get("X-Version") != test.want || httpGet(out, "redirects") != 1 {
			t.Errorf("%+v: got %s %q %s", test, out.Status, out.Message, out.Measured.Object())
		}
	}
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+old.URL+`","version":"2","tls":{"ca":`+httpQuoted(oldCA)+`}}`)
	httpBad(t, "no HTTP/2 over TLS", out, "the server does not speak HTTP/2", "")
	one := httpServer(t)
	out = httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+one.URL+`/ok","version":"2"}`)
	httpBad(t, "no HTTP/2 in clear text", out, "there was no valid HTTP answer", "")
}

func TestTheMethodAndTheBodyChangeWithARedirectAsBrowsersDo(t *testing.T) {
	s := httpServer(t)
	for _, test := range []struct{ path, method, want string }{
		{"/303", "POST", "GET $ Checkstack k  "},
		{"/303", "PUT", "GET $ Checkstack k  "},
		{"/307", "PATCH", "PATCH $ Checkstack k a/b hello"},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+test.path+`","method":"`+test.method+`","body":"hello","headers":{"X-Key":"k","Content-Type":"a/b"}}`)
		if want := strings.Replace(test.want, "$", s.Listener.Addr().String(), 1); string(out.Measured.Body) != want {
			t.Errorf("%s %s: got %q, want %q", test.method, test.path, out.Measured.Body, want)
		}
	}
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+`/307","headers":{"host":"other.example"},"expectBody":"GET other.example"}`)
	if out.Status != plugins.Healthy {
		t.Errorf("a redirect that names no host: got %q %q", out.Message, out.Measured.Body)
	}
	out = httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+`/303","method":"HEAD"}`)
	if out.Status != plugins.Healthy || httpGet(out, "size") != 0 || httpGet(out, "redirects") != 1 {
		t.Errorf("HEAD: got %q %s", out.Message, out.Measured.Object())
	}
}

func TestAnHTTPCheckStopsAfterSoManyRedirects(t *testing.T) {
	s := httpServer(t)
	for _, test := range []struct {
		config, message string
		redirects       any
	}{
		{`"url":"$/loop"`, "stopped after 10 redirects", 10},
		{`"url":"$/loop","maxRedirects":3`, "stopped after 3 redirects", 3},
		{`"url":"$/moved","maxRedirects":0`, "stopped after 0 redirects", nil},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, "{"+strings.ReplaceAll(test.config, "$", s.URL)+"}")
		httpBad(t, test.config, out, test.message, test.message)
		if httpGet(out, "redirects") != test.redirects {
			t.Errorf("%s: measured %s", test.config, out.Measured.Object())
		}
	}
}

func TestAnHTTPCheckSendsWhatIsConfigured(t *testing.T) {
	s := httpServer(t)
	for _, test := range []struct{ path, config, want string }{
		{"/echo", `"method":"PATCH","headers":{"Host":"other.example","x-key":"k"},"body":"hello"`, "PATCH other.example Checkstack k  hello"},
		{"/echo", `"headers":{"user-agent":"Mozilla"}`, "GET $ Mozilla   "},
		{"/auth", `"auth":{"type":"basic","username":"ann","password":"hush"}`, "Basic YW5uOmh1c2g="},
		{"/auth", `"auth":{"type":"bearer","token":"a.b-c"}`, "Bearer a.b-c"},
		{"/auth", `"headers":{"authorization":"Digest x"}`, "Digest x"},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+test.path+`",`+test.config+`}`)
		if want := strings.Replace(test.want, "$", s.Listener.Addr().String(), 1); string(out.Measured.Body) != want {
			t.Errorf("%s: got %q, want %q", test.config, out.Measured.Body, want)
		}
	}
}

func TestTheTimeoutOfAnHTTPCheckCoversAllOfTheAnswer(t *testing.T) {
	s := httpServer(t)
	secure, ca := httpSecureServer(t, nil)
	mute := httpListen(t, func(c *net.TCPConn) { c.Read(make([]byte, 4096)); c.Read(make([]byte, 4096)) })
	for _, url := range []string{s.URL + "/silent", s.URL + "/half", s.URL + "/drip", secure.URL + "/silent", secure.URL + "/half", secure.URL + "/drip",
		"https://" + mute.Addr().String()} {
		start := time.Now()
		out := httpOnce(t, HTTP(nil), 200*time.Millisecond, `{"url":"`+url+`","tls":{"ca":`+httpQuoted(ca)+`}}`)
		if took := time.Since(start); took < 200*time.Millisecond || took > 10*time.Second {
			t.Errorf("%s: took %s", url, took)
		}
		httpBad(t, url, out, "timed out after 200ms", "")
	}
}

func TestAnHTTPCheckLooksAtCertificatesUnlessToldNotTo(t *testing.T) {
	s, ca := httpSecureServer(t, nil)
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+`/ok"}`)
	httpBad(t, "a certificate of its own", out, "the TLS certificate is signed by an unknown authority", "x509")
	for _, config := range []string{`"tlsVerify":false`, `"tls":{"verify":false}`, `"tls":{"ca":` + httpQuoted(ca) + `}`,
		`"tls":{"ca":` + httpQuoted(ca) + `,"serverName":"example.com"}`} {
		if out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+`/ok",`+config+`}`); out.Status != plugins.Healthy {
			t.Errorf("%.60s: got %s %q", config, out.Status, out.Message)
		}
	}
	out = httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+`/ok","tls":{"ca":`+httpQuoted(ca)+`,"serverName":"other.example"}}`)
	httpBad(t, "another name", out, "the TLS certificate is for another host", "other.example")
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
	for _, version := range []string{"any", "6"} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"http://`+l.Addr().String()+`/","expectStatus":[404],"ipVersion":"`+version+`"}`)
		if out.Status != plugins.Healthy || httpGet(out, "address") != l.Addr().String() {
			t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
		}
	}
}

func TestAnHTTPCheckKeepsToTheVersionOfIP(t *testing.T) {
	s := httpServer(t)
	four := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+four+`/ok","ipVersion":"4"}`)
	if out.Status != plugins.Healthy || httpGet(out, "address") != s.Listener.Addr().String() {
		t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	if ms := httpGet(out, "phases.dnsMs").(float64); ms <= 0 {
		t.Errorf("the lookup of localhost took %v ms", ms)
	}
	if _, err := HTTP(nil).Compile(json.RawMessage(`{"url":"` + s.URL + `","ipVersion":"6"}`)); err == nil {
		t.Error("an address of IPv4 with IPv6 is accepted")
	}
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no IPv6: %v", err)
		return
	}
	away := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.RedirectHandler(s.URL, http.StatusFound)}}
	away.Start()
	t.Cleanup(away.Close)
	out = httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+away.URL+`","ipVersion":"6"}`)
	httpBad(t, "redirect to IPv4", out, "the host has no address of IPv6", "")
}

func TestWhatIsConfiguredForAHostIsNotForAnother(t *testing.T) {
	got := make(chan http.Header, 1)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	t.Cleanup(target.Close)
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "secret" || r.Header.Get("Authorization") == "" {
			t.Error("the host itself did not get the header")
		}
		if r.URL.Path == "/away" {
			http.Redirect(w, r, target.URL, http.StatusFound)
			return
		}
		http.Redirect(w, r, "/away?token=secret", http.StatusFound)
	}))
	t.Cleanup(first.Close)
	for _, config := range []string{`"headers":{"X-Key":"secret","Authorization":"Bearer secret"}`,
		`"headers":{"X-Key":"secret"},"auth":{"type":"bearer","token":"secret"}`,
		`"headers":{"X-Key":"secret"},"auth":{"type":"basic","username":"secret","password":"secret"}`} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+first.URL+`/?token=secret",`+config+`}`)
		if out.Status != plugins.Healthy || httpGet(out, "redirects") != 2 {
			t.Fatalf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
		}
		want := http.Header{"User-Agent": {"Checkstack"}, "Accept-Encoding": {"gzip"}, "Connection": {"close"}}
		if h := <-got; !reflect.DeepEqual(h, want) {
			t.Errorf("the other host got %v, want %v", h, want)
		}
	}
}

func TestNothingThatIsSecretIsInARun(t *testing.T) {
	refused := httpListen(t, nil)
	refused.Close()
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"http://`+refused.Addr().String()+`/?token=hush","headers":{"X-Secret":"hush"},"body":"hush",
		"auth":{"type":"basic","username":"hush","password":"hush"},"proxy":"http://`+refused.Addr().String()+`","proxyUsername":"hush","proxyPassword":"hush"}`)
	if text := out.Message + string(out.Measured.Object()); strings.Contains(text, "hush") {
		t.Errorf("the run says %s", text)
	}
}

func TestARedirectIntoAForbiddenNetworkIsAFault(t *testing.T) {
	s := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusFound))
	t.Cleanup(s.Close)
	policy := &engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}}
	out := httpOnce(t, HTTP(policy), time.Minute, `{"url":"`+s.URL+`"}`)
	const want = "the address is in a network that checks may not connect to (-deny-networks)"
	if out.Fault == nil || out.Fault.Error() != want {
		t.Errorf("got %+v, %v; want %q", out.Fault, out.Message, want)
	}
}

func TestARunThatIsCutShortSaysWhy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	out := httpCompile(t, HTTP(nil), `{"url":"`+s.URL+`"}`).Run(ctx)
	if out.Message != context.Canceled.Error() || out.Fault != nil {
		t.Errorf("got %q, %v", out.Message, out.Fault)
	}
}

// TestEveryRunMakesAConnectionOfItsOwnAndLeavesNothingBehind counts connections of runs at once, because with HTTP/2 they could
// share one, and it is the client's to close as well.
func TestEveryRunMakesAConnectionOfItsOwnAndLeavesNothingBehind(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		var mu sync.Mutex
		var opened int
		open := make(map[net.Conn]bool)
		quiet := make(chan struct{}, 1)
		s, ca := httpSecureServer(t, func(s *httptest.Server) {
			s.Config.ConnState = func(c net.Conn, state http.ConnState) {
				mu.Lock()
				defer mu.Unlock()
				switch state {
				case http.StateNew:
					open[c] = true
					opened++
				case http.StateClosed:
					if delete(open, c); len(open) == 0 && opened == 40 {
						quiet <- struct{}{}
					}
				}
			}
		})
		check := httpCompile(t, HTTP(nil), `{"url":"`+s.URL+`/ok","version":"`+version+`","tls":{"ca":`+httpQuoted(ca)+`}}`)
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				for range 10 {
					if out := check.Run(t.Context()); out.Status != plugins.Healthy {
						t.Errorf("got %q %s", out.Message, out.Measured.Object())
					}
				}
			})
		}
		runs.Wait()
		select {
		case <-quiet:
		case <-time.After(10 * time.Second):
			mu.Lock()
			t.Errorf("HTTP/%s: of %d connections %d are open; want 40 and none", version, opened, len(open))
			mu.Unlock()
		}
	}
}
