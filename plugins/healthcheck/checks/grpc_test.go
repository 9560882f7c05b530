package checks

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// grpcListen serves HTTP/2 in clear text.
func grpcListen(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// grpcMessage is a message of gRPC.
func grpcMessage(b string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b)))) + b
}

// grpcAnswer answers with a body and then a status, which is left out if it is empty.
func grpcAnswer(w http.ResponseWriter, body, status string) {
	w.Header().Set("Content-Type", "application/grpc")
	io.WriteString(w, body)
	http.NewResponseController(w).Flush()
	if status != "" {
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	}
}

// grpcHealthServer is a server with services: "" and web are serving, batch is not, odd has a status of a later time.
func grpcHealthServer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Method != "POST" || r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" || r.ProtoMajor != 2 ||
		!strings.HasSuffix(r.Header.Get("Grpc-Timeout"), "m") {
		http.Error(w, "no gRPC", 400)
		return
	}
	if r.URL.Path != "/grpc.health.v1.Health/Check" {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "12")
		return
	}
	known := map[string]string{
		grpcMessage(""):                "\x08\x01",
		grpcMessage("\x0a\x03web"):     "\x08\x01",
		grpcMessage("\x0a\x05batch"):   "\x08\x02",
		grpcMessage("\x0a\x07nothing"): "",
		grpcMessage("\x0a\x04gone"):    "\x08\x03",
		grpcMessage("\x0a\x03odd"):     "\x08\x09",
	}
	if answer, ok := known[string(body)]; ok {
		grpcAnswer(w, grpcMessage(answer), "0")
		return
	}
	w.Header().Set("Content-Type", "application/grpc+proto")
	w.Header().Set("Grpc-Status", "5")
	w.Header().Set("Grpc-Message", "secret%20service%21")
}

func TestAGRPCCheckSaysHowAServiceIs(t *testing.T) {
	clear := grpcListen(t, grpcHealthServer)
	secure, ca := httpSecureServer(t, func(s *httptest.Server) { s.Config.Handler = http.HandlerFunc(grpcHealthServer) })
	for _, test := range []struct {
		service string
		status  plugins.Status
		message string
		code    int
		health  any
	}{
		{"", plugins.Healthy, "status SERVING", 0, "SERVING"},
		{"web", plugins.Healthy, "status SERVING", 0, "SERVING"},
		{"batch", plugins.Unhealthy, "expected the status SERVING, got NOT_SERVING", 0, "NOT_SERVING"},
		{"nothing", plugins.Unhealthy, "expected the status SERVING, got UNKNOWN", 0, "UNKNOWN"},
		{"gone", plugins.Unhealthy, "expected the status SERVING, got SERVICE_UNKNOWN", 0, "SERVICE_UNKNOWN"},
		{"odd", plugins.Unhealthy, "expected the status SERVING, got UNKNOWN", 0, "UNKNOWN"},
		{"secret", plugins.Unhealthy, "the service is not known to the server", 5, "SERVICE_UNKNOWN"},
	} {
		for _, config := range []string{`"address":"` + clear + `"`, `"address":"` + secure.Listener.Addr().String() + `","tls":{"ca":` + httpQuoted(ca) + `}`} {
			out := httpOnce(t, GRPC(nil), time.Minute, `{"service":"`+test.service+`",`+config+`}`)
			if out.Fault != nil || out.Status != test.status || out.Message != test.message || out.Latency == nil ||
				httpGet(out, "grpc.code") != test.code || httpGet(out, "grpc.status") != test.health {
				t.Errorf("%q: got %s %q %s; want %s %q %d %v and a latency", test.service, out.Status, out.Message, out.Measured.Object(),
					test.status, test.message, test.code, test.health)
			}
			if spoke := httpGet(out, "tls.version") != nil; spoke != strings.Contains(config, "tls") {
				t.Errorf("%s: TLS was measured: %t", config[:30], spoke)
			}
			if said := httpGet(out, "grpc.message"); test.code == 5 && said != "secret service!" {
				t.Errorf("%q: the server said %v", test.service, said)
			}
		}
	}
}

func TestAGRPCCheckSendsWhatIsConfigured(t *testing.T) {
	got := make(chan string, 1)
	address := grpcListen(t, func(w http.ResponseWriter, r *http.Request) {
		got <- fmt.Sprint(r.Host, " ", r.Header.Get("X-Key"), " ", r.UserAgent())
		grpcHealthServer(w, r)
	})
	out := httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+address+`","authority":"other.example","metadata":{"x-key":"k"}}`)
	if out.Status != plugins.Healthy || httpGet(out, "address") != address {
		t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	if sent := <-got; sent != "other.example k Checkstack" {
		t.Errorf("the server got %q", sent)
	}
}

