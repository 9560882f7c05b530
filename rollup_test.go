// These tests compare the history with what went into it: an oracle in Go keeps every run and adds it up by itself.
package main

import (
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
	"checkstack/sql/record"
	"checkstack/sql/series"

	"github.com/lib/pq"
)

const day = 24 * time.Hour

// past is a midnight long enough ago that all of its hours are due by now.
var past = time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)

// ledger is a history and all that went into it.
type ledger struct {
	*history
	ever *record.Recorder // takes runs of any age
	t    testing.TB
	url  string
	rand *rand.Rand
	all  []plugins.Run
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	db, url := postgrestest.New(t, postgres.Set{ID: "checkstack", Files: coreMigrations()})
	seed := uint64(time.Now().UnixNano())
	if _, ok := t.(*testing.T); ok {
		t.Logf("seed %d", seed)
	}
	l := &ledger{newHistory(db, slog.New(slog.DiscardHandler)), &record.Recorder{DB: db, RawDays: 40_000, DailyDays: 40_000},
		t, url, rand.New(rand.NewPCG(seed, 0)), nil}
	if err := l.Prepare(t.Context()); err != nil { // the database may be a copy of one that is some days old
		t.Fatal(err)
	}
	return l
}

func (l *ledger) exec(statement string, args ...any) {
	l.t.Helper()
	if _, err := l.db.ExecContext(l.t.Context(), statement, args...); err != nil {
		l.t.Fatalf("%s: %v", statement, err)
	}
}

func (l *ledger) count(statement string, args ...any) (n int64) {
	l.t.Helper()
	if err := l.db.QueryRowContext(l.t.Context(), statement, args...).Scan(&n); err != nil {
		l.t.Fatalf("%s: %v", statement, err)
	}
	return n
}

// record stores runs as a plugin does.
func (l *ledger) record(runs ...plugins.Run) (done plugins.Recorded) {
	l.t.Helper()
	err := plugins.Tx(l.t.Context(), l.db, func(tx *sql.Tx) (err error) {
		done, err = l.Record(l.t.Context(), tx, runs)
		return err
	})
	if err != nil {
		l.t.Fatalf("record: %v", err)
	}
	return done
}

// recordOnce stores runs as a plugin does that knows that they are new.
func (l *ledger) recordOnce(runs ...plugins.Run) (done plugins.Recorded) {
	l.t.Helper()
	err := plugins.Tx(l.t.Context(), l.db, func(tx *sql.Tx) (err error) {
		done, err = l.RecordOnce(l.t.Context(), tx, runs)
		return err
	})
	if err != nil {
		l.t.Fatalf("record once: %v", err)
	}
	return done
}

// retain sets the retention of a check; nil puts the defaults back.
func (l *ledger) retain(system string, check int, r *plugins.Retention) {
	l.t.Helper()
	err := plugins.Tx(l.t.Context(), l.db, func(tx *sql.Tx) error {
		return l.SetRetention(l.t.Context(), tx, system, aCheck(check), r)
	})
	if err != nil {
		l.t.Fatalf("retention of %+v: %v", r, err)
	}
}

