// The way of a request through a proxy: over a tunnel that the proxy is asked for with CONNECT (RFC 9110, section 9.3.6) or
// SOCKS5 (RFC 1928), or, if it is for http, by giving the whole URL to a proxy of HTTP/1.1. The proxy looks up the name of the target.
//
// A proxy has an address of its own, and checks must be allowed to go there. Where the proxy goes is beyond this machine, but
// a target that is an address must be allowed as well.

package checks

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// httpProxy is a proxy that was understood.
type httpProxy struct {
	scheme, address    string // http, https or socks5; host:port
	literal            bool   // whether the host is an address
	username, password string
	tls                *tls.Config // for https
}

// compileProxy understands the proxy of a configuration.
func (c *httpCheck) compileProxy() error {
	if c.Proxy == "" {
		if c.ProxyUsername != "" || c.ProxyPassword != "" {
			return plugins.Invalid("proxy", "expected a proxy for the user name and the password")
		}
		return nil
	}
	invalid := plugins.Invalid("proxy", "expected the URL of a proxy such as http://proxy.example.org:3128, https:// or socks5://")
	u, err := url.Parse(c.Proxy)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return invalid
	}
	ports := map[string]int{"http": 80, "https": 443, "socks5": 1080}
	if ports[u.Scheme] == 0 {
		return invalid
	}
	if u.User != nil {
		return plugins.Invalid("proxy", "expected a URL without user name and password; proxyUsername and proxyPassword are for them")
	}
	if len(c.ProxyUsername) > 255 || len(c.ProxyPassword) > 255 { // what SOCKS can send
		return plugins.Invalid("proxyPassword", "expected at most 255 bytes")
	}
	if c.ProxyPassword != "" && c.ProxyUsername == "" {
		return plugins.Invalid("proxyUsername", "expected a user name for the password")
	}
	host, err := httpASCII(u.Host)
	if err != nil {
		return invalid
	}
	p := &httpProxy{scheme: u.Scheme, username: c.ProxyUsername, password: c.ProxyPassword}
	if p.address, err = engine.Address("proxy", host, ports[u.Scheme]); err != nil {
		return invalid
	}
	name, _, _ := net.SplitHostPort(p.address)
	_, notAddress := netip.ParseAddr(name)
	p.literal = notAddress == nil
	if p.scheme == "https" {
		p.tls = c.tlsFor(name, true)
		p.tls.NextProtos = []string{"http/1.1"}
	}
	c.proxy = p
	return nil
}

// passes reports whether the proxy takes requests for a scheme as they are, with the whole URL. p may be nil.
func (p *httpProxy) passes(scheme, version string) bool {
	return p != nil && p.scheme != "socks5" && scheme == "http" && version != "2"
}

// authorization is the header for the proxy, or "".
func (p *httpProxy) authorization() string {
	if p.username == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.username+":"+p.password))
}

// failed says that it was the proxy that failed. p may be nil.
func (p *httpProxy) failed(err error) error {
	if _, said := errors.AsType[*httpProxyError](err); p == nil || said {
		return err
	}
	return &engine.PlainError{Text: "the proxy cannot be used: " + engine.Explain(err), Err: err}
}

// httpProxyError is what a proxy answered.
type httpProxyError struct{ text, detail string }

// Error is what went wrong, and what the proxy said of it.
func (e *httpProxyError) Error() string { return e.text + e.detail }

// Plain is the text for everybody.
func (e *httpProxyError) Plain() string { return e.text }

// connect returns a connection to where a request goes, over one to the proxy.
func (p *httpProxy) connect(conn net.Conn, hop *httpHop) (net.Conn, error) {
	if p.tls != nil {
		secure := tls.Client(conn, p.tls)
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		conn = secure
	}
	switch {
	case p.scheme == "socks5":
		return conn, p.socks(conn, hop)
	case hop.passed:
		return conn, nil
	}
	return p.tunnel(conn, hop)
}

