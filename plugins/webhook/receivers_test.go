package webhook

// Receivers that do not do what they should: what is told of them, and that nothing is left of them.

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins/notification"
)

// says answers what it reads first with a text, in which $ stands for what was read, and sends no more.
func says(answer string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		fmt.Fprint(c, strings.ReplaceAll(answer, "$", string(b[:n])))
		if half, ok := c.(*net.TCPConn); ok {
			half.CloseWrite()
		}
	}
}

// goesOn answers with a text, and repeats another until nobody listens any more.
func goesOn(answer, repeated string) func(net.Conn) {
	return func(c net.Conn) {
		c.Read(make([]byte, 4096))
		_, err := fmt.Fprint(c, answer)
		for err == nil {
			_, err = fmt.Fprint(c, strings.Repeat(repeated, 100))
		}
	}
}

// secure is a server that speaks TLS.
func secure(t testing.TB, change func(*tls.Config)) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = new(tls.Config)
	if change != nil {
		change(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// trusting is a plugin that knows the authority of a server.
func trusting(t testing.TB, s *httptest.Server) *Webhook {
	p := plugin(t, nil)
	p.transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	p.transport.TLSClientConfig.RootCAs.AddCert(s.Certificate())
	return p
}

func TestAMessageGoesOverTLSToWhoeverIsKnown(t *testing.T) {
	s := secure(t, nil)
	if err := open(t, trusting(t, s), `{"url":"`+s.URL+`"}`).Send(t.Context(), down); err != nil {
		t.Error(err)
	}
}

// TestNothingIsToldOfAFailureButWhy has receivers that repeat what they were sent, and all that is configured is secret.
func TestNothingIsToldOfAFailureButWhy(t *testing.T) {
	const early, invalid = "the connection was closed before the answer was complete", "there was no valid answer"
	plain, known := plugin(t, nil), secure(t, nil)
	picky := secure(t, func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 })
	nobody := httptest.NewServer(nil)
	nobody.Close()
	at := func(do func(net.Conn)) string { return "http://" + listen(t, do) }
	for _, test := range []struct {
		name   string
		plugin *Webhook
		url    string
		want   string // after "post to <host>: "
	}{
		{"nobody", plain, nobody.URL, "connection refused"},
		{"closed after the request", plain, at(says("")), early},
		{"reset", plain, at(func(c net.Conn) { c.Read(make([]byte, 4096)); c.(*net.TCPConn).SetLinger(0); c.Close() }), "connection reset by peer"},
		{"half a header", plain, at(says("HTTP/1.1 200 OK\r\nX-Half: a")), early},
		{"the request", plain, at(says("$")), invalid},
		{"the request as a header", plain, at(says("HTTP/1.1 200 OK\r\n$")), invalid},
		{"the request as a status", plain, at(says("HTTP/1.1 $")), invalid},
		{"the request as an encoding", plain, at(says("HTTP/1.1 200 OK\r\nTransfer-Encoding: $")), invalid},
		{"the request as a length", plain, at(says("HTTP/1.1 200 OK\r\nContent-Length: $")), invalid},
		{"another protocol", plain, at(says("SSH-2.0-OpenSSH_9\r\n")), invalid},
		{"two lengths", plain, at(says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")), invalid},
		{"an endless line", plain, at(goesOn("HTTP/1.1 200 ", "OK")), invalid},
		{"an endless header", plain, at(goesOn("HTTP/1.1 200 OK\r\n", "X-A: b\r\n")), invalid},
		{"endless notices", plain, at(goesOn("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")), invalid},
		{"silence", plain, at(func(net.Conn) {}), "it took longer than 50ms"},
		{"silence in the handshake", plain, strings.Replace(at(func(net.Conn) {}), "http", "https", 1), "it took longer than 50ms"},
		{"no TLS", plain, strings.Replace(at(says("HTTP/1.1 400 $")), "http", "https", 1), "the other side does not speak TLS"},
		{"an unknown authority", plain, known.URL, "the TLS certificate is signed by an unknown authority"},
		{"a certificate for another host", trusting(t, known), strings.Replace(known.URL, "127.0.0.1", "localhost", 1), "the TLS certificate is for another host"},
		{"no certificate of the client", trusting(t, picky), picky.URL, "the TLS handshake was refused"},
		{"a denied address", plain, "http://169.254.169.254", "the address is in a network that checks may not connect to (-deny-networks)"},
	} {
		for _, config := range []string{
			`{"url":"` + test.url + `/path-s3cret?query-s3cret","token":"token-s3cret","headers":{"X-Key":"header-s3cret"}}`,
			`{"url":"` + strings.Replace(test.url, "//", "//user-s3cret:password-s3cret@", 1) + `","secret":"whsec_` + strings.Repeat("A", 32) + `"}`,
		} {
			ctx := t.Context()
			if strings.HasPrefix(test.want, "it took") {
				ctx = within(t, 50*time.Millisecond)
			}
			s := open(t, test.plugin, config).(*endpoint)
			if err := s.Send(ctx, down); err == nil || err.Error() != "post to "+s.url.Hostname()+": "+test.want {
				t.Errorf("%s: got %v, want %s", test.name, err, test.want)
			}
		}
	}
}

// TestAConnectionThatIsClosedAtOnceIsAFailure says no more, because it depends on who is faster how it is noticed.
func TestAConnectionThatIsClosedAtOnceIsAFailure(t *testing.T) {
	err := open(t, plugin(t, nil), `{"url":"http://`+listen(t, func(c net.Conn) { c.Close() })+`/s3cret"}`).Send(t.Context(), down)
	if err == nil || !strings.HasPrefix(err.Error(), "post to 127.0.0.1: ") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

// TestAHostNameThatDoesNotExistIsAFailure needs no name server.
func TestAHostNameThatDoesNotExistIsAFailure(t *testing.T) {
	err := open(t, plugin(t, nil), `{"url":"http://nothing.invalid/s3cret"}`).Send(within(t, 5*time.Second), down)
	if err == nil || !strings.HasPrefix(err.Error(), "post to nothing.invalid: ") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsOnlyOddCounts(t *testing.T) {
	for _, test := range []struct {
		name, want string
		do         func(net.Conn)
	}{
		{"an endless body", "", goesOn("HTTP/1.1 200 OK\r\n\r\n", "more")},
		{"endless chunks", "", goesOn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nmore\r\n")},
		{"a body that is cut", "", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut")},
		{"chunks that are none", "", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz")},
		{"a body that is not compressed", "", says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz")},
		{"notices before", "", says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")},
		{"HTTP/1.0", "", says("HTTP/1.0 200 OK\r\n\r\nok")},
		{"no reason", "", says("HTTP/1.1 200\r\n\r\n")},
		{"the request as a reason", "the receiver answered 400 Bad Request", says("HTTP/1.1 400 $")},
		{"the request as a body", "the receiver answered 500 Internal Server Error", says("HTTP/1.1 500 Oops\r\n\r\n$")},
		{"a place that is none", "the receiver answered 302 Found, and redirects are not followed",
			says("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://[::1/s3cret\r\n\r\n")},
		{"another protocol without a switch", "the receiver answered 101 Switching Protocols", says("HTTP/1.1 101 Switching Protocols\r\n\r\n")},
	} {
		err := open(t, plugin(t, nil), `{"url":"http://`+listen(t, test.do)+`"}`).Send(t.Context(), down)
		if said := fmt.Sprint(err); said != test.want && (err != nil || test.want != "") {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestNothingIsReadBeforeSomethingIsWritten(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"written": func(c net.Conn) { c.Write([]byte("x")) },
		"closed":  func(c net.Conn) { c.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := pipe(t, func(c net.Conn) { io.WriteString(c, "first"); io.Copy(io.Discard, c) })
			conn, err := p.transport.DialContext(t.Context(), "tcp", "example.org:80")
			if err != nil {
				t.Fatal(err)
			}
			read := make(chan int, 1)
			go func() {
				n, _ := conn.Read(make([]byte, 10))
				read <- n
			}()
			synctest.Wait()
			if len(read) != 0 {
				t.Errorf("%d bytes were read at once", <-read)
			}
			end(conn)
			if n := <-read; n != map[string]int{"written": 5}[name] {
				t.Errorf("%s: %d bytes were read", name, n)
			}
			conn.Close()
		})
	}
}

// TestWhoSpeaksFirstIsHeardAfterTheRequest and does not get into the log of the process.
func TestWhoSpeaksFirstIsHeardAfterTheRequest(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	server := secure(t, nil)
	for _, test := range []struct{ says, want string }{
		{"220 mail.example.org s3cret ESMTP\r\n", "post to 127.0.0.1: there was no valid answer"},
		{"HTTP/1.1 204 No Content\r\n\r\n", "<nil>"},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "the receiver answered 503 Service Unavailable"},
	} {
		speaks := func(c net.Conn) { fmt.Fprint(c, test.says) }
		err := open(t, plugin(t, nil), `{"url":"http://`+listen(t, speaks)+`"}`).Send(t.Context(), down)
		if fmt.Sprint(err) != test.want {
			t.Errorf("%q: got %v, want %s", test.says, err, test.want)
		}
		err = open(t, trusting(t, server), `{"url":"https://`+listen(t, func(c net.Conn) {
			s := tls.Server(c, server.TLS)
			speaks(s)
			io.Copy(io.Discard, s)
		})+`"}`).Send(t.Context(), down)
		if fmt.Sprint(err) != test.want {
			t.Errorf("%q over TLS: got %v, want %s", test.says, err, test.want)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
}

// TestAMessageThatIsNotReadEndsToo has receivers that read nothing of a large message.
func TestAMessageThatIsNotReadEndsToo(t *testing.T) {
	m := down
	m.Data = json.RawMessage(`"` + strings.Repeat("a", 4<<20) + `"`)
	for answer, want := range map[string]string{
		"": "post to 127.0.0.1: it took longer than 100ms",
		"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n": "the receiver answered 413 Request Entity Too Large",
	} {
		ctx, over := t.Context(), make(chan struct{})
		if answer == "" {
			ctx = within(t, 100*time.Millisecond)
		}
		err := open(t, plugin(t, nil), `{"url":"http://`+listen(t, func(c net.Conn) {
			c.(*net.TCPConn).SetReadBuffer(4 << 10)
			fmt.Fprint(c, answer)
			<-over
			c.Close()
		})+`"}`).Send(ctx, m)
		close(over)
		if fmt.Sprint(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestALargeMessageArrivesWhole(t *testing.T) {
	s, got := receiver(t, nil)
	m := down
	m.Data = json.RawMessage(`"` + strings.Repeat("a", 4<<20) + `"`)
	if err := open(t, plugin(t, nil), `{"url":"`+s.URL+`"}`).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var arrived notification.Message
	if err := json.Unmarshal([]byte(next(t, got).body), &arrived); err != nil || string(arrived.Data) != string(m.Data) {
		t.Errorf("%v, %d bytes", err, len(arrived.Data))
	}
}

// TestNothingIsLeftOfAReceiverThatHangs is in bubbles, which report what goes on when the test is over.
func TestNothingIsLeftOfAReceiverThatHangs(t *testing.T) {
	silent := func(c net.Conn) { io.Copy(io.Discard, c) }
	answered := func(answer string) func(net.Conn) {
		return func(c net.Conn) { says(answer)(c); silent(c) }
	}
	for _, test := range []struct {
		name, scheme string
		do           func(net.Conn) // nil: there is no connection
		took         time.Duration
		want         string
	}{
		{"no connection", "http", nil, 20 * time.Second, "post to example.org: it took longer than 20s"},
		{"no handshake", "https", silent, 20 * time.Second, "post to example.org: it took longer than 20s"},
		{"no TLS", "https", answered("HTTP/1.1 400 Bad Request\r\n\r\n"), 0, "post to example.org: the other side does not speak TLS"},
		{"no answer", "http", silent, 20 * time.Second, "post to example.org: it took longer than 20s"},
		{"half a header", "http", answered("HTTP/1.1 200 OK\r\nX-Half"), 20 * time.Second, "post to example.org: it took longer than 20s"},
		{"one notice", "http", answered("HTTP/1.1 103 Early Hints\r\n\r\n"), 20 * time.Second, "post to example.org: it took longer than 20s"},
		{"no body", "http", answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), time.Second, "<nil>"},
		{"no end of the body", "http", answered("HTTP/1.1 500 Oops\r\n\r\noops"), time.Second, "the receiver answered 500 Internal Server Error"},
		{"another protocol", "http", answered("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), time.Second,
			"the receiver answered 101 Switching Protocols"},
		{"an endless header", "http", goesOn("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"), 0, "post to example.org: there was no valid answer"},
		{"an endless body", "http", goesOn("HTTP/1.1 200 OK\r\n\r\n", "more"), 0, "<nil>"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := pipe(t, test.do)
			if test.do == nil {
				p.transport = newTransport(func(ctx context.Context, _, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
			}
			ctx := context.Background() // which has no end that would tidy up
			if test.took == 20*time.Second {
				ctx = within(t, test.took)
			}
			start := time.Now()
			err := open(t, p, `{"url":"`+test.scheme+`://example.org"}`).Send(ctx, down)
			if took := time.Since(start); fmt.Sprint(err) != test.want || took != test.took {
				t.Errorf("%s: got %v after %v, want %s after %v", test.name, err, took, test.want, test.took)
			}
		})
	}
}

// TestNobodyIsToldWhoMayNotBe lets a denied address be reached by its name, in other forms, and by a redirect.
func TestNobodyIsToldWhoMayNotBe(t *testing.T) {
	s, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/again", http.StatusTemporaryRedirect)
	})
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	p := plugin(t, nil, "-deny-networks=127.0.0.0/8,::1")
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"} {
		s := open(t, p, `{"url":"http://`+host+`:`+port+`/"}`).(*endpoint)
		want := "post to " + s.url.Hostname() + ": the address is in a network that checks may not connect to (-deny-networks)"
		if err := s.Send(within(t, 10*time.Second), down); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", host, err, want)
		}
	}
	if len(got) != 0 {
		t.Errorf("%d messages came", len(got))
	}
	err := open(t, plugin(t, nil), `{"url":"`+s.URL+`"}`).Send(t.Context(), down)
	if want := "the receiver answered 307 Temporary Redirect, and redirects are not followed"; err == nil || err.Error() != want || len(got) != 1 {
		t.Errorf("got %v, and %d messages came; want %s, and one", err, len(got), want)
	}
}

// TestMessagesAreSentAtOnceThroughOneChannel looks for what they share.
func TestMessagesAreSentAtOnceThroughOneChannel(t *testing.T) {
	s, got := receiver(t, nil)
	sender := open(t, plugin(t, nil), `{"url":"`+s.URL+`","headers":{"X-Key":"k"},"secret":"whsec_`+strings.Repeat("A", 32)+`"}`)
	done := make(chan error)
	for range 16 {
		go func() { done <- sender.Send(t.Context(), down) }()
	}
	for range 16 {
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r := next(t, got); r.header.Get("X-Key") != "k" || len(r.header.Values("Webhook-Signature")) != 1 {
			t.Errorf("got %v", r.header)
		}
	}
}
