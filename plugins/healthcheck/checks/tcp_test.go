package checks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// tcpRun makes one run of a check.
func tcpRun(t *testing.T, kind engine.Type, timeout time.Duration, config string) engine.Outcome {
	t.Helper()
	check, err := kind.Compile(json.RawMessage(config))
	if err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), timeout, errors.New("timed out after "+timeout.String()))
	defer cancel()
	out := check.Run(ctx)
	tcpCheckPaths(t, kind, out)
	return out
}

// tcpCheckPaths compares what was measured with the paths that are declared.
func tcpCheckPaths(t *testing.T, kind engine.Type, out engine.Outcome) {
	t.Helper()
	var walk func(prefix string, data json.RawMessage)
	walk = func(prefix string, data json.RawMessage) {
		var object map[string]json.RawMessage
		if json.Unmarshal(data, &object) == nil && object != nil {
			for name, value := range object {
				walk(strings.TrimPrefix(prefix+"."+name, "."), value)
			}
			return
		}
		want := engine.Kind("undeclared")
		for _, p := range kind.Paths() {
			if p.Name == prefix {
				want = p.Kind
			}
		}
		var value any
		got := engine.Any
		json.Unmarshal(data, &value)
		switch value.(type) {
		case float64:
			got = engine.Number
		case string:
			got = engine.Text
		case bool:
			got = engine.Bool
		case []any:
			got = engine.Texts
		}
		if prefix != "error" && got != want {
			t.Errorf("%s: %s is %s, declared as %s", kind.Type(), prefix, data, want)
		}
	}
	walk("", out.Measured.Object())
}

// tcpServe answers every connection with do, and returns the address.
func tcpServe(t *testing.T, do func(net.Conn)) string {
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
				do(c)
			}()
		}
	}()
	return l.Addr().String()
}

// tcpSilent waits until the other side has gone.
func tcpSilent(c net.Conn) { io.Copy(io.Discard, c) }

// tcpEndless says the same until the other side has gone.
func tcpEndless(s string) func(net.Conn) {
	return func(c net.Conn) {
		block := []byte(strings.Repeat(s, 4096))
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}
}

// tcpSay reads what comes up to the end of a line before each text that is said, but for the first, and then waits.
func tcpSay(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		one := make([]byte, 1)
		for i, text := range texts {
			for i > 0 && one[0] != '\n' {
				if _, err := c.Read(one); err != nil {
					return
				}
			}
			one[0] = 0
			io.WriteString(c, text)
		}
		tcpSilent(c)
	}
}

// tcpText is a measured text, "" if there is none.
func tcpText(out engine.Outcome, path string) string {
	value, _ := out.Measured.Get(path)
	s, _ := value.(string)
	return s
}

// tcpPrivate fails if a message says where the target is, or what it said.
func tcpPrivate(t *testing.T, name string, out engine.Outcome) {
	t.Helper()
	for _, s := range []string{"127.0.0.1", "::1", "secret", "localhost"} {
		if strings.Contains(out.Message, s) {
			t.Errorf("%s: the message %q tells what is not for everybody", name, out.Message)
		}
	}
}