func TestAnAnswerThatIsNoGRPCIsUnhealthy(t *testing.T) {
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	z.Write([]byte("\x08\x01"))
	z.Close()
	const invalid = "there was no valid gRPC answer"
	good := grpcMessage("\x08\x01")
	for _, test := range []struct {
		name, message, detail string
		answer                http.HandlerFunc
	}{
		{"HTTP status", "expected a gRPC answer, got HTTP status 503", "", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "secret", http.StatusServiceUnavailable) }},
		{"a page", invalid, "content type", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>secret") }},
		{"another content type", invalid, "content type", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpcsecret")
			w.Header().Set("Grpc-Status", "0")
		}},
		{"no trailer", invalid, "no grpc-status", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, good, "") }},
		{"nothing at all", invalid, "no grpc-status", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "application/grpc") }},
		{"the status before the message", invalid, "no grpc-status", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Grpc-Status", "0")
			grpcAnswer(w, good, "")
		}},
		{"a status that is no number", invalid, "no number", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, good, "secret") }},
		{"a negative status", invalid, "no number", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, good, "-1") }},
		{"good, without a message", invalid, "not one whole message", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "0")
		}},
		{"half a prefix", invalid, "not one whole message", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, good[:4], "0") }},
		{"half a message", invalid, "not one whole message", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, good[:6], "0") }},
		{"two messages", invalid, "not one whole message", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, good+good, "0") }},
		{"compressed", invalid, "compressed", func(w http.ResponseWriter, r *http.Request) {
			grpcAnswer(w, "\x01"+grpcMessage(squeezed.String())[1:], "0")
		}},
		{"bad protobuf", invalid, "a field of an unknown kind", func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, grpcMessage("secret"), "0") }},
		{"endless", invalid, "longer than 64 KiB", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 16<<10)); err != nil {
					return
				}
			}
		}},
		{"a long header", httpNoAnswer, "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("a", 300<<10))
			grpcAnswer(w, good, "0")
		}},
		{"cut", httpNoAnswer, "", func(w http.ResponseWriter, r *http.Request) {
			grpcAnswer(w, good, "0")
			panic(http.ErrAbortHandler)
		}},
	} {
		out := httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+grpcListen(t, test.answer)+`"}`)
		httpBad(t, test.name, out, test.message, test.detail)
		if strings.Contains(out.Message, "127.0.0.1") || strings.Contains(out.Message, "secret") {
			t.Errorf("%s: the message %q tells what is not for everybody", test.name, out.Message)
		}
	}
}

func TestACodeOfGRPCIsNamed(t *testing.T) {
	for code, message := range map[string]string{"12": "the server does not tell its health by gRPC", "14": "expected the code OK, got UNAVAILABLE",
		"16": "expected the code OK, got UNAUTHENTICATED", "17": "expected the code OK, got 17", "2147483647": "expected the code OK, got 2147483647"} {
		address := grpcListen(t, func(w http.ResponseWriter, r *http.Request) { grpcAnswer(w, "", code) })
		out := httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+address+`"}`)
		if out.Status != plugins.Unhealthy || out.Message != message || out.Latency == nil || fmt.Sprint(httpGet(out, "grpc.code")) != code || httpGet(out, "grpc.status") != nil {
			t.Errorf("%s: got %s %q %s, want %q", code, out.Status, out.Message, out.Measured.Object(), message)
		}
	}
}

func TestWhatSpeaksNoHTTP2IsUnhealthy(t *testing.T) {
	old, ca := httpSecureServer(t, func(s *httptest.Server) { s.EnableHTTP2 = false })
	out := httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+old.Listener.Addr().String()+`","tls":{"ca":`+httpQuoted(ca)+`}}`)
	httpBad(t, "HTTP/1.1 over TLS", out, "the server does not speak HTTP/2", "no application protocol")
	out = httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+httpServer(t).Listener.Addr().String()+`"}`)
	httpBad(t, "HTTP/1.1", out, httpNoAnswer, "")
	out = httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+httpServer(t).Listener.Addr().String()+`","tls":{}}`)
	httpBad(t, "no TLS", out, "the other side does not speak TLS", "")
	out = httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+strings.TrimPrefix(httpSay(t, "SSH-2.0-secret\r\n"), "http://")+`"}`)
	httpBad(t, "another protocol", out, httpNoAnswer, "")
	silent := httpListen(t, func(c *net.TCPConn) {
		s := tls.Server(c, &tls.Config{Certificates: old.TLS.Certificates})
		s.Read(make([]byte, 4096))
		s.Close()
	})
	out = httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+silent.Addr().String()+`","tls":{"ca":`+httpQuoted(ca)+`}}`)
	httpBad(t, "no ALPN", out, "the server does not speak HTTP/2", "")
	both, _ := httpSecureServer(t, nil)
	out = httpOnce(t, GRPC(nil), time.Minute, `{"address":"`+both.Listener.Addr().String()+`","tls":{}}`)
	httpBad(t, "unknown authority", out, "the TLS certificate is signed by an unknown authority", "x509")
	out = httpOnce(t, GRPC(&engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}), time.Minute, `{"address":"`+old.Listener.Addr().String()+`"}`)
	if _, ok := errors.AsType[*engine.Fault](out.Fault); !ok {
		t.Errorf("a forbidden network: got %q, fault %v", out.Message, out.Fault)
	}
}

