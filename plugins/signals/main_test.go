package signals_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/signals"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// publisher publishes without a server of its own.
func publisher() *signals.Signals { return signals.New(&plugins.Host{}) }

// publish publishes events in one transaction.
func publish(t testing.TB, db *sql.DB, events ...signals.Event) {
	t.Helper()
	err := plugins.Tx(context.Background(), db, func(tx *sql.Tx) error {
		for _, e := range events {
			if err := publisher().Publish(context.Background(), tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// told is an event as a client reads it.
type told struct{ id, name, data string }

func (e told) String() string { return strings.TrimSpace(e.name + " " + e.data) }

// stream is a stream of events as a client reads it.
type stream struct {
	res   *http.Response
	lines *bufio.Reader
	last  string // the ID to go on with
	retry string
}

// open begins to listen after the event with an ID, or from now on.
func open(ctx context.Context, s *servertest.Server, token, query, after string) (*stream, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/signals/events"+query, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	st := &stream{res: res, lines: bufio.NewReader(res.Body), last: after}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New(res.Status), res.Body.Close())
	}
	return st, nil
}

// block reads up to the next blank line; what comes without a name is no event (HTML Living Standard, 9.2.6).
func (st *stream) block() (e told, err error) {
	e.id = st.last
	for {
		line, err := st.lines.ReadString('\n')
		if err != nil {
			return told{}, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "retry":
			st.retry = value
		case "":
			st.last = e.id
			return e, nil
		default:
			if !strings.HasPrefix(line, ":") {
				return told{}, fmt.Errorf("the stream has the line %q", line)
			}
		}
	}
}

// next reads the next event.
func (st *stream) next() (e told, err error) {
	for e.name == "" && err == nil {
		e, err = st.block()
	}
	return e, err
}

// listen reads a stream after the event with an ID, or from now on, until n events have come. begun is called once it has
// begun. It returns the events and the ID to go on with.
func listen(t testing.TB, s *servertest.Server, token, query, after string, n int, begun func()) ([]told, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st, err := open(ctx, s, token, query, after)
	if err != nil {
		t.Fatal(err)
	}
	defer st.res.Body.Close()
	var events []told
	for first := true; len(events) < n || first; first = false {
		e, err := st.block()
		if err != nil {
			t.Fatalf("after %d events of %d: %v", len(events), n, err)
		}
		if first && begun != nil {
			begun()
		}
		if e.name != "" {
			events = append(events, e)
		}
	}
	return events, st.last
}

// is compares the names and the data of events.
func is(t *testing.T, events []told, want ...string) {
	t.Helper()
	if got := fmt.Sprint(events); got != fmt.Sprint(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestREADME(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			publish(t, s.DB, signals.Event{Name: "weather.changed", Public: true, Data: map[string]string{"sky": "blue"}},
				signals.Event{Name: "weather.station", Data: map[string]string{"id": "4", "name": "Zürich"}})
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	s.README(t)
	close(done)
	<-stopped
}
