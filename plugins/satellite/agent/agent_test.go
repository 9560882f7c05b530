package agent

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

// settle lets everything that is under way come to its end.
func settle(t *testing.T, w *world, a *agent) {
	t.Helper()
	w.net.cut(false)
	for range 1000 {
		if a.journal.State().Pending+a.gatherer.waiting() == 0 {
			return
		}
		time.Sleep(7 * time.Second)
	}
	t.Fatalf("it does not come to an end\n%s", w.log)
}

func TestRunsReachTheServerWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newOracle(check(1, 10), check(2, 10), check(3, 15)))
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(10 * time.Minute)
		made := w.types.count()
		time.Sleep(gather + time.Second)
		if n := w.server.total(t); n < made || made < 155 {
			t.Errorf("%d were made and %d counted", made, n)
		}
		for _, n := range w.server.now().batches {
			if n > 10 {
				t.Errorf("a batch has %d runs", n)
			}
		}
		if s := a.journal.State(); s.Dropped != 0 || w.log.count("level=WARN") > 0 {
			t.Errorf("%+v\n%s", s, w.log)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// The whole point of a journal.
func TestDaysOfflineAndThreeKillsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newOracle(check(1, 120), check(2, 120), check(3, 300)))
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(10 * time.Minute)
		w.net.cut(true)
		for range 3 {
			time.Sleep(2 * time.Hour)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			w.dir = copyOf(t, w.dir) // what a kill leaves; what was stopped cleanly is the same to it
			_, stop = w.start(t)
		}
		time.Sleep(2 * time.Hour)
		if n := w.server.total(t); n > 50 {
			t.Fatalf("%d runs came through a network that is down", n)
		}
		requests := len(w.server.now().batches)
		w.net.cut(false)
		time.Sleep(2 * time.Minute)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n || n < 8*72-10 {
			t.Errorf("%d were made and %d counted", made, n)
		}
		if more := len(w.server.now().batches) - requests; more > 20 {
			t.Errorf("they came in %d batches", more)
		}
	})
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAStartWithoutTheServerGoesOnWithTheChecksOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newOracle(check(1, 10)))
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(time.Minute)
		stop()
		w.net.cut(true)
		before := w.types.count()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		if n := w.types.count() - before; n != 6 || !a.scheduler.ready() {
			t.Errorf("%d runs were made in a minute", n)
		}
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n {
			t.Errorf("%d were made and %d counted", made, n)
		}
		info, err := os.Stat(filepath.Join(w.dir, sheetName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the list of checks may hold secrets, and has the mode %v, %v", info.Mode(), err)
		}

		other := newWorld(t, newOracle())
		defer other.stop()
		other.net.cut(true)
		other.dir = w.dir
		transport := &http.Transport{DialContext: other.net.dial}
		cfg := Config{Server: "http://another", Token: "sat_another", Dir: w.dir, Size: 1 << 20, Checks: 1, Log: other.log.logger()}
		b, err := newAgent(cfg, transport, other.types)
		if err != nil {
			t.Fatal(err)
		}
		b.scheduler.begin(t.Context())
		b.sheet.load()
		if b.scheduler.ready() || other.log.count("another server") != 1 {
			t.Errorf("it runs the checks of another server\n%s", other.log)
		}
		b.journal.Close()
	})
}

func TestAChangeOfAssignmentsArrivesWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newOracle())
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(10 * time.Second)
		for i := range 20 {
			time.Sleep(time.Duration(rand.IntN(100_000)) * time.Millisecond)
			w.server.assign(check(i, 60))
			time.Sleep(time.Second)
			a.scheduler.mu.Lock()
			have := a.scheduler.checks[keyOf(check(i, 60))]
			a.scheduler.mu.Unlock()
			if have == nil || have.cancel == nil || a.scheduler.size() != 1 {
				t.Fatalf("change %d has not arrived", i)
			}
		}
		w.server.assign()
		time.Sleep(time.Second)
		before := w.types.count()
		time.Sleep(5 * time.Minute)
		if w.types.count() != before || a.scheduler.size() != 0 || !a.scheduler.ready() {
			t.Error("there is nothing to check, and it goes on")
		}
		stop()
		if asked := w.server.now().asked; asked[0] != "wait=0" || asked[1] != "wait=55" || len(asked) > 60 {
			t.Errorf("it asked %d times, %v…", len(asked), asked[:2])
		}
	})
}

// A server or a proxy that answers at once must not be asked all the time.
func TestAServerThatDoesNotLetItWaitIsNotAskedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		var asked atomic.Int64
		o.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/assignments") {
				return false
			}
			asked.Add(1)
			r.URL.RawQuery = "wait=0"
			return false
		}
		w := newWorld(t, o)
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(100 * time.Second)
		stop()
		if n := asked.Load(); n < 95 || n > 103 {
			t.Errorf("it asked %d times in 100 s", n)
		}
	})
}

// A proxy that ends long requests costs a request now and then, and no delay beyond its own.
func TestAProxyThatEndsLongRequestsIsLivedWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		o.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery != "wait=55" {
				return false
			}
			select {
			case <-time.After(30 * time.Second):
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusGatewayTimeout)
			return true
		}
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(10 * time.Minute)
		w.server.assign(check(1, 60))
		time.Sleep(32 * time.Second)
		if a.scheduler.size() != 1 {
			t.Error("a change did not arrive")
		}
		stop()
		if n := len(w.server.now().asked); n < 15 || n > 25 {
			t.Errorf("it asked %d times without a wait", n)
		}
	})
}

