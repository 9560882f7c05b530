package checks

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// httpRelay passes bytes both ways until one side is done.
func httpRelay(a, b net.Conn) {
	go func() {
		io.Copy(a, b)
		a.Close()
	}()
	io.Copy(b, a)
	b.Close()
}

// httpProxyHandler is a proxy for user ann with the password hush. It tells the target by a header that it was there. The name
// target.example is that of the target.
func httpProxyHandler(target string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic YW5uOmh1c2g=" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			if r.URL.Host != "target.example" {
				http.Error(w, "expected the whole URL", 400)
				return
			}
			out, _ := http.NewRequest(r.Method, "http://"+target+r.URL.Path, r.Body)
			out.Header = r.Header.Clone()
			out.Header.Set("X-Key", "through the proxy")
			resp, err := http.DefaultTransport.RoundTrip(out)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			io.Copy(w, resp.Body)
			return
		}
		host, _, _ := net.SplitHostPort(r.Host)
		if host != "target.example" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		to, err := net.Dial("tcp", target)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		fmt.Fprint(buffered, "HTTP/1.1 200 Connection established\r\n\r\n")
		buffered.Flush()
		httpRelay(from, to)
	})
}

// httpSOCKS is a proxy of SOCKS5 for the same user.
func httpSOCKS(t *testing.T, target string) string {
	return httpListen(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		next := func(n int) string {
			b := make([]byte, n)
			io.ReadFull(br, b)
			return string(b)
		}
		if next(1) != "\x05" || !strings.Contains(next(int(next(1)[0])), "\x02") {
			c.Write([]byte{5, 0xff})
			return
		}
		c.Write([]byte{5, 2})
		next(1)
		if next(int(next(1)[0])) != "ann" || next(int(next(1)[0])) != "hush" {
			c.Write([]byte{1, 1})
			return
		}
		c.Write([]byte{1, 0})
		next(3)
		switch next(1) {
		case "\x03":
			if next(int(next(1)[0])) != "target.example" {
				c.Write([]byte{5, 4})
				return
			}
		case "\x01":
			next(4)
		case "\x04":
			next(16)
		}
		next(2)
		to, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		c.Write(append([]byte{5, 0, 0, 3, 4}, "here\x00\x50"...))
		httpRelay(&httpTunnel{c, []byte(next(br.Buffered()))}, to)
	}).Addr().String()
}

func TestAnHTTPCheckGoesThroughAProxy(t *testing.T) {
	clear := httptest.NewUnstartedServer(httpHandler())
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetHTTP1(true)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	secure, ca := httpSecureServer(t, nil)
	for _, target := range []struct{ scheme, address, version, want string }{
		{"http", clear.Listener.Addr().String(), "", "HTTP/1.1"},
		{"http", clear.Listener.Addr().String(), "2", "HTTP/2.0"},
		{"https", secure.Listener.Addr().String(), "", "HTTP/2.0"},
		{"https", secure.Listener.Addr().String(), "1.1", "HTTP/1.1"},
	} {
		plain := httptest.NewServer(httpProxyHandler(target.address))
		t.Cleanup(plain.Close)
		overTLS := httptest.NewUnstartedServer(httpProxyHandler(target.address))
		overTLS.TLS = &tls.Config{Certificates: secure.TLS.Certificates}
		overTLS.StartTLS()
		t.Cleanup(overTLS.Close)
		for _, proxy := range []string{plain.URL, overTLS.URL, "socks5://" + httpSOCKS(t, target.address)} {
			config := `{"url":"` + target.scheme + `://target.example/echo","version":"` + target.version + `","proxy":"` + proxy + `",
				"proxyUsername":"ann","proxyPassword":"hush","tls":{"ca":` + httpQuoted(ca) + `,"serverName":"example.com"},"expectBody":"GET "}`
			out := httpOnce(t, HTTP(nil), time.Minute, config)
			_, address, _ := strings.Cut(proxy, "://")
			if out.Status != plugins.Healthy || httpGet(out, "address") != address {
				t.Errorf("%+v through %s: got %s %q %s %s", target, proxy, out.Status, out.Message, out.Measured.Object(), out.Measured.Body)
			}
			if passed := strings.Contains(string(out.Measured.Body), "through the proxy"); passed != (target.scheme == "http" && target.version == "" && proxy[0] == 'h') {
				t.Errorf("%+v through %s: the proxy was told the whole URL: %t", target, proxy, passed)
			}
		}
	}
}

