package satellite_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/satellite"
)

const (
	base       = "/api/satellite"
	satellites = base + "/satellites"
	noSuch     = `{"error":"Not Found","message":"no such satellite"}`
	badToken   = `{"error":"Unauthorized","message":"the Authorization header holds no valid token of a satellite; expected: Bearer sat_…"}`
	taken      = `{"error":"Already exists","message":"there is a satellite of this name already","field":"name"}`
)

// TestAPI shows what administrators can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("the README's examples are true", s.README)
	t.Run("a token is shown once and then never again", func(t *testing.T) { shownOnce(t, s) })
	t.Run("each route has its own callers", func(t *testing.T) { callers(t, s) })
	t.Run("invalid input names the field and changes nothing", func(t *testing.T) { invalid(t, s) })
	t.Run("a satellite is replaced and edited", func(t *testing.T) { edited(t, s) })
	t.Run("satellites are listed in pages, by name", func(t *testing.T) { listed(t, s) })
	t.Run("rotating ends the old token on every route", func(t *testing.T) { rotated(t, s) })
	t.Run("deleting ends the token and the assignments, and keeps the history", func(t *testing.T) { deleted(t, s) })
	t.Run("what a document manages is not changed by hand", func(t *testing.T) { managed(t, s) })
	t.Run("there are at most 1,000", func(t *testing.T) { limited(t, s) })
}

