package series_test

import (
	"math"
	"testing"
	"time"

	"checkstack/plugins"
)

// TestPercentilesAreWithinTwoPercentOfTheExactOnes compares the 95th percentile of single hours, of days that were
// rolled up, with and without late hours beside them, and of arbitrary ranges with that of the latencies themselves.
func TestPercentilesAreWithinTwoPercentOfTheExactOnes(t *testing.T) {
	const days = 24
	lognormal := func(b *book, middle, spread float64) float64 { return middle * math.Exp(b.rand.NormFloat64()*spread) }
	for _, c := range []struct {
		name    string
		every   time.Duration
		latency func(b *book, at time.Time) float64 // in milliseconds; below 0: there is no run
	}{
		{"steady", 10 * time.Minute, func(b *book, _ time.Time) float64 { return 120 + 4*b.rand.NormFloat64() }},
		{"bimodal", 10 * time.Minute, func(b *book, _ time.Time) float64 { // the slow mode is about as frequent as the 5 % above the percentile
			if b.rand.IntN(100) < 5 {
				return lognormal(b, 2400, 0.1)
			}
			return lognormal(b, 85, 0.1)
		}},
		{"spiky", 10 * time.Minute, func(b *book, at time.Time) float64 { // one bad hour a day, and time-outs
			switch {
			case at.Hour() == at.Day()%24:
				return lognormal(b, 4000, 0.8)
			case b.rand.IntN(200) == 0:
				return 30_000
			}
			return lognormal(b, 60, 0.5)
		}},
		{"sparse", time.Hour, func(b *book, _ time.Time) float64 { // days of one run, of two, of none; from 0 ms to days
			if b.rand.IntN(12) != 0 {
				return -1
			}
			return math.Min(lognormal(b, 300, 5), math.MaxInt32) - 1
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook(t)
			runs := func(from time.Time, within, every time.Duration) (runs []plugins.Run) {
				for at := from; at.Before(from.Add(within)); at = at.Add(every) {
					if ms := c.latency(b, at); ms >= 0 {
						runs = append(runs, aRun("shop", 1, "", plugins.Healthy, int32(ms), at.Add(time.Duration(b.rand.Int64N(int64(every))))))
					}
				}
				return runs
			}
			b.record(runs(past, days*day, c.every)...)
			b.record(aRun("shop", 1, "", plugins.Healthy, -1, past)) // and one that was not measured
			check := func(from, to time.Time, points int) {
				t.Helper()
				b.compare(plugins.SeriesQuery{ConfigurationID: aCheck(1), SystemID: "shop", From: from, To: to, Points: points})
			}
			check(past, past.Add(days*day), 24*days) // hours
			for d := range days - 4 {
				b.roll(past.Add(time.Duration(d)*day), "", "z")
			}
			check(past, past.Add((days-4)*day), days) // days
			b.record(runs(past.Add(5*day), 3*day, 4*time.Hour)...)
			for range 150 {
				from := past.Add(time.Duration(b.rand.Int64N(int64(days * day))))
				check(from, from.Add(time.Duration(b.rand.Int64N(int64(days*day)))+1), 1+b.rand.IntN(3))
			}
		})
	}
}
