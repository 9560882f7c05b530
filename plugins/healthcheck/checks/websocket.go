// The check type websocket opens a WebSocket (RFC 6455), may say something, and may wait for a message with a text in it.
//
//	GET /socket, Upgrade: websocket ──► 101, Sec-WebSocket-Accept ──► send ──► messages … until one has expect ──► close
//
// The latency of a run is the time from its start until the message came, or the handshake was done if none is expected.
// The closing that follows is a courtesy: a server that does not answer it within a second is left alone.
//
// The hard case is a server that is a web server and no more. It answers with 200 and a page, or even with 101 and an accept key
// that was not made of ours, as a cache would. That is no WebSocket, whatever comes next.

package checks

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// WebSocket is the check type websocket.
func WebSocket(p *engine.Policy) engine.Type {
	return engine.New("websocket", slices.Concat([]engine.Path{
		{Name: "status", Kind: engine.Number, Doc: "the status code of the answer to the handshake; 101 if it was accepted"},
		{Name: "header.*", Kind: engine.Text, Doc: "a header of the answer to the handshake"},
		{Name: "subprotocol", Kind: engine.Text, Doc: "the subprotocol that the server chose; empty if none"},
		{Name: "handshakeMs", Kind: engine.Number, Doc: "milliseconds for the handshake, once the connection and TLS stood"},
		{Name: "received", Kind: engine.Text, Doc: "the message that was expected, or the last one before the run failed; its first 2,000 characters"},
		{Name: "body", Kind: engine.Text, Doc: "all of that message"},
		{Name: "json.*", Kind: engine.Any, Doc: "a value in that message, if it is JSON: json.$.a.b"},
		{Name: "address", Kind: engine.Text, Doc: "the address and port of the server"},
	}, engine.TLSPaths()), func() engine.Config { return &wsCheck{policy: p} })
}

// wsCheck is a configuration of type websocket.
type wsCheck struct {
	URL          string            `json:"url" doc:"what to connect to, ws or wss" limit:"1-2000" required:"true"`
	Headers      map[string]string `json:"headers" doc:"headers to send with the handshake" limit:"0-50"`
	Origin       string            `json:"origin" doc:"the header Origin: where a page that opens the WebSocket would come from" limit:"0-2000"`
	Subprotocols []string          `json:"subprotocols" doc:"subprotocols, of which the server must choose one" limit:"0-20"`
	Send         string            `json:"send" doc:"a text to send" limit:"0-65536"`
	Expect       string            `json:"expect" doc:"text that must be in a message; messages without it are passed over" limit:"0-10000"`
	TLS          *engine.TLS       `json:"tls" doc:"how to speak TLS, for wss"`

	policy  *engine.Policy
	address string
	tls     *tls.Config
	wire    []byte // the handshake, with wsNoKey for the key
	expect  []byte
}

// wsNoKey is as long as a key.
const wsNoKey = "------------------------"

// wsGUID is what RFC 6455, section 1.3, has added to a key.
const wsGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Validate understands the configuration and writes the handshake.
func (c *wsCheck) Validate() error {
	u, err := checkHTTPURL("url", c.URL, "ws", "wss")
	if err != nil {
		return err
	}
	if u.Fragment != "" {
		return plugins.Invalid("url", "expected a URL without a fragment")
	}
	if err := checkHTTPHeaders("headers", c.Headers); err != nil {
		return err
	}
	for name := range c.Headers {
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case strings.HasPrefix(canonical, "Sec-Websocket-"):
			return plugins.Invalid("headers."+name, "expected a header that does not belong to the handshake")
		case canonical == "Origin" && c.Origin != "":
			return plugins.Invalid("origin", "expected either this or the header Origin")
		}
	}
	if strings.ContainsFunc(c.Origin, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return plugins.Invalid("origin", "expected an origin such as https://example.org")
	}
	for i, name := range c.Subprotocols {
		if name == "" || strings.ContainsFunc(name, notHTTPToken) || slices.Contains(c.Subprotocols[:i], name) {
			return plugins.Invalid("subprotocols", "expected names of letters, digits and dashes, each once")
		}
	}
	if len(c.Send) > maxHTTPRequestBody {
		return plugins.Invalid("send", "expected at most %d bytes, not %d", maxHTTPRequestBody, len(c.Send))
	}
	if err := c.TLS.Compile("tls"); err != nil {
		return err
	}
	c.expect = []byte(c.Expect)
	return c.compile(u)
}

