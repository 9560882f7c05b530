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

func TestRunsAreListedByStatusAndFromATimeOn(t *testing.T) {
	b := newBook(t)
	now := time.Now().Truncate(time.Minute)
	b.record(b.random(900, now.Add(-3*time.Hour), 3*time.Hour)...)
	from := now.Add(-100 * time.Minute)
	for _, c := range []struct {
		configuration string
		statuses      []plugins.Status
		from          time.Time
	}{
		{"", []plugins.Status{plugins.Unhealthy}, time.Time{}},
		{"", []plugins.Status{plugins.Unhealthy, plugins.Degraded}, from},
		{aCheck(0), []plugins.Status{plugins.Healthy}, from},
		{aCheck(1), nil, from},
	} {
		var want []string
		for _, r := range b.runs {
			if r.SystemID == "shop" && (c.configuration == "" || r.ConfigurationID == c.configuration) && !r.ExecutedAt.Before(c.from) &&
				(c.statuses == nil || slices.Contains(c.statuses, r.Status)) {
				want = append(want, r.ID)
			}
		}
		q := plugins.RunsQuery{SystemID: "shop", ConfigurationID: c.configuration, Statuses: c.statuses, From: c.from, Limit: 17}
		if n, err := b.CountRuns(t.Context(), q); err != nil || n != len(want) || n == 0 {
			t.Errorf("%+v: %d runs counted, want %d (%v)", c, n, len(want), err)
		}
		var got []string
		for {
			page, err := b.Runs(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				got = append(got, r.ID)
			}
			if len(page) < q.Limit {
				break
			}
			q.Before, q.BeforeID = page[len(page)-1].ExecutedAt, page[len(page)-1].ID
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d runs, want %d", c, len(got), len(want))
		}
	}
}

func TestARunIsFoundByItsSystemAndItsID(t *testing.T) {
	b := newBook(t)
	b.recorder.RawDays = 30 // 39 partitions
	if err := b.recorder.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Minute)
	runs := b.random(300, now.Add(-29*day), 29*day)
	b.record(runs...)
	for _, run := range runs[:50] {
		run.ExecutedAt = run.ExecutedAt.UTC()
		for _, id := range []string{run.ID, strings.ToUpper(run.ID)} {
			if got, err := b.Run(t.Context(), run.SystemID, id); err != nil || !reflect.DeepEqual(got, run) {
				t.Errorf("got %+v, %v, want %+v", got, err, run)
			}
		}
	}
	for _, c := range [][2]string{{"nobody", runs[0].ID}, {runs[0].SystemID, plugins.NewID()}, {runs[0].SystemID, "x"}, {"", runs[0].ID}, {"\x00", runs[0].ID}} {
		if _, err := b.Run(t.Context(), c[0], c[1]); err == nil || err.Error() != plugins.NotFound("run").Error() {
			t.Errorf("%q: %v", c, err)
		}
	}
}