func TestTheREADMEListsEveryFlag(t *testing.T) {
	help, err := servertest.Command(t, nil, "satellite", "-h").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^  -([a-z-]+).*\n    \t.*\n    \t([A-Z_]+)$`).FindAllSubmatch(help, -1)
	if n := strings.Count(string(help), "\n  -"); n == 0 || n != len(rows) {
		t.Errorf("%d of %d flags are understood in\n%s", len(rows), n, help)
	}
	for _, row := range rows {
		if want := fmt.Sprintf("\n| `-%s` | `%s` | ", row[1], row[2]); !strings.Contains(string(text), want) {
			t.Errorf("README.md has no row%s", want)
		}
	}
	if !strings.Contains(string(text), "CHECKSTACK_SATELLITE_TOKEN") {
		t.Error("README.md does not say where the token comes from")
	}
}

// registered is a satellite and its token, as they are answered together.
type registered struct {
	satellite.Satellite `json:"satellite"`
	Token               string
}

func register(t testing.TB, s *servertest.Server, name string) registered {
	t.Helper()
	return servertest.Decode[registered](t, s.Do(t, "POST", satellites, servertest.Admin, map[string]string{"name": name}), 201)
}

// read returns a satellite as the API shows it.
func read(t testing.TB, s *servertest.Server, id string) satellite.Satellite {
	t.Helper()
	return servertest.Decode[satellite.Satellite](t, s.Do(t, "GET", satellites+"/"+id, s.Token(t, "viewer"), nil), 200)
}

func created(t testing.TB, s *servertest.Server, path string, body any) string {
	t.Helper()
	return servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", path, s.Token(t, "editor"), body), 201).ID
}

func system(t testing.TB, s *servertest.Server, name string) string {
	t.Helper()
	return created(t, s, "/api/catalog/systems", map[string]string{"name": name})
}

// configure makes a configuration of a check that nobody here runs before the test is over.
func configure(t testing.TB, s *servertest.Server, name string) string {
	t.Helper()
	return created(t, s, "/api/healthcheck/configurations", map[string]any{
		"name": name, "type": "http", "config": map[string]string{"url": "http://127.0.0.1:1/"}, "intervalSeconds": 2592000, "timeoutMs": 1000,
	})
}

// assign has a check made by sources.
func assign(t testing.TB, s *servertest.Server, system, configuration string, sources ...string) {
	t.Helper()
	s.Do(t, "PUT", "/api/healthcheck/systems/"+system+"/checks/"+configuration, s.Token(t, "editor"),
		map[string]any{"enabled": true, "sources": sources}).Has(t, 200)
}

// count is the result of a query for a number.
func count(t testing.TB, s *servertest.Server, query string, args ...any) (n int) {
	t.Helper()
	if err := s.DB.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func exec(t testing.TB, s *servertest.Server, query string, args ...any) {
	t.Helper()
	if _, err := s.DB.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func shownOnce(t *testing.T, s *servertest.Server) {
	res := s.Do(t, "POST", satellites, servertest.Admin, `{"name":" Once ","region":" eu ","offlineAfterSeconds":30}`)
	made := servertest.Decode[registered](t, res, 201)
	sat, token := made.Satellite, made.Token
	shown := fmt.Sprintf(`{"id":%q,"name":"Once","region":"eu","managedBy":null,"offline":true,"offlineSince":%q,"offlineAfterSeconds":30,"lastSeenAt":null,`+
		`"createdAt":%q,"tokenCreatedAt":%q,"version":"","startedAt":null,"skewMs":null,"clockSkewed":false,"checks":0,`+
		`"pendingRuns":0,"pendingBytes":0,"dropped":0}`, sat.ID, sat.OfflineSince.Format(time.RFC3339Nano),
		sat.CreatedAt.Format(time.RFC3339Nano), sat.TokenCreatedAt.Format(time.RFC3339Nano))
	res.Is(t, 201, `{"satellite":`+shown+`,"token":"`+token+`"}`)
	if len(token) != 47 || !strings.HasPrefix(token, "sat_") || !plugins.IsID(sat.ID) || time.Since(sat.CreatedAt).Abs() > time.Minute {
		t.Errorf("made %+v with the token %s", sat, token)
	}
	if got := res.Header.Get("Location"); got != satellites+"/"+sat.ID {
		t.Errorf("Location is %q", got)
	}
	s.Do(t, "GET", satellites+"/"+sat.ID, s.Token(t, "viewer"), nil).Is(t, 200, shown)
	if n := count(t, s, `select count(*) from satellite.satellites x where x.token_hash = sha256($1::bytea) and
		strpos(x::text, encode($1::bytea, 'hex')) = 0 and strpos(x::text, $2) = 0`, []byte(token), token); n != 1 {
		t.Errorf("%d rows keep the SHA-256 of the token and not the token, want 1", n)
	}
	if n := count(t, s, `select count(*) from healthcheck.sources where id = $1 and name = 'Once' and offline_since = $2`, sat.ID, sat.OfflineSince); n != 1 {
		t.Error("it is not a source that is offline")
	}
	again := servertest.Decode[registered](t, s.Do(t, "POST", satellites+"/"+sat.ID+"/rotate", servertest.Admin, nil), 200)
	if again.Token == token || again.Satellite.ID != sat.ID || !again.Satellite.TokenCreatedAt.After(sat.TokenCreatedAt) {
		t.Errorf("rotated to %+v", again)
	}
	if log := s.Log(); strings.Contains(log, token) || strings.Contains(log, again.Token) {
		t.Error("the log shows a token")
	}
}

func callers(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Callers")
	for _, test := range []struct {
		method, path, body    string
		viewer, editor, admin int
	}{
		{"GET", satellites, "", 200, 200, 200},
		{"GET", satellites + "/" + sat.ID, "", 200, 200, 200},
		{"POST", satellites, `{}`, 403, 403, 400},
		{"PUT", satellites + "/" + sat.ID, `{}`, 403, 403, 400},
		{"PATCH", satellites + "/" + sat.ID, `{}`, 403, 403, 200},
		{"POST", satellites + "/" + plugins.NewID() + "/rotate", "", 403, 403, 404},
		{"DELETE", satellites + "/" + plugins.NewID(), "", 403, 403, 404},
		{"GET", base + "/assignments", "", 401, 401, 401},
		{"POST", base + "/runs", `{"runs":[]}`, 401, 401, 401},
		{"POST", base + "/heartbeat", beat(time.Now()), 401, 401, 401},
	} {
		var body any
		if test.body != "" {
			body = test.body
		}
		do := func(token string, want int) {
			t.Helper()
			s.Do(t, test.method, test.path, token, body).Has(t, want)
		}
		do("", 401)
		do(s.Token(t, "viewer"), test.viewer)
		do(s.Token(t, "editor"), test.editor)
		do(servertest.Admin, test.admin)
		if !strings.HasPrefix(test.path, satellites) {
			do(sat.Token, 200)
			do(sat.Token[:46]+"!", 401)
			do(sat.Token+"x", 401)
			do("cs_"+sat.Token[3:], 401)
		} else {
			do(sat.Token, 401)
		}
	}
	res := s.Do(t, "POST", base+"/heartbeat", "", beat(time.Now()))
	res.Is(t, 401, badToken)
	if got := res.Header.Get("WWW-Authenticate"); got != `Bearer realm="checkstack"` {
		t.Errorf("WWW-Authenticate is %q", got)
	}
	s.Do(t, "GET", "/api/auth/me", sat.Token, nil).Has(t, 401)
}

func managed(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Managed")
	exec(t, s, `update satellite.satellites set managed_by = 'prod' where id = $1`, sat.ID)
	shown := read(t, s, sat.ID)
	if shown.ManagedBy == nil || *shown.ManagedBy != "prod" {
		t.Errorf("managed by %v", shown.ManagedBy)
	}
	for method, body := range map[string]any{"PUT": `{"name":"Mine"}`, "PATCH": `{"region":"eu"}`, "DELETE": nil} {
		s.Do(t, method, satellites+"/"+sat.ID, servertest.Admin, body).Is(t, 409,
			`{"error":"Managed","message":"the document \"prod\" manages this: change it there, or release it first"}`)
	}
	if again := read(t, s, sat.ID); again.Name != "Managed" || again.Region != "" {
		t.Errorf("a refused change has made it %+v", again)
	}
	s.Do(t, "POST", satellites+"/"+sat.ID+"/rotate", servertest.Admin, nil).Has(t, 200)
	exec(t, s, `update satellite.satellites set managed_by = null where id = $1`, sat.ID)
	s.Do(t, "DELETE", satellites+"/"+sat.ID, servertest.Admin, nil).Is(t, 204, "")
}

func invalid(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Invalid")
	long := strings.Repeat("ü", 201)
	silence := func(n string) string {
		return "expected a whole number of seconds from 30 to 86400, not " + n
	}
	for _, test := range []struct{ body, field, message string }{
		{`{"name":""}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`{"name":"` + long + `"}`, "name", "expected a text of 1 to 200 characters, not 201"},
		{`{"name":"a\u0000"}`, "name", "expected a text without control characters"},
		{`{"name":"x","region":"` + long + `"}`, "region", "expected a text of 1 to 200 characters, not 201"},
		{`{"name":"x","region":7}`, "region", "expected a string, not number"},
		{`{"name":"x","offlineAfterSeconds":29}`, "offlineAfterSeconds", silence("29")},
		{`{"name":"x","offlineAfterSeconds":86401}`, "offlineAfterSeconds", silence("86401")},
		{`{"name":"x","offlineAfterSeconds":0}`, "offlineAfterSeconds", silence("0")},
		{`{"name":"x","token":"sat_x"}`, "token", "there is no such field"},
	} {
		for _, request := range [][2]string{{"POST", satellites}, {"PUT", satellites + "/" + sat.ID}, {"PATCH", satellites + "/" + sat.ID}} {
			s.Do(t, request[0], request[1], servertest.Admin, test.body).IsInvalid(t, test.field, test.message)
		}
	}
	if got := read(t, s, sat.ID); got.Name != "Invalid" || got.Region != "" || got.OfflineAfterSeconds != 45 {
		t.Errorf("the satellite has become %+v", got)
	}
	s.Do(t, "POST", satellites, servertest.Admin, `{"name":"iNVALID"}`).Is(t, 409, taken)
	for _, id := range []string{"x", plugins.NewID()} {
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
			var body any
			if method[0] == 'P' {
				body = `{"name":"x"}`
			}
			s.Do(t, method, satellites+"/"+id, servertest.Admin, body).Is(t, 404, noSuch)
		}
		s.Do(t, "POST", satellites+"/"+id+"/rotate", servertest.Admin, nil).Is(t, 404, noSuch)
	}
}

