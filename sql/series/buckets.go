package series

import (
	"database/sql"
	"time"

	"checkstack/plugins"
)

// A series is cut into buckets where its rows allow it, and its rows, which come in the order of time, are added up
// bucket by bucket: at any moment there is one distribution of latencies in memory, however many rows there are.
//
// A hard example: of 1 to 5 March, in 8 points. The first two days are kept as days, so each is a bucket of its own.
// The other three, 72 hours, go into the 6 that are left: 12 hours each. A late hour of 1 March, in a row of its own,
// is added to that day.

// hour is a number of hours since 1970-01-01T00:00:00Z. The years 1 to 9999 do not fit into a [time.Duration].
type hour int64

// hourOf is the hour that t is in.
func hourOf(t time.Time) hour {
	seconds := t.Unix()
	h := seconds / 3600
	if seconds < h*3600 { // before 1970 the division rounds up
		h--
	}
	return hour(h)
}

func (h hour) time() time.Time { return time.Unix(int64(h)*3600, 0).UTC() }

// day is the hour that h's UTC day begins with.
func (h hour) day() hour { return h - ((h%24)+24)%24 }

// shape says how a range is cut into buckets: of one day from lo to split, and from there to hi of width hours, where
// the last one may be shorter.
type shape struct{ lo, split, hi, width hour }

// shapeOf cuts the range from lo to hi into at most so many buckets. Up to newest, if there is such a day, days are
// kept as days.
func shapeOf(lo, hi hour, newest sql.NullTime, points int) shape {
	s := shape{lo, lo, hi, 0}
	if newest.Valid {
		s.split = hourOf(newest.Time)
		s.lo, s.hi = lo.day(), max(hi, s.split)
	}
	left := hour(points) - (s.split-s.lo)/24
	for s.width = 1; s.width < 24; s.width++ {
		if up(s.hi-s.split, s.width) <= left {
			return s
		}
	}
	s.split = s.lo
	s.width = 24 * up(up(s.hi-s.lo, 24), hour(points))
	return s
}

// up divides and rounds up.
func up(n, by hour) hour { return (n + by - 1) / by }

// end is where the bucket ends that begins at h.
func (s *shape) end(h hour) hour {
	if h < s.split {
		return h + 24
	}
	return min(h+s.width, s.hi)
}

// aggregate is one row of the history as [seriesSQL] reads it. What is said of its latencies counts only where there
// are any.
type aggregate struct {
	newest                             sql.NullTime
	start                              time.Time
	runs, healthy, degraded, unhealthy int64
	latencies, latencySum              int64
	min, max, p95                      int32
	places, counts                     numbers // the distribution of the latencies
	scheme                             int
}

func (a *aggregate) scan(row plugins.Row) error {
	return row.Scan(&a.newest, &a.start, &a.runs, &a.healthy, &a.degraded, &a.unhealthy, &a.latencies, &a.latencySum,
		&a.min, &a.max, &a.p95, &a.places, &a.counts, &a.scheme)
}

// sums are the buckets of a shape, as far as rows were added.
type sums struct {
	shape
	done []plugins.Bucket

	// The bucket that is being added up.
	bucket                plugins.Bucket
	latencies, latencySum int64
	hist                  histogram
	unknown               bool  // the distribution of some of the latencies is not known
	peak                  int32 // the greatest 95th percentile of the rows
}

func newSums(s shape) *sums {
	sum := &sums{shape: s}
	sum.begin(s.lo)
	return sum
}

// begin begins the bucket that starts at h.
func (s *sums) begin(h hour) {
	s.bucket = plugins.Bucket{Start: h.time(), End: s.end(h).time()}
	if s.latencies > 0 {
		s.latencies, s.latencySum, s.unknown, s.peak = 0, 0, false, 0
		clear(s.hist[:])
	}
}

// add adds a row to the bucket that it begins in. It begins no earlier than the one before.
func (s *sums) add(a *aggregate) {
	for !a.start.Before(s.bucket.End) {
		s.finish()
		s.begin(hourOf(s.bucket.End))
	}
	b := &s.bucket
	b.Runs += a.runs
	b.Healthy += a.healthy
	b.Degraded += a.degraded
	b.Unhealthy += a.unhealthy
	if a.latencies == 0 {
		return
	}
	if s.latencies == 0 {
		b.MinMs, b.MaxMs = new(a.min), new(a.max)
	}
	*b.MinMs, *b.MaxMs = min(*b.MinMs, a.min), max(*b.MaxMs, a.max)
	s.latencies += a.latencies
	s.latencySum += a.latencySum
	s.peak = max(s.peak, a.p95)
	s.unknown = s.unknown || a.scheme != scheme || !s.hist.add(a.places, a.counts)
}

// finish puts the bucket, with what is derived from its sums, to those that are done.
func (s *sums) finish() {
	b := &s.bucket
	b.Availability = availability(b.Runs, b.Unhealthy)
	b.AverageMs = average(s.latencySum, s.latencies)
	if s.latencies > 0 {
		b.P95Ms = new(s.peak)
		if !s.unknown {
			*b.P95Ms = min(max(s.hist.p95(s.latencies), *b.MinMs), *b.MaxMs)
		}
	}
	s.done = append(s.done, *b)
}

// all are all buckets, once every row was added.
func (s *sums) all() []plugins.Bucket {
	for s.finish(); s.bucket.End.Before(s.hi.time()); s.finish() {
		s.begin(hourOf(s.bucket.End))
	}
	return s.done
}

// availability is the share of runs that were not unhealthy, or nil without runs.
func availability(runs, unhealthy int64) *float64 {
	if runs == 0 {
		return nil
	}
	return new(float64(runs-unhealthy) / float64(runs))
}

// average is the average latency in milliseconds, or nil where none was measured.
func average(sum, count int64) *float64 {
	if count == 0 {
		return nil
	}
	return new(float64(sum) / float64(count))
}
