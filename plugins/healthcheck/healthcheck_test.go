package healthcheck_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
)

const base = "/api/healthcheck"

// TestAPI shows what callers of the real server can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("a check that is assigned runs within seconds, and all of it can be read", func(t *testing.T) { story(t, s) })
	t.Run("a configuration needs valid fields", func(t *testing.T) { invalid(t, s) })
	t.Run("a configuration has a name of its own, whatever its case", func(t *testing.T) { unique(t, s) })
	t.Run("what does not exist is 404", func(t *testing.T) { unknown(t, s) })
	t.Run("who may do what", func(t *testing.T) { access(t, s) })
	t.Run("an assignment goes with its system and with its configuration", func(t *testing.T) { removal(t, s) })
	t.Run("no assignment survives its system", func(t *testing.T) { assignWhileDeleting(t, s) })
	t.Run("a changed configuration is run at once", func(t *testing.T) { changed(t, s) })
	t.Run("a check that is turned off does not run", func(t *testing.T) { turnedOff(t, s) })
	t.Run("runs by hand are limited", func(t *testing.T) { limited(t, s) })
	t.Run("runs come in pages", func(t *testing.T) { pages(t, s) })
}

// site is a system that counts who looks at it, and answers with a status that can be changed.
type site struct {
	*httptest.Server
	hits   atomic.Int64
	status atomic.Int64
}

func newSite(t testing.TB) *site {
	st := &site{}
	st.status.Store(200)
	st.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(int(st.status.Load()))
		fmt.Fprint(w, "ok")
		st.hits.Add(1)
	}))
	t.Cleanup(st.Close)
	return st
}

type configuration = healthcheck.Configuration

func input(name, url string, interval int) map[string]any {
	return map[string]any{"name": name, "type": "http", "config": map[string]any{"url": url}, "intervalSeconds": interval, "timeoutMs": 10000}
}

func configure(t testing.TB, s *servertest.Server, name, url string, interval int) configuration {
	t.Helper()
	res := s.Do(t, "POST", base+"/configurations", s.Token(t, "editor"), input(name, url, interval))
	c := servertest.Decode[configuration](t, res, 201)
	if want := base + "/configurations/" + c.ID; res.Header.Get("Location") != want {
		t.Errorf("location %q, want %q", res.Header.Get("Location"), want)
	}
	return c
}

func system(t testing.TB, s *servertest.Server, name string) string {
	t.Helper()
	res := s.Do(t, "POST", "/api/catalog/systems", s.Token(t, "editor"), map[string]string{"name": name})
	return servertest.Decode[struct{ ID string }](t, res, 201).ID
}

func assign(t testing.TB, s *servertest.Server, system, configuration string, enabled bool) healthcheck.Assignment {
	t.Helper()
	res := s.Do(t, "PUT", base+"/systems/"+system+"/checks/"+configuration, s.Token(t, "editor"), map[string]bool{"enabled": enabled})
	return servertest.Decode[healthcheck.Assignment](t, res, 200)
}

// assignStrictly assigns so that one run decides how the check is.
func assignStrictly(t testing.TB, s *servertest.Server, system, configuration string) healthcheck.Assignment {
	t.Helper()
	res := s.Do(t, "PUT", base+"/systems/"+system+"/checks/"+configuration, s.Token(t, "editor"), `{"enabled":true,"thresholds":`+strict+`}`)
	return servertest.Decode[healthcheck.Assignment](t, res, 200)
}

// strict are thresholds by which the status of a slice is that of its last run.
const strict = `{"mode":"consecutive","degraded":{"minFailureCount":1},"unhealthy":{"minFailureCount":1}}`

func status(t testing.TB, s *servertest.Server, system string) healthcheck.SystemStatus {
	t.Helper()
	return servertest.Decode[healthcheck.SystemStatus](t, s.Do(t, "GET", base+"/systems/"+system+"/status", "", nil), 200)
}

// await asks for the status of a system until it is as wanted.
func await(t testing.TB, s *servertest.Server, system string, wanted func(healthcheck.SystemStatus) bool) healthcheck.SystemStatus {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		got := status(t, s, system)
		if wanted(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s the status still is %+v", got)
		}
	}
}

func is(want plugins.Status) func(healthcheck.SystemStatus) bool {
	return func(got healthcheck.SystemStatus) bool { return got.Status == want }
}

