// Series and lists of runs, against the runs themselves.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

func TestSeriesAgreesWithTheRunsItself(t *testing.T) {
	l := newLedger(t)
	l.backdate(l.random(12_000, past, 60*day)...)
	rollups := []int{0, 12, 25, 61}
	for _, days := range rollups {
		l.roll(past.Add(time.Duration(days+30) * day))
		l.backdate(l.random(300, past, 60*day)...) // late ones: a day has both kinds of rows
		for range 60 {
			from := past.Add(-5*day + time.Duration(l.rand.Int64N(int64(68*day))))
			to := from.Add(time.Duration(math.Exp(l.rand.Float64()*math.Log(float64(70*day)))) + 1)
			q := plugins.SeriesQuery{ConfigurationID: aCheck(l.rand.IntN(2)), SystemID: "shop", From: from, To: to,
				Points: []int{0, 1, 2, 7, 30, 100, 2000}[l.rand.IntN(7)]}
			l.compare(q)
		}
	}
}

// compare reads a series and adds up each of its buckets from the runs.
func (l *ledger) compare(q plugins.SeriesQuery) {
	l.t.Helper()
	got, err := l.Series(l.t.Context(), q)
	if err != nil {
		l.t.Fatalf("%+v: %v", q, err)
	}
	points := q.Points
	if points == 0 {
		points = 200
	}
	if len(got) == 0 || len(got) > points {
		l.t.Fatalf("%+v: %d buckets", q, len(got))
	}
	first, last := got[0].Start, got[len(got)-1].End
	if first.After(q.From) || q.From.Sub(first) >= day || last.Before(q.To) || last.Sub(q.To) >= day {
		l.t.Errorf("%+v: from %v to %v", q, first, last)
	}
	sums := make([]sum, len(got))
	for i := range l.all {
		r := &l.all[i]
		if r.SystemID != q.SystemID || r.ConfigurationID != q.ConfigurationID || r.ExecutedAt.Before(first) || !r.ExecutedAt.Before(last) {
			continue
		}
		at, found := slices.BinarySearchFunc(got, r.ExecutedAt, func(b plugins.Bucket, t time.Time) int { return b.Start.Compare(t) })
		if !found {
			at--
		}
		sums[at].add(r)
	}
	for i, b := range got {
		s := &sums[i]
		if i > 0 && !b.Start.Equal(got[i-1].End) || !b.Start.Before(b.End) ||
			!b.Start.Equal(b.Start.Truncate(time.Hour)) || b.Start.Location() != time.UTC {
			l.t.Errorf("%+v: bucket %d from %v to %v after %v", q, i, b.Start, b.End, got[max(0, i-1)].End)
		}
		want := plugins.Bucket{Start: b.Start, End: b.End, Runs: s.runs, Healthy: s.healthy, Degraded: s.degraded,
			Unhealthy: s.unhealthy, P95Ms: b.P95Ms}
		if s.runs > 0 {
			want.Availability = new(float64(s.runs-s.unhealthy) / float64(s.runs))
		}
		if s.latencies > 0 {
			want.AverageMs, want.MinMs, want.MaxMs = new(float64(s.latencySum)/float64(s.latencies)), &s.lo, &s.hi
			if exact := s.p95(); b.P95Ms == nil || math.Abs(float64(*b.P95Ms-exact)) > 0.02*float64(exact) {
				l.t.Errorf("%+v: bucket %d: p95 %v, exactly %d", q, i, b.P95Ms, exact)
			}
		} else {
			want.P95Ms = nil
		}
		if !reflect.DeepEqual(b, want) {
			l.t.Errorf("%+v: bucket %d\n got %+v\nwant %+v", q, i, b, want)
		}
	}
}

