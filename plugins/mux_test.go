package plugins

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func answering(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) })
}

func ask(h http.Handler, path string) (int, string) {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
	h.ServeHTTP(NewResponse(w, r), r)
	return w.Code, w.Body.String()
}

// The oracle is a plain map from path to what is answered there.
func TestAMuxAnswersLikeAPlainMapWhateverIsAddedAndRemoved(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	m, oracle := NewMux(), make(map[string]string)
	for i := range 2000 {
		path := fmt.Sprintf("/%d", rnd.IntN(40))
		_, present := oracle[path]
		switch rnd.IntN(3) {
		case 0:
			text := fmt.Sprint(i)
			if err := m.Add("GET "+path, answering(text)); (err != nil) != present {
				t.Fatalf("seed %d: add %s: %v", seed, path, err)
			} else if err == nil {
				oracle[path] = text
			}
		case 1:
			if err := m.Remove(t.Context(), "GET "+path); (err == nil) != present {
				t.Fatalf("seed %d: remove %s: %v", seed, path, err)
			}
			delete(oracle, path)
		}
		code, body := ask(m, path)
		want, present := oracle[path]
		if present && (code != 200 || body != want) || !present && code != 404 || m.Has("GET "+path) != present {
			t.Fatalf("seed %d: %s: %d %s, want %q", seed, path, code, body, want)
		}
	}
	if len(m.Handlers()) != len(oracle) {
		t.Errorf("seed %d: %d handlers, want %d", seed, len(m.Handlers()), len(oracle))
	}
}

func TestARequestThatFoundItsPatternBeforeItWasRemovedDoesNotReachTheHandlerAfter(t *testing.T) {
	m := NewMux()
	m.Add("GET /x", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was reached") }))
	old := m.mux.Load() // what a request has in its hands just before the removal
	if err := m.Remove(t.Context(), "GET /x"); err != nil {
		t.Fatal(err)
	}
	if code, body := ask(old, "/x"); code != 404 || body != `{"error":"Not Found","message":"this route was removed"}` {
		t.Errorf("%d %s", code, body)
	}
}

func TestClosingAMuxWaitsForAllItsRequestsAndForNothingAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMux()
		release := make(chan struct{})
		for i := range 3 {
			m.Add(fmt.Sprintf("GET /%d", i), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		}
		var requests sync.WaitGroup
		for i := range 3 {
			requests.Go(func() { ask(m, fmt.Sprintf("/%d", i)) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Close(ctx); err == nil {
			t.Error("closed with requests in flight")
		}
		closed := false
		var closing sync.WaitGroup
		second := NewMux()
		second.Add("GET /", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		requests.Go(func() { ask(second, "/") })
		synctest.Wait()
		closing.Go(func() {
			if err := second.Close(t.Context()); err != nil {
				t.Error(err)
			}
			closed = true
		})
		synctest.Wait()
		if closed {
			t.Error("closed with a request in flight")
		}
		close(release)
		requests.Wait()
		closing.Wait()
		if err := second.Add("GET /late", answering("")); err == nil {
			t.Error("a pattern was added to a closed mux")
		}
	})
}
