package agent

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

	"checkstack/plugins/satellite/wire"
)

// A status alone is nobody's word.
func TestOnlyAnErrorOfCheckstackAboutTheBatchIsAVerdict(t *testing.T) {
	const html, ours = "text/html", "application/json"
	for _, test := range []struct {
		status      int
		media, body string
		want        bool
	}{
		{400, html, "<html>Bad Request</html>", false},
		{400, ours, `{"error":"Invalid input","message":"expected gzip"}`, false},
		{400, ours, `{"error":"Invalid input","message":"m","field":"runs[3].status"}`, true},
		{400, "application/json; charset=utf-8", `{"error":"Invalid input","message":"m","field":"runs"}`, true},
		{400, ours, `{"error":"Invalid input","message":"m","field":"batch"}`, true},
		{400, ours, `{"error":"Invalid input","message":"m","field":"journal"}`, true},
		{400, ours, `{"error":"Invalid input","message":"m","field":"wait"}`, false},
		{400, html, `{"error":"Invalid input","message":"m","field":"runs"}`, false},
		{400, ours, `{"error":"Invalid input","field":"runs"}`, false},
		{400, ours, `{"message":"m","field":"runs"}`, false},
		{413, html, "<html>Request Entity Too Large</html>", false},
		{413, ours, `{"error":"Body too large","message":"m"}`, true},
		{422, ours, `{"error":"e","message":"m"}`, true},
		{422, ours, `{"detail":"m"}`, false},
		{408, ours, `{"error":"e","message":"m","field":"runs"}`, false},
		{503, ours, `{"error":"e","message":"m","field":"runs"}`, false},
	} {
		c := newClient(Config{Token: testToken}, nil)
		res := &http.Response{StatusCode: test.status, Header: http.Header{"Content-Type": {test.media}}}
		if got := isVerdict(c.failure(res, []byte(test.body))); got != test.want {
			t.Errorf("%d %s %s: %t", test.status, test.media, test.body, got)
		}
	}
}

// A proxy refuses everything for hours: nothing is set aside, and it is asked with pauses.
func TestAProxyThatRefusesEverythingCostsNothing(t *testing.T) {
	for _, status := range []int{400, 401, 403, 413, 422} {
		synctest.Test(t, func(t *testing.T) {
			o := newOracle(check(1, 10), check(2, 10))
			var wrong atomic.Bool
			var asked atomic.Int64
			o.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if !wrong.Load() || !strings.HasSuffix(r.URL.Path, "/runs") {
					return false
				}
				asked.Add(1)
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
				fmt.Fprint(w, "<html>no</html>")
				return true
			}
			w := newWorld(t, o)
			defer w.stop()
			a, stop := w.start(t)
			time.Sleep(time.Minute)
			wrong.Store(true)
			time.Sleep(3 * time.Hour)
			if n := asked.Load(); n > 600 || a.journal.State().Dropped > 0 || w.log.count("refuses the token") > 0 || w.log.count("it may be of a proxy") == 0 {
				t.Errorf("%d: it came %d times, and the journal is %+v", status, n, a.journal.State())
			}
			wrong.Store(false)
			time.Sleep(mostDelay)
			settle(t, w, a)
			stop()
			if made, n := w.types.count(), w.server.total(t); made != n {
				t.Errorf("%d: %d were made and %d counted", status, made, n)
			}
		})
	}
}

// Where every run is refused it may be anything: at most two are set aside in an hour, and then one after the other with pauses.
func TestWhereOneRunAfterTheOtherIsRefusedNothingMoreIsSetAsideForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 60))
		var wrong atomic.Bool
		o.poison = func(wire.Run) bool { return wrong.Load() }
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(10 * time.Minute)
		wrong.Store(true)
		time.Sleep(55 * time.Minute)
		if n := a.journal.State().Dropped; n != mostAside {
			t.Errorf("%d runs are set aside in an hour", n)
		}
		if n := w.log.count("the server refuses one result after the other"); n < 4 || n > 7 {
			t.Errorf("it is said %d times\n%s", n, w.log)
		}
		time.Sleep(35 * time.Minute)
		n := a.journal.State().Dropped
		if n < mostAside+5 || n > mostAside+40 {
			t.Errorf("%d runs are set aside after an hour and a half", n)
		}
		wrong.Store(false)
		time.Sleep(2 * mostDelay)
		settle(t, w, a)
		dropped := a.journal.State().Dropped
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n+int(dropped) || w.log.count("the server takes results again") != 1 {
			t.Errorf("%d were made, %d counted, %d set aside", made, n, dropped)
		}
		text, err := os.ReadFile(filepath.Join(w.dir, "refused.jsonl"))
		if err != nil || strings.Count(string(text), "\n") != int(dropped) {
			t.Errorf("%d lines are kept aside, %v", strings.Count(string(text), "\n"), err)
		}
	})
}

