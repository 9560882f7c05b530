package healthcheck_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

// lock is a site that lets in who has the password of the moment, and tells what it was given.
func lock(t testing.TB) (url string, given chan string) {
	given = make(chan string, 1000)
	st := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { given <- r.Header.Get("Authorization") }))
	t.Cleanup(st.Close)
	return st.URL, given
}

func secret(name, url, authorization string) map[string]any {
	in := input(name, url, 2592000)
	in["config"] = map[string]any{"url": url, "headers": map[string]string{"Authorization": authorization, "X-Plain": "p"}}
	return in
}

// TestSecrets shows that a secret is stored sealed, shown to nobody, and kept where it is not said again.
func TestSecrets(t *testing.T) {
	db, database := postgrestest.New(t)
	const first, second = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	env := func(key, previous string) servertest.Config {
		return servertest.Config{Database: database, Env: map[string]string{"CHECKSTACK_MASTER_KEY": key, "CHECKSTACK_MASTER_KEY_PREVIOUS": previous}}
	}
	url, given := lock(t)
	shown := `{"headers":{"Authorization":"********","X-Plain":"p"},"url":"` + url + `"}`
	stored := func(id string) string {
		t.Helper()
		var text string
		if err := db.QueryRowContext(t.Context(), `select config::text from healthcheck.configurations where id = $1`, id).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	same := func(config json.RawMessage, want string) bool {
		var a, b any
		return json.Unmarshal(config, &a) == nil && json.Unmarshal([]byte(want), &b) == nil && plain(a) == plain(b)
	}

	without := servertest.Start(t, env("", ""))
	editor := without.Token(t, "editor")
	const noKey = `{"error":"No master key","message":"a secret cannot be kept without a key to seal it with; set CHECKSTACK_MASTER_KEY and restart the server"}`
	without.Do(t, "POST", base+"/configurations", editor, secret("Secret", url, "Bearer hunter2")).Is(t, 409, noKey)
	kept := configure(t, without, "Not secret", url, 2592000)
	without.Do(t, "PUT", base+"/configurations/"+kept.ID, editor, secret("Not secret", url, "Bearer hunter2")).Is(t, 409, noKey)
	// What is run once is not stored, and needs no key.
	try := servertest.Decode[healthcheck.RunResult](t, without.Do(t, "POST", base+"/try", editor, secret("", url, "Bearer once")), 200)
	if got := <-given; try.Status != "healthy" || got != "Bearer once" {
		t.Errorf("tried with %q: %+v", got, try)
	}
	without.Do(t, "DELETE", base+"/configurations/"+kept.ID, editor, nil).Has(t, 200)
	without.Stop(t)

	s := servertest.Start(t, env(first, ""))
	res := s.Do(t, "POST", base+"/configurations", editor, secret("Secret", url, "Bearer hunter2"))
	c := servertest.Decode[configuration](t, res, 201)
	if !same(c.Config, shown) || strings.Contains(res.Body, "hunter2") {
		t.Errorf("made %s", res.Body)
	}
	sealed := stored(c.ID)
	if strings.Contains(sealed, "hunter2") || !strings.Contains(sealed, `"Authorization": {"sealed": "v1.`) || !strings.Contains(sealed, `"X-Plain": "p"`) {
		t.Errorf("stored is %s", sealed)
	}
	run := func(s *servertest.Server, want string) {
		t.Helper()
		s.Do(t, "POST", base+"/configurations/"+c.ID+"/run", editor, nil).Has(t, 200)
		if got := <-given; got != want {
			t.Errorf("a run is made with %q, want %q", got, want)
		}
	}
	run(s, "Bearer hunter2")
	sys := system(t, s, "Secret")
	assign(t, s, sys, c.ID, true)
	await(t, s, sys, is("healthy"))
	if got := <-given; got != "Bearer hunter2" {
		t.Errorf("the scheduler runs it with %q", got)
	}
	assign(t, s, sys, c.ID, false)
	for _, path := range []string{"/configurations/" + c.ID, "/configurations", "/systems/" + sys + "/checks", "/systems/" + sys + "/runs"} {
		if res := s.Do(t, "GET", base+path, editor, nil); res.Status != 200 || strings.Contains(res.Body, "hunter2") || strings.Contains(res.Body, "sealed") {
			t.Errorf("%s shows %d %s", path, res.Status, res.Body)
		}
	}
	again := secret("Renamed", url, "********") // as it was read
	if got := servertest.Decode[configuration](t, s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, again), 200); !same(got.Config, shown) || got.Name != "Renamed" {
		t.Errorf("changed to %+v", got)
	}
	run(s, "Bearer hunter2")
	again["configurationId"] = c.ID
	s.Do(t, "POST", base+"/try", editor, again).Has(t, 200)
	if got := <-given; got != "Bearer hunter2" {
		t.Errorf("tried with %q", got)
	}
	s.Do(t, "POST", base+"/configurations", editor, secret("Another", url, "********")).
		IsInvalid(t, "config.headers.Authorization", "expected the secret itself; none is stored that ******** could stand for")
	s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, secret("Renamed", url, "Bearer hunter3")).Has(t, 200)
	run(s, "Bearer hunter3")
	before := stored(c.ID)
	s.Stop(t)

	turned := servertest.Start(t, env(second, first)) // sealed anew when it boots
	if now := stored(c.ID); now == before || strings.Contains(now, "hunter3") {
		t.Errorf("with a new key it is stored as %s, and was as %s", now, before)
	}
	run(turned, "Bearer hunter3")
	turned.Stop(t)
	after := servertest.Start(t, env(second, ""))
	run(after, "Bearer hunter3")
	after.Stop(t)
}

// plain writes a decoded value in one form.
func plain(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// A key that is lost keeps checks from being made, which is an error of ours. Whoever gives the secrets again has them made.
func TestALostKeyIsAnErrorOfOurs(t *testing.T) {
	_, database := postgrestest.New(t)
	url, given := lock(t)
	with := func(key string) *servertest.Server {
		return servertest.Start(t, servertest.Config{Database: database, Env: map[string]string{"CHECKSTACK_MASTER_KEY": key}})
	}
	s := with("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	editor := s.Token(t, "editor")
	c := servertest.Decode[configuration](t, s.Do(t, "POST", base+"/configurations", editor, secret("Lost", url, "Bearer hunter2")), 201)
	sys := system(t, s, "Lost")
	assign(t, s, sys, c.ID, true)
	await(t, s, sys, is("healthy"))
	<-given
	s.Stop(t)

	s = with("ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	res := s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+sys, editor, nil)
	got := servertest.Decode[healthcheck.RunResult](t, res, 200)
	if got.Status != "unknown" || got.RunID != "" || !strings.HasPrefix(got.Error, "the configuration cannot be run: ") || strings.Contains(res.Body, "hunter2") {
		t.Errorf("by hand: %s", res.Body)
	}
	if now := status(t, s, sys); now.Status != "healthy" {
		t.Errorf("the status is %+v", now)
	}
	runs := servertest.Decode[plugins.List[plugins.Run]](t, s.Do(t, "GET", base+"/systems/"+sys+"/runs", editor, nil), 200)
	if runs.Total != 1 {
		t.Errorf("%d runs are kept", runs.Total)
	}
	s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, secret("Lost", url, "Bearer hunter3")).Has(t, 200)
	if got := <-given; got != "Bearer hunter3" {
		t.Errorf("given again, it is run with %q", got)
	}
	if !strings.Contains(s.Log(), "the secrets of configurations cannot be opened") {
		t.Errorf("nothing is said of it:\n%s", s.Log())
	}
	s.Kill(t) // it has logged an error
}
