package healthcheck_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
)

// TestHeartbeats shows what targets that report by themselves can rely on.
func TestHeartbeats(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("a target that reports is as it says, and unhealthy when it stops", func(t *testing.T) { reports(t, s) })
	t.Run("a token is shown once, and can be replaced", func(t *testing.T) { tokens(t, s) })
	t.Run("a report that is not understood is refused", func(t *testing.T) { badBeats(t, s) })
	t.Run("nobody but the target makes the check", func(t *testing.T) { onlyTheTarget(t, s) })
	t.Run("an edit is no report that is missing", func(t *testing.T) { editedBeats(t, s) })
	t.Run("many targets may report at once", func(t *testing.T) { manyBeats(t, s) })
}

const beats = base + "/heartbeats/"

var tokenForm = regexp.MustCompile(`^hb_[A-Za-z0-9_-]{32}$`)

// beating makes a heartbeat of a system, and returns its token.
func beating(t testing.TB, s *servertest.Server, name string, interval int) (sys, configuration, token string) {
	t.Helper()
	in := map[string]any{"name": name, "type": "heartbeat", "intervalSeconds": interval, "timeoutMs": 100}
	c := servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", base+"/configurations", s.Token(t, "editor"), in), 201)
	sys = system(t, s, name)
	a := assignStrictly(t, s, sys, c.ID)
	if !tokenForm.MatchString(a.HeartbeatToken) {
		t.Fatalf("the token is %q", a.HeartbeatToken)
	}
	return sys, c.ID, a.HeartbeatToken
}

func reports(t *testing.T, s *servertest.Server) {
	sys, _, token := beating(t, s, "Reports", 2)
	if got := status(t, s, sys); got.Status != "unknown" || got.Checks[0].Sources[0].LastRunAt != nil {
		t.Errorf("before the first report it is %+v", got)
	}
	res := s.Do(t, "POST", beats+token, "", nil)
	first := servertest.Decode[healthcheck.RunResult](t, res, 200)
	if first.Status != "healthy" || first.LatencyMs != nil || first.Message != "reported" || first.ExecutedAt.IsZero() {
		t.Errorf("answered %s", res.Body)
	}
	if got := status(t, s, sys); got.Status != "healthy" || !got.Checks[0].LastRunAt.Equal(first.ExecutedAt) {
		t.Errorf("after a report it is %+v", got)
	}
	res = s.Do(t, "POST", beats+token, "", `{"status":"degraded","latencyMs":1234,"message":"half of it"}`)
	if second := servertest.Decode[healthcheck.RunResult](t, res, 200); second.Status != "degraded" || *second.LatencyMs != 1234 || second.Message != "half of it" {
		t.Errorf("answered %s", res.Body)
	}
	if got := status(t, s, sys); got.Status != "degraded" || *got.Checks[0].LatencyMs != 1234 || got.Checks[0].Message != "half of it" {
		t.Errorf("after a report that says so it is %+v", got)
	}
	s.Do(t, "POST", beats+token, "", `{}`).Has(t, 200)
	got := await(t, s, sys, is("unhealthy"))
	if late := got.Checks[0].LastRunAt.Sub(first.ExecutedAt); got.Checks[0].Message != "no heartbeat" || got.Checks[0].LatencyMs != nil || late.Seconds() < 2.1 {
		t.Errorf("without a report for %s it is %+v", late, got)
	}
	s.Do(t, "POST", beats+token, "", nil).Has(t, 200)
	if got := status(t, s, sys); got.Status != "healthy" {
		t.Errorf("when it reports again it is %+v", got)
	}
	runs := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs", s.Token(t, "viewer"), nil), 200)
	if n := len(runs.Items); n < 5 || runs.Items[n-1].Message != "reported" || runs.Items[n-1].SourceID != "" {
		t.Errorf("the runs are %+v", runs)
	}
}