// tunnel asks for a tunnel with CONNECT.
func (p *httpProxy) tunnel(conn net.Conn, hop *httpHop) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: hop.address}, Host: hop.address, Header: http.Header{"User-Agent": {"Checkstack"}}}
	if value := p.authorization(); value != "" {
		req.Header.Set("Proxy-Authorization", value)
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	limited := &httpLimited{conn, maxHTTPHeader}
	br := bufio.NewReader(limited)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, httpInvalid(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &httpProxyError{"the proxy refused the connection", ": status " + strconv.Itoa(resp.StatusCode)}
	}
	if br.Buffered() == 0 {
		return conn, nil
	}
	early, _ := br.Peek(br.Buffered()) // a server of HTTP/2 may speak first
	return &httpTunnel{conn, early}, nil
}

// httpTunnel is a connection of which something was read already.
type httpTunnel struct {
	net.Conn
	early []byte
}

func (t *httpTunnel) Read(p []byte) (int, error) {
	if len(t.early) == 0 {
		return t.Conn.Read(p)
	}
	n := copy(p, t.early)
	t.early = t.early[n:]
	return n, nil
}

var httpSOCKSReplies = [...]string{"", "general failure", "not allowed", "network unreachable", "host unreachable", "connection refused",
	"TTL expired", "command not supported", "address type not supported"}

// socks asks for a connection as RFC 1928 says, with the user name and the password of RFC 1929.
func (p *httpProxy) socks(conn net.Conn, hop *httpHop) error {
	methods := []byte{5, 1, 0}
	if p.username != "" {
		methods = []byte{5, 2, 0, 2}
	}
	var answer [2]byte
	ask := func(question []byte) error {
		_, err := conn.Write(question)
		if err == nil {
			_, err = io.ReadFull(conn, answer[:])
		}
		return err
	}
	if err := ask(methods); err != nil {
		return err
	}
	switch {
	case answer[0] != 5:
		return &httpProxyError{"the proxy does not speak SOCKS5", ""}
	case answer[1] == 2 && p.username != "":
		question := append([]byte{1, byte(len(p.username))}, p.username...)
		question = append(append(question, byte(len(p.password))), p.password...)
		if err := ask(question); err != nil {
			return err
		}
		if answer[1] != 0 {
			return &httpProxyError{"the proxy refused the user name and the password", ""}
		}
	case answer[1] != 0:
		return &httpProxyError{"the proxy wants another kind of authentication", ""}
	}

	host, port, _ := net.SplitHostPort(hop.address)
	n, _ := strconv.ParseUint(port, 10, 16)
	question := []byte{5, 1, 0}
	switch addr, err := netip.ParseAddr(host); {
	case err != nil && len(host) > 255:
		return errors.New("a name that SOCKS cannot carry")
	case err != nil:
		question = append(append(question, 3, byte(len(host))), host...)
	case addr.Is4():
		question = append(append(question, 1), addr.AsSlice()...)
	default:
		question = append(append(question, 4), addr.AsSlice()...)
	}
	if err := ask(binary.BigEndian.AppendUint16(question, uint16(n))); err != nil {
		return err
	}
	if answer[0] != 5 || answer[1] != 0 {
		detail := fmt.Sprintf(": reply %d", answer[1])
		if int(answer[1]) < len(httpSOCKSReplies) {
			detail += " " + httpSOCKSReplies[answer[1]]
		}
		return &httpProxyError{"the proxy refused the connection", detail}
	}
	var rest [2 + 255 + 2]byte // the address that the proxy connects from
	if _, err := io.ReadFull(conn, rest[:2]); err != nil {
		return err
	}
	size := 0
	switch rest[1] {
	case 1:
		size = 4
	case 4:
		size = 16
	case 3:
		if _, err := io.ReadFull(conn, rest[:1]); err != nil {
			return err
		}
		size = int(rest[0])
	default:
		return &httpProxyError{"the proxy does not speak SOCKS5", ""}
	}
	_, err := io.ReadFull(conn, rest[:size+2])
	return err
}
