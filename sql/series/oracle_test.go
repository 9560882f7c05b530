// These tests compare what is read with the runs that went in: an oracle keeps every run and adds it up by itself.
package series_test

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
	"checkstack/sql/record"
	"checkstack/sql/series"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const day = 24 * time.Hour

// past is a midnight.
var past = time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)

// book is a history and all the runs that went into it.
type book struct {
	*series.Reader
	t          testing.TB
	url        string
	rand       *rand.Rand
	recorder   *record.Recorder
	lock, move string // the statements that roll up a part of a day
	runs       []plugins.Run
}

func newBook(t testing.TB) *book {
	t.Helper()
	db, url := postgrestest.New(t, postgres.Set{ID: "checkstack", Files: os.DirFS("../migrations")})
	lock, err := os.ReadFile("../rollup_lock_day.sql")
	if err != nil {
		t.Fatal(err)
	}
	move, err := os.ReadFile("../rollup_part.sql")
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if _, ok := t.(*testing.T); ok {
		t.Logf("seed %d", seed)
	}
	b := &book{
		Reader: &series.Reader{DB: db}, t: t, url: url, rand: rand.New(rand.NewPCG(seed, 0)), lock: string(lock), move: string(move),
		recorder: &record.Recorder{DB: db, RawDays: 1, DailyDays: 400_000}, // only runs of the last day are kept singly
	}
	if err := b.recorder.Prepare(t.Context()); err != nil { // the database may be a copy of one that is some days old
		t.Fatal(err)
	}
	return b
}

// in is the book read by sessions in another time zone.
func (b *book) in(zone string) *book {
	b.t.Helper()
	url := b.url + " timezone=" + zone
	if strings.Contains(b.url, "://") {
		separator := "?"
		if strings.Contains(b.url, "?") {
			separator = "&"
		}
		url = b.url + separator + "timezone=" + zone
	}
	db, err := postgres.Open(b.t.Context(), postgres.Config{URL: url})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { db.DB.Close() })
	var is string
	if err := db.QueryRowContext(b.t.Context(), `show timezone`).Scan(&is); err != nil || is != zone {
		b.t.Fatal(is, err)
	}
	away := *b
	away.Reader = &series.Reader{DB: db.DB}
	return &away
}

func (b *book) exec(statement string, args ...any) {
	b.t.Helper()
	if _, err := b.DB.ExecContext(b.t.Context(), statement, args...); err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
}

// record stores runs of any age, and keeps them.
func (b *book) record(runs ...plugins.Run) {
	b.t.Helper()
	for chunk := range slices.Chunk(runs, record.MaxBatch) {
		if err := b.store(chunk); err != nil {
			b.t.Fatalf("record: %v", err)
		}
	}
	b.runs = append(b.runs, runs...)
}

func (b *book) store(runs []plugins.Run) error {
	return plugins.Tx(b.t.Context(), b.DB, func(tx *sql.Tx) error {
		done, err := b.recorder.RecordOnce(b.t.Context(), tx, runs)
		if err == nil && done.Stored != len(runs) {
			err = fmt.Errorf("%d of %d runs stored, refused %v", done.Stored, len(runs), done.Refused)
		}
		return err
	})
}

// roll moves the hours of a UTC day into the day, of the systems after one up to another, and returns how many.
func (b *book) roll(start time.Time, after, upTo string) (hours int64) {
	b.t.Helper()
	hours, err := b.moveHours(start, after, upTo)
	if err != nil {
		b.t.Fatalf("roll up: %v", err)
	}
	return hours
}

func (b *book) moveHours(start time.Time, after, upTo string) (hours int64, err error) {
	err = plugins.Tx(b.t.Context(), b.DB, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(b.t.Context(), b.lock, record.LockKey(start)); err != nil {
			return err
		}
		var inserted, merged int64
		return tx.QueryRowContext(b.t.Context(), b.move, series.Timestamp(start), series.Timestamp(start.Add(100*day)), 30, after, upTo).
			Scan(&hours, &inserted, &merged)
	})
	return hours, err
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
func (b *book) random(n int, from time.Time, within time.Duration) []plugins.Run {
	runs := make([]plugins.Run, n)
	for i := range runs {
		latency := int32(math.Exp(b.rand.NormFloat64()*1.2 + 4))
		switch b.rand.IntN(30) {
		case 0, 1, 2:
			latency = -1
		case 3:
			latency = 30_000
		}
		runs[i] = aRun([]string{"shop", "mail", "bank"}[b.rand.IntN(3)], b.rand.IntN(2), []string{"", "", "berlin"}[b.rand.IntN(3)],
			[]plugins.Status{plugins.Healthy, plugins.Healthy, plugins.Degraded, plugins.Unhealthy}[b.rand.IntN(4)], latency,
			from.Add(time.Duration(b.rand.Int64N(int64(within)))).Truncate(time.Microsecond))
	}
	return runs
}

// sum is what some runs come to.
type sum struct {
	runs, healthy, degraded, unhealthy, latencySum int64
	latencies                                      []int32
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
	if r.LatencyMs != nil {
		s.latencySum += int64(*r.LatencyMs)
		s.latencies = append(s.latencies, *r.LatencyMs)
	}
}

