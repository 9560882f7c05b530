package auth_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const (
	tokens    = "/api/auth/tokens"
	noToken   = `{"error":"Unauthorized","message":"this needs a token: Authorization: Bearer <token>"}`
	badToken  = `{"error":"Unauthorized","message":"the Authorization header holds no valid token; expected: Bearer <token>"}`
	lastAdmin = `{"error":"Last admin","message":"this is the last admin token that never expires; make another one first"}`
	noSuch    = `{"error":"Not Found","message":"no such token"}`
)

type token struct {
	ID, Name, Role, Token            string
	CreatedAt                        time.Time
	LastUsedAt, ExpiresAt, RevokedAt *time.Time
}

// TestAPI shows what callers of the real server can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("the README's examples are true", s.README)
	t.Run("a token is shown once and then never again", func(t *testing.T) { shownOnce(t, s) })
	t.Run("each role includes those after it", func(t *testing.T) { roles(t, s) })
	t.Run("only well-formed headers with a valid token are let in", func(t *testing.T) { headers(t, s) })
	t.Run("a new token needs valid fields", func(t *testing.T) { invalid(t, s) })
	t.Run("a token ends when it expires", func(t *testing.T) { expires(t, s) })
	t.Run("a revoked token is refused at once, on every server", func(t *testing.T) { revoked(t, s) })
	t.Run("the last use is noted, at most once a minute", func(t *testing.T) { lastUse(t, s) })
	t.Run("tokens are listed in pages, the newest first", func(t *testing.T) { list(t, s) })
	t.Run("the last admin token that never expires stays", func(t *testing.T) { lastOne(t, s) })
	for _, secret := range []string{servertest.Admin, s.Token(t, "editor"), s.Token(t, "viewer")} {
		if strings.Contains(s.Log(), secret) {
			t.Errorf("the log shows a token:\n%s", s.Log())
		}
	}
}

func create(t testing.TB, s *servertest.Server, body string) token {
	t.Helper()
	return servertest.Decode[token](t, s.Do(t, "POST", tokens, servertest.Admin, body), 201)
}

func me(t testing.TB, s *servertest.Server, secret string) servertest.Response {
	t.Helper()
	return s.Do(t, "GET", "/api/auth/me", secret, nil)
}

func shownOnce(t *testing.T, s *servertest.Server) {
	res := s.Do(t, "POST", tokens, servertest.Admin, `{"name":" CI ","role":"viewer","expiresAt":"2199-12-31T23:59:59+01:00"}`)
	made := servertest.Decode[token](t, res, 201)
	shown := `{"id":"` + made.ID + `","name":"CI","role":"viewer","createdAt":"` + made.CreatedAt.Format(time.RFC3339Nano) +
		`","lastUsedAt":null,"expiresAt":"2199-12-31T22:59:59Z","revokedAt":null`
	res.Is(t, 201, shown+`,"token":"`+made.Token+`"}`)
	if len(made.Token) != 46 || !strings.HasPrefix(made.Token, "cs_") || !plugins.IsID(made.ID) || time.Since(made.CreatedAt).Abs() > time.Minute {
		t.Errorf("made %+v", made)
	}
	if got := res.Header.Get("Location"); got != tokens+"/"+made.ID {
		t.Errorf("Location is %q", got)
	}
	s.Do(t, "GET", tokens+"/"+made.ID, servertest.Admin, nil).Is(t, 200, shown+"}")
	if res := s.Do(t, "GET", tokens, servertest.Admin, nil); !strings.Contains(res.Body, shown+"}") || strings.Contains(res.Body, made.Token) {
		t.Errorf("the list is %s", res.Body)
	}
	me(t, s, made.Token).Is(t, 200, `{"id":"`+made.ID+`","name":"CI","role":"viewer"}`)
	var kept int
	err := s.DB.QueryRowContext(t.Context(), `select count(*) from auth.tokens t where t.hash = sha256($1::bytea) and
		strpos(t::text, encode($1::bytea, 'hex')) = 0 and strpos(t::text, $2) = 0`, []byte(made.Token), made.Token).Scan(&kept)
	if err != nil || kept != 1 {
		t.Errorf("%d rows keep the SHA-256 of the token and not the token, %v; want 1", kept, err)
	}
	if strings.Contains(s.Log(), made.Token) {
		t.Error("the log shows the token")
	}
}

