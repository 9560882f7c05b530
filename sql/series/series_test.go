package series_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
)

// zones are some that make days begin at odd times, or are not always as far from UTC.
var zones = []string{"UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Europe/Berlin"}

func TestWhatIsReadCountsEveryRunOnceWhileHoursBecomeDays(t *testing.T) {
	b := newBook(t)
	today := time.Now().UTC().Truncate(day)
	start := today.Add(-60 * day)
	b.record(b.random(9_000, start, 60*day)...)
	b.record(b.random(300, today.Add(-370*day), 300*day)...)
	for _, length := range []time.Duration{day, 7 * day, 30 * day, 90 * day, 365 * day} {
		edge := time.Now().UTC().Add(-length).Truncate(time.Hour)
		if length >= 30*day {
			edge = edge.Truncate(day)
		}
		b.record(aRun("edge", 1, "", plugins.Healthy, 1, edge), aRun("edge", 1, "", plugins.Unhealthy, 1, edge.Add(-time.Microsecond)))
	}
	away := make([]*book, len(zones))
	for i, zone := range zones {
		away[i] = b.in(zone)
	}
	read := func() {
		t.Helper()
		for _, reader := range away {
			reader.runs = b.runs
			reader.compareAvailability("shop", "nobody", "mail", "edge", "bank", "shop")
			for range 12 {
				from := start.Add(-5*day + time.Duration(b.rand.Int64N(int64(68*day))))
				reader.compare(plugins.SeriesQuery{
					ConfigurationID: aCheck(b.rand.IntN(2)), SystemID: []string{"shop", "mail", "bank"}[b.rand.IntN(3)],
					From: from, To: from.Add(time.Duration(math.Exp(b.rand.Float64()*math.Log(float64(70*day)))) + 1),
					Points: []int{0, 1, 2, 7, 30, 100, 2000}[b.rand.IntN(7)],
				})
			}
		}
	}
	read()
	moved := int64(0)
	// Hours are kept for a week at least: a window of 7 days never begins within a day that is kept as one.
	for _, rolled := range []time.Time{start, start.Add(11 * day), start.Add(12 * day), start.Add(29 * day), today.Add(-9 * day)} {
		for d := start; !d.After(rolled); d = d.Add(day) {
			moved += b.roll(d, "", "z")
		}
		half := rolled.Add(day)
		moved += b.roll(half, "bank", "mail") // a day of which one system is kept as a day, and two as hours
		read()
		b.record(b.random(300, start, 60*day)...) // late ones: a day has both kinds of rows
		read()
		moved += b.roll(half, "", "bank")
		moved += b.roll(rolled, "mail", "shop") // late hours join the day that is there
		read()
	}
	if moved < 10_000/3 {
		t.Errorf("%d hours moved", moved)
	}
}

// TestEveryReadIsOfOneMoment reads while others move hours into days, at first only that, which no reader may notice,
// and then record late runs too, of which a reader sees those that were stored before it began and perhaps some of the
// others.
func TestEveryReadIsOfOneMoment(t *testing.T) {
	b := newBook(t)
	start := time.Now().UTC().Truncate(day).Add(-300 * day)
	b.record(b.random(6_000, start, 20*day)...)
	systems := []string{"shop", "mail", "bank"}
	var before, after [3]atomic.Int64 // runs of each system that were stored, and that may have been
	for _, r := range b.runs {
		n := slices.Index(systems, r.SystemID)
		before[n].Add(1)
		after[n].Add(1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers, writers sync.WaitGroup
	var reads atomic.Int64
	within := func(what string, n int, low, got int64) {
		if high := after[n].Load(); got < low || got > high {
			t.Errorf("%s of %s: %d runs, want %d to %d", what, systems[n], got, low, high)
		}
	}
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				low := [3]int64{before[0].Load(), before[1].Load(), before[2].Load()}
				found, err := b.Availability(t.Context(), systems)
				if err != nil {
					t.Error(err)
					return
				}
				for n := range systems {
					within("availability", n, low[n], found[n].Windows[4].Runs)
					var runs int64
					for check := range 2 {
						buckets, err := b.Series(t.Context(), plugins.SeriesQuery{ConfigurationID: aCheck(check), SystemID: systems[n],
							From: start, To: start.Add(20 * day), Points: 1 + 19*check})
						if err != nil {
							t.Error(err)
							return
						}
						for _, bucket := range buckets {
							runs += bucket.Runs
						}
					}
					within("series", n, low[n], runs)
				}
				reads.Add(1)
			}
		})
	}
	move := func() {
		for d := range 20 {
			for _, part := range [][2]string{{"", "bank"}, {"bank", "mail"}, {"mail", "z"}} {
				if _, err := b.moveHours(start.Add(time.Duration(d)*day), part[0], part[1]); err != nil {
					t.Errorf("roll up: %v", err)
				}
			}
		}
	}
	writers.Go(move)
	writers.Wait()
	quiet := reads.Load()
	writers.Go(func() {
		for range 3 {
			move()
		}
	})
	writers.Go(func() {
		for chunk := range slices.Chunk(b.random(1_500, start, 20*day), 50) {
			for i := range chunk {
				after[slices.Index(systems, chunk[i].SystemID)].Add(1)
			}
			if err := b.store(chunk); err != nil {
				t.Errorf("record: %v", err)
			}
			for i := range chunk {
				before[slices.Index(systems, chunk[i].SystemID)].Add(1)
			}
		}
	})
	writers.Wait()
	cancel()
	readers.Wait()
	t.Logf("%d reads while hours were moved, %d while runs were recorded too", quiet, reads.Load()-quiet)
	if quiet == 0 || reads.Load() == quiet {
		t.Error("nothing was read meanwhile")
	}
}

