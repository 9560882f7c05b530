package healthcheck_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
)

// TestOverview shows how many systems are read at once, and what has changed of them.
func TestOverview(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("many systems are assigned, and read, at once", func(t *testing.T) { bulk(t, s) })
	t.Run("a bulk assignment is all or nothing", func(t *testing.T) { allOrNothing(t, s) })
	t.Run("what is off counts for nothing it is a part of", func(t *testing.T) { partsThatAreOff(t, s) })
	t.Run("transitions come in pages", func(t *testing.T) { transitionPages(t, s) })
	t.Run("a run can be read by itself, and runs by their status", func(t *testing.T) { singleRuns(t, s) })
	t.Run("a configuration is tried with its assertions", func(t *testing.T) { tried(t, s) })
	t.Run("who may do what", func(t *testing.T) { accessToOverview(t, s) })
}

func group(t testing.TB, s *servertest.Server, name string, systems ...string) string {
	t.Helper()
	editor := s.Token(t, "editor")
	id := servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", "/api/catalog/groups", editor, map[string]string{"name": name}), 201).ID
	for _, sys := range systems {
		s.Do(t, "PUT", "/api/catalog/groups/"+id+"/systems/"+sys, editor, nil).Has(t, 204)
	}
	return id
}

type statuses = plugins.List[healthcheck.ShortStatus]