func roles(t *testing.T, s *servertest.Server) {
	for _, test := range []struct {
		role          string
		admin, viewer int // what routes for them answer
	}{{"", 401, 401}, {"viewer", 403, 200}, {"editor", 403, 200}, {"admin", 400, 200}} {
		secret := ""
		if test.role != "" {
			secret = s.Token(t, test.role)
		}
		s.Do(t, "POST", tokens, secret, `{}`).Has(t, test.admin)
		me(t, s, secret).Has(t, test.viewer)
		if test.role != "admin" {
			for _, route := range [][2]string{{"GET", tokens}, {"GET", tokens + "/" + plugins.NewID()}, {"DELETE", tokens + "/" + plugins.NewID()}} {
				s.Do(t, route[0], route[1], secret, nil).Has(t, test.admin)
			}
		}
	}
	me(t, s, "").Is(t, 401, noToken)
	s.Do(t, "GET", tokens, s.Token(t, "editor"), nil).
		Is(t, 403, `{"error":"Forbidden","message":"this needs the role admin, the token has the role editor"}`)
}

func headers(t *testing.T, s *servertest.Server) {
	viewer := s.Token(t, "viewer")
	for _, test := range []struct {
		values []string
		ok     bool
	}{
		{[]string{"Bearer " + viewer}, true},
		{[]string{"bearer " + viewer}, true},
		{[]string{"BEARER   " + viewer}, true},
		{[]string{""}, false},
		{[]string{"Bearer"}, false},
		{[]string{"Bearer "}, false},
		{[]string{viewer}, false},
		{[]string{"Basic " + viewer}, false},
		{[]string{"Bearer " + viewer + "x"}, false},
		{[]string{"Bearer " + viewer[:45]}, false},
		{[]string{"Bearer " + strings.ToUpper(viewer)}, false},
		{[]string{"Bearer " + viewer + " " + viewer}, false},
		{[]string{"Bearer " + viewer + ", Bearer " + viewer}, false},
		{[]string{"Bearer " + viewer, "Bearer " + viewer}, false},
		{[]string{"Bearer cs_" + strings.Repeat("é", 30)}, false},
		{[]string{"Bearer " + strings.Repeat("x", 201)}, false},
		{[]string{"Bearer ' or true or '" + strings.Repeat(" ", 30)}, false},
	} {
		for _, path := range []string{"/api/auth/me", "/api/plugins"} { // the second is public
			req, err := http.NewRequest("GET", s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header["Authorization"] = test.values
			res := s.Send(t, req)
			if test.ok {
				res.Has(t, 200)
				continue
			}
			t.Logf("%.60q", test.values)
			res.Is(t, 401, badToken)
			if got := res.Header.Get("WWW-Authenticate"); got != `Bearer realm="checkstack"` {
				t.Errorf("WWW-Authenticate is %q", got)
			}
		}
	}
}

func invalid(t *testing.T, s *servertest.Server) {
	before := servertest.Decode[plugins.List[token]](t, s.Do(t, "GET", tokens, servertest.Admin, nil), 200).Total
	const inFuture = "expected a time in the future such as 2031-12-31T23:59:59Z (RFC 3339)"
	const tooLate = "expected a time that is before the year 10000 in UTC"
	for _, test := range []struct{ body, field, message string }{
		{`{"role":"viewer"}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`{"name":"` + strings.Repeat("x", 201) + `","role":"viewer"}`, "name", "expected a text of 1 to 200 characters, not 201"},
		{`{"name":1,"role":"viewer"}`, "name", "expected a string, not number"},
		{`{"name":"x"}`, "role", "expected admin, editor or viewer"},
		{`{"name":"x","role":"public"}`, "role", "expected admin, editor or viewer"},
		{`{"name":"x","role":"Admin"}`, "role", "expected admin, editor or viewer"},
		{`{"name":"x","role":"viewer","expiresAt":""}`, "expiresAt", inFuture},
		{`{"name":"x","role":"viewer","expiresAt":"2031-12-31"}`, "expiresAt", inFuture},
		{`{"name":"x","role":"viewer","expiresAt":"2020-01-01T00:00:00Z"}`, "expiresAt", inFuture},
		{`{"name":"x","role":"viewer","expiresAt":"9999-12-31T23:59:59-12:00"}`, "expiresAt", tooLate},
		{`{"name":"x","role":"viewer","expiresAt":"9999-12-31T23:59:00-00:01"}`, "expiresAt", tooLate},
		{`{"name":"x","role":"viewer","expiresAt":5}`, "expiresAt", "expected a string, not number"},
		{`{"name":"x","role":"viewer","token":"cs_mine"}`, "token", "there is no such field"},
		{`{"name":"x","role":"viewer","expires":null}`, "expires", "there is no such field"},
		{`[]`, "", "expected an object, not array"},
	} {
		s.Do(t, "POST", tokens, servertest.Admin, test.body).IsInvalid(t, test.field, test.message)
	}
	s.Do(t, "POST", tokens, servertest.Admin, nil).Has(t, 415)
	s.Do(t, "POST", tokens, servertest.Admin, `"`+strings.Repeat("x", plugins.MaxBody)+`"`).Has(t, 413)
	s.Do(t, "GET", tokens+"?limit=0", servertest.Admin, nil).IsInvalid(t, "limit", "expected a whole number from 1 to 500")
	for _, id := range []string{plugins.NewID(), "x", "%00"} {
		s.Do(t, "GET", tokens+"/"+id, servertest.Admin, nil).Is(t, 404, noSuch)
		s.Do(t, "DELETE", tokens+"/"+id, servertest.Admin, nil).Is(t, 404, noSuch)
	}
	if after := servertest.Decode[plugins.List[token]](t, s.Do(t, "GET", tokens, servertest.Admin, nil), 200).Total; after != before {
		t.Errorf("refused requests have made %d tokens", after-before)
	}
}

func expires(t *testing.T, s *servertest.Server) {
	last := create(t, s, `{"name":"long","role":"viewer","expiresAt":"9999-12-31T18:59:59.9999999-05:00"}`)
	if want := time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC); last.ExpiresAt == nil || !last.ExpiresAt.Equal(want) {
		t.Errorf("the last moment of the year 9999 is shown as %v", last.ExpiresAt)
	}
	s.Do(t, "DELETE", tokens+"/"+last.ID, servertest.Admin, nil).Is(t, 204, "")
	made := create(t, s, `{"name":"short","role":"viewer","expiresAt":"2199-01-01T00:00:00Z"}`)
	me(t, s, made.Token).Has(t, 200)
	if _, err := s.DB.ExecContext(t.Context(), "update auth.tokens set expires_at = now() where id = $1", made.ID); err != nil {
		t.Fatal(err)
	}
	me(t, s, made.Token).Is(t, 401, badToken)
}

func revoked(t *testing.T, s *servertest.Server) {
	other := servertest.Start(t, servertest.Config{Database: s.Database})
	made := create(t, s, `{"name":"leaked","role":"editor"}`)
	me(t, other, made.Token).Has(t, 200)
	s.Do(t, "DELETE", tokens+"/"+made.ID, servertest.Admin, nil).Is(t, 204, "")
	for _, server := range []*servertest.Server{s, other} {
		me(t, server, made.Token).Is(t, 401, badToken)
		server.Do(t, "GET", "/api/plugins", made.Token, nil).Is(t, 401, badToken)
	}
	first := servertest.Decode[token](t, s.Do(t, "GET", tokens+"/"+made.ID, servertest.Admin, nil), 200)
	s.Do(t, "DELETE", tokens+"/"+made.ID, servertest.Admin, nil).Is(t, 204, "")
	again := servertest.Decode[token](t, s.Do(t, "GET", tokens+"/"+made.ID, servertest.Admin, nil), 200)
	if first.RevokedAt == nil || again.RevokedAt == nil || !first.RevokedAt.Equal(*again.RevokedAt) {
		t.Errorf("revoked at %v, and when revoked again at %v", first.RevokedAt, again.RevokedAt)
	}
	other.Stop(t)
}

func lastUse(t *testing.T, s *servertest.Server) {
	made := create(t, s, `{"name":"used","role":"viewer"}`)
	used := func() time.Time {
		t.Helper()
		shown := servertest.Decode[token](t, s.Do(t, "GET", tokens+"/"+made.ID, servertest.Admin, nil), 200)
		if shown.LastUsedAt == nil {
			return time.Time{}
		}
		return *shown.LastUsedAt
	}
	if at := used(); !at.IsZero() {
		t.Errorf("used at %v before its first use", at)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { me(t, s, made.Token).Has(t, 200) })
	}
	wg.Wait()
	first := used()
	if time.Since(first).Abs() > time.Minute {
		t.Errorf("used at %v", first)
	}
	me(t, s, made.Token).Has(t, 200)
	if at := used(); !at.Equal(first) {
		t.Errorf("noted again within a minute: %v and %v", first, at)
	}
	if _, err := s.DB.ExecContext(t.Context(), "update auth.tokens set last_used_at = last_used_at - interval '61 seconds' where id = $1", made.ID); err != nil {
		t.Fatal(err)
	}
	me(t, s, made.Token).Has(t, 200)
	if at := used(); at.Before(first) {
		t.Errorf("not noted after a minute: %v", at)
	}
}

func list(t *testing.T, s *servertest.Server) {
	all := servertest.Decode[plugins.List[token]](t, s.Do(t, "GET", tokens+"?limit=500", servertest.Admin, nil), 200)
	var ids []string
	for i, item := range all.Items {
		ids = append(ids, item.ID)
		if i > 0 && item.CreatedAt.After(all.Items[i-1].CreatedAt) {
			t.Errorf("item %d is newer than the one before", i)
		}
	}
	if all.Total != len(ids) || len(ids) < 5 {
		t.Fatalf("%d items of %d", len(ids), all.Total)
	}
	var paged []string
	for offset := 0; offset <= all.Total+2; offset += 2 {
		page := servertest.Decode[plugins.List[token]](t, s.Do(t, "GET", fmt.Sprintf("%s?limit=2&offset=%d", tokens, offset), servertest.Admin, nil), 200)
		if page.Total != all.Total {
			t.Errorf("offset %d: total %d, want %d", offset, page.Total, all.Total)
		}
		for _, item := range page.Items {
			paged = append(paged, item.ID)
		}
	}
	if !slices.Equal(paged, ids) {
		t.Errorf("pages of 2 are %q, the list is %q", paged, ids)
	}
}

func lastOne(t *testing.T, s *servertest.Server) {
	first := servertest.Decode[token](t, me(t, s, servertest.Admin), 200)
	temporary := create(t, s, `{"name":"temporary admin","role":"admin","expiresAt":"2199-01-01T00:00:00Z"}`)
	s.Do(t, "DELETE", tokens+"/"+first.ID, temporary.Token, nil).Is(t, 409, lastAdmin)
	me(t, s, servertest.Admin).Has(t, 200)
	s.Do(t, "DELETE", tokens+"/"+temporary.ID, temporary.Token, nil).Is(t, 204, "")

	// Of two admins who revoke each other, one stays, however often.
	second := create(t, s, `{"name":"second admin","role":"admin"}`)
	var answers [2]servertest.Response
	var wg sync.WaitGroup
	wg.Go(func() { answers[0] = s.Do(t, "DELETE", tokens+"/"+second.ID, servertest.Admin, nil) })
	wg.Go(func() { answers[1] = s.Do(t, "DELETE", tokens+"/"+first.ID, second.Token, nil) })
	wg.Wait()
	left := 0
	for i, other := range []string{second.Token, servertest.Admin} {
		if answers[i].Status == 204 {
			me(t, s, other).Has(t, 401)
			continue
		}
		left++
		if answers[i].Status != 409 && answers[i].Status != 401 { // 401: revoked before it was looked up
			t.Errorf("revoking: %d %s", answers[i].Status, answers[i].Body)
		}
		me(t, s, other).Has(t, 200)
	}
	if left != 1 {
		t.Errorf("%d of two admins are left, want 1", left)
	}
}