func edited(t *testing.T, s *servertest.Server) {
	register(t, s, "Other")
	sat := register(t, s, "Edited")
	path := satellites + "/" + sat.ID
	for _, test := range []struct {
		method, body, want string
	}{
		{"PATCH", `{}`, "Edited| |45"},
		{"PATCH", `{"name":"EDITED"}`, "EDITED| |45"},
		{"PATCH", `{"region":"eu","offlineAfterSeconds":86400}`, "EDITED|eu|86400"},
		{"PATCH", `{"name":null,"region":""}`, "EDITED| |86400"},
		{"PUT", `{"name":"Anew","region":"us","offlineAfterSeconds":30}`, "Anew|us|30"},
		{"PUT", `{"name":"Edited"}`, "Edited| |45"},
	} {
		res := s.Do(t, test.method, path, servertest.Admin, test.body)
		got := servertest.Decode[satellite.Satellite](t, res, 200)
		if text := fmt.Sprintf("%s|%1s|%d", got.Name, got.Region, got.OfflineAfterSeconds); text != test.want {
			t.Errorf("%s %s: %s, want %s", test.method, test.body, text, test.want)
		}
		s.Do(t, "GET", path, servertest.Admin, nil).Is(t, 200, res.Body)
		if n := count(t, s, `select count(*) from healthcheck.sources where id = $1 and name = $2`, sat.ID, got.Name); n != 1 {
			t.Errorf("the source has not the name %s", got.Name)
		}
	}
	s.Do(t, "PATCH", path, servertest.Admin, `{"name":"oTHER"}`).Is(t, 409, taken)
	s.Do(t, "PUT", path, servertest.Admin, `{"name":"oTHER"}`).Is(t, 409, taken)
	s.Do(t, "POST", base+"/heartbeat", sat.Token, beat(time.Now())).Has(t, 200)
}

