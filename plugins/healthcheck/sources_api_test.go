package healthcheck_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
)

// TestSourcesRetentionAndAvailabilityAPI shows what callers of the real server can rely on.
func TestSourcesRetentionAndAvailabilityAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("a check is made where its assignment says", func(t *testing.T) { fromElsewhere(t, s) })
	t.Run("what one source saw can be read by itself", func(t *testing.T) { ofOneSource(t, s) })
	t.Run("the history of a check is kept for as long as is said", func(t *testing.T) { retained(t, s) })
	t.Run("the availability of many systems is one answer", func(t *testing.T) { available(t, s) })
	t.Run("who may do what", func(t *testing.T) { accessToHistory(t, s) })
}

func fromElsewhere(t *testing.T, s *servertest.Server) {
	st := newSite(t)
	editor := s.Token(t, "editor")
	satellite := plugins.NewID()
	if _, err := s.DB.ExecContext(t.Context(), `insert into healthcheck.sources (id, name) values ($1, 'East')`, satellite); err != nil {
		t.Fatal(err)
	}
	sys, c := system(t, s, "Elsewhere"), configure(t, s, "Elsewhere", st.URL, 3600)
	path := base + "/systems/" + sys + "/checks/" + c.ID
	s.Do(t, "PUT", path, editor, `{"enabled":true,"sources":["`+sys+`"]}`).IsInvalid(t, "sources",
		`expected "local" or the ID of a satellite as each source, but there is no satellite "`+sys+`"`)
	s.Do(t, "PUT", path, editor, `{"enabled":true,"sources":[]}`).IsInvalid(t, "sources", "expected 1 to 50 sources, not 0")
	s.Do(t, "PUT", path, editor, `{"enabled":true,"sources":"local"}`).IsInvalid(t, "sources", "expected an array, not string")
	got := servertest.Decode[healthcheck.Assignment](t, s.Do(t, "PUT", path, editor, `{"enabled":true,"sources":["`+satellite+`"]}`), 200)
	if len(got.Sources) != 1 || got.Sources[0] != satellite || got.NextRunAt != nil {
		t.Errorf("assigned %+v", got)
	}
	since := `"since":"` + got.Since.UTC().Format(time.RFC3339Nano) + `"`
	s.Do(t, "GET", base+"/systems/"+sys+"/status", "", nil).Is(t, 200, `{"systemId":"`+sys+`","status":"unknown",`+since+`,"checks":[`+
		`{"configurationId":"`+c.ID+`","name":"Elsewhere","type":"http","status":"unknown",`+since+`,"lastRunAt":null,"latencyMs":null,"message":"",`+
		`"sources":[{"sourceId":"`+satellite+`","name":"East","status":"unknown","since":null,"lastStatus":"unknown","lastRunAt":null,"latencyMs":null,`+
		`"message":"","error":null}]}]}`)
	s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil).Is(t, 409, `{"error":"Not checked from here",`+
		`"message":"only satellites make this check for that system; without systemId it is run here, and not kept"}`)
	if n := st.hits.Load(); n != 0 {
		t.Errorf("this server has looked %d times", n)
	}
	got = servertest.Decode[healthcheck.Assignment](t, s.Do(t, "PUT", path, editor, `{"enabled":true,"sources":["`+satellite+`","local"]}`), 200)
	if strings.Join(got.Sources, " ") != "local "+satellite || got.NextRunAt == nil {
		t.Errorf("assigned %+v", got)
	}
	now := await(t, s, sys, func(now healthcheck.SystemStatus) bool { return now.Checks[0].Sources[0].LastRunAt != nil })
	if now.Status != "unknown" || now.Checks[0].Sources[0].Status != "healthy" || now.Checks[0].Sources[1].Status != "unknown" {
		t.Errorf("the status is %+v", now)
	}
	got = servertest.Decode[healthcheck.Assignment](t, s.Do(t, "PUT", path, editor, `{"enabled":false}`), 200)
	if strings.Join(got.Sources, " ") != "local "+satellite || got.NextRunAt != nil {
		t.Errorf("turned off: %+v", got)
	}
}

