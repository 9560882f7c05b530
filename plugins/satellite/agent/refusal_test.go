package agent

// What the agent does when it is refused.

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

func TestATokenThatIsRefusedStopsNothingButTheSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 10))
		var requests atomic.Int64
		o.fault = func(http.ResponseWriter, *http.Request) bool {
			requests.Add(1)
			return false
		}
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		w.server.mu.Lock()
		w.server.token = "sat_another-token-by-now"
		w.server.mu.Unlock()
		earlier := requests.Load()
		w.net.cut(false) // the request that waits is answered for the old token
		before := w.types.count()
		time.Sleep(time.Hour)
		made := w.types.count() - before
		if made < 359 || made > 361 {
			t.Errorf("%d runs were made in an hour", made)
		}
		if n := requests.Load() - earlier; n < 100 || n > 300 {
			t.Errorf("%d requests were made in an hour", n)
		}
		if n := w.log.count("level=ERROR"); n < 5 || n > 7 {
			t.Errorf("it was said %d times\n%s", n, w.log)
		}
		w.server.mu.Lock()
		w.server.token = testToken
		w.server.mu.Unlock()
		time.Sleep(2 * time.Minute)
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n {
			t.Errorf("%d were made and %d counted", made, n)
		}
		if w.log.count("the server accepts the token again") != 1 {
			t.Errorf("the log is\n%s", w.log)
		}
	})
}

func TestABadRunIsSetAsideAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 2), check(2, 2))
		bad := map[string]bool{}
		o.poison = func(r wire.Run) bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			if r.SystemID == "system-1" && r.ExecutedAt.Unix()%60 < 2 {
				bad[r.RunID] = true
			}
			return bad[r.RunID]
		}
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		w.net.cut(true)
		time.Sleep(9 * time.Minute)
		w.net.cut(false)
		time.Sleep(5 * time.Minute)
		dropped := a.journal.State().Dropped
		stop()
		text, err := os.ReadFile(filepath.Join(w.dir, "refused.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for id := range bad {
			if strings.Count(string(text), id) != 1 {
				t.Errorf("run %s is not kept aside once", id)
			}
		}
		made, n := w.types.count(), w.server.total(t)
		if len(bad) < 14 || made-n-len(bad) < 0 || made-n-len(bad) > 2 || int(dropped) != len(bad) {
			t.Errorf("%d were made, %d counted, %d are bad, %d lost", made, n, len(bad), dropped)
		}
		if got := w.log.count("the server refuses results for good"); got != len(bad) {
			t.Errorf("it was said %d times, and %d are bad", got, len(bad))
		}
	})
}

// A body may be spoiled on its way. What the server says of it is no reason to give it up.
func TestARefusalThatDoesNotComeAgainCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 5))
		var n atomic.Int64
		o.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/runs") && n.Add(1)%2 == 0 {
				plugins.WriteError(w, r, plugins.Invalid("", "the body could not be read to its end"))
				return true
			}
			return false
		}
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(10 * time.Minute)
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n || w.log.count("one by one") > 0 {
			t.Errorf("%d were made and %d counted\n%s", made, n, w.log)
		}
	})
}

// None of these is the server's word on a batch.
func TestAnswersOfSomethingElseEndNoBatch(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"a page that wants a login": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Please log in</html>") },
		"JSON of something else":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"ok"}`) },
		"too few":                   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"stored":0,"known":0,"refused":[]}`) },
		"negative":                  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"stored":2,"known":-1,"refused":[]}`) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/api/satellite/stolen", http.StatusTemporaryRedirect)
		},
		"no such plugin":    func(w http.ResponseWriter, r *http.Request) { plugins.WriteError(w, r, plugins.NotFound("plugin")) },
		"a conflict":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409) },
		"too many requests": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"a bad gateway":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
		"no answer":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no body":           func(http.ResponseWriter, *http.Request) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOracle(check(1, 10))
				var wrong atomic.Bool
				wrong.Store(true)
				o.fault = func(w http.ResponseWriter, r *http.Request) bool {
					if strings.HasSuffix(r.URL.Path, "/stolen") {
						t.Error("the token was taken elsewhere")
					}
					if wrong.Load() && strings.HasSuffix(r.URL.Path, "/runs") {
						answer(w, r)
						return true
					}
					return false
				}
				w := newWorld(t, o)
				defer w.stop()
				a, stop := w.start(t)
				time.Sleep(5 * time.Minute)
				if s := a.journal.State(); s.Pending < 28 || s.Dropped != 0 {
					t.Errorf("the journal is %+v", s)
				}
				if w.log.count("results cannot be delivered, they are kept") != 1 {
					t.Errorf("the log is\n%s", w.log)
				}
				wrong.Store(false)
				time.Sleep(mostDelay)
				settle(t, w, a)
				stop()
				if made, n := w.types.count(), w.server.total(t); made != n {
					t.Errorf("%d were made and %d counted", made, n)
				}
			})
		})
	}
}
