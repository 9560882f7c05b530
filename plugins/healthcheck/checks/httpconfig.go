// What the configuration of an http check may say. Everything a request could stumble over is refused here, with the field
// and what was expected, so that a run can only fail because of the system it looks at:
//
//	{"url": "https://example.org/health", "method": "POST", "headers": {"X-Key": "…"}, "body": "{}",
//	 "expectStatus": [200, "3xx"], "expectBody": "\"ok\":true", "followRedirects": false, "auth": {"type": "bearer", "token": "…"}}
//
// Only url is required. The request is made once, when the configuration is understood: as the bytes of HTTP/1.1 that every run
// sends. Only what a redirect asks for is made by the run.

package checks

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// The limits of an http configuration that its tags do not say.
const (
	maxHTTPHeaderName  = 200      // bytes
	maxHTTPHeaderValue = 4096     // bytes
	maxHTTPRequestBody = 64 << 10 // bytes
)

// httpCheck is a configuration of type http.
type httpCheck struct {
	URL             string            `json:"url" doc:"what to ask for, http or https" limit:"1-2000" required:"true"`
	Method          string            `json:"method" doc:"the method, in capital letters" limit:"1-20"`
	Headers         map[string]string `json:"headers" doc:"headers to send; not to another host, where a redirect may lead" limit:"0-50"`
	Body            string            `json:"body" doc:"the body to send, at most 64 KiB" limit:"0-65536"`
	Auth            *httpAuth         `json:"auth" doc:"who the check says it is; not to another host, where a redirect may lead"`
	ExpectStatus    httpStatuses      `json:"expectStatus" doc:"the status codes of a healthy system: codes and classes such as \"2xx\""`
	ExpectBody      string            `json:"expectBody" doc:"text that must be in the body" limit:"0-10000"`
	FollowRedirects bool              `json:"followRedirects" doc:"whether redirects are followed"`
	MaxRedirects    int               `json:"maxRedirects" doc:"how many redirects are followed; the next one is unhealthy" limit:"0-50"`
	Version         string            `json:"version" doc:"the version of HTTP; by default 2 over TLS if the server speaks it, else 1.1" enum:"1.1,2,"`
	IPVersion       string            `json:"ipVersion" doc:"the version of IP; by default any" enum:"4,6,"`
	TLSVerify       bool              `json:"tlsVerify" doc:"whether certificates must be valid; tls.verify says the same"`
	TLS             *engine.TLS       `json:"tls" doc:"how to speak TLS; the name and the client's certificate are for the host of the URL only"`
	Proxy           string            `json:"proxy" doc:"the URL of a proxy: http, https or socks5" limit:"0-2000"`
	ProxyUsername   string            `json:"proxyUsername" doc:"the user name for the proxy" limit:"0-255"`
	ProxyPassword   string            `json:"proxyPassword" doc:"the password for the proxy" limit:"0-255"`

	policy     *engine.Policy
	wire       *httpWire
	proxy      *httpProxy
	first      httpHop
	expectBody []byte
}

// httpAuth is who a check says it is.
type httpAuth struct {
	Type     string `json:"type" doc:"the scheme" enum:"basic,bearer" required:"true"`
	Username string `json:"username,omitempty" doc:"the user name, for basic" limit:"0-500"`
	Password string `json:"password,omitempty" doc:"the password, for basic" limit:"0-2000"`
	Token    string `json:"token,omitempty" doc:"the token, for bearer" limit:"0-8000"`
}