func TestATCPCheckConnectsSendsAndLooksAtWhatComesBack(t *testing.T) {
	closed := tcpServe(t, func(net.Conn) {})
	reset := tcpServe(t, func(c net.Conn) { c.Read(make([]byte, 100)); c.(*net.TCPConn).SetLinger(0) })
	greeting := tcpServe(t, tcpSay("220 secret\r\n", "250 secret too\r\n"))
	silent := tcpServe(t, tcpSilent)
	drip := tcpServe(t, func(c net.Conn) {
		for _, b := range []byte("abcabcabd") {
			c.Write([]byte{b})
		}
	})
	binary := tcpServe(t, func(c net.Conn) { c.Write([]byte("a\x00b\xff")) })

	const early = "the connection was closed before the answer was complete"
	for _, test := range []struct {
		name, config string
		status       plugins.Status
		message      string
		received     string
	}{
		{"connect", `"address":"` + silent + `"`, plugins.Healthy, "connected", ""},
		{"a name", `"address":"` + strings.Replace(silent, "127.0.0.1", "localhost", 1) + `"`, plugins.Healthy, "connected", ""},
		{"banner", `"address":"` + greeting + `","banner":true`, plugins.Healthy, "connected", "220 secret\r\n"},
		{"banner and text", `"address":"` + greeting + `","banner":true,"expect":"220"`, plugins.Healthy,
			"connected, and the expected text came", "220 secret\r\n"},
		{"answer", `"address":"` + greeting + `","banner":true,"send":"EHLO x\r\n","expect":"secret"`, plugins.Healthy,
			"connected, and the expected text came", "220 secret\r\n250 secret too\r\n"},
		{"text in pieces", `"address":"` + drip + `","expect":"abcabd"`, plugins.Healthy, "connected, and the expected text came", "abcabcabd"},
		{"another text", `"address":"` + drip + `","expect":"abd secret"`, plugins.Unhealthy, "the expected text is not in the 9 bytes that came", "abcabcabd"},
		{"not what the database holds", `"address":"` + binary + `","expect":"b"`, plugins.Healthy, "connected, and the expected text came", "a�b�"},
		{"closed", `"address":"` + closed + `","banner":true`, plugins.Unhealthy, early, ""},
		{"closed without the text", `"address":"` + closed + `","expect":"x"`, plugins.Unhealthy, early, ""},
		{"reset", `"address":"` + reset + `","send":"x","expect":"x"`, plugins.Unhealthy, "connection reset by peer", ""},
		{"refused", `"address":"127.0.0.1:1"`, plugins.Unhealthy, "connection refused", ""},
	} {
		out := tcpRun(t, TCP(nil), time.Minute, "{"+test.config+"}")
		if out.Status != test.status || out.Message != test.message || tcpText(out, "received") != test.received || out.Fault != nil {
			t.Errorf("%s: got %s %q %q, fault %v; want %s %q %q", test.name,
				out.Status, out.Message, tcpText(out, "received"), out.Fault, test.status, test.message, test.received)
		}
		if (out.Latency != nil) != (test.status == plugins.Healthy) {
			t.Errorf("%s: the latency is %v", test.name, out.Latency)
		}
		if _, first := out.Measured.Get("phases.firstByteMs"); first != (test.received != "") {
			t.Errorf("%s: measured %s", test.name, out.Measured.Object())
		}
		tcpPrivate(t, test.name, out)
	}
}

func TestATCPCheckReadsNoMoreThan64KiB(t *testing.T) {
	out := tcpRun(t, TCP(nil), time.Minute, `{"address":"`+tcpServe(t, tcpEndless("a"))+`","expect":"ab"}`)
	if out.Status != plugins.Unhealthy || out.Message != "the expected text is not in the first 64 KiB that came" || out.Latency != nil {
		t.Errorf("got %s %q %v", out.Status, out.Message, out.Latency)
	}
	if got := tcpText(out, "received"); got != strings.Repeat("a", 64<<10) {
		t.Errorf("received %d bytes", len(got))
	}
}

func TestTheTimeOfARunEndsATCPCheckWhateverItWaitsFor(t *testing.T) {
	silent := tcpServe(t, tcpSilent)
	for _, config := range []string{
		`{"address":"` + silent + `","banner":true}`,
		`{"address":"` + silent + `","send":"x","expect":"x"}`,
		`{"address":"` + silent + `","tls":{}}`,
		`{"address":"` + tcpServe(t, tcpSay("secret")) + `","expect":"x"}`,
	} {
		start := time.Now()
		out := tcpRun(t, TCP(nil), 100*time.Millisecond, config)
		if took := time.Since(start); took < 100*time.Millisecond || took > 10*time.Second {
			t.Errorf("%s: took %s", config, took)
		}
		if out.Status != plugins.Unhealthy || out.Message != "timed out after 100ms" || out.Latency != nil || out.Fault != nil {
			t.Errorf("%s: got %s %q, %v, fault %v", config, out.Status, out.Message, out.Latency, out.Fault)
		}
	}
}

