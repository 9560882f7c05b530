package notification_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
)

type subscription struct {
	ID, ChannelID, Channel, Spec, Target, MinSeverity string
	Resource, ManagedBy                               *string
	CreatedAt, UpdatedAt                              time.Time
}

// thing makes a system or a group and returns its ID.
func thing(t testing.TB, s *servertest.Server, kind, name string) string {
	t.Helper()
	res := s.Do(t, "POST", "/api/catalog/"+kind+"s", s.Token(t, "editor"), map[string]string{"name": name})
	return servertest.Decode[struct{ ID string }](t, res, 201).ID
}

func subscribed(t testing.TB, s *servertest.Server, channel, spec, resource string) subscription {
	t.Helper()
	in := map[string]any{"channelId": channel, "spec": spec}
	if resource != "" {
		in["resource"] = resource
	}
	return servertest.Decode[subscription](t, s.Do(t, "POST", base+"/subscriptions", s.Token(t, "editor"), in), 201)
}

func subscriptionLife(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c, shop := madeChannel(t, s, "Life", nowhere), thing(t, s, "system", "Shop of a life")
	in := map[string]any{"channelId": strings.ToUpper(c.ID), "spec": "healthcheck.system", "resource": strings.ToUpper(shop), "minSeverity": "warning"}
	res := s.Do(t, "POST", base+"/subscriptions", editor, in)
	sub := servertest.Decode[subscription](t, res, 201)
	at := sub.CreatedAt.Format(time.RFC3339Nano)
	res.Is(t, 201, `{"id":"`+sub.ID+`","channelId":"`+c.ID+`","channel":"Life","spec":"healthcheck.system","target":"catalog.system",`+
		`"resource":"`+shop+`","minSeverity":"warning","managedBy":null,"createdAt":"`+at+`","updatedAt":"`+at+`"}`)
	if location := res.Header.Get("Location"); location != base+"/subscriptions/"+sub.ID || !plugins.IsID(sub.ID) {
		t.Errorf("Location %q", location)
	}
	path := base + "/subscriptions/" + sub.ID
	s.Do(t, "GET", path, s.Token(t, "viewer"), nil).Is(t, 200, res.Body)
	s.Do(t, "GET", base+"/subscriptions", editor, nil).Is(t, 200, `{"items":[`+res.Body+`],"total":1}`)
	changed := servertest.Decode[subscription](t, s.Do(t, "PUT", path, editor, `{"minSeverity":"critical"}`), 200)
	if changed.MinSeverity != "critical" || !changed.UpdatedAt.After(sub.UpdatedAt) || !changed.CreatedAt.Equal(sub.CreatedAt) || *changed.Resource != shop {
		t.Errorf("changed to %+v", changed)
	}
	s.Do(t, "DELETE", path, editor, nil).Is(t, 204, "")
	s.Do(t, "DELETE", path, editor, nil).Is(t, 404, `{"error":"Not Found","message":"no such subscription"}`)
	all := subscribed(t, s, c.ID, "healthcheck.group", "")
	if all.Resource != nil || all.MinSeverity != "info" || all.Target != "catalog.group" {
		t.Errorf("to all groups: %+v", all)
	}
	s.Do(t, "DELETE", base+"/channels/"+c.ID, editor, nil).Is(t, 200, `{"channels":1,"subscriptions":1,"pending":0}`)
	s.Do(t, "DELETE", "/api/catalog/systems/"+shop, editor, nil).Has(t, 204)
}