func TestSeriesBucketsAreTheShortestThatKeepToThePoints(t *testing.T) {
	l := newLedger(t)
	l.backdate(aRun("shop", 1, "", plugins.Healthy, 5, past.Add(time.Hour)), aRun("shop", 1, "", plugins.Healthy, 5, past.Add(5*day)))
	l.roll(past.Add(31 * day)) // the first day is kept as a day
	for _, c := range []struct {
		from, to time.Duration
		points   int
		want     []time.Duration // where each bucket begins, and where the last ends
	}{
		{day, day + 3*time.Hour, 0, []time.Duration{day, day + time.Hour, day + 2*time.Hour, day + 3*time.Hour}},
		{day + 1, day + 1*time.Hour + 1, 0, []time.Duration{day, day + time.Hour, day + 2*time.Hour}},
		{day, day + 5*time.Hour, 3, []time.Duration{day, day + 2*time.Hour, day + 4*time.Hour, day + 5*time.Hour}},
		{day, 3 * day, 2, []time.Duration{day, 2 * day, 3 * day}},
		{day, 6 * day, 2, []time.Duration{day, 4 * day, 6 * day}},
		{5 * time.Hour, 7 * time.Hour, 0, []time.Duration{0, day}}, // within the day that is kept as one
		{5 * time.Hour, day + 2*time.Hour, 0, []time.Duration{0, day, day + time.Hour, day + 2*time.Hour}},
		{-day - time.Hour, day + 24*time.Hour, 5, []time.Duration{-2 * day, -day, 0, day, day + 12*time.Hour, 2 * day}},
		{-day, day + 1*time.Hour, 1, []time.Duration{-day, 2 * day}[:1:1]},
	} {
		if c.points == 1 {
			c.want = append(c.want, day+time.Hour)
		}
		b, err := l.Series(t.Context(), plugins.SeriesQuery{
			ConfigurationID: aCheck(1), SystemID: "shop", From: past.Add(c.from), To: past.Add(c.to), Points: c.points})
		if err != nil {
			t.Fatal(err)
		}
		var got []time.Duration
		for _, b := range b {
			got = append(got, b.Start.Sub(past))
		}
		got = append(got, b[len(b)-1].End.Sub(past))
		if !slices.Equal(got, c.want) {
			t.Errorf("%v to %v in %d: %v, want %v", c.from, c.to, c.points, got, c.want)
		}
	}
}

