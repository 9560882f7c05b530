package satellite_test

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/satellite/wire"
)

// TestAssignments shows what a satellite is told, on two servers that share a database.
func TestAssignments(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	other := servertest.Start(t, servertest.Config{Database: s.Database})
	t.Run("a satellite sees its own, and nothing else", func(t *testing.T) { own(t, s) })
	t.Run("who knows them is told 304", func(t *testing.T) { known(t, s) })
	t.Run("the wait is bounded", func(t *testing.T) { bounded(t, s) })
	t.Run("every change ends a poll within a second, on every server", func(t *testing.T) { changes(t, s, other) })
	t.Run("rotating and deleting end a poll, on every server", func(t *testing.T) { ends(t, s, other) })
	t.Run("a thousand polls are told at once", func(t *testing.T) { thousand(t, s, other) })
	t.Run("a server that stops lets its polls go", func(t *testing.T) { stops(t, s, other) })
}

// poll asks for assignments.
func poll(t testing.TB, s *servertest.Server, token, query string, etags ...string) servertest.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+base+"/assignments"+query, nil)
	if err != nil {
		t.Error(err)
		return servertest.Response{}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header["If-None-Match"] = etags
	return s.Send(t, req)
}

func own(t *testing.T, s *servertest.Server) {
	sat, other := register(t, s, "Own"), register(t, s, "Own other")
	shop, first, second := system(t, s, "Own"), configure(t, s, "Own 1"), configure(t, s, "Own 2")
	res := poll(t, s, sat.Token, "")
	res.Is(t, 200, `{"satellite":"`+sat.ID+`","checks":[]}`)
	if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("the header is %v", res.Header)
	}
	assign(t, s, shop, first, "local", sat.ID)
	assign(t, s, shop, second, other.ID)
	check := func(id, name string) string {
		return fmt.Sprintf(`{"systemId":%q,"configurationId":%q,"name":%q,"type":"http","config":{"url":"http://127.0.0.1:1/"},`+
			`"intervalSeconds":2592000,"timeoutMs":1000}`, shop, id, name)
	}
	poll(t, s, sat.Token, "").Is(t, 200, `{"satellite":"`+sat.ID+`","checks":[`+check(first, "Own 1")+`]}`)
	poll(t, s, other.Token, "").Is(t, 200, `{"satellite":"`+other.ID+`","checks":[`+check(second, "Own 2")+`]}`)
	assign(t, s, shop, second, sat.ID, other.ID)
	if got := servertest.Decode[wire.Assignments](t, poll(t, s, sat.Token, ""), 200); len(got.Checks) != 2 || got.Checks[0].ConfigurationID > got.Checks[1].ConfigurationID {
		t.Errorf("two checks of a system come as %+v, want them in the order of their key", got.Checks)
	}
	s.Do(t, "PUT", "/api/healthcheck/systems/"+shop+"/checks/"+first, s.Token(t, "editor"), `{"enabled":false}`).Has(t, 200)
	poll(t, s, sat.Token, "").Is(t, 200, `{"satellite":"`+sat.ID+`","checks":[`+check(second, "Own 2")+`]}`)
}

func known(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Known")
	res := poll(t, s, sat.Token, "")
	etag := res.Header.Get("ETag")
	if len(etag) != 34 || etag[0] != '"' {
		t.Errorf("the ETag is %s", etag)
	}
	for _, test := range []struct {
		values []string
		status int
	}{
		{nil, 200},
		{[]string{etag}, 304},
		{[]string{"W/" + etag}, 304},
		{[]string{"*"}, 304},
		{[]string{`"a", ` + etag + `,"b"`}, 304},
		{[]string{`"a"`, etag}, 304},
		{[]string{`"a"`}, 200},
		{[]string{strings.Trim(etag, `"`)}, 200},
		{[]string{""}, 200},
	} {
		got := poll(t, s, sat.Token, "", test.values...)
		if got.Has(t, test.status); got.Header.Get("ETag") != etag || (test.status == 304) != (got.Body == "") {
			t.Errorf("%q is answered with the ETag %s and %q", test.values, got.Header.Get("ETag"), got.Body)
		}
	}
	start := time.Now()
	poll(t, s, sat.Token, "?wait=55").Is(t, 200, res.Body) // it knows nothing: there is no reason to wait
	poll(t, s, sat.Token, "?wait=55", `"old"`).Is(t, 200, res.Body)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("whoever knows nothing is answered after %v", took)
	}
	start = time.Now()
	poll(t, s, sat.Token, "?wait=1", etag).Is(t, 304, "")
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("a wait of 1 s takes %v", took)
	}
}

func bounded(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Bounded")
	for _, wait := range []string{"-1", "56", "x", "1.5"} {
		poll(t, s, sat.Token, "?wait="+wait).IsInvalid(t, "wait", "expected a whole number from 0 to 55")
	}
	poll(t, s, "sat_x", "?wait=x").Is(t, 401, badToken)
}

// waiter is a poll that is under way.
type waiter struct {
	answer chan servertest.Response
}

// wait begins a poll that waits for a change of what there is now, and returns when a later request has been answered.
func wait(t testing.TB, s *servertest.Server, sat registered) waiter {
	t.Helper()
	etag := poll(t, s, sat.Token, "").Header.Get("ETag")
	w := waiter{answer: make(chan servertest.Response, 1)}
	sent := make(chan struct{})
	once := sync.OnceFunc(func() { close(sent) }) // a request may be sent again
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { once() },
	})
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+base+"/assignments?wait=55", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+sat.Token)
	req.Header.Set("If-None-Match", etag)
	go func() { w.answer <- s.Send(t, req) }()
	<-sent
	poll(t, s, sat.Token, "").Has(t, 200)
	return w
}