func (c *wsCheck) compile(u *url.URL) error {
	secure := u.Scheme == "wss"
	u.Scheme = map[bool]string{false: "http", true: "https"}[secure]
	host, err := httpASCII(u.Host)
	if err == nil {
		c.address, err = engine.Address("url", host, map[bool]int{false: 80, true: 443}[secure])
	}
	if err != nil {
		return plugins.Invalid("url", "expected an absolute URL such as wss://example.org/health")
	}
	if secure {
		name, _, _ := net.SplitHostPort(c.address)
		c.tls = c.TLS.Config(name)
		c.tls.NextProtos = []string{"http/1.1"}
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{
		"User-Agent": {"Checkstack"}, "Upgrade": {"websocket"}, "Connection": {"Upgrade"},
		"Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {wsNoKey}, // written as in the RFC, for servers that look at case
	}}
	for name, value := range c.Headers {
		if req.Header.Set(name, value); strings.EqualFold(name, "Host") {
			req.Host = value
		}
	}
	req.Header.Del("Host")
	if c.Origin != "" {
		req.Header.Set("Origin", c.Origin)
	}
	if len(c.Subprotocols) > 0 {
		req.Header["Sec-WebSocket-Protocol"] = []string{strings.Join(c.Subprotocols, ", ")}
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		return plugins.Invalid("url", "expected an absolute URL such as wss://example.org/health")
	}
	c.wire = wire.Bytes()
	return nil
}

// Target is the host and port of the URL.
func (c *wsCheck) Target() string { return c.address }

// Run opens a WebSocket once.
func (c *wsCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	conn, end, err := httpDial(ctx, c.policy, c.address, c.tls, &m)
	if err != nil {
		return httpFailed(ctx, err, m)
	}
	defer end()
	ws, err := c.open(conn, &m)
	if err == nil {
		err = c.talk(ws, &m)
	}
	if err != nil {
		return httpFailed(ctx, httpInvalid(err), m)
	}
	latency := time.Since(start)
	ws.leave(ctx)
	out := engine.Outcome{Status: plugins.Healthy, Latency: &latency, Measured: m, Message: "the WebSocket was opened"}
	if c.Expect != "" {
		out.Message = "the expected message was received"
	}
	return out
}

// open makes the handshake of RFC 6455, section 4.1.
func (c *wsCheck) open(conn net.Conn, m *engine.Measured) (*wsConn, error) {
	start := time.Now()
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	if _, err := conn.Write(bytes.Replace(c.wire, []byte(wsNoKey), []byte(key), 1)); err != nil {
		return nil, err
	}
	limited := &httpLimited{conn, maxHTTPHeader}
	br := bufio.NewReader(limited)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, err
	}
	m.Set("status", resp.StatusCode)
	m.Set("handshakeMs", httpMilliseconds(time.Since(start)))
	m.Header = resp.Header
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, &engine.PlainError{Text: fmt.Sprintf("expected status 101, got %d", resp.StatusCode)}
	}
	accept := sha1.Sum([]byte(key + wsGUID))
	refused := func(why string) error {
		return &engine.PlainError{Text: "the server does not speak WebSocket", Err: errors.New(why)}
	}
	chosen := resp.Header.Values("Sec-Websocket-Protocol")
	switch {
	case !wsListed(resp.Header, "Upgrade", "websocket"):
		return nil, refused("no header Upgrade: websocket")
	case !wsListed(resp.Header, "Connection", "upgrade"):
		return nil, refused("no header Connection: Upgrade")
	case resp.Header.Get("Sec-Websocket-Accept") != base64.StdEncoding.EncodeToString(accept[:]):
		return nil, refused("wrong Sec-WebSocket-Accept")
	case len(resp.Header.Values("Sec-Websocket-Extensions")) > 0:
		return nil, refused("an extension that was not asked for")
	case len(chosen) > 1 || len(chosen) == 1 && !slices.Contains(c.Subprotocols, chosen[0]):
		return nil, &engine.PlainError{Text: "the server chose a subprotocol that was not offered"}
	case len(chosen) == 0 && len(c.Subprotocols) > 0:
		return nil, &engine.PlainError{Text: "the server chose none of the subprotocols"}
	}
	m.Set("subprotocol", strings.Join(chosen, ""))
	limited.left = math.MaxInt64
	return &wsConn{conn: conn, r: br}, nil
}

// wsListed reports whether a header lists a word, in any case.
func wsListed(h http.Header, name, word string) bool {
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), word) {
				return true
			}
		}
	}
	return false
}

const maxWSReceived = 2000 // characters of a message that a result keeps

// talk sends what is to be sent, and reads until the expected message comes.
func (c *wsCheck) talk(ws *wsConn, m *engine.Measured) error {
	if c.Send != "" {
		if err := ws.write(wsText, []byte(c.Send)); err != nil {
			return err
		}
	}
	for c.Expect != "" {
		message, err := ws.read()
		if err != nil {
			return err
		}
		m.Body = message
		m.Set("received", engine.Shorten(string(message[:min(len(message), 4*maxWSReceived)]), maxWSReceived))
		if bytes.Contains(message, c.expect) {
			return nil
		}
	}
	return nil
}