func story(t *testing.T, s *servertest.Server) {
	st := newSite(t)
	viewer, editor := s.Token(t, "viewer"), s.Token(t, "editor")
	sys, c := system(t, s, "Story"), configure(t, s, " Story ", st.URL, 1)
	if c.Name != "Story" || string(c.Config) != `{"url":"`+st.URL+`"}` || c.CreatedAt.IsZero() {
		t.Errorf("made %+v", c)
	}
	s.Do(t, "GET", base+"/systems/"+sys+"/status", "", nil).Is(t, 200, `{"systemId":"`+sys+`","status":"unknown","since":null,"checks":[]}`)
	began := time.Now()
	if a := assignStrictly(t, s, sys, c.ID); a.SystemID != sys || a.ConfigurationID != c.ID || a.Name != "Story" || !a.Enabled || a.NextRunAt == nil {
		t.Errorf("assigned %+v", a)
	}
	got := await(t, s, sys, is("healthy"))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the first result came after %s", took)
	}
	if len(got.Checks) != 1 || got.Checks[0].Name != "Story" || got.Checks[0].Message != "status 200" || got.Checks[0].LatencyMs == nil || !got.Since.Equal(*got.Checks[0].LastRunAt) {
		t.Errorf("status %+v", got)
	}
	since := got.Since
	got = await(t, s, sys, func(n healthcheck.SystemStatus) bool { return n.Checks[0].LastRunAt.After(*since) })
	if !got.Since.Equal(*since) {
		t.Errorf("since moved from %s to %s, though the status did not change", since, got.Since)
	}
	st.status.Store(500)
	got = await(t, s, sys, is("unhealthy"))
	if !got.Since.After(*since) || got.Checks[0].Message != "expected status 2xx, got 500" {
		t.Errorf("status %+v", got)
	}
	assign(t, s, sys, c.ID, false)

	res := s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil)
	byHand := servertest.Decode[healthcheck.RunResult](t, res, 200)
	runs := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs", viewer, nil), 200)
	if len(runs.Items) < 4 || runs.Items[0].ID != byHand.RunID || !runs.Items[0].ExecutedAt.Equal(byHand.ExecutedAt) || runs.Next != "" {
		t.Errorf("by hand %+v, runs %+v", byHand, runs)
	}
	res = s.Do(t, "GET", base+"/systems/"+sys+"/series?configurationId="+c.ID, "", nil)
	series := servertest.Decode[plugins.List[plugins.Bucket]](t, res, 200)
	var total, unhealthy int64
	for _, b := range series.Items {
		total, unhealthy = total+b.Runs, unhealthy+b.Unhealthy
	}
	if total != int64(len(runs.Items)) || unhealthy < 2 || series.Total != len(series.Items) {
		t.Errorf("%d runs, and the series is %s", len(runs.Items), res.Body)
	}
	checks := servertest.Decode[plugins.List[healthcheck.Assignment]](t, s.Do(t, "GET", base+"/systems/"+sys+"/checks", viewer, nil), 200)
	if checks.Total != 1 || len(checks.Items) != 1 || checks.Items[0].Enabled || checks.Items[0].NextRunAt != nil {
		t.Errorf("checks %+v", checks)
	}
}