// within returns the answer of a poll, which must come soon.
func (w waiter) within(t testing.TB, limit time.Duration, since time.Time) servertest.Response {
	t.Helper()
	select {
	case res := <-w.answer:
		if took := time.Since(since); took > limit {
			t.Errorf("the poll is answered after %v, want at most %v", took, limit)
		}
		return res
	case <-time.After(20 * time.Second):
		t.Fatal("the poll is not answered")
		return servertest.Response{}
	}
}

func changes(t *testing.T, s, other *servertest.Server) {
	sat := register(t, s, "Changes")
	shop, page := system(t, s, "Changes"), configure(t, s, "Changes")
	editor := s.Token(t, "editor")
	check := "/api/healthcheck/systems/" + shop + "/checks/" + page
	config := func(url string) map[string]any {
		return map[string]any{"name": "Changes", "type": "http", "config": map[string]string{"url": url}, "intervalSeconds": 2592000, "timeoutMs": 1000}
	}
	checks := 0
	for _, change := range []struct {
		what         string
		method, path string
		body         any
		status       int
		checks       int
	}{
		{"assigned", "PUT", check, map[string]any{"enabled": true, "sources": []string{sat.ID}}, 200, 1},
		{"configured", "PUT", "/api/healthcheck/configurations/" + page, config("http://127.0.0.1:2/"), 200, 1},
		{"disabled", "PUT", check, `{"enabled":false}`, 200, 0},
		{"enabled", "PUT", check, `{"enabled":true}`, 200, 1},
		{"elsewhere", "PUT", check, `{"enabled":true,"sources":["local"]}`, 200, 0},
		{"back", "PUT", check, map[string]any{"enabled": true, "sources": []string{"local", sat.ID}}, 200, 1},
		{"unassigned", "DELETE", check, nil, 200, 0},
		{"assigned again", "PUT", check, map[string]any{"enabled": true, "sources": []string{sat.ID}}, 200, 1},
		{"system deleted", "DELETE", "/api/catalog/systems/" + shop, nil, 204, 0},
	} {
		polls := []waiter{wait(t, s, sat), wait(t, other, sat)}
		start := time.Now()
		s.Do(t, change.method, change.path, editor, change.body).Has(t, change.status)
		for _, w := range polls {
			got := servertest.Decode[wire.Assignments](t, w.within(t, time.Second*slack, start), 200)
			if len(got.Checks) != change.checks {
				t.Errorf("%s: %d checks, want %d", change.what, len(got.Checks), change.checks)
			}
			checks += len(got.Checks)
		}
	}
	if checks == 0 {
		t.Error("no poll saw a check")
	}
}

func ends(t *testing.T, s, other *servertest.Server) {
	sat := register(t, s, "Ends")
	first, second := wait(t, s, sat), wait(t, other, sat)
	start := time.Now()
	token := servertest.Decode[struct{ Token string }](t, s.Do(t, "POST", satellites+"/"+sat.ID+"/rotate", servertest.Admin, nil), 200).Token
	first.within(t, time.Second*slack, start).Is(t, 401, badToken)
	second.within(t, time.Second*slack, start).Is(t, 401, badToken)

	sat.Token = token
	first, second = wait(t, s, sat), wait(t, other, sat)
	start = time.Now()
	s.Do(t, "DELETE", satellites+"/"+sat.ID, servertest.Admin, nil).Has(t, 204)
	first.within(t, time.Second*slack, start).Is(t, 401, badToken)
	second.within(t, time.Second*slack, start).Is(t, 401, badToken)
}

func thousand(t *testing.T, s, other *servertest.Server) {
	const each, all = 50, 20
	shop := system(t, s, "Thousand")
	sats := make([]registered, all)
	var polls []waiter
	for i := range sats {
		sats[i] = register(t, s, fmt.Sprint("Thousand ", i))
	}
	for i := range each * all {
		polls = append(polls, wait(t, s, sats[i%all]))
	}
	sources := []string{"local"}
	for _, sat := range sats {
		sources = append(sources, sat.ID)
	}
	page := configure(t, s, "Thousand")
	start := time.Now()
	assign(t, other, shop, page, sources...)
	changed := time.Now()
	var took time.Duration
	var mu sync.Mutex
	var answers sync.WaitGroup
	for _, w := range polls {
		answers.Go(func() {
			select {
			case res := <-w.answer:
				if !res.Has(t, 200) || !strings.Contains(res.Body, page) {
					t.Errorf("a poll is answered with %s", res.Body)
				}
				mu.Lock()
				took = max(took, time.Since(changed))
				mu.Unlock()
			case <-time.After(20 * time.Second):
				t.Error("a poll is not answered")
			}
		})
	}
	answers.Wait()
	t.Logf("%d polls of %d satellites were answered within %v of a change that took %v", len(polls), all, took, changed.Sub(start))
	if took > time.Second*slack {
		t.Errorf("the last poll was answered after %v", took)
	}
}

func stops(t *testing.T, s, other *servertest.Server) {
	sat := register(t, s, "Stops")
	w := wait(t, other, sat)
	start := time.Now()
	other.Stop(t)
	w.within(t, 3*time.Second*slack, start).Is(t, 304, "")
	if took := time.Since(start); took > 3*time.Second*slack {
		t.Errorf("the server took %v to stop", took)
	}
}