func TestRunsAreListedNewestFirstPageByPage(t *testing.T) {
	l := newLedger(t)
	runs := l.random(700, past, 3*time.Hour)
	for i := range runs {
		runs[i].ExecutedAt = runs[i].ExecutedAt.Truncate(time.Minute) // many at the same time
		runs[i].Message = fmt.Sprint("no. ", i)
		if i%3 == 0 {
			runs[i].Result = json.RawMessage(`{"code": 200}`)
		}
	}
	l.backdate(runs...)
	slices.SortFunc(runs, func(a, b plugins.Run) int {
		if c := b.ExecutedAt.Compare(a.ExecutedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	for _, configuration := range []string{"", aCheck(0), aCheck(1)} {
		want := []plugins.Run{}
		for _, r := range runs {
			if r.SystemID == "shop" && (configuration == "" || r.ConfigurationID == configuration) {
				want = append(want, r)
			}
		}
		got := []plugins.Run{}
		q := plugins.RunsQuery{SystemID: "shop", ConfigurationID: configuration, Limit: 37}
		for {
			page, err := l.Runs(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, page...); len(page) < q.Limit {
				break
			}
			q.Before, q.BeforeID = page[len(page)-1].ExecutedAt, page[len(page)-1].ID
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %d runs, want %d, or in another order", configuration, len(got), len(want))
		}
		before, err := l.Runs(t.Context(), plugins.RunsQuery{
			SystemID: "shop", ConfigurationID: configuration, Before: want[100].ExecutedAt, Limit: 1})
		if err != nil || len(before) != 1 || !before[0].ExecutedAt.Before(want[100].ExecutedAt) {
			t.Errorf("before a time: %+v, %v", before, err)
		}
	}
	if none, err := l.Runs(t.Context(), plugins.RunsQuery{SystemID: "nobody", Limit: 500}); err != nil || none == nil || len(none) != 0 {
		t.Errorf("of no system: %v, %v", none, err)
	}
}

func TestRunsAreCountedAsFarAs100000(t *testing.T) {
	l := newLedger(t)
	count := func(system, configuration string) int {
		n, err := l.CountRuns(t.Context(), system, configuration)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	one, other := plugins.NewID(), plugins.NewID()
	const fill = `insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
		select $1, gen_random_uuid(), now() - n * interval '1 second', $2::uuid, 'healthy', now() from generate_series(1, $3::integer) n`
	for _, c := range []struct {
		system, configuration string
		runs                  int
	}{{"shop", one, 99_999}, {"shop", other, 3}, {"bank", one, 5}} {
		if _, err := l.db.ExecContext(t.Context(), fill, c.system, c.configuration, c.runs); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		system, configuration string
		want                  int
	}{{"shop", one, 99_999}, {"shop", other, 3}, {"shop", "", 100_000}, {"bank", "", 5}, {"nobody", "", 0}} {
		if n := count(c.system, c.configuration); n != c.want {
			t.Errorf("%s %s: %d runs, want %d", c.system, c.configuration, n, c.want)
		}
	}
}

func TestQueriesNameTheFieldThatIsWrong(t *testing.T) {
	l := newLedger(t)
	c, now := aCheck(1), time.Now()
	runs := func(q plugins.RunsQuery) error { _, err := l.Runs(t.Context(), q); return err }
	series := func(q plugins.SeriesQuery) error { _, err := l.Series(t.Context(), q); return err }
	for i, got := range []struct {
		field string
		err   error
	}{
		{"systemId", runs(plugins.RunsQuery{Limit: 1})},
		{"systemId", runs(plugins.RunsQuery{SystemID: "\x00", Limit: 1})},
		{"configurationId", runs(plugins.RunsQuery{SystemID: "a", ConfigurationID: "x", Limit: 1})},
		{"limit", runs(plugins.RunsQuery{SystemID: "a"})},
		{"limit", runs(plugins.RunsQuery{SystemID: "a", Limit: 501})},
		{"beforeId", runs(plugins.RunsQuery{SystemID: "a", Limit: 1, BeforeID: c})},
		{"beforeId", runs(plugins.RunsQuery{SystemID: "a", Limit: 1, BeforeID: "x", Before: now})},
		{"before", runs(plugins.RunsQuery{SystemID: "a", Limit: 1, Before: now.AddDate(9000, 0, 0)})},
		{"configurationId", series(plugins.SeriesQuery{SystemID: "a", From: now, To: now.Add(1)})},
		{"systemId", series(plugins.SeriesQuery{ConfigurationID: c, From: now, To: now.Add(1)})},
		{"to", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now, To: now})},
		{"to", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now, To: now.AddDate(9000, 0, 0)})},
		{"from", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now.AddDate(-3000, 0, 0), To: now})},
		{"points", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now.Add(-day), To: now, Points: 2001})},
		{"points", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now.Add(-day), To: now, Points: -1})},
	} {
		if e, ok := errors.AsType[*plugins.Error](got.err); !ok || e.Status != 400 || e.Field != got.field {
			t.Errorf("case %d: %v, want %s to be wrong", i, got.err, got.field)
		}
	}
	b, err := l.Series(t.Context(), plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: time.Time{}, To: now, Points: 10})
	if err != nil || len(b) > 10 || len(b) < 5 {
		t.Errorf("all of time: %d buckets, %v", len(b), err)
	}
}

// TestSeriesEndsBeforeTheYear10000 shows that the end of the range, widened, can always be written as RFC 3339.
func TestSeriesEndsBeforeTheYear10000(t *testing.T) {
	l := newLedger(t)
	end := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	l.backdate(aRun("shop", 1, "", plugins.Healthy, 5, end.Add(-time.Hour)), aRun("shop", 1, "", plugins.Healthy, 5, end.Add(time.Hour)))
	l.roll(end.AddDate(0, 2, 0)) // both are kept as days now
	for _, from := range []time.Time{{}, past, end.AddDate(-1, 0, 0), end.Add(-2 * time.Hour), end.Add(-time.Nanosecond)} {
		for _, points := range []int{1, 2, 7, 2000} {
			q := plugins.SeriesQuery{ConfigurationID: aCheck(1), SystemID: "shop", From: from.Add(-1), To: end.Add(-1), Points: points}
			if from.IsZero() {
				q.From = from
			}
			buckets, err := l.Series(t.Context(), q)
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			if _, err := json.Marshal(buckets); err != nil {
				t.Errorf("%+v: %v", q, err)
			}
			for _, to := range []time.Time{
				end, end.Add(23*time.Hour + 1), end.Add(day - 1), end.Add(-1).In(time.FixedZone("", -12*3600)).AddDate(0, 0, 1), end.Add(day),
			} {
				q.To = to
				_, err := l.Series(t.Context(), q)
				if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != 400 || e.Field != "to" {
					t.Errorf("%+v: %v, want to refused", q, err)
				}
			}
		}
	}
}
