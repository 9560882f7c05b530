package healthcheck_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
)

// TestTemplates shows what a configuration for many systems can rely on.
func TestTemplates(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("a template is run with what the catalog says of each system", func(t *testing.T) { ofEach(t, s) })
	t.Run("a system that lacks something cannot be assigned", func(t *testing.T) { lacking(t, s) })
	t.Run("a system that loses something has an error of ours", func(t *testing.T) { losing(t, s) })
	t.Run("a template that does not fit is refused as a whole", func(t *testing.T) { unfit(t, s) })
	t.Run("a configuration that is no template has no placeholders", func(t *testing.T) { noTemplate(t, s) })
}

// named makes a system with metadata.
func named(t testing.TB, s *servertest.Server, name string, metadata map[string]any) string {
	t.Helper()
	res := s.Do(t, "POST", "/api/catalog/systems", s.Token(t, "editor"), map[string]any{"name": name, "metadata": metadata})
	return servertest.Decode[struct{ ID string }](t, res, 201).ID
}

// change changes a system.
func change(t testing.TB, s *servertest.Server, id, name string, metadata map[string]any) {
	t.Helper()
	if metadata == nil {
		metadata = map[string]any{}
	}
	s.Do(t, "PUT", "/api/catalog/systems/"+id, s.Token(t, "editor"), map[string]any{"name": name, "description": "", "metadata": metadata}).Has(t, 200)
}

func template(name, url string, interval int) map[string]any {
	in := input(name, url, interval)
	in["template"] = true
	return in
}

func makeTemplate(t testing.TB, s *servertest.Server, in map[string]any) configuration {
	t.Helper()
	return servertest.Decode[configuration](t, s.Do(t, "POST", base+"/configurations", s.Token(t, "editor"), in), 201)
}

// next is the next path that is asked for.
func next(t testing.TB, asked chan string) string {
	t.Helper()
	select {
	case path := <-asked:
		return path
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is asked for")
		return ""
	}
}

// paths is a server that tells which paths were asked for.
func paths(t testing.TB) (url string, asked chan string) {
	asked = make(chan string, 1000)
	st := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	t.Cleanup(st.Close)
	return st.URL, asked
}

func ofEach(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	url, asked := paths(t)
	c := makeTemplate(t, s, template("Of each", url+"/${system.metadata.host}/${system.name}", 2592000))
	if !c.Template || string(c.Config) != `{"url":"`+url+`/${system.metadata.host}/${system.name}"}` {
		t.Errorf("made %+v", c)
	}
	one, two := named(t, s, "one", map[string]any{"host": "h1"}), named(t, s, "two", map[string]any{"host": 2.5})
	for _, test := range [][2]string{{one, "/h1/one"}, {two, "/2.5/two"}} {
		assignStrictly(t, s, test[0], c.ID)
		if got := next(t, asked); got != test[1] {
			t.Errorf("asked for %s, want %s", got, test[1])
		}
		await(t, s, test[0], is("healthy"))
	}
	change(t, s, one, "uno", map[string]any{"host": "h3", "other": true})
	if got := next(t, asked); got != "/h3/uno" {
		t.Errorf("after a change asked for %s", got)
	}
	s.Do(t, "POST", base+"/configurations/"+c.ID+"/run?systemId="+two, editor, nil).Has(t, 200)
	if got := next(t, asked); got != "/2.5/two" {
		t.Errorf("by hand asked for %s", got)
	}
	s.Do(t, "POST", base+"/configurations/"+c.ID+"/run", editor, nil).
		IsInvalid(t, "systemId", "expected the ID of a system, because the configuration is a template")
	s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, template("Of each", url+"/new/${system.id}", 2592000)).Has(t, 200)
	got := map[string]bool{next(t, asked): true, next(t, asked): true}
	if !got["/new/"+one] || !got["/new/"+two] {
		t.Errorf("the changed template asked for %v, want %s and %s", got, one, two)
	}
	s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, input("Of each", url+"/plain", 2592000)).Has(t, 200)
	if a, b := next(t, asked), next(t, asked); a != "/plain" || b != "/plain" {
		t.Errorf("what is no template any more asked for %s and %s", a, b)
	}
	var left int
	if err := s.DB.QueryRowContext(t.Context(), `select count(*) from healthcheck.assignments where configuration_id = $1 and vars is not null`, c.ID).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d assignments still have what placeholders stand for, %v", left, err)
	}
	list := servertest.Decode[plugins.List[configuration]](t, s.Do(t, "GET", base+"/configurations?template=true&q=OF%20EACH", editor, nil), 200)
	if list.Total != 0 {
		t.Errorf("templates: %+v", list)
	}
}

