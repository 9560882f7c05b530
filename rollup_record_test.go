// What is recorded, counted once, refused and mended.

package main

import (
	"database/sql"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
)

func TestHistogramBoundsAreTheSameInGoAndSQL(t *testing.T) {
	l := newLedger(t)
	b := bounds()
	if len(b.begin) != 489 {
		t.Fatalf("%d buckets, want 489", len(b.begin))
	}
	for i, begin := range b.begin {
		end := int64(math.MaxInt32)
		if i+1 < len(b.begin) {
			end = b.begin[i+1] - 1
		}
		for _, ms := range []int64{begin, (begin + end) / 2, end} {
			var idx int
			var value int64
			err := l.db.QueryRow(`select checkstack.hist_idx($1), checkstack.hist_ms(checkstack.hist_idx($1))`, ms).Scan(&idx, &value)
			if err != nil || idx != i || value != b.value[i] {
				t.Fatalf("%d ms: bucket %d of %d ms, %v; want %d of %d ms", ms, idx, value, err, i, b.value[i])
			}
			if 50*max(ms-value, value-ms) > ms || ms <= 48 && value != ms {
				t.Errorf("%d ms is taken for %d ms", ms, value)
			}
		}
	}
	if n := l.count(`select count(*) from pg_proc where pronamespace = 'checkstack'::regnamespace
		and (proname like 'hist%' or proname like 'json%') and (prokind = 'f' and provolatile <> 'i' or proparallel <> 's')`); n != 0 {
		t.Errorf("%d functions are not immutable and parallel safe", n)
	}
}

func TestRecordCountsEachRunOnce(t *testing.T) {
	l := newLedger(t)
	now := time.Now()
	runs := l.random(3000, now.Add(-6*day-20*time.Hour), 6*day)
	want := func(got plugins.Recorded, stored, known int) {
		t.Helper()
		if got.Stored != stored || got.Known != known || got.Refused != nil {
			t.Errorf("got %+v, want %d stored, %d known", got, stored, known)
		}
	}
	want(l.record(), 0, 0)
	want(l.record(runs[:1000]...), 1000, 0)
	want(l.record(runs[:1000]...), 0, 1000)
	want(l.record(slices.Concat(runs[500:1500], runs[1400:1500])...), 500, 600)
	shouted := runs[1500]
	shouted.ID = strings.ToUpper(shouted.ID)
	want(l.record(runs[1500], shouted), 1, 1)
	want(l.record(runs...), 1499, 1501)
	l.all = runs
	l.verify()
	if n := l.count("select count(*) from checkstack.health_check_runs"); n != 3000 {
		t.Errorf("%d raw runs, want 3000", n)
	}

	tx, err := l.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(t.Context(), tx, l.random(10, now.Add(-time.Hour), time.Hour)); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	l.verify()

	got := map[string]float64{}
	l.metrics(func(name, _, _ string, v float64) { got[name] = v })
	if got["runs_stored_total"] != 3010 || got["runs_known_total"] != 3102 || got["runs_refused_total"] != 0 {
		t.Errorf("metrics: %v", got)
	}
}