func bulk(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	well, ill := newSite(t), newSite(t)
	ill.status.Store(500)
	systems := []string{system(t, s, "bulk a"), system(t, s, "bulk b"), system(t, s, "bulk c")}
	g := group(t, s, "bulk", systems...)
	a, b := configure(t, s, "bulk well", well.URL, 3600), configure(t, s, "bulk ill", ill.URL, 3600)
	strictly := json.RawMessage(strict)
	all := servertest.Decode[plugins.List[healthcheck.Assignment]](t, s.Do(t, "POST", base+"/configurations/"+a.ID+"/assign", editor,
		map[string]any{"enabled": true, "groupId": g, "thresholds": strictly}), 200)
	if all.Total != 3 || len(all.Items) != 3 {
		t.Fatalf("assigned %+v", all)
	}
	slices.Sort(systems) // as they are answered
	for i, got := range all.Items {
		if got.SystemID != systems[i] || got.ConfigurationID != a.ID || !got.Enabled || got.Thresholds.Degraded.MinFailureCount != 1 || got.NextRunAt == nil {
			t.Errorf("assigned %+v", got)
		}
		if i > 0 && got.NextRunAt.Sub(*all.Items[i-1].NextRunAt).Milliseconds() != 2 {
			t.Errorf("the first runs are at %s and %s", all.Items[i-1].NextRunAt, got.NextRunAt)
		}
	}
	one := []string{strings.ToUpper(systems[1]), systems[1]} // the same
	some := servertest.Decode[plugins.List[healthcheck.Assignment]](t, s.Do(t, "POST", base+"/configurations/"+b.ID+"/assign", editor,
		map[string]any{"enabled": true, "systemIds": one, "thresholds": strictly, "quorum": 1}), 200)
	if some.Total != 1 || some.Items[0].SystemID != systems[1] || some.Items[0].Quorum != nil { // any
		t.Errorf("assigned %+v", some)
	}
	await(t, s, systems[0], is("healthy"))
	await(t, s, systems[1], is("unhealthy"))
	worst := await(t, s, systems[1], func(now healthcheck.SystemStatus) bool { return now.Checks[1].Status == "healthy" })
	await(t, s, systems[2], is("healthy"))
	silent := system(t, s, "bulk silent")

	got := servertest.Decode[statuses](t, s.Do(t, "GET", base+"/status?systemId="+systems[1]+"&systemId="+silent+"&systemId="+plugins.NewID()+"&systemId="+systems[0], "", nil), 200)
	if got.Total != 3 || len(got.Items) != 3 || got.Items[0].SystemID != systems[1] || got.Items[1].SystemID != silent || got.Items[2].SystemID != systems[0] {
		t.Fatalf("got %+v", got)
	}
	bad := got.Items[0]
	if bad.Status != "unhealthy" || !bad.Since.Equal(*worst.Since) || fmt.Sprint(bad.Checks) != "map[healthy:1 unhealthy:1]" || len(bad.Problems) != 1 ||
		bad.Problems[0].Name != "bulk ill" || bad.Problems[0].ConfigurationID != b.ID || !bad.Problems[0].LastRunAt.Equal(*worst.Checks[0].LastRunAt) {
		t.Errorf("the worst is %+v, and was %+v", bad, worst)
	}
	s.Do(t, "GET", base+"/status?systemId="+silent, "", nil).Is(t, 200, `{"items":[{"systemId":"`+silent+
		`","name":"bulk silent","status":"unknown","since":null,"lastRunAt":null,"checks":{},"problems":[]}],"total":1}`)
	if fine := got.Items[2]; fine.Status != "healthy" || fmt.Sprint(fine.Checks) != "map[healthy:1]" || len(fine.Problems) != 0 || fine.LastRunAt == nil {
		t.Errorf("one that is well is %+v", fine)
	}
	if got := servertest.Decode[statuses](t, s.Do(t, "GET", base+"/status?groupId="+g, "", nil), 200); got.Total != 3 {
		t.Errorf("of the group: %+v", got)
	}
	page := servertest.Decode[statuses](t, s.Do(t, "GET", base+"/status?limit=2&offset=1", "", nil), 200)
	if page.Total != 4 || len(page.Items) != 2 || page.Items[0].Name != "bulk b" || page.Items[1].Name != "bulk c" {
		t.Errorf("a page of all: %+v", page)
	}
	whole := servertest.Decode[healthcheck.GroupStatus](t, s.Do(t, "GET", base+"/groups/"+g+"/status", "", nil), 200)
	if whole.GroupID != g || whole.Status != "unhealthy" || !whole.Since.Equal(*worst.Since) || len(whole.Systems) != 3 {
		t.Errorf("the group is %+v", whole)
	}
	empty := group(t, s, "empty", silent)
	if got := servertest.Decode[healthcheck.GroupStatus](t, s.Do(t, "GET", base+"/groups/"+empty+"/status", "", nil), 200); got.Status != "unknown" || got.Since != nil || len(got.Systems) != 1 {
		t.Errorf("a group that nobody checks is %+v", got)
	}
	for path, want := range map[string]string{"/groups/x/status": "group", "/groups/" + plugins.NewID() + "/status": "group", "/status?groupId=" + plugins.NewID(): "group"} {
		s.Do(t, "GET", base+path, "", nil).Is(t, 404, `{"error":"Not Found","message":"no such `+want+`"}`)
	}
	s.Do(t, "GET", base+"/status?groupId=x", "", nil).IsInvalid(t, "groupId", "expected the ID of a group")
	s.Do(t, "GET", base+"/status?systemId=x", "", nil).IsInvalid(t, "systemId", "expected the ID of a system")

	res := s.Do(t, "GET", base+"/metrics", editor, nil)
	if media := res.Header.Get("Content-Type"); res.Status != 200 || media != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("the figures: %d, %s", res.Status, media)
	}
	fineName, badName := got.Items[2].Name, bad.Name
	for _, line := range []string{
		`checkstack_system_status{system="` + fineName + `",status="healthy"} 1`, `checkstack_system_status{system="` + badName + `",status="unhealthy"} 1`,
		`checkstack_check_status{system="` + badName + `",check="bulk ill",type="http",status="unhealthy"} 1`,
		`checkstack_check_status{system="` + badName + `",check="bulk well",type="http",status="healthy"} 1`,
		`checkstack_check_blocked{system="` + fineName + `",check="bulk well",source="local"} 0`,
		"checkstack_checks_left_out 0\n",
		`checkstack_check_latency_seconds{system="` + fineName + `",check="bulk well",source="local"} `,
		fmt.Sprintf(`checkstack_check_last_run_timestamp_seconds{system=%q,check="bulk ill",source="local"} %v`, badName, float64(bad.Problems[0].LastRunAt.UnixMilli())/1000),
	} {
		if strings.Count(res.Body, "\n"+line) != 1 {
			t.Errorf("the figures have no %s in\n%s", line, res.Body)
		}
	}
	o := servertest.Decode[healthcheck.Overview](t, s.Do(t, "GET", base+"/overview", editor, nil), 200)
	if fmt.Sprint(o.Systems) != "map[healthy:2 unhealthy:1]" || fmt.Sprint(o.Checks) != "map[healthy:3 unhealthy:1]" || len(o.Errors) != 0 || len(o.Problems) != 1 {
		t.Fatalf("the overview is %+v", o)
	}
	if p := o.Problems[0]; p.SystemID != systems[1] || p.System != bad.Name || p.Name != "bulk ill" || p.Status != "unhealthy" ||
		p.Message != "expected status 2xx, got 500" || p.LastRunAt == nil || !p.Since.Equal(*bad.Since) {
		t.Errorf("the problem is %+v", p)
	}
}

