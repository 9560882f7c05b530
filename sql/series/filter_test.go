package series_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// TestRunsAreFilteredAsALoopOverAllOfThemWould compares the lists and counts of random filters with a plain loop.
func TestRunsAreFilteredAsALoopOverAllOfThemWould(t *testing.T) {
	b := newBook(t)
	runs := b.random(600, time.Now().Add(-20*time.Hour), 19*time.Hour)
	for i := range runs {
		runs[i].SystemID, runs[i].ExecutedAt = "shop", runs[i].ExecutedAt.UTC().Truncate(time.Microsecond)
	}
	b.record(runs...)
	slices.SortFunc(runs, func(a, b plugins.Run) int {
		if c := b.ExecutedAt.Compare(a.ExecutedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	all := []plugins.Status{plugins.Healthy, plugins.Degraded, plugins.Unhealthy}
	middle := runs[len(runs)/2].ExecutedAt
	for _, statuses := range [][]plugins.Status{nil, all[:1], all[1:], all[2:], all} {
		for _, from := range []time.Time{{}, middle, runs[0].ExecutedAt.Add(time.Second)} {
			for _, to := range []time.Time{{}, middle.Add(time.Hour)} {
				for _, configuration := range []string{"", aCheck(1)} {
					want := []string{}
					for _, r := range runs {
						if (statuses == nil || slices.Contains(statuses, r.Status)) && !r.ExecutedAt.Before(from) && (to.IsZero() || r.ExecutedAt.Before(to)) &&
							(configuration == "" || r.ConfigurationID == configuration) {
							want = append(want, r.ID)
						}
					}
					q := plugins.RunsQuery{SystemID: "shop", ConfigurationID: configuration, Statuses: statuses, From: from, To: to, Limit: 500}
					found, err := b.Runs(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					got := []string{}
					for _, r := range found {
						got = append(got, r.ID)
					}
					if most := min(len(want), 500); !reflect.DeepEqual(got, want[:most]) {
						t.Errorf("%v from %s of %q: %d runs, want %d, or in another order", statuses, from, configuration, len(got), most)
					}
					if n, err := b.CountRuns(t.Context(), q); err != nil || n != len(want) {
						t.Errorf("%v from %s of %q: %d runs counted, want %d (%v)", statuses, from, configuration, n, len(want), err)
					}
				}
			}
		}
	}
}

func TestARunIsFoundByItsIDAmongThoseOfItsSystem(t *testing.T) {
	b := newBook(t)
	runs := b.random(50, time.Now().Add(-20*time.Hour), 19*time.Hour)
	b.record(runs...)
	for _, want := range runs {
		want.ExecutedAt = want.ExecutedAt.UTC().Truncate(time.Microsecond)
		got, err := b.Run(t.Context(), want.SystemID, strings.ToUpper(want.ID))
		if err != nil || got.ID != want.ID || got.SourceID != want.SourceID || !got.ExecutedAt.Equal(want.ExecutedAt) || got.Status != want.Status {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	for _, c := range [][2]string{{runs[0].SystemID, plugins.NewID()}, {"nobody", runs[0].ID}, {"", runs[0].ID}, {runs[0].SystemID, "x"}} {
		if _, err := b.Run(t.Context(), c[0], c[1]); err == nil || err.Error() != plugins.NotFound("run").Error() {
			t.Errorf("%v: %v", c, err)
		}
	}
}