func subscriptionInvalid(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c, shop := madeChannel(t, s, "Valid", nowhere), thing(t, s, "system", "Valid shop")
	sub := subscribed(t, s, c.ID, "healthcheck.system", shop)
	before := s.Do(t, "GET", base+"/subscriptions", editor, nil)
	const noResource = "expected the ID of a resource of the target catalog.system that there is"
	for _, test := range []struct{ channel, spec, resource, least, field, message string }{
		{`"x"`, `"healthcheck.system"`, `"` + shop + `"`, `"info"`, "channelId", "expected the ID of a channel"},
		{`""`, `"healthcheck.system"`, `null`, `"info"`, "channelId", "expected the ID of a channel"},
		{`"` + plugins.NewID() + `"`, `"healthcheck.system"`, `null`, `"info"`, "channelId", "expected a channel that there is"},
		{`"` + c.ID + `"`, `""`, `null`, `"info"`, "spec", "expected the type of a subscription spec"},
		{`"` + c.ID + `"`, `"sky.transit"`, `null`, `"info"`, "spec", "expected the type of a subscription spec that this server has"},
		{`"` + c.ID + `"`, `"\u0000"`, `null`, `"info"`, "spec", "expected the type of a subscription spec that this server has"},
		{`"` + c.ID + `"`, `"healthcheck.system"`, `""`, `"info"`, "resource", "expected the ID of a resource, or no such field for all of them"},
		{`"` + c.ID + `"`, `"healthcheck.system"`, `"` + plugins.NewID() + `"`, `"info"`, "resource", noResource},
		{`"` + c.ID + `"`, `"healthcheck.system"`, `"\u0000"`, `"info"`, "resource", noResource},
		{`"` + c.ID + `"`, `"healthcheck.system"`, `7`, `"info"`, "resource", "expected a string, not number"},
		{`"` + c.ID + `"`, `"healthcheck.system"`, `null`, `"recovered"`, "minSeverity", "expected info, warning or critical"},
		{`"` + c.ID + `"`, `"healthcheck.system"`, `null`, `"loud"`, "minSeverity", "expected info, warning or critical"},
	} {
		body := `{"channelId":` + test.channel + `,"spec":` + test.spec + `,"resource":` + test.resource + `,"minSeverity":` + test.least + `}`
		s.Do(t, "POST", base+"/subscriptions", editor, body).IsInvalid(t, test.field, test.message)
	}
	path := base + "/subscriptions/" + sub.ID
	s.Do(t, "PUT", path, editor, `{}`).IsInvalid(t, "minSeverity", "expected info, warning or critical")
	s.Do(t, "PUT", path, editor, `{"minSeverity":"recovered"}`).IsInvalid(t, "minSeverity", "expected info, warning or critical")
	s.Do(t, "PUT", path, editor, `{"minSeverity":"info","resource":null}`).IsInvalid(t, "resource", "there is no such field")
	for _, list := range []string{"/subscriptions", "/deliveries"} {
		s.Do(t, "GET", base+list+"?channelId=x", editor, nil).IsInvalid(t, "channelId", "expected the ID of a channel")
	}
	s.Do(t, "GET", base+"/deliveries?state=lost", editor, nil).IsInvalid(t, "state", "expected pending, delivered, refused or expired")
	s.Do(t, "GET", base+"/subscriptions", editor, nil).Is(t, 200, before.Body)
	s.Do(t, "DELETE", "/api/catalog/systems/"+shop, editor, nil).Has(t, 204)
	execute(t, s, `truncate notification.channels cascade`)
}

func subscriptionUnknown(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	const body = `{"error":"Not Found","message":"no such subscription"}`
	for _, id := range []string{plugins.NewID(), "x", "%00", "a%2Fb"} {
		path := base + "/subscriptions/" + id
		s.Do(t, "GET", path, editor, nil).Is(t, 404, body)
		s.Do(t, "PUT", path, editor, `{"minSeverity":"info"}`).Is(t, 404, body)
		s.Do(t, "DELETE", path, editor, nil).Is(t, 404, body)
	}
}

func subscriptionAccess(t *testing.T, s *servertest.Server) {
	c := madeChannel(t, s, "Guarded", nowhere)
	path := base + "/subscriptions/" + subscribed(t, s, c.ID, "healthcheck.system", "").ID
	access(t, s, []string{base + "/subscriptions", path}, [][2]string{{"POST", base + "/subscriptions"}}, map[string]string{"channelId": c.ID, "spec": "healthcheck.group"})
	access(t, s, nil, [][2]string{{"PUT", path}, {"DELETE", path}}, `{"minSeverity":"critical"}`)
	s.Do(t, "DELETE", base+"/channels/"+c.ID, s.Token(t, "editor"), nil).Is(t, 200, `{"channels":1,"subscriptions":1,"pending":0}`)
}

func subscriptionTwice(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c, shop := madeChannel(t, s, "Twice", nowhere), thing(t, s, "system", "Twice shop")
	const taken = `{"error":"Already exists","message":"the channel has this subscription already"}`
	for _, resource := range []string{"", shop} {
		first := subscribed(t, s, c.ID, "healthcheck.system", resource)
		in := map[string]any{"channelId": c.ID, "spec": "healthcheck.system", "minSeverity": "critical"}
		if resource != "" {
			in["resource"] = strings.ToUpper(resource)
		}
		s.Do(t, "POST", base+"/subscriptions", editor, in).Is(t, 409, taken)
		if got := servertest.Decode[subscription](t, s.Do(t, "GET", base+"/subscriptions/"+first.ID, editor, nil), 200); got.MinSeverity != "info" {
			t.Errorf("what was refused has changed %+v", got)
		}
	}
	s.Do(t, "DELETE", "/api/catalog/systems/"+shop, editor, nil).Has(t, 204)
	execute(t, s, `truncate notification.channels cascade`)
}