// The copy has been in trouble before its first batch, so that nobody can say any more which of the two was first.
func TestACopyOfAJournalThatFailedBeforeLosesNothing(t *testing.T) {
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
		w.net.cut(true)
		for range 2 { // batches are made, tried, and made before a restart
			_, stop = w.start(t)
			time.Sleep(10 * time.Minute)
			stop()
		}
		a, stop = w.start(t)
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n {
			t.Errorf("%d were made and %d counted\n%s", made, n, w.log)
		}
		if w.log.count("the folder of the journal is a copy") == 0 {
			t.Errorf("the log is\n%s", w.log)
		}
	})
}

// Of old runs the server has no IDs any more: a repeat without the number would count them twice.
func TestAKnownBatchOfOldRunsIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 600))
		var lost atomic.Bool
		o.lost = func() bool { return lost.Load() }
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(time.Hour)
		lost.Store(true)
		time.Sleep(30 * time.Minute)
		w.net.cut(true)
		time.Sleep(8 * 24 * time.Hour)
		o.mu.Lock()
		o.raw, o.forgot = map[string]bool{}, true
		o.mu.Unlock()
		lost.Store(false)
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), w.server.total(t); made != n || o.now().repeated == 0 || w.log.count("too old to tell") != 1 {
			t.Errorf("%d were made and %d counted, %d batches repeated\n%s", made, n, o.now().repeated, w.log)
		}
	})
}

func TestAStopSendsWhatIsPendingIfTheServerIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 2), check(2, 2), check(3, 2))
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		for a.gatherer.waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if made, n := w.types.count(), w.server.total(t); made != n || a.journal.State().Pending != 0 {
			t.Errorf("%d were made and %d counted, %+v", made, n, a.journal.State())
		}

		o.fault = func(_ http.ResponseWriter, r *http.Request) bool { // it takes its time
			if strings.HasSuffix(r.URL.Path, "/runs") {
				pause(r.Context(), time.Hour, nil)
				panic(http.ErrAbortHandler)
			}
			return false
		}
		a, stop = w.start(t)
		time.Sleep(time.Minute)
		began := time.Now()
		if err := stop(); err != nil || time.Since(began) != partTimeout || a.journal.State().Pending == 0 {
			t.Errorf("the stop took %v, %v, %+v", time.Since(began), err, a.journal.State())
		}
	})
}

func TestAJournalIsNotSentForAnotherSatellite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 10))
		const other, mine = "0191d0a4-7c00-4000-8000-00000000000b", "0191d0a4-7c00-4000-8000-00000000000a"
		w := newWorld(t, o)
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(time.Minute)
		w.net.cut(true)
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		w.net.cut(false)
		o.mu.Lock()
		o.id = other
		o.mu.Unlock()
		before := o.total(t)
		_, stop = w.start(t)
		time.Sleep(time.Minute)
		err := stop()
		if err == nil || !strings.Contains(err.Error(), "the folder "+w.dir+" belongs to the satellite "+mine) || !strings.Contains(err.Error(), "token is of the satellite "+other) ||
			!strings.Contains(err.Error(), "-journal") || o.total(t) != before {
			t.Errorf("it ended with %v, and %d runs came", err, o.total(t)-before)
		}

		o.mu.Lock()
		o.id = mine
		o.mu.Unlock()
		a, stop := w.start(t)
		time.Sleep(time.Minute)
		settle(t, w, a)
		stop()
		if made, n := w.types.count(), o.total(t); made != n || len(o.now().journals) != 1 {
			t.Errorf("%d were made and %d counted, of %d journals", made, n, len(o.now().journals))
		}

		o.mu.Lock() // now that nothing is pending
		o.id = other
		o.mu.Unlock()
		o.assign()
		os.Remove(filepath.Join(w.dir, sheetName))
		_, stop = w.start(t)
		time.Sleep(5 * time.Second)
		o.assign(check(2, 10))
		time.Sleep(time.Minute)
		if err := stop(); err != nil || len(o.now().journals) != 2 || w.log.count("from now on it is this one's") != 1 {
			t.Errorf("it ended with %v, and there are %d journals\n%s", err, len(o.now().journals), w.log)
		}
	})
}

