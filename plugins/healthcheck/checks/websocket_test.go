package checks

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// wsPeer is the server's side of a WebSocket.
type wsPeer struct {
	net.Conn
	br  *bufio.Reader
	req *http.Request
}

// next reads a frame of a client, which must be masked, and returns its opcode and payload.
func (p *wsPeer) next() (byte, string) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(p.br, head); err != nil {
		return 0xff, err.Error()
	}
	if head[0]&0x80 == 0 || head[1]&0x80 == 0 {
		return 0xff, "not final, or not masked"
	}
	n := int(head[1] & 0x7f)
	more := make([]byte, map[int]int{126: 2, 127: 8}[n])
	io.ReadFull(p.br, more)
	switch len(more) {
	case 2:
		n = int(binary.BigEndian.Uint16(more))
	case 8:
		n = int(binary.BigEndian.Uint64(more))
	}
	b := make([]byte, 4+n)
	io.ReadFull(p.br, b)
	for i := range n {
		b[4+i] ^= b[i%4]
	}
	return head[0] & 0xf, string(b[4:])
}

// wsFrame is a frame of a server.
func wsFrame(first byte, payload string) string {
	switch n := len(payload); {
	case n < 126:
		return string([]byte{first, byte(n)}) + payload
	case n < 1<<16:
		return string(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))) + payload
	default:
		return string(binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))) + payload
	}
}

// wsListen serves WebSockets: answer makes the answer to the handshake from that which is right, and then do has the connection.
func wsListen(t testing.TB, secure *tls.Config, answer func(*http.Request, string) string, do func(*wsPeer)) string {
	return httpListen(t, func(c *net.TCPConn) {
		p := &wsPeer{Conn: c}
		if secure != nil {
			p.Conn = tls.Server(c, secure)
		}
		defer p.Conn.Close()
		p.br = bufio.NewReader(p.Conn)
		var err error
		if p.req, err = http.ReadRequest(p.br); err != nil {
			return
		}
		sum := sha1.Sum([]byte(p.req.Header.Get("Sec-Websocket-Key") + wsGUID))
		right := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
		if answer != nil {
			right = answer(p.req, right)
		}
		io.WriteString(p, right)
		if do != nil {
			do(p)
		}
	}).Addr().String()
}