func TestSeriesBucketsAreTheShortestThatKeepToThePoints(t *testing.T) {
	b := newBook(t)
	b.record(aRun("shop", 1, "", plugins.Healthy, 5, past.Add(time.Hour)), aRun("shop", 1, "", plugins.Healthy, 5, past.Add(5*day)))
	b.roll(past, "", "z") // the first day is kept as a day
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
		{-day, day + 1*time.Hour, 1, []time.Duration{-day, day + time.Hour}},
		{0, 4 * day, 8, []time.Duration{0, day, day + 11*time.Hour, day + 22*time.Hour, day + 33*time.Hour, day + 44*time.Hour,
			day + 55*time.Hour, day + 66*time.Hour, 4 * day}},
	} {
		buckets, err := b.Series(t.Context(), plugins.SeriesQuery{
			ConfigurationID: aCheck(1), SystemID: "shop", From: past.Add(c.from), To: past.Add(c.to), Points: c.points})
		if err != nil {
			t.Fatal(err)
		}
		var got []time.Duration
		for _, b := range buckets {
			got = append(got, b.Start.Sub(past))
		}
		got = append(got, buckets[len(buckets)-1].End.Sub(past))
		if !slices.Equal(got, c.want) {
			t.Errorf("%v to %v in %d: %v, want %v", c.from, c.to, c.points, got, c.want)
		}
	}
}

func TestQueriesNameTheFieldThatIsWrong(t *testing.T) {
	b := newBook(t)
	c, now := aCheck(1), time.Now()
	runs := func(q plugins.RunsQuery) error { _, err := b.Runs(t.Context(), q); return err }
	count := func(system, configuration string) error {
		_, err := b.CountRuns(t.Context(), plugins.RunsQuery{SystemID: system, ConfigurationID: configuration})
		return err
	}
	series := func(q plugins.SeriesQuery) error { _, err := b.Series(t.Context(), q); return err }
	availability := func(systems ...string) error { _, err := b.Availability(t.Context(), systems); return err }
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
		{"systemId", count("", c)},
		{"systemId", count("\xff", c)},
		{"configurationId", count("a", "x")},
		{"configurationId", series(plugins.SeriesQuery{SystemID: "a", From: now, To: now.Add(1)})},
		{"systemId", series(plugins.SeriesQuery{ConfigurationID: c, From: now, To: now.Add(1)})},
		{"to", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now, To: now})},
		{"to", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now, To: now.AddDate(9000, 0, 0)})},
		{"from", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now.AddDate(-3000, 0, 0), To: now})},
		{"points", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now.Add(-day), To: now, Points: 2001})},
		{"points", series(plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: now.Add(-day), To: now, Points: -1})},
		{"systemId", availability(make([]string, 501)...)},
		{"systemId", availability("a", "")},
		{"systemId", availability("a\x00")},
	} {
		if e, ok := errors.AsType[*plugins.Error](got.err); !ok || e.Status != 400 || e.Field != got.field {
			t.Errorf("case %d: %v, want %s to be wrong", i, got.err, got.field)
		}
	}
	buckets, err := b.Series(t.Context(), plugins.SeriesQuery{ConfigurationID: c, SystemID: "a", From: time.Time{}, To: now, Points: 10})
	if err != nil || len(buckets) > 10 || len(buckets) < 5 {
		t.Errorf("all of time: %d buckets, %v", len(buckets), err)
	}
	if none, err := b.Availability(t.Context(), nil); err != nil || none == nil || len(none) != 0 {
		t.Errorf("of no system: %v, %v", none, err)
	}
}