func tokens(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	sys, id, token := beating(t, s, "Tokens", 86400)
	path := base + "/systems/" + sys + "/checks/" + id
	if again := assignStrictly(t, s, sys, id); again.HeartbeatToken != "" {
		t.Errorf("assigned again it has the token %q", again.HeartbeatToken)
	}
	s.Do(t, "POST", beats+token, "", nil).Has(t, 200)
	if list := s.Do(t, "GET", base+"/systems/"+sys+"/checks", editor, nil); strings.Contains(list.Body, "heartbeatToken") {
		t.Errorf("the list shows %s", list.Body)
	}
	var kept int
	if err := s.DB.QueryRowContext(t.Context(), `select count(*) from healthcheck.assignments a where a::text like '%' || $1 || '%'`, token).Scan(&kept); err != nil || kept != 0 {
		t.Errorf("the token is stored, %v", err)
	}
	s.Do(t, "POST", path+"/heartbeat-token", "", nil).Has(t, 401)
	s.Do(t, "POST", path+"/heartbeat-token", s.Token(t, "viewer"), nil).Has(t, 403)
	fresh := servertest.Decode[healthcheck.HeartbeatToken](t, s.Do(t, "POST", path+"/heartbeat-token", editor, nil), 200)
	if !tokenForm.MatchString(fresh.Token) || fresh.Token == token || fresh.Path != beats+fresh.Token {
		t.Errorf("the new one is %+v", fresh)
	}
	simple := servertest.Decode[healthcheck.RunResult](t, s.Do(t, "GET", fresh.Path+"?status=degraded&latencyMs=1500&message=slow", "", nil), 200)
	if simple.Status != "degraded" || *simple.LatencyMs != 1500 || simple.Message != "slow" {
		t.Errorf("a report without a body is %+v", simple)
	}
	const none = `{"error":"Not Found","message":"no such heartbeat"}`
	s.Do(t, "POST", beats+token, "", nil).Is(t, 404, none)
	s.Do(t, "POST", fresh.Path, "", nil).Has(t, 200)

	assign(t, s, sys, id, false)
	s.Do(t, "POST", fresh.Path, "", nil).Is(t, 404, none) // nobody is to look
	assignStrictly(t, s, sys, id)
	s.Do(t, "POST", fresh.Path, "", nil).Has(t, 200)

	other, page := system(t, s, "No heartbeat"), configure(t, s, "No heartbeat", "http://127.0.0.1:1", 86400)
	s.Do(t, "POST", base+"/systems/"+other+"/checks/"+page.ID+"/heartbeat-token", editor, nil).Is(t, 404, none)
	if a := assign(t, s, other, page.ID, false); a.HeartbeatToken != "" {
		t.Errorf("a page has the token %q", a.HeartbeatToken)
	}
	s.Do(t, "POST", base+"/systems/"+other+"/checks/"+page.ID+"/heartbeat-token", editor, nil).Is(t, 404, none)
}

func badBeats(t *testing.T, s *servertest.Server) {
	sys, _, token := beating(t, s, "Bad beats", 86400)
	const none = `{"error":"Not Found","message":"no such heartbeat"}`
	for _, wrong := range []string{"x", "hb_", token + "a", token[:34], "hb_" + strings.Repeat("a", 32), strings.ToUpper(token), "%00"} {
		s.Do(t, "POST", beats+wrong, "", nil).Is(t, 404, none)
	}
	s.Do(t, "POST", beats+token, "", `{"status":"fine"}`).IsInvalid(t, "status", "expected healthy, degraded or unhealthy")
	s.Do(t, "POST", beats+token, "", `{"status":"stale"}`).IsInvalid(t, "status", "expected healthy, degraded or unhealthy")
	s.Do(t, "POST", beats+token, "", `{"latencyMs":-1}`).IsInvalid(t, "latencyMs", "expected a number of milliseconds from 0")
	s.Do(t, "POST", beats+token, "", `{"speed":1}`).IsInvalid(t, "speed", "there is no such field")
	s.Do(t, "POST", beats+token, "", map[string]string{"message": strings.Repeat("ä", 501)}).Has(t, 400)
	s.Do(t, "GET", beats+token+"?status=fine", "", nil).IsInvalid(t, "status", "expected healthy, degraded or unhealthy")
	s.Do(t, "GET", beats+token+"?latencyMs=1e3", "", nil).IsInvalid(t, "latencyMs", "expected a number of milliseconds from 0")
	s.Do(t, "DELETE", beats+token, "", nil).Has(t, 405)
	if strings.Contains(s.Log(), token[4:]) || !strings.Contains(s.Log(), "/api/healthcheck/heartbeats/hb_…") {
		t.Error("the token is in the log")
	}
	if got := status(t, s, sys); got.Checks[0].LastRunAt != nil {
		t.Errorf("something was kept: %+v", got)
	}
	s.Do(t, "POST", beats+token, "", map[string]string{"message": strings.Repeat("ä", 500)}).Has(t, 200)
}