func invalid(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	kept := configure(t, s, "Kept", "http://example.org", 60)
	again := input("Kept", "", 60)
	again["config"] = kept.Config
	types := servertest.Decode[plugins.List[healthcheck.TypeView]](t, s.Do(t, "GET", base+"/types", editor, nil), 200)
	var names []string
	for _, v := range types.Items {
		names = append(names, v.Type)
	}
	oneOf := "expected a check type: " + strings.Join(names, ", ")
	if !strings.Contains(oneOf, "heartbeat, http, ") {
		t.Errorf("the types are %s", names)
	}
	kept = servertest.Decode[configuration](t, s.Do(t, "PUT", base+"/configurations/"+kept.ID, editor, again), 200) // as it was read
	if string(kept.Config) != `{"url":"http://example.org"}` {
		t.Errorf("the config is %s", kept.Config)
	}
	const noField = "there is no such field; the fields are url, method, headers, body, auth, expectStatus, expectBody, followRedirects, maxRedirects, version, " +
		"ipVersion, tlsVerify, tls, proxy, proxyUsername, proxyPassword"
	for _, test := range []struct{ field, value, message string }{
		{"name", `" "`, "expected a text of 1 to 200 characters, not an empty one"},
		{"name", `"` + strings.Repeat("ä", 201) + `"`, "expected a text of 1 to 200 characters, not 201"},
		{"name", `7`, "expected a string, not number"},
		{"type", `"gopher"`, oneOf},
		{"type", `null`, oneOf},
		{"config", `null`, "expected an object"},
		{"config", `"http://example.org"`, "expected an object"},
		{"config.url", `{}`, "expected this field, but it is missing"},
		{"config.url", `{"url":"example.org"}`, "expected an absolute URL such as https://example.org/health"},
		{"config.method", `{"url":"http://example.org","method":"get"}`, "expected a method in capital letters, such as GET"},
		{"config.URL", `{"url":"ftp://example.org","URL":"http://example.org"}`, noField},
		{"config.url", `{"url":"ftp://example.org","url":"http://example.org"}`, "expected this field once"},
		{"config.speed", `{"url":"http://example.org","speed":1}`, noField},
		{"intervalSeconds", `0`, "expected this field, a whole number of seconds from 1 to 2592000"},
		{"intervalSeconds", `2592001`, "expected a whole number of seconds from 1 to 2592000, not 2592001"},
		{"intervalSeconds", `1.5`, "expected a whole number, not number 1.5"},
		{"timeoutMs", `99`, "expected a whole number of milliseconds from 100 to 120000, not 99"},
		{"timeoutMs", `120001`, "expected a whole number of milliseconds from 100 to 120000, not 120001"},
		{"colour", `1`, "there is no such field"},
	} {
		top, _, _ := strings.Cut(test.field, ".")
		body := input("Bad", "http://example.org", 60)
		body[top] = json.RawMessage(test.value)
		s.Do(t, "POST", base+"/configurations", editor, body).IsInvalid(t, test.field, test.message)
		s.Do(t, "PUT", base+"/configurations/"+kept.ID, editor, body).IsInvalid(t, test.field, test.message)
	}
	without := input("Bad", "", 60)
	delete(without, "config")
	s.Do(t, "POST", base+"/configurations", editor, without).IsInvalid(t, "config.url", "expected this field, but it is missing")
	s.Do(t, "POST", base+"/try", editor, without).IsInvalid(t, "config.url", "expected this field, but it is missing")
	sys := system(t, s, "Invalid")
	path := base + "/systems/" + sys + "/checks/" + kept.ID
	thresholds := `{"mode":"window","windowSize":7,"healthy":{"minSuccessCount":2},"degraded":{"minFailureCount":3},"unhealthy":{"minFailureCount":4}}`
	s.Do(t, "PUT", path, editor, `{"enabled":false,"quorum":2,"thresholds":`+thresholds+`}`).Has(t, 200)
	for _, body := range []string{`{}`, `{"enabled":true}`} { // what is left out stays
		a := servertest.Decode[healthcheck.Assignment](t, s.Do(t, "PUT", path, editor, body), 200)
		if got, _ := json.Marshal(a.Thresholds); string(got) != thresholds || a.Quorum == nil || *a.Quorum != 2 || a.Enabled != (body != "{}") {
			t.Errorf("%s makes %+v", body, a)
		}
	}
	s.Do(t, "PUT", path, editor, `{"enabled":1}`).IsInvalid(t, "enabled", "expected true or false, not number")
	s.Do(t, "POST", base+"/configurations/"+kept.ID+"/run?systemId=x", editor, nil).IsInvalid(t, "systemId", "expected the ID of a system")
	s.Do(t, "GET", base+"/configurations?limit=501", editor, nil).IsInvalid(t, "limit", "expected a whole number from 1 to 500")
	now := servertest.Decode[configuration](t, s.Do(t, "GET", base+"/configurations/"+kept.ID, editor, nil), 200)
	if fmt.Sprint(now) != fmt.Sprint(kept) {
		t.Errorf("something was changed: %+v, it was %+v", now, kept)
	}
}

func unique(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	other := configure(t, s, "Other", "http://example.org", 60)
	const conflict = `{"error":"Already exists","message":"there is a configuration with this name; case does not distinguish names","field":"name"}`
	for _, names := range [][2]string{{"Taken", "TAKEN"}, {"É", "é"}, {"ß", "ẞ"}, {"Σίσυφος", "ΣΊΣΥΦΟΣ"}} {
		configure(t, s, names[0], "http://example.org", 60)
		for _, name := range names {
			s.Do(t, "POST", base+"/configurations", editor, input(name, "http://example.org", 60)).Is(t, 409, conflict)
			s.Do(t, "PUT", base+"/configurations/"+other.ID, editor, input(name, "http://example.org", 60)).Is(t, 409, conflict)
		}
	}
	s.Do(t, "PUT", base+"/configurations/"+other.ID, editor, input("OTHER", "http://example.org", 60)).Has(t, 200)
}