func lacking(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	url, _ := paths(t)
	c := makeTemplate(t, s, template("Lacking", url+"/${system.metadata.host}", 3600))
	sys := named(t, s, "lacking", map[string]any{"port": 80})
	path := base + "/systems/" + sys + "/checks/" + c.ID
	const message = `the configuration "Lacking" does not fit the system "lacking": config.url: expected a system that has a value for ${system.metadata.host}`
	s.Do(t, "PUT", path, editor, `{"enabled":true}`).IsInvalid(t, "", message)
	s.Do(t, "POST", base+"/configurations/"+c.ID+"/assign", editor, map[string]any{"enabled": true, "systemIds": []string{sys}}).IsInvalid(t, "", message)
	if checks := servertest.Decode[plugins.List[healthcheck.Assignment]](t, s.Do(t, "GET", base+"/systems/"+sys+"/checks", editor, nil), 200); checks.Total != 0 {
		t.Errorf("assigned %+v", checks)
	}
	change(t, s, sys, "lacking", map[string]any{"host": "h"})
	s.Do(t, "PUT", path, editor, `{"enabled":true}`).Has(t, 200)
	await(t, s, sys, is("healthy"))
}

func losing(t *testing.T, s *servertest.Server) {
	url, _ := paths(t)
	c := makeTemplate(t, s, template("Losing", url+"/${system.metadata.host}", 2592000))
	sys := named(t, s, "losing", map[string]any{"host": "h"})
	assignStrictly(t, s, sys, c.ID)
	await(t, s, sys, is("healthy"))
	change(t, s, sys, "losing", nil)
	got := await(t, s, sys, func(now healthcheck.SystemStatus) bool { return now.Checks[0].Sources[0].Error != nil })
	if got.Status != "healthy" || got.Checks[0].Sources[0].Error.Message != "the configuration cannot be run" {
		t.Errorf("the status is %+v of %+v", got.Checks[0].Sources[0].Error, got)
	}
	errors := servertest.Decode[plugins.List[healthcheck.CheckError]](t, s.Do(t, "GET", base+"/systems/"+sys+"/errors", s.Token(t, "viewer"), nil), 200)
	const why = "the configuration cannot be run: config.url: expected a system that has a value for ${system.metadata.host}"
	if errors.Total != 1 || errors.Items[0].Message != why {
		t.Errorf("why, for those who may see configurations: %+v", errors)
	}
	change(t, s, sys, "losing", map[string]any{"host": "again"})
	await(t, s, sys, func(now healthcheck.SystemStatus) bool {
		return now.Checks[0].Sources[0].Error == nil && now.Status == "healthy"
	})
}

func unfit(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	url, _ := paths(t)
	c := makeTemplate(t, s, template("Unfit", url+"/${system.name}", 3600))
	sys := named(t, s, "unfit", map[string]any{"host": "h"})
	assign(t, s, sys, c.ID, true)
	s.Do(t, "PUT", base+"/configurations/"+c.ID, editor, template("Unfit", url+"/${system.metadata.port}", 60)).IsInvalid(t, "",
		`the configuration "Unfit" does not fit the system "unfit": config.url: expected a system that has a value for ${system.metadata.port}`)
	now := servertest.Decode[configuration](t, s.Do(t, "GET", base+"/configurations/"+c.ID, editor, nil), 200)
	if string(now.Config) != string(c.Config) || now.IntervalSeconds != 3600 {
		t.Errorf("it was changed to %+v", now)
	}
}

func noTemplate(t *testing.T, s *servertest.Server) {
	res := s.Do(t, "POST", base+"/configurations", s.Token(t, "editor"), input("No template", "http://example.org/${system.name}", 60))
	if res.Status != 400 {
		t.Errorf("answered %d %s", res.Status, res.Body)
	}
	bad := template("No template", "http://example.org/${ENV:SECRET}", 60)
	if res := s.Do(t, "POST", base+"/configurations", s.Token(t, "editor"), bad); res.Status != 400 {
		t.Errorf("a variable that is not allowed: %d %s", res.Status, res.Body)
	}
}