func allOrNothing(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	sys, c := system(t, s, "all or nothing"), configure(t, s, "all or nothing", "http://127.0.0.1:1", 3600)
	path := base + "/configurations/" + c.ID + "/assign"
	s.Do(t, "POST", path, editor, map[string]any{"enabled": true, "systemIds": []string{sys, plugins.NewID()}}).Is(t, 404, `{"error":"Not Found","message":"no such system"}`)
	for body, want := range map[string][2]string{
		`{"enabled":true}`: {"systemIds", "expected systemIds or a groupId, and not both"},
		`{"enabled":true,"systemIds":["` + sys + `"],"groupId":"` + sys + `"}`:                                {"systemIds", "expected systemIds or a groupId, and not both"},
		`{"enabled":true,"systemIds":["` + sys + `","x"]}`:                                                    {"systemIds[1]", "expected the ID of a system"},
		`{"enabled":true,"groupId":"x"}`:                                                                      {"groupId", "expected the ID of a group"},
		`{"enabled":true,"systemIds":["` + sys + `"],"quorum":0}`:                                             {"quorum", "expected a whole number of sources from 1 to 50, not 0"},
		`{"enabled":true,"systemIds":["` + sys + `"],"thresholds":{"mode":"x","degraded":{},"unhealthy":{}}}`: {"thresholds.mode", "expected consecutive or window"},
	} {
		s.Do(t, "POST", path, editor, body).IsInvalid(t, want[0], want[1])
	}
	if got := status(t, s, sys); len(got.Checks) != 0 {
		t.Errorf("something was assigned: %+v", got)
	}
}

func partsThatAreOff(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	ill := newSite(t)
	ill.status.Store(500)
	sys := system(t, s, "parts")
	g := group(t, s, "parts", sys)
	good, bad := configure(t, s, "parts good", newSite(t).URL, 3600), configure(t, s, "parts bad", ill.URL, 3600)
	groupIs := func() plugins.Status {
		t.Helper()
		return servertest.Decode[healthcheck.GroupStatus](t, s.Do(t, "GET", base+"/groups/"+g+"/status", "", nil), 200).Status
	}
	pause := func(enabled bool) {
		t.Helper()
		in := input("parts bad", ill.URL, 3600)
		in["enabled"] = enabled
		s.Do(t, "PUT", base+"/configurations/"+bad.ID, editor, in).Has(t, 200)
	}
	assignStrictly(t, s, sys, good.ID)
	await(t, s, sys, is("healthy"))
	for _, step := range []struct {
		what     string
		off, on  func()
		isPaused bool
	}{
		{"turned off", func() { assign(t, s, sys, bad.ID, false) }, func() { assignStrictly(t, s, sys, bad.ID) }, true},
		{"paused", func() { pause(false) }, func() { pause(true) }, true},
		{"unassigned", func() { s.Do(t, "DELETE", base+"/systems/"+sys+"/checks/"+bad.ID, editor, nil).Has(t, 200) }, func() {}, false},
	} {
		assignStrictly(t, s, sys, bad.ID)
		await(t, s, sys, is("unhealthy"))
		if got := groupIs(); got != "unhealthy" {
			t.Errorf("%s: before, the group is %s", step.what, got)
		}
		step.off()
		if got := status(t, s, sys); got.Status != "healthy" || len(got.Checks) != 1 || groupIs() != "healthy" {
			t.Errorf("%s: the group is %s, the system %+v", step.what, groupIs(), got)
		}
		list := servertest.Decode[plugins.List[healthcheck.Assignment]](t, s.Do(t, "GET", base+"/systems/"+sys+"/checks", editor, nil), 200)
		if paused := len(list.Items) == 2 && list.Items[0].Status == "paused" && list.Items[0].NextRunAt == nil; paused != step.isPaused {
			t.Errorf("%s: the checks are %+v", step.what, list)
		}
		step.on()
	}
}