func subscriptionPages(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	b, a := madeChannel(t, s, "b", nowhere), madeChannel(t, s, "A", nowhere)
	for _, c := range []channel{b, a} {
		subscribed(t, s, c.ID, "healthcheck.system", "")
		subscribed(t, s, c.ID, "healthcheck.group", "")
	}
	for query, want := range map[string]string{
		"":                              "A healthcheck.group, A healthcheck.system, b healthcheck.group, b healthcheck.system of 4",
		"?limit=1&offset=1":             "A healthcheck.system of 4",
		"?offset=4":                     " of 4",
		"?channelId=" + b.ID:            "b healthcheck.group, b healthcheck.system of 2",
		"?limit=1&channelId=" + a.ID:    "A healthcheck.group of 2",
		"?channelId=" + plugins.NewID(): " of 0",
	} {
		list := servertest.Decode[plugins.List[subscription]](t, s.Do(t, "GET", base+"/subscriptions"+query, editor, nil), 200)
		var got []string
		for _, sub := range list.Items {
			got = append(got, sub.Channel+" "+sub.Spec)
		}
		if text := fmt.Sprint(strings.Join(got, ", "), " of ", list.Total); text != want {
			t.Errorf("%s: %s, want %s", query, text, want)
		}
	}
	execute(t, s, `truncate notification.channels cascade`)
}

func subscriptionManaged(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c := madeChannel(t, s, "Managed", nowhere)
	sub := subscribed(t, s, c.ID, "healthcheck.system", "")
	execute(t, s, `update notification.subscriptions set managed_by = 'doc'`)
	path := base + "/subscriptions/" + sub.ID
	before := s.Do(t, "GET", path, editor, nil)
	const managed = `{"error":"Managed","message":"the document \"doc\" manages this: change it there, or release it first"}`
	s.Do(t, "PUT", path, editor, `{"minSeverity":"critical"}`).Is(t, 409, managed)
	s.Do(t, "DELETE", path, editor, nil).Is(t, 409, managed)
	s.Do(t, "GET", path, editor, nil).Is(t, 200, before.Body)
	execute(t, s, `truncate notification.channels cascade`)
}

func subscriptionEnds(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c := madeChannel(t, s, "Ends", nowhere)
	for kind, spec := range map[string]string{"system": "healthcheck.system", "group": "healthcheck.group"} {
		gone, other := thing(t, s, kind, "Gone"), thing(t, s, kind, "Other")
		sub, left := subscribed(t, s, c.ID, spec, gone), subscribed(t, s, c.ID, spec, other)
		all := subscribed(t, s, c.ID, spec, "")
		path := "/api/catalog/" + kind + "s/"
		execute(t, s, `update notification.subscriptions set managed_by = 'doc' where id = $1`, sub.ID)
		s.Do(t, "DELETE", path+gone, editor, nil).Is(t, 409,
			`{"error":"Managed","message":"the document \"doc\" has a subscription of the channel \"Ends\" that would end: take it out there, or release it first"}`)
		s.Do(t, "GET", path+gone, editor, nil).Has(t, 200)
		s.Do(t, "GET", base+"/subscriptions/"+sub.ID, editor, nil).Has(t, 200)
		execute(t, s, `update notification.subscriptions set managed_by = null`)
		s.Do(t, "DELETE", path+gone, editor, nil).Is(t, 204, "")
		s.Do(t, "GET", base+"/subscriptions/"+sub.ID, editor, nil).Has(t, 404)
		for _, stays := range []subscription{left, all} {
			s.Do(t, "GET", base+"/subscriptions/"+stays.ID, editor, nil).Has(t, 200)
		}
		s.Do(t, "DELETE", path+other, editor, nil).Has(t, 204)
	}
	execute(t, s, `truncate notification.channels cascade`)
}

func subscribeWhileDeleting(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c := madeChannel(t, s, "Late", nowhere)
	for i := range 20 {
		shop := thing(t, s, "system", fmt.Sprint("Late ", i))
		var both sync.WaitGroup
		both.Go(func() { s.Do(t, "DELETE", "/api/catalog/systems/"+shop, editor, nil).Has(t, 204) })
		both.Go(func() {
			res := s.Do(t, "POST", base+"/subscriptions", editor, map[string]string{"channelId": c.ID, "spec": "healthcheck.system", "resource": shop})
			if res.Status != 201 && res.Status != 400 {
				t.Errorf("subscribe: %d %s", res.Status, res.Body)
			}
		})
		both.Wait()
	}
	s.Do(t, "GET", base+"/subscriptions", editor, nil).Is(t, 200, `{"items":[],"total":0}`)
	execute(t, s, `truncate notification.channels cascade`)
}