func TestAWebSocketIsOpenedAndClosed(t *testing.T) {
	got := make(chan string, 10)
	address := wsListen(t, nil, func(r *http.Request, right string) string {
		got <- fmt.Sprint(r.Method, " ", r.URL, " ", r.Host, " ", r.Header.Get("Origin"), " ", r.Header.Get("X-Key"), " ", r.Header.Get("Sec-Websocket-Protocol"),
			" ", r.Header.Get("Sec-Websocket-Version"))
		return strings.Replace(right, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: b\r\n\r\n", 1)
	}, func(p *wsPeer) {
		opcode, payload := p.next()
		got <- fmt.Sprint(opcode, payload)
		io.WriteString(p, wsFrame(0x88, "\x03\xe8"))
	})
	out := httpOnce(t, WebSocket(nil), time.Minute, `{"url":"ws://`+address+`/socket?a=b","origin":"https://example.org","headers":{"x-key":"k","Host":"other.example"},
		"subprotocols":["a","b"]}`)
	if out.Status != plugins.Healthy || out.Message != "the WebSocket was opened" || out.Latency == nil || httpGet(out, "status") != 101 ||
		httpGet(out, "subprotocol") != "b" || httpGet(out, "address") != address || httpGet(out, "received") != nil {
		t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	if ms, _ := httpGet(out, "handshakeMs").(float64); ms <= 0 {
		t.Errorf("the handshake took %v ms", ms)
	}
	if a, b := <-got, <-got; a != "GET /socket?a=b other.example https://example.org k a, b 13" || b != "8\x03\xe8" {
		t.Errorf("the server got %q, %q", a, b)
	}
}

func TestAWebSocketIsAskedAndAnswers(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, test := range []struct {
		name, send, expect string
		frames             []string
		received           string
	}{
		{"an answer", "ping", "pong", []string{wsFrame(0x81, `{"pong":1}`)}, `{"pong":1}`},
		{"in parts, with a ping between them", "ping", "pong", []string{wsFrame(0x01, "po"), wsFrame(0x89, "here?"), wsFrame(0x00, "n"), wsFrame(0x8a, ""), wsFrame(0x80, "g")}, "pong"},
		{"after others", "ping", "pong", []string{wsFrame(0x81, "hello"), wsFrame(0x81, ""), wsFrame(0x82, "\xff\xfe"), wsFrame(0x81, "pong")}, "pong"},
		{"nothing is sent", "", "hello", []string{wsFrame(0x81, "hello")}, "hello"},
		{"binary", "ping", "pong", []string{wsFrame(0x82, "pong\xff")}, "pong�"},
		{"medium", strings.Repeat("y", 300), "pong", []string{wsFrame(0x81, strings.Repeat("x", 300)+"pong")}, strings.Repeat("x", 300) + "pong"},
		{"long", strings.Repeat("y", 65536), "pong", []string{wsFrame(0x81, long+"pong")}, long[:2000]},
		{"as long as may be", "ping", "p", []string{wsFrame(0x81, strings.Repeat("x", 1<<20-1)+"p")}, long[:2000]},
	} {
		got := make(chan string, 10)
		address := wsListen(t, nil, nil, func(p *wsPeer) {
			if test.send != "" {
				opcode, payload := p.next()
				got <- fmt.Sprint(opcode, payload)
			}
			for _, frame := range test.frames {
				io.WriteString(p, frame)
				if frame[0] == 0x89 {
					opcode, payload := p.next()
					got <- fmt.Sprint(opcode, payload)
				}
			}
			opcode, _ := p.next()
			got <- fmt.Sprint(opcode)
			io.WriteString(p, wsFrame(0x81, "late")+wsFrame(0x88, ""))
		})
		out := httpOnce(t, WebSocket(nil), time.Minute, `{"url":"ws://`+address+`","send":"`+test.send+`","expect":"`+test.expect+`"}`)
		if out.Status != plugins.Healthy || out.Message != "the expected message was received" || out.Latency == nil || httpGet(out, "received") != test.received {
			t.Errorf("%s: got %s %q %.300s", test.name, out.Status, out.Message, out.Measured.Object())
			continue
		}
		if test.send != "" {
			if sent := <-got; sent != "1"+test.send {
				t.Errorf("%s: sent %.100q", test.name, sent)
			}
		}
		if strings.Contains(test.name, "ping") {
			if pong := <-got; pong != "10here?" {
				t.Errorf("%s: a ping was answered with %q", test.name, pong)
			}
		}
		if last := <-got; last != "8" {
			t.Errorf("%s: the last frame has the opcode %s", test.name, last)
		}
	}
}

func TestAWebSocketOverTLSTrustsWhomItShould(t *testing.T) {
	s, ca := httpSecureServer(t, nil)
	address := wsListen(t, &tls.Config{Certificates: s.TLS.Certificates}, nil, func(p *wsPeer) { p.next() })
	out := httpOnce(t, WebSocket(nil), time.Minute, `{"url":"wss://`+address+`","tls":{"ca":`+httpQuoted(ca)+`}}`)
	if out.Status != plugins.Healthy || httpGet(out, "tls.version") != "TLS 1.3" {
		t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	httpBad(t, "unknown authority", httpOnce(t, WebSocket(nil), time.Minute, `{"url":"wss://`+address+`"}`), "the TLS certificate is signed by an unknown authority", "x509")
	httpBad(t, "no TLS", httpOnce(t, WebSocket(nil), time.Minute, strings.Replace(`{"url":"$"}`, "$", strings.Replace(httpServer(t).URL, "http", "wss", 1), 1)),
		"the other side does not speak TLS", "")
}

func TestAWebSocketThatIsNoneIsUnhealthy(t *testing.T) {
	replace := func(old, new string) func(*http.Request, string) string {
		return func(_ *http.Request, right string) string { return strings.Replace(right, old, new, 1) }
	}
	say := func(answer string) func(*http.Request, string) string {
		return func(*http.Request, string) string { return answer }
	}
	const none, broken = "the server does not speak WebSocket", "the server broke the rules of WebSocket"
	const long = "a message is longer than 1 MiB"
	for _, test := range []struct {
		name            string
		answer          func(*http.Request, string) string
		frames          string
		message, detail string
	}{
		{"a web page", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "", "expected status 101, got 200", ""},
		{"refused", say("HTTP/1.1 403 secret\r\n\r\n"), "", "expected status 101, got 403", ""},
		{"another protocol", say("SSH-2.0-secret\r\n"), "", httpNoAnswer, "malformed"},
		{"an endless header", say("HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("a", 300<<10)), "", "the header of the answer is longer than 256 KiB", ""},
		{"nothing", say(""), "", httpEarly, "EOF"},
		{"another upgrade", replace("WebSocket", "h2c"), "", none, "Upgrade: websocket"},
		{"no upgrade", replace(", Upgrade", ""), "", none, "Connection: Upgrade"},
		{"wrong accept key", replace("Accept: ", "Accept: a"), "", none, "Sec-WebSocket-Accept"},
		{"no accept key", replace("Sec-WebSocket-Accept", "X-Accept"), "", none, "Sec-WebSocket-Accept"},
		{"an extension", replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), "", none, "extension"},
		{"a subprotocol", replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: secret\r\n\r\n"), "", "the server chose a subprotocol that was not offered", ""},
		{"the end", nil, "", httpEarly, "EOF"},
		{"half a frame", nil, wsFrame(0x81, "secret")[:5], httpEarly, "unexpected EOF"},
		{"closed", nil, wsFrame(0x88, "\x03\xe9secret"), "the server closed the WebSocket before the expected message came", ""},
		{"half a code", nil, wsFrame(0x88, "\x03"), broken, "half a code"},
		{"a reserved bit", nil, wsFrame(0xc1, "secret"), broken, "reserved"},
		{"an unknown opcode", nil, wsFrame(0x83, "secret"), broken, "opcode"},
		{"an unknown control frame", nil, wsFrame(0x8b, "secret"), broken, "opcode"},
		{"a masked frame", nil, "\x81\x81abcde", broken, "masks"},
		{"a long ping", nil, wsFrame(0x89, strings.Repeat("a", 126)), broken, "long control frame"},
		{"a ping in parts", nil, wsFrame(0x09, "a"), broken, "in parts"},
		{"a continuation of nothing", nil, wsFrame(0x80, "a"), broken, "nothing"},
		{"a message within another", nil, wsFrame(0x01, "a") + wsFrame(0x81, "b"), broken, "within another"},
		{"a long length in 2 bytes", nil, "\x81\x7e\x00\x05hello", broken, "longer than it has to be"},
		{"a long length in 8 bytes", nil, "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello", broken, "longer than it has to be"},
		{"a negative length", nil, "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", broken, "longer than it has to be"},
		{"no UTF-8", nil, wsFrame(0x81, "secret\xff"), broken, "UTF-8"},
		{"too long", nil, wsFrame(0x81, strings.Repeat("a", 1<<20+1)), long, ""},
		{"said to be far too long", nil, "\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", long, ""},
		{"too long in parts", nil, wsFrame(0x01, strings.Repeat("a", 1<<20)) + wsFrame(0x80, "b"), long, ""},
	} {
		address := wsListen(t, nil, test.answer, func(p *wsPeer) {
			io.WriteString(p, test.frames)
			p.Conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, p.br)
		})
		out := httpOnce(t, WebSocket(nil), time.Minute, `{"url":"ws://`+address+`","expect":"pong"}`)
		httpBad(t, test.name, out, test.message, test.detail)
		if strings.Contains(out.Message, "127.0.0.1") || strings.Contains(out.Message, "secret") {
			t.Errorf("%s: the message %q tells what is not for everybody", test.name, out.Message)
		}
	}
	address := wsListen(t, nil, nil, nil)
	out := httpOnce(t, WebSocket(nil), time.Minute, `{"url":"ws://`+address+`","subprotocols":["a"]}`)
	httpBad(t, "no subprotocol", out, "the server chose none of the subprotocols", "")
	out = httpOnce(t, WebSocket(&engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}), time.Minute, `{"url":"ws://`+address+`"}`)
	if _, ok := errors.AsType[*engine.Fault](out.Fault); !ok {
		t.Errorf("a forbidden network: got %q, fault %v", out.Message, out.Fault)
	}
}

func TestTheTimeoutOfAWebSocketCoversAllOfIt(t *testing.T) {
	mute := func(p *wsPeer) { p.next(); p.next() }
	hang := func(p *wsPeer) {
		for { // others all the time, and never the expected one
			if _, err := io.WriteString(p, wsFrame(0x81, "hello")); err != nil {
				return
			}
			if _, err := io.WriteString(p, wsFrame(0x01, "")); err != nil {
				return
			}
			io.WriteString(p, wsFrame(0x80, ""))
		}
	}
	for name, address := range map[string]string{
		"no answer":         httpListen(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) }).Addr().String(),
		"no message":        wsListen(t, nil, nil, mute),
		"endless messages":  wsListen(t, nil, nil, hang),
		"half of a message": wsListen(t, nil, nil, func(p *wsPeer) { io.WriteString(p, wsFrame(0x81, "hello")[:4]); mute(p) }),
	} {
		start := time.Now()
		out := httpOnce(t, WebSocket(nil), 200*time.Millisecond, `{"url":"ws://`+address+`","expect":"pong"}`)
		if took := time.Since(start); took < 200*time.Millisecond || took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		httpBad(t, name, out, "timed out after 200ms", "")
		if name == "endless messages" && httpGet(out, "received") == nil {
			t.Errorf("%s: measured %s", name, out.Measured.Object())
		}
	}
	out := httpOnce(t, WebSocket(nil), 200*time.Millisecond, `{"url":"ws://`+wsListen(t, nil, nil, mute)+`"}`)
	if out.Status != plugins.Healthy || out.Latency == nil {
		t.Errorf("a server that does not say goodbye: got %s %q", out.Status, out.Message)
	}
}

func TestEveryBadFieldOfAWebSocketIsRefusedByName(t *testing.T) {
	for _, test := range []struct{ fields, field, message string }{
		{`"url":"http://example.org"`, "url", "expected an absolute URL such as wss://example.org/health"},
		{`"url":"s://example.org"`, "url", "expected an absolute URL such as wss://example.org/health"},
		{`"url":"ws://example.org/#a"`, "url", "expected a URL without a fragment"},
		{`"url":"ws://a:b@example.org/"`, "url", "expected a URL without user name and password; the header Authorization can carry them"},
		{`"url":"ws://a","headers":{"sec-websocket-key":"a"}`, "headers.sec-websocket-key", "expected a header that does not belong to the handshake"},
		{`"url":"ws://a","headers":{"upgrade":"a"}`, "headers.upgrade", "expected a header that belongs to the request; this one belongs to the connection"},
		{`"url":"ws://a","headers":{"origin":"a"},"origin":"b"`, "origin", "expected either this or the header Origin"},
		{`"url":"ws://a","origin":"a\r\nb: c"`, "origin", "expected an origin such as https://example.org"},
		{`"url":"ws://a","subprotocols":["a","a"]`, "subprotocols", "expected names of letters, digits and dashes, each once"},
		{`"url":"ws://a","subprotocols":["a b"]`, "subprotocols", "expected names of letters, digits and dashes, each once"},
		{`"url":"ws://a","send":"` + strings.Repeat("ä", 32769) + `"`, "send", "expected at most 65536 bytes, not 65538"},
		{`"url":"wss://a","tls":{"ca":"a"}`, "tls.ca", "expected certificates in PEM"},
		{`"url":"ws://a","method":"GET"`, "method", "there is no such field; the fields are url, headers, origin, subprotocols, send, expect, tls"},
	} {
		_, err := WebSocket(nil).Compile(json.RawMessage("{" + test.fields + "}"))
		e, ok := errors.AsType[*plugins.Error](err)
		if !ok || e.Field != test.field || e.Message != test.message {
			t.Errorf("%.100s: got %#v; want field %q: %s", test.fields, err, test.field, test.message)
		}
	}
	for url, target := range map[string]string{"ws://a": "a:80", "wss://a/b?c": "a:443", "wss://[::1]:8443/": "[::1]:8443", "wss://bücher.example": "xn--bcher-kva.example:443"} {
		if check := httpCompile(t, WebSocket(nil), `{"url":"`+url+`"}`); check.Target() != target {
			t.Errorf("%s goes to %s, want %s", url, check.Target(), target)
		}
	}
}

// wsNowhere is a connection that takes everything.
type wsNowhere struct{ net.Conn }

func (wsNowhere) Write(p []byte) (int, error) { return len(p), nil }

// FuzzWebSocketFrames: whatever a server sends, reading ends, with a message that keeps to the limits or with an error for everybody.
func FuzzWebSocketFrames(f *testing.F) {
	for _, seed := range []string{wsFrame(0x81, "hello"), wsFrame(0x01, "a") + wsFrame(0x89, "b") + wsFrame(0x80, "c"), wsFrame(0x88, "\x03\xe8"),
		wsFrame(0x82, strings.Repeat("a", 300)), "\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", "\x81\x7e\x00\x05hello", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ws := &wsConn{conn: wsNowhere{}, r: bufio.NewReader(bytes.NewReader(data))}
		for read := 0; ; {
			message, err := ws.read()
			if err != nil {
				if engine.Explain(err) == "there was no valid answer" {
					t.Fatalf("an error that says nothing: %v", err)
				}
				return
			}
			if read += len(message); len(message) > maxWSMessage || read > len(data) {
				t.Fatalf("%d bytes of %d", read, len(data))
			}
		}
	})
}
