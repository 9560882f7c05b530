package signals

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

// pipes is a network without buffers, so that time stands still while something is on its way.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p.conns <- there
	return here, nil
}

// house is a server without a database, whose events a test puts into the window. Callers with a token are those that send
// one, whatever it is.
type house struct {
	*Signals
	server  *http.Server
	client  *http.Client
	network *pipes
}

// inHouse runs a test in a bubble of its own time.
func inHouse(t *testing.T, f func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&plugins.Host{Log: slog.New(slog.DiscardHandler)})
		s.window.begin(100)
		h := &house{Signals: s, network: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
		h.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				r = r.WithContext(plugins.WithPrincipal(r.Context(), &plugins.Principal{ID: "1", Role: plugins.Viewer}))
			}
			s.stream(w, r)
		})}
		transport := &http.Transport{DialContext: h.network.dial}
		h.client = &http.Client{Transport: transport}
		served := make(chan error)
		go func() { served <- h.server.Serve(h.network) }()
		defer func() {
			h.server.Close()
			transport.CloseIdleConnections()
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()
		f(t, h)
	})
}

// add tells an event.
func (h *house) add(position int64, name string, public bool) {
	h.window.add([]event{{position, name, public, format(position, name, "{}")}})
}

// open begins to listen.
func (h *house) open(t *testing.T, token, after string) (*http.Response, *bufio.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://house/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	res, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res, bufio.NewReader(res.Body)
}

// block reads up to a blank line.
func block(t *testing.T, lines *bufio.Reader) (text string) {
	t.Helper()
	for !strings.HasSuffix(text, "\n\n") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		text += line
	}
	return text
}

func TestSomethingIsSaidEvery15Seconds(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.add(101, "a.secret", false)
		begin := time.Now()
		_, lines := h.open(t, "", "")
		retry, rest, _ := strings.Cut(block(t, lines), "\n")
		ms, err := strconv.Atoi(strings.TrimPrefix(retry, "retry: "))
		if err != nil || ms < 2000 || ms >= 4000 || rest != "id: 101\n\n" {
			t.Errorf("the stream begins with %q and %q", retry, rest)
		}
		for i, want := range []string{":\n\n", ":\n\n", "id: 102\nevent: a.open\ndata: {}\n\n", ":\n\n", ":\nid: 104\n\n", ":\n\n"} {
			switch i {
			case 2:
				h.add(102, "a.open", true)
			case 4:
				h.add(103, "a.secret", false)
				h.add(104, "a.secret", false)
			}
			if got := block(t, lines); got != want {
				t.Errorf("%d: %q, want %q", i, got, want)
			}
		}
		if took := time.Since(begin); took != 5*15*time.Second {
			t.Errorf("five comments took %v", took)
		}
	})
}

func TestStreamEndsAfterTenMinutesAndGoesOnWhereItEnded(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		begin := time.Now()
		_, lines := h.open(t, "", "")
		block(t, lines)
		h.add(101, "a.open", true)
		text, err := io.ReadAll(lines)
		if err != nil || !strings.HasPrefix(string(text), "id: 101\nevent: a.open\ndata: {}\n\n:\n\n") {
			t.Errorf("%q, %v", text, err)
		}
		if took := time.Since(begin); took < 9*time.Minute || took > 10*time.Minute {
			t.Errorf("the stream took %v", took)
		}
		h.add(102, "a.open", true)
		_, lines = h.open(t, "", "101")
		if text := block(t, lines) + block(t, lines); !strings.HasSuffix(text, "\nid: 101\n\nid: 102\nevent: a.open\ndata: {}\n\n") {
			t.Errorf("%q", text)
		}
	})
}

func TestStreamThatAlwaysHasMoreEndsToo(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		begin, position := time.Now(), int64(100)
		_, lines := h.open(t, "", "100")
		add := func() {
			position++
			h.add(position, "a.open", true)
		}
		for range 5 * piece { // so many are always ahead
			add()
		}
		heard := 0
		for {
			line, err := lines.ReadString('\n')
			if err == io.EOF || err == io.ErrUnexpectedEOF { // who is that slow may not hear the last word
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(line, "event: ") {
				continue
			}
			add()
			if heard++; heard%20 == 0 {
				<-time.After(time.Second)
			}
		}
		if took := time.Since(begin); took < 9*time.Minute || took > 11*time.Minute || heard < 9*60*20 {
			t.Errorf("the stream took %v and had %d events", took, heard)
		}
	})
}

func TestClientThatTakesNothingIsCutOffAndHoldsUpNobody(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		slow, err := h.network.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		if _, err := slow.Write([]byte("GET / HTTP/1.1\r\nHost: house\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the server writes to it from here on
		_, lines := h.open(t, "", "")
		block(t, lines)
		begin := time.Now()
		for position := range int64(50) {
			h.add(101+position, "a.open", true)
			block(t, lines)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("a slow client holds up another one for %v", took)
		}
		count := func() int {
			synctest.Wait()
			h.clients.mu.Lock()
			defer h.clients.mu.Unlock()
			return h.clients.all
		}
		<-time.After(29 * time.Second)
		if n := count(); n != 2 {
			t.Errorf("%d clients after 29 seconds", n)
		}
		<-time.After(time.Second)
		if n := count(); n != 1 {
			t.Errorf("%d clients after 30 seconds", n)
		}
	})
}

func TestSoManyCanListenAndNoMore(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		refused := func(token string) {
			t.Helper()
			res, lines := h.open(t, token, "")
			body, err := io.ReadAll(lines)
			const want = `{"error":"Service Unavailable","message":"too many listen already"}`
			if err != nil || res.StatusCode != 503 || string(body) != want || res.Header.Get("Retry-After") != "10" {
				t.Errorf("%d %s %v, Retry-After %q", res.StatusCode, body, err, res.Header.Get("Retry-After"))
			}
		}
		var last [2]*http.Response
		listens := func(token string) {
			t.Helper()
			res, lines := h.open(t, token, "")
			if block(t, lines); res.StatusCode != 200 {
				t.Fatal(res.StatusCode)
			}
			last[len(token)] = res
		}
		for range 900 {
			listens("")
		}
		refused("")
		for range 100 {
			listens("x")
		}
		refused("x")
		refused("")
		last[0].Body.Close()
		synctest.Wait()
		listens("x")
		refused("x")
		last[1].Body.Close()
		synctest.Wait()
		listens("")
		refused("")
	})
}

func TestStreamsEndWhenTheServerBeginsToStop(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ended := make(chan string, 2)
		for _, token := range []string{"", "x"} {
			_, lines := h.open(t, token, "")
			block(t, lines)
			go func() {
				rest, err := io.ReadAll(lines)
				ended <- fmt.Sprint(string(rest), err)
			}()
		}
		slow, err := h.network.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		if _, err := slow.Write([]byte("GET / HTTP/1.1\r\nHost: house\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the server writes to it from here on
		begin := time.Now()
		for range 2 { // the server may stop in two attempts
			if err := h.server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			if got := <-ended; got != "<nil>" {
				t.Error(got)
			}
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}