func unknown(t *testing.T, s *servertest.Server) {
	admin := servertest.Admin
	sys, c := system(t, s, "Unknown"), configure(t, s, "Unknown", "http://example.org", 60)
	for _, id := range []string{plugins.NewID(), "x", "%00"} {
		for _, test := range []struct{ method, path, what string }{
			{"GET", "/configurations/" + id, "configuration"},
			{"PUT", "/configurations/" + id, "configuration"},
			{"DELETE", "/configurations/" + id, "configuration"},
			{"POST", "/configurations/" + id + "/run", "configuration"},
			{"PUT", "/systems/" + id + "/checks/" + c.ID, "system"},
			{"PUT", "/systems/" + sys + "/checks/" + id, "configuration"},
			{"GET", "/systems/" + id + "/checks", "system"},
			{"GET", "/systems/" + id + "/status", "system"},
			{"GET", "/systems/" + id + "/runs", "system"},
			{"GET", "/systems/" + id + "/series?configurationId=" + c.ID, "system"},
		} {
			var body any
			if test.method == "PUT" {
				body = map[string]bool{"enabled": true}
				if test.what == "configuration" && strings.HasPrefix(test.path, "/configurations") {
					body = input("Nothing", "http://example.org", 60)
				}
			}
			s.Do(t, test.method, base+test.path, admin, body).Is(t, 404, `{"error":"Not Found","message":"no such `+test.what+`"}`)
		}
	}
	const notAssigned = `{"error":"Not Found","message":"no such assignment"}`
	s.Do(t, "DELETE", base+"/systems/"+sys+"/checks/"+c.ID, admin, nil).Is(t, 404, notAssigned)
	s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, admin, nil).Is(t, 404, notAssigned)
}

func access(t *testing.T, s *servertest.Server) {
	sys, c := system(t, s, "Access"), configure(t, s, "Access", "http://127.0.0.1:1", 2592000)
	for _, test := range []struct {
		method, path string
		body         any
		anyone       int
		viewer       int
		editor       int
	}{
		{"GET", "/systems/" + sys + "/status", nil, 200, 200, 200},
		{"GET", "/systems/" + sys + "/series?configurationId=" + c.ID, nil, 200, 200, 200},
		{"GET", "/systems/" + sys + "/runs", nil, 401, 200, 200},
		{"GET", "/systems/" + sys + "/checks", nil, 401, 200, 200},
		{"GET", "/configurations", nil, 401, 200, 200},
		{"GET", "/configurations/" + c.ID, nil, 401, 200, 200},
		{"POST", "/configurations", input("Access", "http://example.org", 60), 401, 403, 409},
		{"PUT", "/configurations/" + c.ID, input("Access", "http://127.0.0.1:1", 2592000), 401, 403, 200},
		{"POST", "/configurations/" + c.ID + "/run", nil, 401, 403, 200},
		{"PUT", "/systems/" + sys + "/checks/" + c.ID, `{"enabled":true}`, 401, 403, 200},
		{"DELETE", "/systems/" + sys + "/checks/" + c.ID, nil, 401, 403, 200},
		{"DELETE", "/configurations/" + c.ID, nil, 401, 403, 200},
	} {
		s.Do(t, test.method, base+test.path, "", test.body).Has(t, test.anyone)
		s.Do(t, test.method, base+test.path, s.Token(t, "viewer"), test.body).Has(t, test.viewer)
		s.Do(t, test.method, base+test.path, s.Token(t, "editor"), test.body).Has(t, test.editor)
	}
}

func removal(t *testing.T, s *servertest.Server) {
	st := newSite(t)
	editor := s.Token(t, "editor")
	sys, other := system(t, s, "Removed"), system(t, s, "Stays")
	c, d := configure(t, s, "Removed", st.URL, 1), configure(t, s, "Stays", st.URL, 1)
	for _, id := range []string{sys, other} {
		assign(t, s, id, c.ID, true)
		assign(t, s, id, d.ID, true)
		await(t, s, id, is("healthy"))
	}
	// Each check became healthy, and so did its one slice.
	s.Do(t, "DELETE", base+"/configurations/"+c.ID, editor, nil).Is(t, 200, `{"configurations":1,"assignments":2,"transitions":4}`)
	if got := status(t, s, sys); len(got.Checks) != 1 || got.Checks[0].ConfigurationID != d.ID {
		t.Errorf("without the configuration: %+v", got)
	}
	s.Do(t, "DELETE", "/api/catalog/systems/"+sys, editor, nil).Has(t, 204)
	s.Do(t, "DELETE", base+"/systems/"+other+"/checks/"+d.ID, editor, nil).Is(t, 200, `{"configurations":0,"assignments":1,"transitions":2}`)
	var left int
	const query = `select (select count(*) from healthcheck.assignments where system_id = any (array[$1, $2])) +
		(select count(*) from healthcheck.states where system_id = any (array[$1, $2])) +
		(select count(*) from healthcheck.transitions where system_id = any (array[$1, $2]))`
	if err := s.DB.QueryRowContext(t.Context(), query, sys, other).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
	s.Do(t, "DELETE", base+"/configurations/"+d.ID, editor, nil).Is(t, 200, `{"configurations":1,"assignments":0,"transitions":0}`)
}