// Validate understands the configuration, and makes the first request of it.
func (c *httpCheck) Validate() error {
	u, err := checkHTTPURL("url", c.URL, "http", "https")
	if err != nil {
		return err
	}
	for _, check := range []func() error{c.checkMethod, func() error { return checkHTTPHeaders("headers", c.Headers) }, c.checkAuth, c.checkTexts} {
		if err := check(); err != nil {
			return err
		}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && c.Proxy == "" &&
		(c.IPVersion == "4" && !addr.Unmap().Is4() || c.IPVersion == "6" && addr.Is4()) {
		return plugins.Invalid("ipVersion", "expected the version of the address in the URL, or none")
	}
	if err := c.TLS.Compile("tls"); err != nil {
		return err
	}
	if err := c.compileProxy(); err != nil {
		return err
	}
	c.expectBody = []byte(c.ExpectBody)
	start := httpRequest{method: c.Method, url: u, body: c.Body}
	for name, value := range c.Headers {
		if strings.EqualFold(name, "Host") {
			start.host = value
		}
	}
	first, err := c.hop(start)
	if err != nil {
		return plugins.Invalid("url", "expected an absolute URL such as https://example.org/health")
	}
	c.first = *first
	return nil
}

// Target is the host and port of the URL.
func (c *httpCheck) Target() string { return c.first.address }

// checkHTTPURL checks an absolute URL of one of the schemes, the last of which is that of the example.
func checkHTTPURL(field, s string, schemes ...string) (*url.URL, error) {
	invalid := plugins.Invalid(field, "expected an absolute URL such as %s://example.org/health", schemes[len(schemes)-1])
	u, err := url.Parse(s)
	switch {
	case err != nil, !slices.Contains(schemes, u.Scheme), u.Opaque != "", u.Hostname() == "":
		return nil, invalid
	case u.User != nil: // a URL is shown in more places than a header is
		return nil, plugins.Invalid(field, "expected a URL without user name and password; the header Authorization can carry them")
	case strings.ContainsFunc(u.Host, unicode.IsSpace):
		return nil, invalid
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, plugins.Invalid(field, "expected a port from 1 to 65535")
		}
	}
	return u, nil
}

func (c *httpCheck) checkMethod() error {
	capitals := func(r rune) bool { return r >= 'A' && r <= 'Z' || r == '-' }
	switch {
	case strings.ContainsFunc(c.Method, func(r rune) bool { return !capitals(r) }):
		return plugins.Invalid("method", "expected a method in capital letters, such as GET")
	case c.Method == http.MethodConnect:
		return plugins.Invalid("method", "expected a method that gets an answer; CONNECT opens a tunnel")
	}
	return nil
}

// checkHTTPHeaders checks headers that are to be sent with a request, the field prefix of a configuration.
func checkHTTPHeaders(prefix string, headers map[string]string) error {
	seen := make(map[string]bool, len(headers))
	for name, value := range headers {
		if name == "" || len(name) > maxHTTPHeaderName || strings.ContainsFunc(name, notHTTPToken) {
			return plugins.Invalid(prefix, "expected names of letters, digits and dashes, of at most %d characters", maxHTTPHeaderName)
		}
		field := prefix + "." + name
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch canonical {
		case "Connection", "Content-Length", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			return plugins.Invalid(field, "expected a header that belongs to the request; this one belongs to the connection")
		case "Host":
			if u, err := url.Parse("http://" + value); err != nil || u.Host != value || u.Hostname() == "" {
				return plugins.Invalid(field, "expected a host, or a host and a port")
			}
		}
		if seen[canonical] {
			return plugins.Invalid(field, "expected each header once; case does not distinguish them")
		}
		seen[canonical] = true
		if len(value) > maxHTTPHeaderValue {
			return plugins.Invalid(field, "expected a value of at most %d bytes, not %d", maxHTTPHeaderValue, len(value))
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return plugins.Invalid(field, "expected a value without line breaks and other control characters")
		}
	}
	return nil
}

// checkAuth checks what is to be sent as Authorization.
func (c *httpCheck) checkAuth() error {
	a := c.Auth
	if a == nil {
		return nil
	}
	for name := range c.Headers {
		if strings.EqualFold(name, "Authorization") {
			return plugins.Invalid("auth", "expected either this or the header Authorization")
		}
	}
	switch {
	case a.Type == "basic" && a.Token != "":
		return plugins.Invalid("auth.token", "expected none with the type basic")
	case a.Type == "basic" && (a.Username == "" || strings.Contains(a.Username, ":")):
		return plugins.Invalid("auth.username", "expected a user name without a colon")
	case a.Type == "bearer" && (a.Username != "" || a.Password != ""):
		return plugins.Invalid("auth.username", "expected neither user name nor password with the type bearer")
	case a.Type == "bearer" && (a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f })):
		return plugins.Invalid("auth.token", "expected a token without spaces and special characters")
	}
	return nil
}

func (c *httpCheck) checkTexts() error {
	if len(c.Body) > maxHTTPRequestBody {
		return plugins.Invalid("body", "expected at most %d bytes, not %d", maxHTTPRequestBody, len(c.Body))
	}
	if c.ExpectBody != "" && c.Method == http.MethodHead {
		return plugins.Invalid("expectBody", "expected none with the method HEAD, whose answers have no body")
	}
	return nil
}