func TestAHeartBeatsEvery15SecondsAndSaysHowItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 60), check(2, 60))
		began := time.Now()
		var refuse atomic.Bool
		o.fault = func(rw http.ResponseWriter, r *http.Request) bool {
			if refuse.Load() && strings.HasSuffix(r.URL.Path, "/runs") {
				rw.WriteHeader(503)
				return true
			}
			return false
		}
		w := newWorld(t, o)
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(2 * time.Minute)
		refuse.Store(true)
		time.Sleep(2*time.Minute + time.Second)
		stop()
		var last wire.Heartbeat
		for i, b := range w.server.now().beats {
			if at := b.at.Sub(began); at != time.Duration(i)*15*time.Second || !b.SentAt.Equal(b.at) || !b.StartedAt.Equal(began) || b.Version != "v1" {
				t.Errorf("beat %d came after %v: %+v", i, at, b.Heartbeat)
			}
			last = b.Heartbeat
		}
		if len(w.server.now().beats) != 17 || last.Checks != 2 || last.PendingRuns < 3 || last.PendingBytes == 0 || last.Dropped != 0 {
			t.Errorf("there were %d beats, the last %+v", len(w.server.now().beats), last)
		}
	})
}

func TestAClockThatIsWrongIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		var skew atomic.Int64
		o.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/heartbeat") {
				return false
			}
			plugins.WriteJSON(w, r, 200, wire.HeartbeatAnswer{ServerTime: time.Now(), SkewMs: skew.Load()})
			return true
		}
		w := newWorld(t, o)
		defer w.stop()
		_, stop := w.start(t)
		for _, ms := range []int64{-30_000, -31_000, 29_000, 31_000} {
			skew.Store(ms)
			time.Sleep(time.Minute)
		}
		stop()
		if wrong, right := w.log.count("the clock of this machine differs"), w.log.count("the clock of this machine is right again"); wrong != 2 || right != 1 {
			t.Errorf("%d times wrong, %d times right\n%s", wrong, right, w.log)
		}
	})
}

func TestWhatWasGatheredIsInTheJournalAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 2), check(2, 2), check(3, 2))
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		w.net.cut(true)
		for a.gatherer.waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		w.net.cut(false)
		made := w.types.count()
		w.types.takes = nil
		o.assign()
		a, stop = w.start(t)
		settle(t, w, a)
		stop()
		if n := w.server.total(t); n < made {
			t.Errorf("%d were made and %d counted", made, n)
		}
	})
}

// A folder that was copied, or restored from a backup, has numbers that the server knows with other runs.
func TestACopyOfAJournalLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 10))
		o.copies = true
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		settle(t, w, a)
		stop()
		copied := copyOf(t, w.dir)
		_, stop = w.start(t)
		time.Sleep(time.Hour)
		stop()
		w.dir = copied
		a, stop = w.start(t)
		time.Sleep(10 * time.Minute)
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n {
			t.Errorf("%d were made and %d counted", made, n)
		}
		if n := w.log.count("the folder of the journal is a copy"); n != 1 || len(w.server.now().journals) != 2 {
			t.Errorf("it was said %d times, and there are %d journals\n%s", n, len(w.server.now().journals), w.log)
		}
	})
}

func TestAReplyThatIsLostMakesNoDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 5), check(2, 5))
		var n atomic.Int64
		o.lost = func() bool { return n.Add(1)%3 != 0 }
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(10 * time.Minute)
		o.assign()
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n || o.now().repeated < 10 || w.log.count("is a copy") > 0 || len(o.now().journals) != 1 {
			t.Errorf("%d were made and %d counted, %d batches repeated", made, n, o.now().repeated)
		}
	})
}

func TestDelaysAreRandomUpToAMinuteAndAsTheServerAsks(t *testing.T) {
	var b backoff
	down := fmt.Errorf("down")
	for i := range 20 {
		most := min(time.Second<<i, time.Minute)
		var all []time.Duration
		for range 500 {
			b.failures = i
			all = append(all, b.after(down))
		}
		if low, high := slices.Min(all), slices.Max(all); high >= most || high < most*9/10 || low > most/10 {
			t.Errorf("failure %d: from %v to %v, want up to %v", i+1, low, high, most)
		}
	}
	for range 100 {
		b.failures = 0
		if d := b.after(&statusError{status: 503, after: 20 * time.Second}); d < 20*time.Second || d >= 21*time.Second {
			t.Errorf("the server asks for 20 s, and it is %v", d)
		}
		if d := b.after(&statusError{status: 401, ours: true}); d < 30*time.Second || d >= time.Minute {
			t.Errorf("with a wrong token it is %v", d)
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "9999999999999": 0, "86400": time.Hour,
		"Thu, 01 Jan 2026 00:00:30 GMT": 30 * time.Second, "Wed, 31 Dec 2025 23:00:00 GMT": 0,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("Retry-After: %s is %v, want %v", s, got, want)
		}
	}
}

func TestAServerThatIsBusyIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 10))
		var asked []time.Time
		o.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/runs") {
				o.mu.Lock()
				defer o.mu.Unlock()
				asked = append(asked, time.Now())
				w.Header().Set("Retry-After", "100")
				w.WriteHeader(503)
				return true
			}
			return false
		}
		w := newWorld(t, o)
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(20 * time.Minute)
		stop()
		o.mu.Lock()
		defer o.mu.Unlock()
		for i := 1; i < len(asked); i++ {
			if d := asked[i].Sub(asked[i-1]); d < 100*time.Second || d > 160*time.Second {
				t.Errorf("it came again after %v", d)
			}
		}
		if len(asked) < 7 {
			t.Errorf("it came %d times", len(asked))
		}
	})
}
