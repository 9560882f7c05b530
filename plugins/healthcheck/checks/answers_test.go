package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// answerConfigs are configurations of every type that hears what a server says, with the server's address for %s.
var answerConfigs = []struct{ kind, config string }{
	{"http", `{"url":"http://%s/"}`},
	{"http", `{"url":"https://%s/","tlsVerify":false}`},
	{"http", `{"url":"http://%s/","version":"2"}`},
	{"http", `{"url":"http://127.0.0.1:1/","proxy":"http://%s"}`},
	{"http", `{"url":"http://127.0.0.1:1/","proxy":"socks5://%s"}`},
	{"tcp", `{"address":"%s","send":"x","expect":"never"}`},
	{"tls", `{"address":"%s","verify":false}`},
	{"tls", `{"address":"%s","starttls":"smtp"}`},
	{"tls", `{"address":"%s","starttls":"imap"}`},
	{"tls", `{"address":"%s","starttls":"pop3"}`},
	{"tls", `{"address":"%s","starttls":"postgres"}`},
	{"tls", `{"address":"%s","starttls":"ldap"}`},
	{"dns", `{"name":"example.org","resolver":"%s","transport":"tcp"}`},
	{"postgres", `{"address":"%s","user":"u","password":"p"}`},
	{"mysql", `{"address":"%s","user":"u","password":"p"}`},
	{"redis", `{"address":"%s","password":"p"}`},
	{"ssh", `{"address":"%s"}`},
	{"grpc", `{"address":"%s"}`},
	{"websocket", `{"url":"ws://%s/","expect":"never"}`},
}

// FuzzAnswers has every type hear anything and then the end of the connection. Whatever it is, the run ends in time, without a panic,
// says something of the target and nothing of ourselves, and repeats none of it to everybody.
func FuzzAnswers(f *testing.F) {
	kinds := make(map[string]engine.Type)
	for _, k := range BuiltIn(&engine.Policy{}) {
		kinds[k.Type()] = k
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	var answer atomic.Pointer[[]byte]
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(2 * time.Second))
				c.Write(*answer.Load())
				c.(*net.TCPConn).CloseWrite()
				tcpSilent(c)
			}()
		}
	}()
	checks := make([]engine.Check, len(answerConfigs))
	for i, c := range answerConfigs {
		if checks[i], err = kinds[c.kind].Compile(json.RawMessage(fmt.Sprintf(c.config, l.Addr()))); err != nil {
			f.Fatalf("%+v: %v", c, err)
		}
	}
	for i := range answerConfigs {
		for _, data := range []string{
			"", "\x00", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x7f", "\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03",
			"\x15\x03\x03\x00\x02\x02\x28", "220 a\r\n250-STARTTLS\r\n250 b\r\n220 go\r\n\x16\x03\x01", "* OK\r\na OK\r\n", "+OK\r\n+OK\r\n", "S\x16", "N", "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I",
			"\x4a\x00\x00\x00\x0a8.0.36\x00", "+PONG\r\n$-1\r\n", "-NOAUTH secret-of-the-server\r\n", "SSH-2.0-server\r\n", "\x00\x00\x12\x04\x00\x00\x00\x00\x00", "\x05\x00\x05\x00\x00\x01", "\x00\x0c\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00",
		} {
			f.Add(i, []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		if i < 0 || i >= len(checks) || len(data) > 64<<10 {
			return
		}
		answer.Store(&data)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("timed out after 1s"))
		defer cancel()
		start := time.Now()
		out := checks[i].Run(ctx)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %s", answerConfigs[i].config, took)
		}
		if out.Fault != nil {
			t.Errorf("%s: a fault of ours: %v", answerConfigs[i].config, out.Fault)
		}
		if out.Status != plugins.Healthy && out.Status != plugins.Degraded && out.Status != plugins.Unhealthy {
			t.Errorf("%s: status %q", answerConfigs[i].config, out.Status)
		}
		const telling = 16 // bytes of an answer, in a row
		for at := 0; at+telling <= len(data); at++ {
			if piece := string(data[at : at+telling]); strings.Contains(out.Message, piece) && !strings.Contains("the connection was closed before the answer was complete", piece) {
				t.Errorf("%s: the message has what the server sent: %q", answerConfigs[i].config, out.Message)
			}
		}
	})
}