func TestRecordRefusesWhatIsWrongAndStoresTheRest(t *testing.T) {
	l := newLedger(t)
	now := time.Now()
	change := func(f func(*plugins.Run)) plugins.Run {
		r := aRun("shop", 1, "", plugins.Healthy, 10, now)
		f(&r)
		return r
	}
	result := func(s string) plugins.Run { return change(func(r *plugins.Run) { r.Result = json.RawMessage(s) }) }
	minus := int32(-1)
	refused := []struct {
		reason string
		run    plugins.Run
	}{
		{"id: ", change(func(r *plugins.Run) { r.ID = "x" })},
		{"id: ", change(func(r *plugins.Run) { r.ID = "" })},
		{"configurationId: ", change(func(r *plugins.Run) { r.ConfigurationID = "{" + r.ConfigurationID + "}" })},
		{"systemId: ", change(func(r *plugins.Run) { r.SystemID = "" })},
		{"systemId: ", change(func(r *plugins.Run) { r.SystemID = strings.Repeat("ä", 201) })},
		{"systemId: ", change(func(r *plugins.Run) { r.SystemID = "a\x00b" })},
		{"systemId: ", change(func(r *plugins.Run) { r.SystemID = "a\xffb" })},
		{"sourceId: ", change(func(r *plugins.Run) { r.SourceID = strings.Repeat("x", 201) })},
		{"sourceId: ", change(func(r *plugins.Run) { r.SourceID = "\x00" })},
		{"status: ", change(func(r *plugins.Run) { r.Status = "unknown" })},
		{"status: ", change(func(r *plugins.Run) { r.Status = "" })},
		{"latencyMs: ", change(func(r *plugins.Run) { r.LatencyMs = &minus })},
		{"executedAt: more than 5 minutes", change(func(r *plugins.Run) { r.ExecutedAt = now.Add(6 * time.Minute) })},
		{"executedAt: expected a time", change(func(r *plugins.Run) { r.ExecutedAt = now.AddDate(20000, 0, 0) })},
		{"executedAt: too old, before the raw", change(func(r *plugins.Run) { r.ExecutedAt = now.Add(-7*day - time.Minute) })},
		{"executedAt: too old, before all", change(func(r *plugins.Run) { r.ExecutedAt = now.Add(-365*day - time.Minute) })},
		{"executedAt: too old, before all", change(func(r *plugins.Run) { r.ExecutedAt = time.Time{} })},
		{"executedAt: expected a time", change(func(r *plugins.Run) { r.ExecutedAt = now.AddDate(-5000, 0, 0) })},
		{"result: expected at most", result(`"` + strings.Repeat("x", 64<<10-1) + `"`)},
		{"result: expected a JSON", result("{")},
		{"result: expected a JSON", result("nil")},
		{"result: expected a JSON", result("{}\x00")},
		{"result: expected a JSON", result("\"\xff\"")},
		{"result: expected a JSON", result(`{"a":"\u0000"}`)},
		{"result: expected a JSON", result(`"\ud800"`)},
		{"result: expected a JSON", result(`"\udc00\ud800"`)},
		{"result: expected a JSON", result(`1e999999`)},
		{"result: expected a JSON", result(strings.Repeat("[", 32<<10) + strings.Repeat("]", 32<<10))},
	}
	kept := []plugins.Run{
		change(func(r *plugins.Run) { r.ID = strings.ToUpper(r.ID) }),
		change(func(r *plugins.Run) { r.SystemID = strings.Repeat("ä", 200) }),
		change(func(r *plugins.Run) { r.SourceID = `a"b\c{},NULL` }),
		change(func(r *plugins.Run) { r.LatencyMs = nil }),
		change(func(r *plugins.Run) { *r.LatencyMs = 0 }),
		change(func(r *plugins.Run) { *r.LatencyMs = math.MaxInt32 }),
		change(func(r *plugins.Run) { r.ExecutedAt = now.Add(4 * time.Minute) }),
		change(func(r *plugins.Run) { r.ExecutedAt = now.Add(-7*day + time.Minute) }),
		result(`"` + strings.Repeat("x", 64<<10-2) + `"`),
		result(`{"a":"\\u0000","b":"\ud83d\ude00","c":-1.5e-300,"d":[null,true]}`),
		result(" null "),
	}
	runs := slices.Clone(kept)
	for _, c := range refused {
		runs = append(runs, c.run)
	}
	l.rand.Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
	for range 7 { // so often that the statement gets a plan for all
		got := l.record(runs...)
		if got.Stored+got.Known != len(kept) || len(got.Refused) != len(refused) {
			t.Fatalf("%d stored, %d known, %d refused; want %d and %d", got.Stored, got.Known, len(got.Refused), len(kept), len(refused))
		}
		at := 0
		for _, r := range runs {
			i := slices.IndexFunc(refused, func(c struct {
				reason string
				run    plugins.Run
			}) bool {
				return c.run.ID == r.ID
			})
			if i < 0 {
				continue
			}
			if f := got.Refused[at]; f.RunID != r.ID || !strings.HasPrefix(f.Reason, refused[i].reason) {
				t.Errorf("refused %+v, want %s with %q", f, r.ID, refused[i].reason)
			}
			at++
		}
	}
	l.all = kept
	l.verify()

	_, err := l.Record(t.Context(), nil, make([]plugins.Run, 5001))
	if err == nil || err.Error() != "Invalid input: expected at most 5000 runs, not 5001" {
		t.Errorf("5001 runs: %v", err)
	}
}

func TestRecordMendsMessages(t *testing.T) {
	l := newLedger(t)
	for sent, want := range map[string]string{
		"":                              "",
		`"quoted" \ {back}, NULL`:       `"quoted" \ {back}, NULL`,
		"a\x00b\xffc":                   "a\uFFFDb\uFFFDc",
		strings.Repeat("x", 10_001):     strings.Repeat("x", 10_000),
		"x" + strings.Repeat("ä", 5000): "x" + strings.Repeat("ä", 4999),
	} {
		r := aRun("shop", 1, "", plugins.Healthy, 1, time.Now())
		r.Message = sent
		l.record(r)
		got, err := l.Runs(t.Context(), plugins.RunsQuery{SystemID: "shop", Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(got, func(g plugins.Run) bool { return g.ID == r.ID }); i < 0 || got[i].Message != want {
			t.Errorf("sent %.20q of %d bytes, kept as %.20q of %d", sent, len(sent), got[i].Message, len(got[i].Message))
		}
	}
}

func TestRecordersOfTheSameChecksNeverDeadlock(t *testing.T) {
	l := newLedger(t)
	runs := l.random(4000, time.Now().Add(-2*time.Hour), 2*time.Hour)
	var stored atomic.Int64
	var writers sync.WaitGroup
	for w := range 8 {
		random := rand.New(rand.NewPCG(l.rand.Uint64(), uint64(w)))
		mine := slices.Clone(runs)
		writers.Go(func() {
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for chunk := range slices.Chunk(mine, 250) {
				var done plugins.Recorded
				err := transaction(l.db, func(tx *sql.Tx) (err error) {
					done, err = l.Record(t.Context(), tx, chunk)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				stored.Add(int64(done.Stored))
			}
		})
	}
	writers.Wait()
	if stored.Load() != 4000 {
		t.Errorf("%d runs stored, want 4000", stored.Load())
	}
	l.all = runs
	l.verify()
}