func onlyTheTarget(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	sys, id, _ := beating(t, s, "Only the target", 86400)
	s.Do(t, "POST", base+"/configurations/"+id+"/run?systemId="+sys, editor, nil).Is(t, 409,
		`{"error":"Not checked from here","message":"the target of a heartbeat reports by itself, and cannot be asked"}`)
	s.Do(t, "POST", base+"/try", editor, `{"name":"x","type":"heartbeat","config":{}}`).
		IsInvalid(t, "type", "expected a type that can be run; the target of a heartbeat reports by itself")
	satellite := plugins.NewID()
	if _, err := s.DB.ExecContext(t.Context(), `insert into healthcheck.sources (id, name) values ($1, 'East')`, satellite); err != nil {
		t.Fatal(err)
	}
	s.Do(t, "PUT", base+"/systems/"+sys+"/checks/"+id, editor, map[string]any{"enabled": true, "sources": []string{"local", satellite}}).
		IsInvalid(t, "sources", `expected "local" alone, because it is this server that the target reports to`)
	s.Do(t, "POST", base+"/configurations", editor, `{"name":"With","type":"heartbeat","config":{"url":"x"},"intervalSeconds":60,"timeoutMs":100}`).
		IsInvalid(t, "config.url", "there is no such field")
}

// editedBeats changes what a heartbeat has from the catalog, and then its configuration: the target has its time still.
func editedBeats(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	in := map[string]any{"name": "Edited", "type": "heartbeat", "config": map[string]any{}, "template": true, "intervalSeconds": 1, "timeoutMs": 60_000}
	c := servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", base+"/configurations", editor, in), 201)
	sys := system(t, s, "Edited")
	token := assignStrictly(t, s, sys, c.ID).HeartbeatToken
	left := func() (seconds float64) {
		t.Helper()
		err := s.DB.QueryRowContext(t.Context(), `select extract(epoch from due_at - now())::float8 from healthcheck.assignments where system_id = $1`, sys).Scan(&seconds)
		if err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	s.Do(t, "POST", beats+token, "", nil).Has(t, 200)
	s.Do(t, "PUT", "/api/catalog/systems/"+sys, editor, `{"name":"Edited","description":"","metadata":{"a":"b"}}`).Has(t, 200)
	if got := left(); got < 50 {
		t.Errorf("the next report is due in %v s after a change of the system", got)
	}
	in["description"] = "edited"
	s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, in).Has(t, 200)
	if got := left(); got < 50 {
		t.Errorf("the next report is due in %v s after a change of the configuration", got)
	}
}

// manyBeats has as many runs by hand under way as may be, and more targets report than are stored at once.
func manyBeats(t *testing.T, s *servertest.Server) {
	const places = 16
	editor := s.Token(t, "editor")
	waiting, hold := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		waiting <- struct{}{}
		<-hold
	}))
	t.Cleanup(slow.Close)
	sys, _, token := beating(t, s, "Many beats", 86400)
	c := configure(t, s, "Hangs", slow.URL, 2592000)
	var all sync.WaitGroup
	for range places {
		all.Go(func() { s.Do(t, "POST", base+"/configurations/"+c.ID+"/run", editor, nil).Has(t, 200) })
	}
	for range places {
		<-waiting
	}
	var reports sync.WaitGroup
	for i := range 4 * places {
		reports.Go(func() { s.Do(t, "POST", beats+token, "", map[string]string{"message": fmt.Sprint(i)}).Has(t, 200) })
	}
	reports.Wait()
	close(hold)
	all.Wait()
	runs := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs?limit=500", editor, nil), 200)
	if runs.Total != 4*places {
		t.Errorf("%d runs are kept", runs.Total)
	}
}