func listed(t *testing.T, s *servertest.Server) {
	exec(t, s, `delete from satellite.satellites`)
	for _, name := range []string{"b", "C", "a"} {
		register(t, s, name)
	}
	list := func(query string) string {
		page := servertest.Decode[plugins.List[satellite.Satellite]](t, s.Do(t, "GET", satellites+query, s.Token(t, "viewer"), nil), 200)
		names := ""
		for _, sat := range page.Items {
			names += sat.Name
		}
		return fmt.Sprint(names, " of ", page.Total)
	}
	for query, want := range map[string]string{"": "abC of 3", "?limit=2": "ab of 3", "?limit=2&offset=2": "C of 3", "?offset=5": " of 3"} {
		if got := list(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func rotated(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Rotated")
	made := servertest.Decode[struct{ Token string }](t, s.Do(t, "POST", satellites+"/"+sat.ID+"/rotate", servertest.Admin, nil), 200)
	for _, test := range []struct {
		method, path string
		body         any
	}{{"GET", "/assignments", nil}, {"POST", "/runs", `{"runs":[]}`}, {"POST", "/heartbeat", beat(time.Now())}} {
		s.Do(t, test.method, base+test.path, sat.Token, test.body).Is(t, 401, badToken)
		s.Do(t, test.method, base+test.path, made.Token, test.body).Has(t, 200)
	}
}

func deleted(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Deleted")
	shop, page := system(t, s, "Deleted"), configure(t, s, "Deleted")
	assign(t, s, shop, page, "local", sat.ID)
	send(t, s, sat.Token, batch{number: 1, runs: runs(2, shop, page)}).Is(t, 200, `{"stored":2,"known":0,"refused":[]}`)
	s.Do(t, "DELETE", satellites+"/"+sat.ID, servertest.Admin, nil).Is(t, 204, "")
	s.Do(t, "DELETE", satellites+"/"+sat.ID, servertest.Admin, nil).Is(t, 404, noSuch)
	s.Do(t, "GET", satellites+"/"+sat.ID, servertest.Admin, nil).Is(t, 404, noSuch)
	s.Do(t, "GET", base+"/assignments", sat.Token, nil).Is(t, 401, badToken)
	send(t, s, sat.Token, batch{number: 2, runs: runs(2, shop, page)}).Is(t, 401, badToken)
	for query, want := range map[string]int{
		`select count(*) from checkstack.health_check_runs where source_id = $1`:                  2,
		`select sum(run_count)::int from checkstack.health_check_aggregates where source_id = $1`: 2,
		`select count(*) from satellite.journals where satellite_id::text = $1`:                   0,
		`select count(*) from healthcheck.sources where id = $1`:                                  0,
		`select count(*) from healthcheck.assignment_sources where source_id = $1`:                0,
	} {
		if n := count(t, s, query, sat.ID); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	if again := register(t, s, "Deleted"); again.ID == sat.ID {
		t.Error("the next one has the ID of the one before")
	}
}

func limited(t *testing.T, s *servertest.Server) {
	exec(t, s, `delete from satellite.satellites`)
	exec(t, s, `insert into satellite.satellites (id, name, name_key, region, offline_after_seconds, token_hash)
		select gen_random_uuid(), 'n' || n, 'n' || n, '', 45, sha256(n::text::bytea) from generate_series(1, 999) n`)
	last := register(t, s, "The last one")
	s.Do(t, "POST", satellites, servertest.Admin, `{"name":"One more"}`).
		Is(t, 409, `{"error":"Limit reached","message":"there may be at most 1000 satellites"}`)
	s.Do(t, "DELETE", satellites+"/"+last.ID, servertest.Admin, nil).Has(t, 204)
	register(t, s, "One more")
	exec(t, s, `delete from satellite.satellites`)
}