func transitionPages(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	st := newSite(t)
	sys, c := system(t, s, "transitions"), configure(t, s, "transitions", st.URL, 2592000)
	assignStrictly(t, s, sys, c.ID)
	await(t, s, sys, is("healthy"))
	var want []string // the newest first
	for i := range 6 {
		st.status.Store([]int64{500, 200}[i%2])
		run := servertest.Decode[healthcheck.RunResult](t, s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil), 200)
		want = append([]string{run.RunID}, want...)
	}
	path := base + "/systems/" + sys + "/transitions"
	list := func(query string) (all []healthcheck.Transition) {
		t.Helper()
		for cursor := ""; ; {
			page := servertest.Decode[plugins.List[healthcheck.Transition]](t, s.Do(t, "GET", path+"?limit=3&cursor="+cursor+query, "", nil), 200)
			all = append(all, page.Items...)
			if cursor = page.Next; cursor == "" || len(all) > 20 {
				return all
			}
		}
	}
	all := list("&configurationId=" + c.ID)
	if len(all) != 7 {
		t.Fatalf("%d transitions: %+v", len(all), all)
	}
	for i, tr := range all[:6] {
		from, to := plugins.Healthy, plugins.Unhealthy
		if i%2 == 0 {
			from, to = to, from
		}
		if tr.RunID == nil || *tr.RunID != want[i] || tr.From != from || tr.To != to || tr.Cause != "run" || tr.SourceID != nil || tr.ConfigurationID != c.ID {
			t.Errorf("transition %d is %+v", i, tr)
		}
	}
	if last := all[6]; last.From != "unknown" || last.To != "healthy" {
		t.Errorf("the first was %+v", last)
	}
	sources := 0
	for _, tr := range list("&sources=true") {
		if tr.SourceID != nil {
			sources++
		}
	}
	if sources != 7 {
		t.Errorf("%d transitions of sources", sources)
	}
	if other := list("&configurationId=" + plugins.NewID()); len(other) != 0 {
		t.Errorf("of another check: %+v", other)
	}
	for query, want := range map[string][2]string{
		"cursor=x":          {"cursor", "expected the next of a page of transitions"},
		"cursor=-1":         {"cursor", "expected the next of a page of transitions"},
		"limit=501":         {"limit", "expected a whole number from 1 to 500"},
		"sources=x":         {"sources", "expected true or false"},
		"configurationId=x": {"configurationId", "expected the ID of a configuration"},
	} {
		s.Do(t, "GET", path+"?"+query, "", nil).IsInvalid(t, want[0], want[1])
	}
}

func singleRuns(t *testing.T, s *servertest.Server) {
	viewer, editor := s.Token(t, "viewer"), s.Token(t, "editor")
	st := newSite(t)
	in := input("single runs", st.URL, 2592000)
	in["assertions"] = []map[string]any{{"path": "size", "op": "eq", "value": 2}, {"path": "status", "op": "lt", "value": 300, "severity": "degraded"}}
	c := servertest.Decode[configuration](t, s.Do(t, "POST", base+"/configurations", editor, in), 201)
	sys := system(t, s, "single runs")
	assign(t, s, sys, c.ID, false)
	ids := make(map[plugins.Status][]string)
	for _, code := range []int64{200, 500, 200, 500, 200} {
		st.status.Store(code)
		run := servertest.Decode[healthcheck.RunResult](t, s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil), 200)
		ids[run.Status] = append([]string{run.RunID}, ids[run.Status]...)
		got := servertest.Decode[plugins.Run](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs/"+run.RunID, viewer, nil), 200)
		if got.ID != run.RunID || got.Status != run.Status || !got.ExecutedAt.Equal(run.ExecutedAt) || got.Message != run.Message {
			t.Errorf("read %+v, made %+v", got, run)
		}
		var result struct {
			Status, Size int
			Phases       map[string]any
			Assertions   []struct {
				Path string
				OK   bool
			}
		}
		if err := json.Unmarshal(got.Result, &result); err != nil || result.Status != int(code) || result.Size != 2 || len(result.Phases) == 0 ||
			len(result.Assertions) != 2 || !result.Assertions[0].OK || result.Assertions[1].OK != (code == 200) {
			t.Errorf("the result is %s, %v", got.Result, err)
		}
	}
	if len(ids[plugins.Healthy]) != 3 || len(ids[plugins.Unhealthy]) != 2 {
		t.Fatalf("the runs are %v", ids)
	}
	for query, want := range map[string][]string{
		"status=healthy":                           ids[plugins.Healthy],
		"status=unhealthy":                         ids[plugins.Unhealthy],
		"status=unhealthy&status=degraded":         ids[plugins.Unhealthy],
		"status=degraded":                          nil,
		"from=2100-01-01T00:00:00Z":                nil,
		"status=healthy&from=2026-01-01T00:00:00Z": ids[plugins.Healthy],
	} {
		list := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs?"+query, viewer, nil), 200)
		var got []string
		for _, run := range list.Items {
			got = append(got, run.ID)
		}
		if !slices.Equal(got, want) || list.Total != len(want) {
			t.Errorf("%s: %d, %v, want %v", query, list.Total, got, want)
		}
	}
	s.Do(t, "GET", base+"/systems/"+sys+"/runs?status=unknown", viewer, nil).IsInvalid(t, "status", "expected healthy, degraded or unhealthy")
	const none = `{"error":"Not Found","message":"no such run"}`
	s.Do(t, "GET", base+"/systems/"+sys+"/runs/"+plugins.NewID(), viewer, nil).Is(t, 404, none)
	s.Do(t, "GET", base+"/systems/"+sys+"/runs/x", viewer, nil).Is(t, 404, none)
	other := system(t, s, "no runs")
	s.Do(t, "GET", base+"/systems/"+other+"/runs/"+ids[plugins.Healthy][0], viewer, nil).Is(t, 404, none)
}

