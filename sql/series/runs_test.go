package series_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

func TestRunsAreListedNewestFirstPageByPage(t *testing.T) {
	b := newBook(t)
	b.recorder.RawDays = 30 // 39 partitions
	if err := b.recorder.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Minute)
	runs := slices.Concat(b.random(700, now.Add(-3*time.Hour), 3*time.Hour), b.random(700, now.Add(-29*day), 29*day))
	for i := range runs {
		runs[i].ExecutedAt = runs[i].ExecutedAt.Truncate(time.Minute).UTC() // many at the same time
		runs[i].Message = fmt.Sprint("no. ", i)
		if i%3 == 0 {
			runs[i].Result = json.RawMessage(`{"code": 200}`)
		}
		if i%7 == 0 { // a system of many checks, of which most have run only once
			runs[i].SystemID, runs[i].ConfigurationID = "many", aCheck(i)
		}
	}
	b.record(runs...)
	slices.SortFunc(runs, func(a, b plugins.Run) int {
		if c := b.ExecutedAt.Compare(a.ExecutedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	for _, c := range []struct{ system, configuration string }{
		{"shop", ""}, {"shop", aCheck(0)}, {"shop", aCheck(1)}, {"many", ""}, {"many", aCheck(700)},
	} {
		want := []plugins.Run{}
		for _, r := range runs {
			if r.SystemID == c.system && (c.configuration == "" || r.ConfigurationID == c.configuration) {
				want = append(want, r)
			}
		}
		got := []plugins.Run{}
		q := plugins.RunsQuery{SystemID: c.system, ConfigurationID: c.configuration, Limit: 37}
		for {
			page, err := b.Runs(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, page...); len(page) < q.Limit {
				break
			}
			q.Before, q.BeforeID = page[len(page)-1].ExecutedAt, page[len(page)-1].ID
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %d runs, want %d, or in another order", c, len(got), len(want))
		}
		middle := want[len(want)/2].ExecutedAt
		before, err := b.Runs(t.Context(), plugins.RunsQuery{SystemID: c.system, ConfigurationID: c.configuration, Before: middle, Limit: 1})
		if err != nil || len(want) > 1 && (len(before) != 1 || !before[0].ExecutedAt.Before(middle)) {
			t.Errorf("%v: before a time: %+v, %v", c, before, err)
		}
		if n, err := b.CountRuns(t.Context(), plugins.RunsQuery{SystemID: c.system, ConfigurationID: c.configuration}); err != nil || n != len(want) {
			t.Errorf("%v: %d runs counted, want %d (%v)", c, n, len(want), err)
		}
	}
	if none, err := b.Runs(t.Context(), plugins.RunsQuery{SystemID: "nobody", Limit: 500}); err != nil || none == nil || len(none) != 0 {
		t.Errorf("of no system: %v, %v", none, err)
	}
}

func TestRunsAreCountedAsFarAs100000(t *testing.T) {
	b := newBook(t)
	one, other := plugins.NewID(), plugins.NewID()
	for _, c := range []struct {
		system, configuration string
		runs                  int
	}{{"shop", one, 99_999}, {"shop", other, 3}, {"mail", one, 100_001}, {"bank", one, 5}} {
		b.exec(`insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
			select $1, gen_random_uuid(), now() - n * interval '1 second', $2::uuid, 'healthy', now() from generate_series(1, $3::integer) n`,
			c.system, c.configuration, c.runs)
	}
	for _, c := range []struct {
		system, configuration string
		want                  int
	}{
		{"shop", one, 99_999}, {"shop", other, 3}, {"shop", "", 100_000}, {"shop", plugins.NewID(), 0},
		{"mail", one, 100_000}, {"mail", strings.ToUpper(one), 100_000}, {"bank", "", 5}, {"nobody", "", 0},
	} {
		if n, err := b.CountRuns(t.Context(), plugins.RunsQuery{SystemID: c.system, ConfigurationID: c.configuration}); err != nil || n != c.want {
			t.Errorf("%s %s: %d runs, want %d (%v)", c.system, c.configuration, n, c.want, err)
		}
	}
}