type delivery struct {
	ID, ChannelID, Channel, Spec, Severity, Title, State string
	NoticeID                                             int64
	Attempts                                             int
	Error                                                *string
	CreatedAt                                            time.Time
	EndedAt                                              *time.Time
}

// posted has a notice about a system, as the plugin that owns the spec would post it.
func posted(t testing.TB, s *servertest.Server, system, severity, title string) {
	t.Helper()
	execute(t, s, `with n as (
			insert into notification.notices (event, spec, target, resource, severity, title, message, data)
			values ($1, 'healthcheck.system', 'catalog.system', $2, $3, $4, 'It is so.', '{"n": 1}') returning id
		) select pg_notify('notification_work', '') from n`, "healthcheck.system/"+title, system, severity, title)
}

// settled waits until nothing is pending, and returns the deliveries, the newest first.
func settled(t testing.TB, s *servertest.Server, query string) plugins.List[delivery] {
	t.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; {
		if servertest.Decode[plugins.List[delivery]](t, s.Do(t, "GET", base+"/deliveries?state=pending", s.Token(t, "viewer"), nil), 200).Total == 0 {
			break
		}
	}
	return servertest.Decode[plugins.List[delivery]](t, s.Do(t, "GET", base+"/deliveries"+query, s.Token(t, "viewer"), nil), 200)
}

func deliveries(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	type letter struct {
		ID, Title string
		Resource  struct{ Name string }
	}
	came := make(chan letter, 10)
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var l letter
		if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
			t.Error(err)
		}
		if l.Title == "Refused" {
			w.WriteHeader(422)
		}
		came <- l
	}))
	defer r.Close()
	a, b := madeChannel(t, s, "A", r.URL), madeChannel(t, s, "B", r.URL)
	shop, shops := thing(t, s, "system", "Shop"), thing(t, s, "group", "All shops")
	s.Do(t, "PUT", "/api/catalog/groups/"+shops+"/systems/"+shop, editor, nil).Has(t, 204)
	subscribed(t, s, a.ID, "healthcheck.system", shop)
	subscribed(t, s, b.ID, "healthcheck.group", shops)
	s.Do(t, "PUT", base+"/subscriptions/"+subscribed(t, s, b.ID, "healthcheck.system", "").ID, editor, `{"minSeverity":"critical"}`).Has(t, 200)
	posted(t, s, shop, "critical", "Down")
	first, second := <-came, <-came
	if first.Title != "Down" || first.Resource.Name != "Shop" || second.Title != "Down" || first.ID == second.ID {
		t.Errorf("%+v and %+v have come", first, second)
	}
	posted(t, s, shop, "info", "Refused")
	<-came
	<-came
	posted(t, s, shop, "recovered", "Up")
	<-came
	<-came
	var got []string
	list := settled(t, s, "")
	for _, d := range list.Items {
		got = append(got, fmt.Sprint(d.Title, " ", d.State, " ", d.Attempts))
	}
	want := "Up delivered 1, Up delivered 1, Refused refused 1, Refused refused 1, Down delivered 1, Down delivered 1"
	if strings.Join(got, ", ") != want || list.Total != 6 {
		t.Errorf("%d deliveries: %v", list.Total, got)
	}
	of := settled(t, s, "?channelId="+strings.ToUpper(a.ID)+"&state=refused")
	if len(of.Items) != 1 || of.Total != 1 {
		t.Fatalf("%+v", of)
	}
	d := of.Items[0]
	if d.Error == nil || !strings.Contains(*d.Error, "422") || d.EndedAt == nil || d.Channel != "A" {
		t.Fatalf("refused: %+v", d)
	}
	at, ended := d.CreatedAt.Format(time.RFC3339Nano), d.EndedAt.Format(time.RFC3339Nano)
	s.Do(t, "GET", base+"/deliveries?channelId="+a.ID+"&limit=1&offset=1", s.Token(t, "viewer"), nil).Is(t, 200,
		`{"items":[{"id":"`+d.ID+`","channelId":"`+a.ID+`","channel":"A","noticeId":`+fmt.Sprint(d.NoticeID)+`,"spec":"healthcheck.system",`+
			`"resource":{"type":"catalog.system","id":"`+shop+`","name":"Shop"},"severity":"info","title":"Refused","state":"refused","attempts":1,`+
			fmt.Sprintf(`"error":%q`, *d.Error)+`,"createdAt":"`+at+`","endedAt":"`+ended+`"}],"total":3}`)
	execute(t, s, `truncate notification.channels cascade`)
}