func TestTheTimeoutOfAGRPCCheckCoversAllOfTheAnswer(t *testing.T) {
	for name, address := range map[string]string{
		"no server": httpListen(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) }).Addr().String(),
		"no answer": grpcListen(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		"no trailer": grpcListen(t, func(w http.ResponseWriter, r *http.Request) {
			grpcAnswer(w, grpcMessage("\x08\x01"), "")
			<-r.Context().Done()
		}),
	} {
		start := time.Now()
		out := httpOnce(t, GRPC(nil), 200*time.Millisecond, `{"address":"`+address+`"}`)
		if took := time.Since(start); took < 200*time.Millisecond || took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		httpBad(t, name, out, "timed out after 200ms", "")
	}
}

func TestRunsOfAGRPCCheckShareNoConnection(t *testing.T) {
	var mu sync.Mutex
	from := make(map[string]int)
	address := grpcListen(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr]++
		mu.Unlock()
		grpcHealthServer(w, r)
	})
	check := httpCompile(t, GRPC(nil), `{"address":"`+address+`"}`)
	var runs sync.WaitGroup
	for range 20 {
		runs.Go(func() { httpOnce(t, GRPC(nil), time.Minute, string(check.Normal())) })
	}
	runs.Wait()
	if len(from) != 20 {
		t.Errorf("20 runs came over %d connections", len(from))
	}
}

func TestEveryBadFieldOfAGRPCCheckIsRefusedByName(t *testing.T) {
	for _, test := range []struct{ fields, field, message string }{
		{`"address":"example.org"`, "address", "expected a host and a port such as example.org:50051"},
		{`"address":"example.org:0"`, "address", "expected a host and a port such as example.org:50051"},
		{`"address":"http://example.org:1"`, "address", "expected a host and a port such as example.org:50051"},
		{`"service":"a"`, "address", "expected this field, but it is missing"},
		{`"address":"a:1","authority":"a/b"`, "authority", "expected a host, or a host and a port"},
		{`"address":"a:1","metadata":{"grpc-status":"0"}`, "metadata.grpc-status", "expected a header that does not belong to gRPC itself"},
		{`"address":"a:1","metadata":{"content-type":"a"}`, "metadata.content-type", "expected a header that does not belong to gRPC itself"},
		{`"address":"a:1","metadata":{"host":"a"}`, "metadata.host", "expected a header that belongs to the request; the field authority is for the host"},
		{`"address":"a:1","metadata":{"a b":"a"}`, "metadata", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"address":"a:1","tls":{"ca":"a"}`, "tls.ca", "expected certificates in PEM"},
	} {
		_, err := GRPC(nil).Compile(json.RawMessage("{" + test.fields + "}"))
		e, ok := errors.AsType[*plugins.Error](err)
		if !ok || e.Field != test.field || e.Message != test.message {
			t.Errorf("%.100s: got %#v; want field %q: %s", test.fields, err, test.field, test.message)
		}
	}
	if check := httpCompile(t, GRPC(nil), `{"address":"[::1]:50051"}`); check.Target() != "[::1]:50051" {
		t.Errorf("the target is %q", check.Target())
	}
}

// FuzzGRPCHealth: whatever bytes come, they are one of four statuses or an error, and a status stays the same with a field
// after it that nobody knows.
func FuzzGRPCHealth(f *testing.F) {
	for _, seed := range []string{grpcMessage(""), grpcMessage("\x08\x01"), grpcMessage("\x08\x02\x12\x02ab"), grpcMessage("\x15abcd\x19abcdefgh\x08\x03"), grpcMessage("\x08\x81\x00"),
		"\x01\x00\x00\x00\x00", grpcMessage("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "\x00\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		status, err := grpcHealth(data)
		if err != nil {
			if engine.Explain(err) != "there was no valid gRPC answer" || status != "" {
				t.Fatalf("got %q, %v", status, err)
			}
			return
		}
		if !strings.Contains(" UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN ", " "+status+" ") {
			t.Fatalf("got %q", status)
		}
		if again, err := grpcHealth([]byte(grpcMessage(string(data[5:]) + "\x7a\x01a"))); again != status || err != nil {
			t.Fatalf("%q became %q, %v", status, again, err)
		}
	})
}