func TestATCPCheckSpeaksTLS(t *testing.T) {
	pki := tlsMake(t)
	echo := func(c net.Conn) { io.Copy(c, c) }
	good := tlsServe(t, pki.leaf, echo)
	ca := tlsQuote(pki.rootPEM)
	out := tcpRun(t, TCP(nil), time.Minute, `{"address":"`+good+`","tls":{"ca":`+ca+`},"send":"hello\n","expect":"llo"}`)
	if out.Status != plugins.Healthy || tcpText(out, "received") != "hello\n" || tcpText(out, "tls.version") != "TLS 1.3" {
		t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	for _, path := range []string{"phases.connectMs", "phases.tlsMs", "phases.firstByteMs", "certificate.daysLeft"} {
		if _, ok := out.Measured.Get(path); !ok {
			t.Errorf("%s was not measured", path)
		}
	}
	out = tcpRun(t, TCP(nil), time.Minute, `{"address":"`+good+`","tls":{}}`)
	if out.Status != plugins.Unhealthy || out.Message != "the TLS certificate is signed by an unknown authority" ||
		tcpText(out, "certificate.subject") != "CN=leaf" {
		t.Errorf("unknown authority: got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	out = tcpRun(t, TCP(nil), time.Minute, `{"address":"`+good+`","tls":{"verify":false}}`)
	if out.Status != plugins.Healthy {
		t.Errorf("not verified: got %s %q", out.Status, out.Message)
	}
	plain := tcpServe(t, tcpSay("220 secret says hello\r\n"))
	out = tcpRun(t, TCP(nil), time.Minute, `{"address":"`+plain+`","tls":{}}`)
	if out.Status != plugins.Unhealthy || out.Message != "the other side does not speak TLS" {
		t.Errorf("no TLS: got %s %q", out.Status, out.Message)
	}
}

// TestATextThatEndsWithItsConnectionIsReadToTheEnd has a server that closes with the last byte, over TLS with and without notice.
func TestATextThatEndsWithItsConnectionIsReadToTheEnd(t *testing.T) {
	pki := tlsMake(t)
	for name, end := range map[string]func(net.Conn){
		"with notice":    func(c net.Conn) { c.(*tls.Conn).CloseWrite() },
		"without notice": func(c net.Conn) { c.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite() },
	} {
		address := tlsServe(t, pki.leaf, func(c net.Conn) { io.WriteString(c, "the end"); end(c); tcpSilent(c) })
		out := tcpRun(t, TCP(nil), time.Minute, `{"address":"`+address+`","tls":{"verify":false},"expect":"the end."}`)
		if out.Message != "the expected text is not in the 7 bytes that came" {
			t.Errorf("%s: got %q", name, out.Message)
		}
	}
}

func TestATCPCheckDoesNotConnectWhereItMayNot(t *testing.T) {
	p := &engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	address := tcpServe(t, func(net.Conn) { t.Error("there was a connection") })
	for _, kind := range []engine.Type{TCP(p), TLS(p)} {
		out := tcpRun(t, kind, time.Minute, `{"address":"`+address+`"}`)
		if out.Fault == nil || out.Fault.Error() != "the address is in a network that checks may not connect to (-deny-networks)" {
			t.Errorf("%s: got %+v", kind.Type(), out)
		}
	}
}

func TestAConfigurationOfATCPCheckIsChecked(t *testing.T) {
	for config, field := range map[string]string{
		`{}`:                        "address",
		`{"address":"example.org"}`: "address",
		`{"address":"a b:80"}`:      "address",
		`{"address":"h:1","send":"` + strings.Repeat("a", 4097) + `"}`: "send",
		`{"address":"h:1","tls":{"ca":"x"}}`:                           "tls.ca",
		`{"address":"h:1","port":1}`:                                   "port",
	} {
		tcpInvalid(t, TCP(nil), config, field)
	}
	check, err := TCP(nil).Compile(json.RawMessage(`{"address":"[::1]:25","send":"a\r\n","tls":{"verify":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(check.Normal()); got != `{"address":"[::1]:25","send":"a\r\n","tls":{"verify":false}}` || check.Target() != "[::1]:25" {
		t.Errorf("got %s, target %s", got, check.Target())
	}
}

// tcpInvalid compiles a configuration that is wrong in one field.
func tcpInvalid(t *testing.T, kind engine.Type, config, field string) {
	t.Helper()
	_, err := kind.Compile(json.RawMessage(config))
	if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Field != field || e.Status != 400 {
		t.Errorf("%.100s: got %v, want an error of %q", config, err, field)
	}
}