func tried(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	st := newSite(t)
	body := func(assertions ...map[string]any) map[string]any {
		return map[string]any{"name": "", "type": "http", "config": map[string]any{"url": st.URL}, "intervalSeconds": 0, "timeoutMs": 0, "assertions": assertions}
	}
	res := s.Do(t, "POST", base+"/try", editor, body(map[string]any{"path": "size", "op": "gt", "value": 100, "severity": "degraded"},
		map[string]any{"path": "status", "op": "eq", "value": 200}))
	got := servertest.Decode[healthcheck.RunResult](t, res, 200)
	if got.Status != "degraded" || got.RunID != "" || got.LatencyMs == nil || got.Message != "expected size gt 100, got 2" || len(got.Assertions) != 2 ||
		got.Assertions[0].OK || !got.Assertions[1].OK || strings.Contains(string(got.Result), "assertions") {
		t.Errorf("answered %s", res.Body)
	}
	s.Do(t, "POST", base+"/try", editor, body(map[string]any{"path": "speed", "op": "eq", "value": 1})).Has(t, 400)
	s.Do(t, "POST", base+"/try", editor, `{"name":"","type":"http","config":{"url":"x"}}`).
		IsInvalid(t, "config.url", "expected an absolute URL such as https://example.org/health")
	s.Do(t, "POST", base+"/try", editor, `{"name":"","type":"http","config":{"url":"http://x"},"template":true}`).
		IsInvalid(t, "systemId", "expected the ID of a system, because the configuration is a template")
	s.Do(t, "POST", base+"/try", editor, `{"name":"","type":"http","config":{"url":"http://x"},"configurationId":"`+plugins.NewID()+`"}`).
		Is(t, 404, `{"error":"Not Found","message":"no such configuration"}`)
	sys := named(t, s, "tried", map[string]any{"port": st.URL[strings.LastIndexByte(st.URL, ':')+1:]})
	in := template("", "http://127.0.0.1:${system.metadata.port}/", 60)
	in["systemId"] = strings.ToUpper(sys)
	if got := servertest.Decode[healthcheck.RunResult](t, s.Do(t, "POST", base+"/try", editor, in), 200); got.Status != "healthy" {
		t.Errorf("a template: %+v", got)
	}
	var kept int
	if err := s.DB.QueryRowContext(t.Context(), `select count(*) from healthcheck.configurations where name in ('', 'tried')`).Scan(&kept); err != nil || kept != 0 {
		t.Errorf("%d are kept, %v", kept, err)
	}
}

func accessToOverview(t *testing.T, s *servertest.Server) {
	sys, c := system(t, s, "access to overview"), configure(t, s, "access to overview", "http://127.0.0.1:1", 2592000)
	assign(t, s, sys, c.ID, false)
	g := group(t, s, "access to overview", sys)
	for _, test := range []struct {
		method, path           string
		body                   any
		anyone, viewer, editor int
	}{
		{"GET", "/status", nil, 200, 200, 200},
		{"GET", "/groups/" + g + "/status", nil, 200, 200, 200},
		{"GET", "/systems/" + sys + "/transitions", nil, 200, 200, 200},
		{"GET", "/systems/" + sys + "/errors", nil, 401, 200, 200},
		{"GET", "/systems/" + sys + "/runs/" + plugins.NewID(), nil, 401, 404, 404},
		{"GET", "/overview", nil, 401, 200, 200},
		{"GET", "/metrics", nil, 401, 200, 200},
		{"GET", "/types", nil, 401, 200, 200},
		{"POST", "/try", `{"name":"","type":"http","config":{"url":"http://127.0.0.1:1"}}`, 401, 403, 200},
		{"POST", "/configurations/" + c.ID + "/assign", map[string]any{"enabled": false, "systemIds": []string{sys}}, 401, 403, 200},
	} {
		s.Do(t, test.method, base+test.path, "", test.body).Has(t, test.anyone)
		s.Do(t, test.method, base+test.path, s.Token(t, "viewer"), test.body).Has(t, test.viewer)
		s.Do(t, test.method, base+test.path, s.Token(t, "editor"), test.body).Has(t, test.editor)
	}
}