func ofOneSource(t *testing.T, s *servertest.Server) {
	viewer, editor := s.Token(t, "viewer"), s.Token(t, "editor")
	sys, c := system(t, s, "Of one source"), configure(t, s, "Of one source", newSite(t).URL, 2592000)
	assign(t, s, sys, c.ID, false)
	for range 3 {
		s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil).Has(t, 200)
	}
	const gone = "a satellite & more" // nobody knows it any more, and two runs of the three were its
	for _, statement := range []string{
		`update checkstack.health_check_runs set source_id = '` + gone + `' where run_id in (
			select run_id from checkstack.health_check_runs where system_id = $1 order by executed_at limit 2)`,
		`delete from checkstack.health_check_aggregates where system_id = $1`,
		`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, source_id,
				run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms)
			select system_id, configuration_id, 'hourly', date_trunc('hour', executed_at, 'UTC'), source_id, count(*), count(*), 0, 0, 0, 0
			from checkstack.health_check_runs where system_id = $1 group by 1, 2, 4, 5`,
	} {
		if _, err := s.DB.ExecContext(t.Context(), statement, sys); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]int{"": 3, "&sourceId=local": 1, "&sourceId=" + url.QueryEscape(gone): 2, "&sourceId=" + plugins.NewID(): 0} {
		path := func(list string) string {
			return base + "/systems/" + sys + "/" + list + "?configurationId=" + c.ID + query
		}
		runs := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", path("runs"), viewer, nil), 200)
		if len(runs.Items) != want || runs.Total != want {
			t.Errorf("%s: %d of %d runs, want %d", query, len(runs.Items), runs.Total, want)
		}
		series := servertest.Decode[plugins.List[plugins.Bucket]](t, s.Do(t, "GET", path("series"), "", nil), 200)
		var total int64
		for _, b := range series.Items {
			total += b.Runs
		}
		if total != int64(want) || series.Total < 24 {
			t.Errorf("%s: a series of %d runs in %d buckets, want %d runs", query, total, series.Total, want)
		}
	}
	for _, bad := range []string{"", "%zz", "a;b", "%00", "local&sourceId=local", strings.Repeat("a", 201)} {
		for _, list := range []string{"runs", "series"} {
			s.Do(t, "GET", base+"/systems/"+sys+"/"+list+"?configurationId="+c.ID+"&sourceId="+bad, viewer, nil).
				IsInvalid(t, "sourceId", `expected "local" or the ID of a satellite, once`)
		}
	}
}

func retained(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	sys, c := system(t, s, "Retained"), configure(t, s, "Retained", "http://127.0.0.1:1", 2592000)
	path := base + "/systems/" + sys + "/checks/" + c.ID
	const defaults, own = `{"rawDays":7,"hourlyDays":30,"dailyDays":365}`, `{"rawDays":30,"hourlyDays":90,"dailyDays":3650}`
	const notAssigned = `{"error":"Not Found","message":"no such assignment"}`
	s.Do(t, "GET", path+"/retention", editor, nil).Is(t, 404, notAssigned)
	s.Do(t, "PUT", path+"/retention", editor, own).Is(t, 404, notAssigned)
	s.Do(t, "DELETE", path+"/retention", editor, nil).Is(t, 404, notAssigned)
	assign(t, s, sys, c.ID, false)
	s.Do(t, "GET", path+"/retention", editor, nil).Is(t, 200, defaults)
	s.Do(t, "DELETE", path+"/retention", editor, nil).Has(t, 204)
	s.Do(t, "PUT", path+"/retention", editor, own).Is(t, 200, own)
	for body, want := range map[string][2]string{
		`{}`:                                             {"rawDays", "expected rawDays, hourlyDays and dailyDays, but rawDays is missing"},
		`{"rawDays":7,"dailyDays":365}`:                  {"hourlyDays", "expected rawDays, hourlyDays and dailyDays, but hourlyDays is missing"},
		`{"rawDays":7,"hourlyDays":30}`:                  {"dailyDays", "expected rawDays, hourlyDays and dailyDays, but dailyDays is missing"},
		`{"rawDays":null,"hourlyDays":30}`:               {"rawDays", "expected rawDays, hourlyDays and dailyDays, but rawDays is missing"},
		`{"rawDays":0,"hourlyDays":30,"dailyDays":365}`:  {"rawDays", "expected a whole number of days from 1 to 30, not 0"},
		`{"rawDays":31,"hourlyDays":90,"dailyDays":365}`: {"rawDays", "expected a whole number of days from 1 to 30, not 31"},
		`{"rawDays":7,"hourlyDays":6,"dailyDays":365}`:   {"hourlyDays", "expected a whole number of days from 7 to 90, not 6"},
		`{"rawDays":7,"hourlyDays":30,"dailyDays":29}`:   {"dailyDays", "expected a whole number of days from 30 to 3650, not 29"},
		`{"rawDays":7,"hourlyDays":7,"dailyDays":365}`:   {"hourlyDays", "expected more than the 7 days of rawDays"},
		`{"rawDays":7,"hourlyDays":40,"dailyDays":40}`:   {"dailyDays", "expected more than the 40 days of hourlyDays"},
		`{"rawDays":1.5,"hourlyDays":30,"dailyDays":40}`: {"rawDays", "expected a whole number, not number 1.5"},
	} {
		s.Do(t, "PUT", path+"/retention", editor, body).IsInvalid(t, want[0], want[1])
	}
	s.Do(t, "GET", path+"/retention", editor, nil).Is(t, 200, own)
	s.Do(t, "DELETE", path, editor, nil).Has(t, 200)
	s.Do(t, "GET", path+"/retention", editor, nil).Is(t, 404, notAssigned)
	assign(t, s, sys, c.ID, false)
	s.Do(t, "GET", path+"/retention", editor, nil).Is(t, 200, defaults) // it went with the assignment
	s.Do(t, "PUT", path+"/retention", editor, own).Is(t, 200, own)
	s.Do(t, "DELETE", path+"/retention", editor, nil).Has(t, 204)
	s.Do(t, "GET", path+"/retention", editor, nil).Is(t, 200, defaults)
}