// transaction runs f once: unlike plugins.Tx it does not hide a deadlock.
func transaction(db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// backdate stores runs of any age as record does, and keeps them for verify.
func (l *ledger) backdate(runs ...plugins.Run) {
	l.t.Helper()
	l.partitions(runs...)
	for chunk := range slices.Chunk(runs, record.MaxBatch) {
		err := plugins.Tx(l.t.Context(), l.db, func(tx *sql.Tx) error {
			done, err := l.ever.Record(l.t.Context(), tx, chunk)
			if len(done.Refused) > 0 {
				return fmt.Errorf("refused: %v", done.Refused[0])
			}
			return err
		})
		if err != nil {
			l.t.Fatalf("backdate: %v", err)
		}
	}
	l.all = append(l.all, runs...)
}

// partitions makes those that runs need, whatever their age.
func (l *ledger) partitions(runs ...plugins.Run) {
	l.t.Helper()
	days := map[string]bool{}
	for _, r := range runs {
		days[series.Timestamp(r.ExecutedAt.Truncate(day))] = true
	}
	l.exec(`select checkstack.make_run_partitions(d, d) from unnest($1::timestamptz[]) d`, pq.StringArray(slices.Collect(maps.Keys(days))))
}

func (l *ledger) roll(now time.Time) RollupSummary {
	l.t.Helper()
	s, err := l.Rollup(l.t.Context(), now)
	if err != nil {
		l.t.Fatalf("roll up: %v", err)
	}
	s.DurationMs = 0
	return s
}

func aCheck(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func aRun(system string, check int, source string, status plugins.Status, latency int32, at time.Time) plugins.Run {
	r := plugins.Run{ID: plugins.NewID(), ConfigurationID: aCheck(check), SystemID: system, SourceID: source, Status: status, ExecutedAt: at}
	if latency >= 0 {
		r.LatencyMs = &latency
	}
	return r
}

// random makes n runs of a few checks from a few sources, executed within the time given, with latencies that are
// skewed.
func (l *ledger) random(n int, from time.Time, within time.Duration) []plugins.Run {
	runs := make([]plugins.Run, n)
	for i := range runs {
		latency := int32(math.Exp(l.rand.NormFloat64()*1.2 + 4))
		if l.rand.IntN(10) == 0 {
			latency = -1
		}
		if l.rand.IntN(30) == 0 {
			latency = 30_000
		}
		runs[i] = aRun([]string{"shop", "mail"}[l.rand.IntN(2)], l.rand.IntN(2), []string{"", "", "berlin"}[l.rand.IntN(3)],
			[]plugins.Status{plugins.Healthy, plugins.Healthy, plugins.Degraded, plugins.Unhealthy}[l.rand.IntN(4)], latency,
			from.Add(time.Duration(l.rand.Int64N(int64(within)))).Truncate(time.Microsecond))
	}
	return runs
}

// sum is what a stretch of the history of one check comes to.
type sum struct {
	runs, healthy, degraded, unhealthy, latencies, latencySum int64
	lo, hi                                                    int32
	hist                                                      map[int]int64
	sorted                                                    []int32 // the latencies, in the oracle only
}

func (s *sum) add(r *plugins.Run) {
	s.runs++
	switch r.Status {
	case plugins.Healthy:
		s.healthy++
	case plugins.Degraded:
		s.degraded++
	default:
		s.unhealthy++
	}
	if r.LatencyMs == nil {
		return
	}
	ms := *r.LatencyMs
	if s.latencies == 0 {
		s.lo, s.hi, s.hist = ms, ms, map[int]int64{}
	}
	s.lo, s.hi = min(s.lo, ms), max(s.hi, ms)
	s.latencies++
	s.latencySum += int64(ms)
	s.hist[bucketOf(ms)]++
	s.sorted = append(s.sorted, ms)
}

// p95 is the exact one, by nearest rank.
func (s *sum) p95() int32 {
	slices.Sort(s.sorted)
	return s.sorted[(95*len(s.sorted)+99)/100-1]
}

// bounds are the buckets of histogram scheme 1, as SPEC D has them: where each begins, and its value.
var bounds = sync.OnceValue(func() (b struct{ begin, value []int64 }) {
	b.begin, b.value = []int64{0}, []int64{0}
	for a := int64(1); a < 1<<31; {
		r := a + a/50
		b.begin, b.value = append(b.begin, a), append(b.value, min(r, math.MaxInt32))
		a = 50*r/49 + 1
	}
	return b
})

func bucketOf(ms int32) int {
	i, found := slices.BinarySearch(bounds().begin, int64(ms))
	if !found {
		i--
	}
	return i
}

// stored reads the aggregates, all sizes added up by check, source and UTC day, and checks that each row is sound in
// itself.
func (l *ledger) stored() map[string]sum {
	l.t.Helper()
	rows, err := l.db.QueryContext(l.t.Context(), `select system_id, configuration_id, source_id, bucket_start, bucket_size,
		run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, coalesce(min_latency_ms, 0), coalesce(max_latency_ms, 0),
		p95_latency_ms,
		latency_hist_idx, latency_hist_cnt from checkstack.health_check_aggregates`)
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	sums := map[string]sum{}
	for rows.Next() {
		var system, check, source, size string
		var start time.Time
		var r sum
		var p95 *int32
		var idx, cnt pq.Int64Array
		if err := rows.Scan(&system, &check, &source, &start, &size, &r.runs, &r.healthy, &r.degraded, &r.unhealthy,
			&r.latencies, &r.latencySum, &r.lo, &r.hi, &p95, &idx, &cnt); err != nil {
			l.t.Fatal(err)
		}
		if start = start.UTC(); size == "daily" && !start.Equal(start.Truncate(day)) || !start.Equal(start.Truncate(time.Hour)) {
			l.t.Errorf("%s row begins at %v", size, start)
		}
		var total int64
		for i := range idx {
			if total += cnt[i]; cnt[i] < 1 || i > 0 && idx[i] <= idx[i-1] {
				l.t.Errorf("histogram is not sorted and sparse: %v %v", idx, cnt)
			}
		}
		if total != r.latencies || (p95 == nil) != (total == 0) {
			l.t.Errorf("histogram of %d latencies, p95 %v, in a row of %d", total, p95, r.latencies)
		} else if total > 0 && *p95 != nearest(idx, cnt, total, r.lo, r.hi) {
			l.t.Errorf("p95 = %d, the histogram says %d", *p95, nearest(idx, cnt, total, r.lo, r.hi))
		}
		name := strings.Join([]string{system, check, source, start.Format(time.DateOnly)}, " ")
		s := sums[name]
		if s.latencies == 0 {
			s.lo, s.hi = r.lo, r.hi
		} else if r.latencies > 0 {
			s.lo, s.hi = min(s.lo, r.lo), max(s.hi, r.hi)
		}
		s.runs, s.healthy, s.degraded, s.unhealthy = s.runs+r.runs, s.healthy+r.healthy, s.degraded+r.degraded, s.unhealthy+r.unhealthy
		s.latencies, s.latencySum = s.latencies+r.latencies, s.latencySum+r.latencySum
		for i := range idx {
			if s.hist == nil {
				s.hist = map[int]int64{}
			}
			s.hist[int(idx[i])] += cnt[i]
		}
		sums[name] = s
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
	return sums
}

// nearest is the 95th percentile of a histogram, counted from below.
func nearest(idx, cnt []int64, total int64, lo, hi int32) int32 {
	var below int64
	for i := range idx {
		if below += cnt[i]; 100*below >= 95*total {
			return max(lo, min(hi, int32(bounds().value[idx[i]])))
		}
	}
	return -1
}

// verify compares the aggregates with the runs that went into them.
func (l *ledger) verify() {
	l.t.Helper()
	want := map[string]sum{}
	for i := range l.all {
		r := &l.all[i]
		name := strings.Join([]string{r.SystemID, r.ConfigurationID, r.SourceID, r.ExecutedAt.UTC().Format(time.DateOnly)}, " ")
		s := want[name]
		s.add(r)
		want[name] = s
	}
	got := l.stored()
	for name, w := range want {
		w.sorted = nil
		if g := got[name]; !reflect.DeepEqual(g, w) {
			l.t.Errorf("%s:\n got %+v\nwant %+v", name, g, w)
		}
	}
	if len(got) != len(want) {
		l.t.Errorf("%d days of checks, want %d", len(got), len(want))
	}
}
