package checks

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

const httpEarly = "the connection was closed before the answer was complete"
const httpNoAnswer = "there was no valid HTTP answer"

func TestAnHTTPCheckWithoutACompleteAnswerIsUnhealthyAndHasNoLatency(t *testing.T) {
	s := httpServer(t)
	refused := httpListen(t, nil)
	refused.Close()
	reset := httpListen(t, func(c *net.TCPConn) { c.Read(make([]byte, 4096)); c.SetLinger(0) })
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	fmt.Fprint(z, strings.Repeat("squeezed", 1000))
	z.Close()
	gz := func(body string) string {
		return httpSay(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	const notCompressed = "the body of the answer is not the compressed data that it is said to be"
	const long = "the header of the answer is longer than 256 KiB"

	for _, test := range []struct{ name, url, message, detail string }{
		{"refused", "http://" + refused.Addr().String(), "connection refused", "connection refused"},
		{"reset", "http://" + reset.Addr().String(), "connection reset by peer", "connection reset by peer"},
		{"closed", httpSay(t, ""), httpEarly, "EOF"},
		{"another protocol", httpSay(t, "SSH-2.0-secret\r\n"), httpNoAnswer, "malformed HTTP response"},
		{"another protocol, in a long line", httpSay(t, strings.Repeat("secret", 100<<10)), long, ""},
		{"HTTP/0.9", httpSay(t, "<html>hello</html>"), httpNoAnswer, "malformed HTTP response"},
		{"no status", httpSay(t, "HTTP/1.1 OK\r\n\r\n"), httpNoAnswer, "malformed HTTP status code"},
		{"status of two digits", httpSay(t, "HTTP/1.1 20 OK\r\n\r\n"), httpNoAnswer, "malformed HTTP status code"},
		{"status below 100", httpSay(t, "HTTP/1.1 099 OK\r\n\r\n"), httpNoAnswer, "less than 100"},
		{"half a header", httpSay(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"), httpEarly, "unexpected EOF"},
		{"bad header", httpSay(t, "HTTP/1.1 200 OK\r\nsecret\r\n\r\n"), httpNoAnswer, "malformed MIME header"},
		{"only notices", httpSay(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"), httpEarly, "EOF"},
		{"endless notices", httpSay(t, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20_000)), long, ""},
		{"two lengths", httpSay(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), httpNoAnswer, "Content-Length"},
		{"negative length", httpSay(t, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab"), httpNoAnswer, "Content-Length"},
		{"bad chunk", httpSay(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab"), httpNoAnswer, "chunk"},
		{"missing chunk", httpSay(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"), httpEarly, "unexpected EOF"},
		{"not gzip", gz("secret and more than ten bytes"), notCompressed, "gzip"},
		{"broken gzip", gz(squeezed.String()[:20] + "\xff\xff\xff" + squeezed.String()[23:]), notCompressed, ""},
		{"half a gzip", gz(squeezed.String()[:squeezed.Len()/2]), notCompressed, "unexpected EOF"},
		{"wrong checksum", gz(squeezed.String()[:squeezed.Len()-8] + "\x00\x00\x00\x00\x00\x00\x00\x00"), notCompressed, "checksum"},
		{"half an answer with gzip", httpSay(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n"+squeezed.String()[:20]), httpEarly, ""},
		{"no TLS there", strings.Replace(s.URL, "http", "https", 1) + "/ok", "the other side does not speak TLS", "first record does not look like a TLS handshake"},
		{"cut", s.URL + "/cut", httpEarly, "unexpected EOF"},
		{"redirect to nowhere", s.URL + "/nowhere", "the redirect leads to a URL that is not one of http or https", "gopher"},
		{"redirect to no URL", s.URL + "/badplace", "the redirect leads to what is no URL", "http://[::1"},
		{"long header", s.URL + "/longheader", long, ""},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+test.url+`"}`)
		httpBad(t, test.name, out, test.message, test.detail)
		if strings.Contains(out.Message, "127.0.0.1") || strings.Contains(out.Message, "secret") {
			t.Errorf("%s: the message %q tells what is not for everybody", test.name, out.Message)
		}
	}
}

func TestAnHTTPCheckWithoutACompleteAnswerInHTTP2IsUnhealthy(t *testing.T) {
	s, ca := httpSecureServer(t, nil)
	for _, test := range []struct{ path, message string }{
		{"/cut", httpEarly},
		{"/longheader", httpNoAnswer},
		{"/loop", "stopped after 10 redirects"},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+test.path+`","version":"2","tls":{"ca":`+httpQuoted(ca)+`}}`)
		httpBad(t, test.path, out, test.message, "")
	}
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+s.URL+`/bomb","version":"2","tls":{"ca":`+httpQuoted(ca)+`}}`)
	if out.Status != plugins.Healthy || httpGet(out, "size") != 1<<20 {
		t.Errorf("gzip bomb: got %q %v", out.Message, httpGet(out, "size"))
	}
}

func TestAnswersThatAreOnlyOddAreGood(t *testing.T) {
	for _, test := range []struct{ name, answer, version, body string }{
		{"HTTP/1.0, to the end of the connection", "HTTP/1.0 200 OK\r\n\r\nhello", "1.0", "hello"},
		{"no reason", "HTTP/1.1 200\r\n\r\nhello", "1.1", "hello"},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "1.1", "hello"},
		{"more than was announced", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", "1.1", "hello"},
		{"a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "1.1", "hello"},
		{"nothing, said to be gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "1.1", ""},
		{"another compression, kept as it is", "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nhello", "1.1", "hello"},
	} {
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+httpSay(t, test.answer)+`"}`)
		if out.Status != plugins.Healthy || string(out.Measured.Body) != test.body || httpGet(out, "httpVersion") != test.version {
			t.Errorf("%s: got %q %q %s", test.name, out.Message, out.Measured.Body, out.Measured.Object())
		}
	}
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+httpSay(t, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")+`"}`)
	if out.Status != plugins.Healthy || httpGet(out, "size") != 0 {
		t.Errorf("a status without a body: got %q %s", out.Message, out.Measured.Object())
	}
	out = httpOnce(t, HTTP(nil), time.Minute, `{"url":"`+httpSay(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")+`","expectStatus":[101]}`)
	if out.Status != plugins.Healthy {
		t.Errorf("another protocol: got %q %s", out.Message, out.Measured.Object())
	}
}

// TestAnAnswerCountsAlsoIfTheRequestWasNotRead has a server that answers a large request without reading it.
func TestAnAnswerCountsAlsoIfTheRequestWasNotRead(t *testing.T) {
	over := make(chan struct{})
	l := httpListen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		fmt.Fprint(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
		<-over
	})
	defer close(over)
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"http://`+l.Addr().String()+`","method":"POST","body":"`+strings.Repeat("a", 64<<10)+`","expectStatus":[413]}`)
	if out.Status != plugins.Healthy || out.Message != "status 413" {
		t.Errorf("got %q %s", out.Message, out.Measured.Object())
	}
}

// TestATLSConnectionThatIsCutIsNotTheEndOfABody cuts the last record of a body whose end is that of the connection.
func TestATLSConnectionThatIsCutIsNotTheEndOfABody(t *testing.T) {
	secure, ca := httpSecureServer(t, nil)
	for _, test := range []struct {
		name    string
		records func([]byte) []byte // what becomes of the bytes that the server sends in answer
		message string
	}{
		{"within a record", func(b []byte) []byte { return b[:len(b)-10] }, httpEarly},
		{"changed", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "the TLS connection was broken"},
	} {
		l := httpListen(t, func(c *net.TCPConn) {
			inner, outer := net.Pipe()
			go func() { // what the server says goes through records once it answers
				defer c.Close()
				b := make([]byte, 64<<10)
				for n := 0; ; {
					m, err := outer.Read(b)
					if n++; err != nil {
						return
					}
					if m > 4000 {
						c.Write(test.records(b[:m]))
						return
					}
					c.Write(b[:m])
				}
			}()
			go io.Copy(outer, c)
			s := tls.Server(inner, &tls.Config{Certificates: secure.TLS.Certificates, DynamicRecordSizingDisabled: true})
			s.Read(make([]byte, 4096))
			fmt.Fprint(s, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("hello", 1000))
			s.Close()
		})
		out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"https://`+l.Addr().String()+`","version":"1.1","tls":{"ca":`+httpQuoted(ca)+`}}`)
		httpBad(t, test.name, out, test.message, "")
	}
	l := httpListen(t, func(c *net.TCPConn) { c.Read(make([]byte, 10)) })
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"https://`+l.Addr().String()+`"}`)
	httpBad(t, "closed in the handshake", out, "connection reset by peer", "")
}

// TestAHostNameThatDoesNotExistIsNotHealthy needs no name server: without one the message is that nothing could be looked up.
func TestAHostNameThatDoesNotExistIsNotHealthy(t *testing.T) {
	out := httpOnce(t, HTTP(nil), time.Minute, `{"url":"http://nothing.invalid/"}`)
	if out.Status == plugins.Healthy || out.Fault == nil && !strings.HasPrefix(out.Message, "the host name ") {
		t.Errorf("got %s %q %v", out.Status, out.Message, out.Fault)
	}
}