func assignWhileDeleting(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c := configure(t, s, "While deleting", "http://127.0.0.1:1", 2592000)
	for i := range 20 {
		sys := system(t, s, fmt.Sprint("While deleting ", i))
		var both sync.WaitGroup
		both.Go(func() {
			res := s.Do(t, "PUT", base+"/systems/"+sys+"/checks/"+c.ID, editor, `{"enabled":true}`)
			if res.Status != 200 && res.Status != 404 {
				t.Errorf("assign: %d %s", res.Status, res.Body)
			}
		})
		both.Go(func() { s.Do(t, "DELETE", "/api/catalog/systems/"+sys, editor, nil).Has(t, 204) })
		both.Wait()
	}
	var left int
	err := s.DB.QueryRowContext(t.Context(), `select count(*) from healthcheck.assignments where configuration_id = $1`, c.ID).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d assignments have survived their system, %v", left, err)
	}
}

func changed(t *testing.T, s *servertest.Server) {
	st := newSite(t)
	sys, c := system(t, s, "Changed"), configure(t, s, "Changed", "http://127.0.0.1:1", 2592000)
	assignStrictly(t, s, sys, c.ID)
	if got := await(t, s, sys, is("unhealthy")); got.Checks[0].Message != "connection refused" || got.Checks[0].LatencyMs != nil {
		t.Errorf("at first: %+v", got)
	}
	s.Do(t, "PUT", base+"/configurations/"+c.ID, s.Token(t, "editor"), input("Changed", st.URL, 2592000)).Has(t, 200)
	await(t, s, sys, is("healthy"))
}

func turnedOff(t *testing.T, s *servertest.Server) {
	off, on := newSite(t), newSite(t)
	sys := system(t, s, "Turned off")
	c, d := configure(t, s, "Turned off", off.URL, 1), configure(t, s, "Turned on", on.URL, 1)
	assign(t, s, sys, c.ID, false)
	assign(t, s, sys, d.ID, true)
	got := await(t, s, sys, is("healthy"))
	first := *got.Checks[0].LastRunAt
	await(t, s, sys, func(n healthcheck.SystemStatus) bool { return n.Checks[0].LastRunAt.After(first) })
	if hits := off.hits.Load(); hits != 0 || len(got.Checks) != 1 {
		t.Errorf("%d runs of a check that is turned off; the status is %+v", hits, got)
	}
	assign(t, s, sys, d.ID, false)
}

func limited(t *testing.T, s *servertest.Server) {
	const places = 16
	editor := s.Token(t, "editor")
	waiting, hold := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		waiting <- struct{}{}
		<-hold
	}))
	t.Cleanup(slow.Close)
	c := configure(t, s, "Limited", slow.URL, 2592000)
	path := base + "/configurations/" + c.ID + "/run"
	var group sync.WaitGroup
	for range places {
		group.Go(func() { s.Do(t, "POST", path, editor, nil).Has(t, 200) })
	}
	for range places {
		<-waiting
	}
	res := s.Do(t, "POST", path, editor, nil)
	res.Is(t, 429, `{"error":"Busy","message":"16 runs by hand are under way, which is as many as may be; try again"}`)
	if after := res.Header.Get("Retry-After"); after != "1" {
		t.Errorf("Retry-After is %q, want 1", after)
	}
	close(hold)
	group.Wait()
}

func pages(t *testing.T, s *servertest.Server) {
	viewer, editor := s.Token(t, "viewer"), s.Token(t, "editor")
	sys, c := system(t, s, "Pages"), configure(t, s, "Pages", newSite(t).URL, 2592000)
	assign(t, s, sys, c.ID, false)
	var want []string
	for range 7 {
		res := s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil)
		want = append([]string{servertest.Decode[healthcheck.RunResult](t, res, 200).RunID}, want...)
	}
	var got []string
	for next, page := "", 0; page < 4; page++ {
		list := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs?configurationId="+c.ID+"&limit=3&cursor="+next, viewer, nil), 200)
		for _, run := range list.Items {
			got = append(got, run.ID)
		}
		if next = list.Next; next == "" {
			break
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
}