// TestSeriesEndsBeforeTheYear10000 shows that the end of the range, widened, can always be written as RFC 3339.
func TestSeriesEndsBeforeTheYear10000(t *testing.T) {
	b := newBook(t)
	end := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{end.Add(-day), end} { // no run of a time to come is taken
		b.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, run_count,
				healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms)
			values ('shop', $1, 'daily', $2, 1, 1, 0, 0, 0, 0)`, aCheck(1), at)
	}
	for _, from := range []time.Time{{}, past, end.AddDate(-1, 0, 0), end.Add(-2 * time.Hour), end.Add(-time.Nanosecond)} {
		for _, points := range []int{1, 2, 7, 2000} {
			q := plugins.SeriesQuery{ConfigurationID: aCheck(1), SystemID: "shop", From: from.Add(-1), To: end.Add(-1), Points: points}
			if from.IsZero() {
				q.From = from
			}
			buckets, err := b.Series(t.Context(), q)
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			if text, err := json.Marshal(buckets); err != nil || buckets[len(buckets)-1].Runs != 1 {
				t.Errorf("%+v: %s, %v", q, text, err)
			}
			for _, to := range []time.Time{
				end, end.Add(23*time.Hour + 1), end.Add(day - 1), end.Add(-1).In(time.FixedZone("", -12*3600)).AddDate(0, 0, 1), end.Add(day),
			} {
				q.To = to
				_, err := b.Series(t.Context(), q)
				if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != 400 || e.Field != "to" {
					t.Errorf("%+v: %v, want to refused", q, err)
				}
			}
		}
	}
}

func TestWithoutADistributionThePercentileIsTheGreatestOfTheRows(t *testing.T) {
	b := newBook(t)
	for hour := range 4 {
		b.record(aRun("shop", 1, "", plugins.Healthy, 100, past.Add(time.Duration(hour)*time.Hour)))
	}
	insert := `insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, source_id, run_count,
			healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms, p95_latency_ms,
			latency_hist_idx, latency_hist_cnt, latency_hist_v)
		values ('shop', $1, 'hourly', $2, 'old', 2, 2, 0, 0, $3::bigint, $3::bigint * 500, 400, 600, $4, $5, $6, $7)`
	b.exec(insert, aCheck(1), past, 2, 590, "{}", "{}", nil)                        // none
	b.exec(insert, aCheck(1), past.Add(1*time.Hour), 2, 580, "{7}", "{2}", 2)       // of a scheme that is not known
	b.exec(insert, aCheck(1), past.Add(2*time.Hour), 2, 570, "{7,999}", "{1,1}", 1) // with a bucket that there is not
	b.exec(insert, aCheck(1), past.Add(3*time.Hour), 0, nil, "{}", "{}", nil)       // no latencies
	b.exec(insert, aCheck(1), past.Add(4*time.Hour), 2, 560, "{60,61}", "{1,1}", 1) // one that is known
	for points, want := range map[int][]int32{5: {590, 580, 570, 100, 400}, 2: {590, 100}, 1: {590}} {
		buckets, err := b.Series(t.Context(), plugins.SeriesQuery{
			ConfigurationID: aCheck(1), SystemID: "shop", From: past, To: past.Add(5 * time.Hour), Points: points})
		if err != nil {
			t.Fatal(err)
		}
		var got []int32
		for _, bucket := range buckets {
			got = append(got, *bucket.P95Ms)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in %d buckets: %v, want %v", points, got, want)
		}
	}
}

func TestAVeryLongSeriesOfGreatNumbersDoesNotOverflow(t *testing.T) {
	b := newBook(t)
	b.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, run_count,
			healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms, p95_latency_ms,
			latency_hist_idx, latency_hist_cnt, latency_hist_v)
		select 'shop', $1, 'daily', $2::timestamptz + n * interval '24 hours', n::bigint << 40, n::bigint << 40, 0, 0,
			n::bigint << 40, n::bigint << 50, 1, 2147483647, 2147483647, array[0, 488], array[n, (n::bigint << 40) - n], 1
		from generate_series(1, 3) n`, aCheck(1), past)
	for _, from := range []time.Time{{}, past.AddDate(-1900, 0, 0), past} {
		buckets, err := b.Series(t.Context(), plugins.SeriesQuery{
			ConfigurationID: aCheck(1), SystemID: "shop", From: from, To: past.Add(9 * day), Points: 1})
		if err != nil || len(buckets) != 1 || buckets[0].Runs != 6<<40 || *buckets[0].AverageMs != 1024 || *buckets[0].P95Ms != math.MaxInt32 {
			t.Errorf("from %v: %+v, %v", from, buckets, err)
		}
	}
}