// p95 is the exact one, by nearest rank. It sorts the latencies.
func (s *sum) p95() int32 {
	slices.Sort(s.latencies)
	return s.latencies[(95*len(s.latencies)+99)/100-1]
}

// compare reads a series and adds up each of its buckets from the runs.
func (b *book) compare(q plugins.SeriesQuery) {
	b.t.Helper()
	got, err := b.Series(b.t.Context(), q)
	if err != nil {
		b.t.Fatalf("%+v: %v", q, err)
	}
	points := q.Points
	if points == 0 {
		points = 200
	}
	if len(got) == 0 || len(got) > points {
		b.t.Fatalf("%+v: %d buckets", q, len(got))
	}
	first, last := got[0].Start, got[len(got)-1].End
	if first.After(q.From) || q.From.Sub(first) >= day || last.Before(q.To) || last.Sub(q.To) >= day {
		b.t.Errorf("%+v: from %v to %v", q, first, last)
	}
	sums := make([]sum, len(got))
	for i := range b.runs {
		r := &b.runs[i]
		if r.SystemID != q.SystemID || r.ConfigurationID != q.ConfigurationID || r.ExecutedAt.Before(first) || !r.ExecutedAt.Before(last) {
			continue
		}
		at, found := slices.BinarySearchFunc(got, r.ExecutedAt, func(b plugins.Bucket, t time.Time) int { return b.Start.Compare(t) })
		if !found {
			at--
		}
		sums[at].add(r)
	}
	for i, bucket := range got {
		s := &sums[i]
		if i > 0 && !bucket.Start.Equal(got[i-1].End) || !bucket.Start.Before(bucket.End) ||
			!bucket.Start.Equal(bucket.Start.Truncate(time.Hour)) || bucket.Start.Location() != time.UTC || bucket.End.Location() != time.UTC {
			b.t.Errorf("%+v: bucket %d from %v to %v after %v", q, i, bucket.Start, bucket.End, got[max(0, i-1)].End)
		}
		want := plugins.Bucket{Start: bucket.Start, End: bucket.End,
			Runs: s.runs, Healthy: s.healthy, Degraded: s.degraded, Unhealthy: s.unhealthy}
		if s.runs > 0 {
			want.Availability = new(float64(s.runs-s.unhealthy) / float64(s.runs))
		}
		if n := len(s.latencies); n > 0 {
			exact := s.p95()
			if bucket.P95Ms == nil || math.Abs(float64(*bucket.P95Ms-exact)) > 0.02*float64(exact) {
				b.t.Errorf("%+v: bucket %d: p95 %v, exactly %d", q, i, bucket.P95Ms, exact)
			}
			want.AverageMs = new(float64(s.latencySum) / float64(n))
			want.MinMs, want.MaxMs, want.P95Ms = &s.latencies[0], &s.latencies[n-1], bucket.P95Ms
		}
		if !reflect.DeepEqual(bucket, want) {
			b.t.Errorf("%+v: bucket %d\n got %+v\nwant %+v", q, i, bucket, want)
		}
	}
}

// compareAvailability reads the availability of systems and adds up their windows from the runs.
func (b *book) compareAvailability(systems ...string) {
	b.t.Helper()
	begun := time.Now()
	got, err := b.Availability(b.t.Context(), systems)
	if err != nil {
		b.t.Fatal(err)
	}
	ended := time.Now()
	if len(got) != len(systems) {
		b.t.Fatalf("%d systems, asked for %v", len(got), systems)
	}
	for i, system := range systems {
		if got[i].SystemID != system || len(got[i].Windows) != 5 {
			b.t.Errorf("%+v, want 5 windows of %s", got[i], system)
			continue
		}
		for n, w := range []struct {
			name   string
			length time.Duration
			whole  time.Duration
		}{{"24h", day, time.Hour}, {"7d", 7 * day, time.Hour}, {"30d", 30 * day, day}, {"90d", 90 * day, day}, {"365d", 365 * day, day}} {
			window := got[i].Windows[n]
			if window.From.Before(begun.Add(-w.length).Truncate(w.whole)) || window.From.After(ended.Add(-w.length).Truncate(w.whole)) ||
				!window.From.Equal(window.From.Truncate(w.whole)) || window.From.Location() != time.UTC {
				b.t.Errorf("%s begins at %v", w.name, window.From)
			}
			want := plugins.Window{Name: w.name, From: window.From}
			for _, r := range b.runs {
				if r.SystemID == system && !r.ExecutedAt.Before(window.From) {
					want.Runs++
					if r.Status == plugins.Unhealthy {
						want.Unhealthy++
					}
				}
			}
			if want.Runs > 0 {
				want.Availability = new(float64(want.Runs-want.Unhealthy) / float64(want.Runs))
			}
			if !reflect.DeepEqual(window, want) {
				b.t.Errorf("%s of %s:\n got %+v\nwant %+v", w.name, system, window, want)
			}
		}
	}
}