func available(t *testing.T, s *servertest.Server) {
	st := newSite(t)
	editor := s.Token(t, "editor")
	quiet, busy, c := system(t, s, "Quiet"), system(t, s, "Busy"), configure(t, s, "Busy", st.URL, 3600)
	assign(t, s, busy, c.ID, false)
	for _, code := range []int64{200, 200, 500, 200} {
		st.status.Store(code)
		s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+busy, editor, nil).Has(t, 200)
	}
	res := s.Do(t, "GET", base+"/availability?systemId="+busy+"&systemId="+plugins.NewID()+"&systemId="+quiet+"&systemId="+busy, "", nil)
	list := servertest.Decode[plugins.List[plugins.Availability]](t, res, 200)
	if list.Total != 2 || len(list.Items) != 2 || list.Items[0].SystemID != busy || list.Items[1].SystemID != quiet {
		t.Fatalf("got %s", res.Body)
	}
	for i, window := range []string{"24h", "7d", "30d", "90d", "365d"} {
		if w := list.Items[0].Windows[i]; w.Name != window || w.Runs != 4 || w.Unhealthy != 1 || w.Availability == nil || *w.Availability != 0.75 {
			t.Errorf("busy: %+v", w)
		}
		if w := list.Items[1].Windows[i]; w.Name != window || w.Runs != 0 || w.Unhealthy != 0 || w.Availability != nil {
			t.Errorf("quiet: %+v", w)
		}
	}
	s.Do(t, "GET", base+"/availability?systemId="+plugins.NewID(), "", nil).Is(t, 200, `{"items":[],"total":0}`)
	s.Do(t, "GET", base+"/availability", "", nil).IsInvalid(t, "systemId", "expected 1 to 500 IDs of systems, not 0")
	s.Do(t, "GET", base+"/availability?systemId=x", "", nil).IsInvalid(t, "systemId", "expected the ID of a system")
	many := base + "/availability?systemId=" + busy
	for range 498 {
		many += "&systemId=" + plugins.NewID()
	}
	many += "&systemId=" + quiet
	if list = servertest.Decode[plugins.List[plugins.Availability]](t, s.Do(t, "GET", many, "", nil), 200); list.Total != 2 {
		t.Errorf("of 500 systems: %+v", list)
	}
}

func accessToHistory(t *testing.T, s *servertest.Server) {
	sys, c := system(t, s, "Access to history"), configure(t, s, "Access to history", "http://127.0.0.1:1", 2592000)
	assign(t, s, sys, c.ID, false)
	retention := "/systems/" + sys + "/checks/" + c.ID + "/retention"
	for _, test := range []struct {
		method, path   string
		body           any
		anyone, viewer int
		editor         int
	}{
		{"GET", "/availability?systemId=" + sys, nil, 200, 200, 200},
		{"GET", retention, nil, 401, 200, 200},
		{"PUT", retention, plugins.DefaultRetention(), 401, 403, 200},
		{"DELETE", retention, nil, 401, 403, 204},
	} {
		s.Do(t, test.method, base+test.path, "", test.body).Has(t, test.anyone)
		s.Do(t, test.method, base+test.path, s.Token(t, "viewer"), test.body).Has(t, test.viewer)
		s.Do(t, test.method, base+test.path, s.Token(t, "editor"), test.body).Has(t, test.editor)
	}
}
