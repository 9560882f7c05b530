package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// plugin is the plugin on a server with variables and flags.
func plugin(t testing.TB, env map[string]string, args ...string) *Webhook {
	t.Helper()
	var f plugins.Flags
	settings := healthcheck.Flags(&f)
	getenv := func(name string) string { return env[name] }
	if err := f.Parse(args, getenv); err != nil {
		t.Fatal(err)
	}
	host := &plugins.Host{Settings: settings, Getenv: getenv, Log: slog.New(slog.DiscardHandler)}
	return New(host, nil, healthcheck.New(host, nil, nil, nil))
}

// open has the plugin understand a configuration.
func open(t testing.TB, p *Webhook, config string) notification.Sender {
	t.Helper()
	s, err := p.open(json.RawMessage(config))
	if err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	return s
}

// refusal returns "field: message" of an error for a configuration, and "" for none.
func refusal(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok || e.Status != 400 || e.Title != "Invalid input" {
		t.Fatalf("not an error about input: %#v", err)
	}
	return e.Field + ": " + e.Message
}

// down is a message.
var down = notification.Message{
	ID: "5b2f0c9e-3f0a-4c55-9a51-6a3d0e6b7c11", Spec: "healthcheck.system", Severity: notification.Critical,
	Title: `Till "1" <main> & more is unhealthy`, Message: "It was healthy.\nIt is not.",
	Resource: notification.Subject{Type: "catalog.system", ID: "0b6e", Name: "Shöp 🛒"}, Data: json.RawMessage(`{"to": "unhealthy"}`),
	CreatedAt: time.Date(2026, 1, 31, 23, 59, 59, 123456000, time.UTC),
}

// posted is a request that a receiver got.
type posted struct {
	method, uri, host, body string
	header                  http.Header
}

// receiver is a server that takes what is posted. A nil answer is 204.
func receiver(t testing.TB, answer http.HandlerFunc) (*httptest.Server, <-chan posted) {
	t.Helper()
	got := make(chan posted, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read what is posted: %v", err)
		}
		got <- posted{r.Method, r.RequestURI, r.Host, string(body), r.Header}
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, got
}

// next is the next request that a receiver gets.
func next(t testing.TB, got <-chan posted) posted {
	t.Helper()
	select {
	case r := <-got:
		return r
	case <-time.After(time.Minute):
		t.Fatal("nothing was posted for a minute")
		return posted{}
	}
}

// listen has do speak with everybody who connects, and returns the address. The test fails if the other side does not end a connection
// once do is done with it.
func listen(t testing.TB, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				do(c)
				if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					return // it was closed by do
				}
				_, err := io.Copy(io.Discard, c)
				if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
					t.Error("a connection is left open")
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
	return l.Addr().String()
}

// within is a context that ends soon, with a cause.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errors.New("it took longer than "+d.String()))
	t.Cleanup(cancel)
	return ctx
}