func TestAProxyThatFailsIsNamedAsSuch(t *testing.T) {
	s, ca := httpSecureServer(t, nil)
	proxy := httptest.NewServer(httpProxyHandler(s.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	socks := httpSOCKS(t, s.Listener.Addr().String())
	refused := httpListen(t, nil)
	refused.Close()
	say := func(b string) string { return strings.TrimPrefix(httpSay(t, b), "http://") }
	for _, test := range []struct{ name, config, message, detail string }{
		{"refused", `"proxy":"http://` + refused.Addr().String() + `"`, "the proxy cannot be used: connection refused", "connection refused"},
		{"no password", `"proxy":"` + proxy.URL + `"`, "the proxy refused the connection", "status 407"},
		{"may not go there", `"url":"https://secret.example/","proxy":"` + proxy.URL + `","proxyUsername":"ann","proxyPassword":"hush"`,
			"the proxy refused the connection", "status 403"},
		{"no HTTP", `"proxy":"http://` + say("SSH-2.0-secret\r\n") + `"`, "the proxy cannot be used: there was no valid HTTP answer", "malformed"},
		{"no TLS", `"proxy":"` + strings.Replace(proxy.URL, "http", "https", 1) + `"`, "the proxy cannot be used: the other side does not speak TLS", ""},
		{"closed", `"proxy":"http://` + say("") + `"`, "the proxy cannot be used: the connection was closed before the answer was complete", "EOF"},
		{"certificate", `"tls":{},"proxy":"` + s.URL + `"`, "the proxy cannot be used: the TLS certificate is signed by an unknown authority", "x509"},
		{"no SOCKS", `"proxy":"socks5://` + say("HTTP/1.1 400 Bad Request\r\n\r\n") + `"`, "the proxy does not speak SOCKS5", ""},
		{"SOCKS without password", `"proxy":"socks5://` + socks + `"`, "the proxy wants another kind of authentication", ""},
		{"SOCKS with a wrong password", `"proxy":"socks5://` + socks + `","proxyUsername":"ann","proxyPassword":"x"`,
			"the proxy refused the user name and the password", ""},
		{"SOCKS may not go there", `"url":"https://secret.example/","proxy":"socks5://` + socks + `","proxyUsername":"ann","proxyPassword":"hush"`,
			"the proxy refused the connection", "reply 4 host unreachable"},
		{"SOCKS of another kind", `"proxy":"socks5://` + say("\x05\x00\x05\x00\x00\x09") + `"`, "the proxy does not speak SOCKS5", ""},
		{"SOCKS that ends", `"proxy":"socks5://` + say("\x05\x00\x05\x00\x00\x03\xff") + `"`,
			"the proxy cannot be used: the connection was closed before the answer was complete", "EOF"},
	} {
		config := test.config
		if !strings.Contains(config, `"url"`) {
			config += `,"url":"https://target.example/ok"`
		}
		if !strings.Contains(config, `"tls"`) {
			config += `,"tls":{"ca":` + httpQuoted(ca) + `}`
		}
		httpBad(t, test.name, httpOnce(t, HTTP(nil), time.Minute, "{"+config+"}"), test.message, test.detail)
	}
}

// TestAProxyIsNoWayAroundThePolicy has a policy that allows the proxy and not the target, and the other way around.
func TestAProxyIsNoWayAroundThePolicy(t *testing.T) {
	proxy := httpServer(t)
	for _, test := range []struct{ deny, url string }{
		{"169.254.0.0/16", "http://169.254.169.254/latest/"},
		{"169.254.0.0/16", "https://[::ffff:169.254.169.254]/latest/"},
		{"127.0.0.0/8", "http://target.example/"},
	} {
		policy := &engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix(test.deny)}}
		out := httpOnce(t, HTTP(policy), time.Minute, `{"url":"`+test.url+`","proxy":"`+proxy.URL+`"}`)
		want := "the address is in a network that checks may not connect to (-deny-networks)"
		if out.Fault == nil || out.Fault.Error() != want {
			t.Errorf("%s with %s denied: got %q, fault %v", test.url, test.deny, out.Message, out.Fault)
		}
	}
}

// TestATunnelKeepsWhatCameEarly has a proxy whose target speaks HTTP/2, and in one breath with the proxy.
func TestATunnelKeepsWhatCameEarly(t *testing.T) {
	tunnel := &httpTunnel{nil, []byte("hello")}
	b := make([]byte, 3)
	n, err := tunnel.Read(b)
	m, more := tunnel.Read(b[:2])
	if n != 3 || m != 2 || err != nil || more != nil || string(b) != "lol" {
		t.Errorf("got %d, %d, %q, %v, %v", n, m, b, err, more)
	}
}

func TestAClientSaysWhoItIsToTheHostOfTheURLOnly(t *testing.T) {
	certificate, key := httpClientCertificate(t)
	seen := make(chan int, 2)
	ask := func(s *httptest.Server) { s.TLS.ClientAuth = tls.RequestClientCert }
	other, ca := httpSecureServer(t, func(s *httptest.Server) {
		ask(s)
		s.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- len(r.TLS.PeerCertificates) })
	})
	first, _ := httpSecureServer(t, func(s *httptest.Server) {
		ask(s)
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen <- len(r.TLS.PeerCertificates)
			http.Redirect(w, r, other.URL, http.StatusFound)
		})
	})
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+first.URL+`","tls":{"ca":`+httpQuoted(ca)+`,"serverName":"example.com",
		"certificate":`+httpQuoted(certificate)+`,"key":`+httpQuoted(key)+`}}`)
	if out.Status != plugins.Healthy {
		t.Fatalf("got %q %s", out.Message, out.Measured.Object())
	}
	if a, b := <-seen, <-seen; a != 1 || b != 0 {
		t.Errorf("the first host got %d certificates, the other %d", a, b)
	}
}