// Whoever hears from the server first tells the others.
func TestAfterAnOutageTheServerIsAskedAtOnceWhatToCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 10 {
			o := newOracle()
			w := newWorld(t, o)
			a, stop := w.start(t)
			time.Sleep(time.Minute)
			w.net.cut(true)
			time.Sleep(20 * time.Minute)
			o.assign(check(1, 60))
			w.net.cut(false)
			time.Sleep(beatEvery + time.Second)
			if a.scheduler.size() != 1 {
				t.Error("the change has not arrived with the heartbeat")
			}
			stop()
			w.stop()
			if beats := o.now().beats; beats[0].Checks != 0 {
				t.Errorf("the first beat says %+v", beats[0])
			}
		}
	})
}

func TestTheFirstHeartbeatKnowsTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(check(1, 60), check(2, 60))
		var late atomic.Int64
		o.fault = func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/assignments") {
				pause(r.Context(), time.Duration(late.Load()), nil)
			}
			return false
		}
		for _, test := range []struct{ late, want time.Duration }{{0, 0}, {2 * time.Second, 2 * time.Second}, {time.Hour, firstBeat}} {
			late.Store(int64(test.late))
			w := newWorld(t, o)
			began, n := time.Now(), len(o.now().beats)
			_, stop := w.start(t)
			time.Sleep(10 * time.Second)
			stop()
			first := o.now().beats[n]
			if at := first.at.Sub(began); at != test.want || (first.Checks == 2) != (test.late < firstBeat) {
				t.Errorf("an answer after %v: the first beat came after %v and says %d checks", test.late, at, first.Checks)
			}
			w.stop()
		}
	})
}

func TestARefusedTokenAndASingleProbeAreShownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		o.token = "sat_another-token-by-now"
		w := newWorld(t, o)
		defer w.stop()
		a, stop := w.start(t)
		synctest.Wait()
		for _, test := range []struct {
			path   string
			status int
			body   string
		}{
			{"/.checkstack/ready/satellite.server", 200, `{"ready":true,"checks":[{"name":"satellite.server","critical":false,"ok":false,"message":"the server refuses the token","durationMs":0}]}`},
			{"/.checkstack/ready/satellite.assignments", 503, `{"ready":false,"checks":[{"name":"satellite.assignments","critical":true,"ok":false,"message":"not known yet","durationMs":0}]}`},
			{"/.checkstack/ready?verbose", 503, "[+]satellite.journal ok\n[-]satellite.server failed: the server refuses the token\n[-]satellite.assignments failed: not known yet\nnot ready\n"},
			{"/.checkstack/ready/satellite.journal?verbose", 200, "[+]satellite.journal ok\nready\n"},
			{"/.checkstack/ready/nothing", 404, `{"error":"Not found","message":"no such probe"}`},
		} {
			if code, body, _ := ask(a, "GET", test.path); code != test.status || body != test.body && test.status != 404 {
				t.Errorf("%s: %d %s", test.path, code, body)
			}
		}
		stop()
		if w.log.count("Restart this satellite with its new token in CHECKSTACK_SATELLITE_TOKEN") == 0 {
			t.Errorf("the log is\n%s", w.log)
		}
	})
}

// The list on disk is this satellite's, however the server is spelled, and whatever its token is now.
func TestTheListOnDiskIsKeptWhenTheServerOrTheTokenIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newOracle(check(1, 10)))
		defer w.stop()
		_, stop := w.start(t)
		time.Sleep(time.Minute)
		stop()
		for _, cfg := range []Config{{Server: "http://SERVER:80", Token: testToken}, {Server: "http://server", Token: "sat_new"}} {
			cfg.Dir, cfg.Size, cfg.Checks, cfg.Log = w.dir, 1<<20, 1, w.log.logger()
			a, err := newAgent(cfg, http.DefaultTransport, w.types)
			if err != nil {
				t.Fatal(err)
			}
			a.scheduler.begin(t.Context())
			a.sheet.load()
			if !a.scheduler.ready() {
				t.Errorf("with %s the list is not used", cfg.Server)
			}
			a.journal.Close()
		}
	})
}
