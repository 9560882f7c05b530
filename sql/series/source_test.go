// These tests ask for what one source did, and compare it with the runs of that source.
package series_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// of is the book with the runs of one source only: what there is to read of it.
func (b *book) of(source string) *book {
	one := *b
	one.runs = slices.DeleteFunc(slices.Clone(b.runs), func(r plugins.Run) bool { return r.SourceID != source })
	return &one
}

func TestRunsOfASourceAreListedAndCounted(t *testing.T) {
	b := newBook(t)
	b.recorder.RawDays = 30 // 39 partitions
	if err := b.recorder.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Minute)
	b.record(b.random(600, now.Add(-3*time.Hour), 3*time.Hour)...)
	b.record(b.random(600, now.Add(-29*day), 29*day)...)
	for i := range 40 { // a system of many checks, of which most sources make few, and one is gone since weeks
		b.record(aRun("many", i, []string{"", "berlin", "paris", ""}[i%4], plugins.Healthy, 5, now.Add(-time.Duration(i)*time.Hour)),
			aRun("many", i%3, "gone", plugins.Degraded, -1, now.Add(-28*day+time.Duration(i)*time.Minute)))
	}
	for _, source := range []string{"", "berlin", "paris", "gone", "nobody", "Berlin"} {
		kept := b.of(source).runs
		slices.SortFunc(kept, func(a, b plugins.Run) int {
			if c := b.ExecutedAt.Compare(a.ExecutedAt); c != 0 {
				return c
			}
			return strings.Compare(b.ID, a.ID)
		})
		for _, c := range []struct{ system, configuration string }{
			{"shop", ""}, {"shop", aCheck(0)}, {"shop", aCheck(1)}, {"many", ""}, {"many", aCheck(1)}, {"many", aCheck(2)}, {"none", ""},
		} {
			want := []string{}
			for _, r := range kept {
				if r.SystemID == c.system && (c.configuration == "" || r.ConfigurationID == c.configuration) {
					want = append(want, r.ID)
				}
			}
			got := []string{}
			q := plugins.RunsQuery{SystemID: c.system, ConfigurationID: c.configuration, SourceID: &source, Limit: 37}
			for {
				page, err := b.Runs(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range page {
					if got = append(got, r.ID); r.SourceID != source {
						t.Errorf("%v of %q: a run of %q", c, source, r.SourceID)
					}
				}
				if len(page) < q.Limit {
					break
				}
				q.Before, q.BeforeID = page[len(page)-1].ExecutedAt, page[len(page)-1].ID
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v of %q: %d runs, want %d, or in another order", c, source, len(got), len(want))
			}
			if n, err := b.CountRuns(t.Context(), q); err != nil || n != len(want) { // wherever the page is
				t.Errorf("%v of %q: %d runs counted, want %d (%v)", c, source, n, len(want), err)
			}
		}
	}
}

