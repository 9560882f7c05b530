package series

import (
	"fmt"
	"math"
)

// The distribution of latencies is kept as counts of buckets (SPEC D, scheme 1): the lower bounds are 0, 1, and then,
// with a the lower bound and r = a + a/50 the bucket's value, 50·r/49 + 1, in whole numbers. So every latency is within
// 2 % of the value of its bucket, and exact up to 48 ms. In the database, checkstack.hist_ms knows the same values.

// scheme is the number of the one scheme there is.
const scheme = 1

// values are the latencies in milliseconds that stand for the buckets.
var values = func() (v [489]int32) {
	a := int64(1)
	for i := range v[1:] {
		r := a + a/50
		v[i+1] = int32(min(r, math.MaxInt32))
		a = 50*r/49 + 1
	}
	return v
}()

// histogram has the count of each bucket.
type histogram [len(values)]int64

// add adds counts at places, and reports whether they are a distribution of this scheme.
func (h *histogram) add(places, counts numbers) bool {
	if len(places) != len(counts) {
		return false
	}
	for i, place := range places {
		if place >= int64(len(h)) {
			return false
		}
		h[place] += counts[i]
	}
	return true
}

// p95 is the 95th percentile of total latencies by nearest rank: the value of the first bucket up to which there are at
// least 95 % of them. It goes down from the top, where 5 % are.
func (h *histogram) p95(total int64) int32 {
	above := total / 20 // how many are above the rank
	for i := len(h) - 1; i > 0; i-- {
		if above < h[i] {
			return values[i]
		}
		above -= h[i]
	}
	return values[0]
}

// numbers is an array of whole numbers from 0, {1,2,3}. What was scanned before is overwritten.
type numbers []int64

// Scan implements [sql.Scanner].
func (n *numbers) Scan(src any) error {
	text, ok := src.([]byte)
	if !ok || len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return fmt.Errorf("expected an array of whole numbers, not %q", src)
	}
	*n = (*n)[:0]
	if len(text) == 2 {
		return nil
	}
	v := int64(-1) // no digit yet
	for i, c := range text[1:] {
		switch {
		case c >= '0' && c <= '9' && v <= (math.MaxInt64-9)/10:
			v = 10*max(v, 0) + int64(c-'0')
		case v >= 0 && (c == ',' || c == '}' && i == len(text)-2):
			*n = append(*n, v)
			v = -1
		default:
			return fmt.Errorf("expected an array of whole numbers from 0, not %q", src)
		}
	}
	return nil
}
