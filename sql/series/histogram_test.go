package series

import (
	"math"
	"os"
	"reflect"
	"slices"
	"testing"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"

	"github.com/lib/pq"
)

func TestBucketsHaveTheValuesThatTheDatabaseKnows(t *testing.T) {
	db, _ := postgrestest.New(t, postgres.Set{ID: "checkstack", Files: os.DirFS("../migrations")})
	var theirs pq.Int32Array
	err := db.QueryRow(`select array_agg(checkstack.hist_ms(i::smallint) order by i) from generate_series(0, 488) i`).Scan(&theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual([]int32(theirs), values[:]) {
		t.Errorf("here %v\nthere %v", values, theirs)
	}
	if values[len(values)-1] != math.MaxInt32 || values[48] != 48 || values[49] != 49 {
		t.Errorf("%v", values)
	}
	if err := db.QueryRow(`select array_agg(checkstack.hist_idx(ms) order by i) from unnest($1::integer[]) with ordinality u(ms, i)`,
		pq.Array(values[:])).Scan(&theirs); err != nil {
		t.Fatal(err)
	}
	for i, idx := range theirs {
		if int(idx) != i {
			t.Errorf("%d ms, the value of bucket %d, is in bucket %d", values[i], i, idx)
		}
	}
}

func TestPercentileIsTheNearestRank(t *testing.T) {
	for _, c := range []struct {
		counts map[int]int64
		want   int32
	}{
		{map[int]int64{7: 1}, 7},
		{map[int]int64{0: 1}, 0},
		{map[int]int64{1: 19, 9: 1}, 1}, // the 19th of 20
		{map[int]int64{1: 18, 9: 1}, 9}, // the 19th of 19
		{map[int]int64{1: 95, 2: 5}, 1},
		{map[int]int64{1: 94, 2: 1, 488: 5}, 2},
		{map[int]int64{1: 94, 488: 6}, math.MaxInt32},
		{map[int]int64{0: 95 << 50, 3: 5 << 50}, 0},
		{map[int]int64{0: 95<<50 - 1, 3: 5<<50 + 1}, 3},
	} {
		var h histogram
		total := int64(0)
		for i, n := range c.counts {
			h[i] = n
			total += n
		}
		if got := h.p95(total); got != c.want {
			t.Errorf("%v: %d, want %d", c.counts, got, c.want)
		}
	}
}

func TestADistributionThatIsNotOfTheSchemeIsNotAdded(t *testing.T) {
	var h histogram
	for _, c := range []struct {
		places, counts numbers
		want           bool
	}{{numbers{0, 488}, numbers{1, 2}, true}, {numbers{489}, numbers{1}, false}, {numbers{1}, numbers{}, false}, {nil, nil, true}} {
		if got := h.add(c.places, c.counts); got != c.want {
			t.Errorf("%v %v: %v", c.places, c.counts, got)
		}
	}
	if h[0] != 1 || h[488] != 2 {
		t.Errorf("%v", h)
	}
}

func FuzzNumbers(f *testing.F) {
	for _, s := range []string{
		"{}", "{1}", "{0,12,9223372036854775807}", "{NULL}", "{1,-2}", "{1,}", "{,}", "{{1},{2}}", "", "{", "1,2", "[0:1]={1,2}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := numbers{99}
		if err := got.Scan([]byte(s)); err != nil {
			return
		}
		var want pq.Int64Array
		if err := want.Scan([]byte(s)); err != nil || !slices.Equal(got, numbers(want)) {
			t.Errorf("%q: %v, want %v, %v", s, got, want, err)
		}
	})
}

func TestNumbersAreReadAsTheDatabaseWritesThem(t *testing.T) {
	for s, want := range map[string]numbers{"{}": {}, "{7}": {7}, "{0,12,922337203685477579}": {0, 12, 922337203685477579}} {
		got := numbers{1, 2, 3, 4}
		if err := got.Scan([]byte(s)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []any{nil, int64(1), []byte("{"), []byte("{NULL}"), []byte("{-1}"), []byte("{1,}"), []byte("{99999999999999999999}")} {
		if err := new(numbers).Scan(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}