func TestTheSeriesOfASourceHasTheBucketsOfAll(t *testing.T) {
	b := newBook(t)
	b.record(b.random(3_000, past, 12*day)...)
	for i := range 60 { // seldom, so that whole days are without it, and only in days that are kept as days and later ones
		b.record(aRun("shop", 1, "paris", plugins.Unhealthy, int32(i), past.Add(time.Duration(i%30)*5*time.Hour)))
	}
	rolled := 0
	for _, days := range []int{0, 1, 5, 12} {
		for ; rolled < days; rolled++ {
			b.roll(past.Add(time.Duration(rolled)*day), "", "z")
		}
		b.record(b.random(100, past, 12*day)...) // late ones: a day has both kinds of rows
		for range 40 {
			from := past.Add(-day + time.Duration(b.rand.Int64N(int64(13*day))))
			q := plugins.SeriesQuery{ConfigurationID: aCheck(1), SystemID: "shop", From: from,
				To: from.Add(1 + time.Duration(b.rand.Int64N(int64(10*day)))), Points: []int{0, 1, 7, 50, 2000}[b.rand.IntN(5)]}
			all, err := b.Series(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var runs int64
			for _, source := range []string{"", "berlin", "paris", "nobody"} {
				q.SourceID = &source
				b.of(source).compare(q)
				one, err := b.Series(t.Context(), q)
				if err != nil || len(one) != len(all) {
					t.Fatalf("%+v of %q: %d buckets, and %d of all sources (%v)", q, source, len(one), len(all), err)
				}
				for i := range one {
					if !one[i].Start.Equal(all[i].Start) || !one[i].End.Equal(all[i].End) {
						t.Errorf("%+v of %q: bucket %d from %v to %v, of all sources %v to %v",
							q, source, i, one[i].Start, one[i].End, all[i].Start, all[i].End)
					}
					runs += one[i].Runs
				}
			}
			for _, bucket := range all {
				runs -= bucket.Runs
			}
			if runs != 0 {
				t.Errorf("%+v: the sources together have %d runs more than all", q, runs)
			}
		}
	}
}

func TestASourceThatCanBeNoneIsNamed(t *testing.T) {
	b := newBook(t)
	now := time.Now()
	for _, source := range []string{"\x00", "\xff", strings.Repeat("ä", 201)} {
		_, runs := b.Runs(t.Context(), plugins.RunsQuery{SystemID: "a", SourceID: &source, Limit: 1})
		_, count := b.CountRuns(t.Context(), plugins.RunsQuery{SystemID: "a", SourceID: &source})
		_, series := b.Series(t.Context(), plugins.SeriesQuery{ConfigurationID: aCheck(1), SystemID: "a", SourceID: &source, From: now.Add(-day), To: now})
		for _, err := range []error{runs, count, series} {
			if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != 400 || e.Field != "sourceId" {
				t.Errorf("%.10q: %v", source, err)
			}
		}
	}
	longest := strings.Repeat("ä", 200)
	if n, err := b.CountRuns(t.Context(), plugins.RunsQuery{SystemID: "a", SourceID: &longest}); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// TestASourceIsNoPartOfThePlanUnlessItIsAskedFor shows that all sources together are read as if there were no such
// question.
func TestASourceIsNoPartOfThePlanUnlessItIsAskedFor(t *testing.T) {
	b := newBook(t)
	b.record(b.random(3_000, time.Now().Add(-20*time.Hour), 19*time.Hour)...)
	hour := time.Now().UTC().Truncate(time.Hour)
	for _, statement := range []struct {
		file          string
		before, after []any // of the source
	}{
		{"runs.sql", []any{"shop", nil, "infinity", aCheck(0), 100}, []any{nil, "-infinity", "infinity"}},
		{"runs.sql", []any{"shop", aCheck(1), "infinity", aCheck(0), 100}, []any{nil, "-infinity", "infinity"}},
		{"runs_count.sql", []any{"shop", ""}, []any{nil, "-infinity", "infinity"}},
		{"runs_count.sql", []any{"shop", aCheck(1)}, []any{nil, "-infinity", "infinity"}},
		{"series.sql", []any{"shop", aCheck(1), hour.Add(-day), hour, hour.Truncate(day).Add(-day)}, nil},
	} {
		text, err := os.ReadFile(statement.file)
		if err != nil {
			t.Fatal(err)
		}
		plan := func(source any) []string {
			lines, err := plugins.Rows(t.Context(), b.DB, func(row plugins.Row) (line string, err error) {
				return line, row.Scan(&line)
			}, `explain (costs off) `+string(text), slices.Concat(statement.before, []any{source}, statement.after)...)
			if err != nil {
				t.Fatal(statement.file, err)
			}
			return lines
		}
		all, one := plan(nil), plan("berlin")
		ofSource := func(line string) bool { return strings.Contains(line, "source_id") }
		if slices.ContainsFunc(all, ofSource) || !slices.ContainsFunc(one, ofSource) {
			t.Errorf("%s: of all sources\n%s\nof one\n%s", statement.file, strings.Join(all, "\n"), strings.Join(one, "\n"))
		}
	}
}