// httpRequest is what a request is made of, apart from what is configured.
type httpRequest struct {
	method      string
	url         *url.URL
	body        string
	host        string // for the header Host, if not that of the URL: for the first request, and where a redirect names no host
	bodyDropped bool   // a redirect said so: the headers that describe the body are dropped as well
	foreign     bool   // it goes to a host that must not see what is configured for the first
}

// httpHop is a request that can be made, many times and at once. Nothing of it changes.
type httpHop struct {
	httpRequest
	req     *http.Request // without a body
	address string        // host:port, the host in ASCII
	literal bool          // whether the host is an address
	gzip    bool          // whether the body may come compressed, because nobody asked for anything else
	passed  bool          // whether a proxy is told the whole URL
	tls     *tls.Config   // nil for http
	wire    []byte        // as HTTP/1.1 writes it
}

// hop makes a request.
func (c *httpCheck) hop(r httpRequest) (*httpHop, error) {
	req, err := http.NewRequest(r.method, r.url.String(), strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	c.setHeaders(req, r)
	hop := &httpHop{httpRequest: r, req: req, passed: c.proxy.passes(r.url.Scheme, c.Version)}
	req.Host = cmp.Or(r.host, req.Host)
	if req.Header.Get("Accept-Encoding") == "" && req.Header.Get("Range") == "" && r.method != http.MethodHead {
		req.Header.Set("Accept-Encoding", "gzip")
		hop.gzip = true
	}
	ascii, err := httpASCII(req.URL.Host)
	if err != nil {
		return nil, err
	}
	host := (&url.URL{Host: ascii}).Hostname()
	hop.address = net.JoinHostPort(host, cmp.Or(req.URL.Port(), map[string]string{"http": "80", "https": "443"}[req.URL.Scheme]))
	_, notAddress := netip.ParseAddr(host)
	hop.literal = notAddress == nil
	if req.URL.Scheme == "https" {
		hop.tls = c.tlsFor(host, r.foreign)
		hop.tls.NextProtos = map[string][]string{"": {"h2", "http/1.1"}, "1.1": {"http/1.1"}, "2": {"h2"}}[c.Version]
	}

	var wire bytes.Buffer
	once := req.Clone(req.Context())
	once.Close = true
	write := once.Write
	if hop.passed {
		write = once.WriteProxy
		if value := c.proxy.authorization(); value != "" {
			once.Header.Set("Proxy-Authorization", value)
		}
	}
	if err := write(&wire); err != nil {
		return nil, err
	}
	hop.wire = wire.Bytes()
	req.Body, req.GetBody = nil, nil
	return hop, nil
}

// setHeaders sets what is configured, as far as the host may see it.
func (c *httpCheck) setHeaders(req *http.Request, r httpRequest) {
	req.Header.Set("User-Agent", "Checkstack")
	if u := r.url.User; u != nil { // of a redirect: a URL that is configured has none
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	if r.foreign {
		return
	}
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Del("Host") // net/http does not look for it among the headers
	switch a := c.Auth; {
	case a == nil:
	case a.Type == "basic":
		req.SetBasicAuth(a.Username, a.Password)
	default:
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	if r.bodyDropped {
		for _, name := range []string{"Content-Encoding", "Content-Language", "Content-Location", "Content-Type"} {
			req.Header.Del(name)
		}
	}
}

// tlsFor is how to speak TLS to a host. The name and the client's certificate that are configured are not for a foreign one.
func (c *httpCheck) tlsFor(host string, foreign bool) *tls.Config {
	t := c.TLS.Config(host)
	if foreign {
		t.ServerName, t.Certificates = host, nil
	}
	t.InsecureSkipVerify = t.InsecureSkipVerify || !c.TLSVerify
	return t
}

// httpASCII is a host, perhaps with a port, in ASCII. The standard library has the rules for names in other letters (RFC 5891) where
// it writes requests and nowhere else, so a request is written.
func httpASCII(host string) (string, error) {
	if !strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return host, nil
	}
	var written bytes.Buffer
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: host, Path: "/"}}
	if err := req.Write(&written); err != nil {
		return "", err
	}
	read, err := http.ReadRequest(bufio.NewReader(io.LimitReader(&written, 4096)))
	if err != nil {
		return "", err
	}
	if read.Host == "" || strings.ContainsFunc(read.Host, func(r rune) bool { return r >= 0x80 }) {
		return "", errors.New("a host that cannot be written in ASCII")
	}
	return read.Host, nil
}

// notHTTPToken tells what may not be in a header's name (RFC 9110, section 5.6.2).
func notHTTPToken(r rune) bool {
	alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
