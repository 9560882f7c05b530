package notification_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
)

const nowhere = "http://127.0.0.1:1/hook" // nobody answers

type channel struct {
	ID, Name, Type, Destination string
	Enabled                     bool
	ManagedBy                   *string
	Failing                     *struct {
		Attempts int
		Error    string
	}
	Pending              int
	CreatedAt, UpdatedAt time.Time
}

func webhook(name, url string) map[string]any {
	return map[string]any{"name": name, "type": "webhook", "config": map[string]any{"url": url}}
}

// madeChannel makes a channel.
func madeChannel(t testing.TB, s *servertest.Server, name, url string) channel {
	t.Helper()
	return servertest.Decode[channel](t, s.Do(t, "POST", base+"/channels", s.Token(t, "editor"), webhook(name, url)), 201)
}

// receiver is a place for messages. It keeps what comes, and answers with a status.
func receiver(t testing.TB, status int) (url string, came chan *http.Request) {
	came = make(chan *http.Request, 1000)
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came <- r
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r.URL, came
}

func channelLife(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	before := time.Now().Add(-time.Minute)
	res := s.Do(t, "POST", base+"/channels", editor, webhook("  Life ", nowhere))
	c := servertest.Decode[channel](t, res, 201)
	at := c.CreatedAt.Format(time.RFC3339Nano)
	res.Is(t, 201, `{"id":"`+c.ID+`","name":"Life","type":"webhook","destination":"http://127.0.0.1:1","enabled":true,"managedBy":null,`+
		`"failing":null,"pending":0,"createdAt":"`+at+`","updatedAt":"`+at+`"}`)
	if location := res.Header.Get("Location"); location != base+"/channels/"+c.ID || !plugins.IsID(c.ID) || c.CreatedAt.Before(before) {
		t.Errorf("Location %q, made at %v", location, c.CreatedAt)
	}
	s.Do(t, "GET", base+"/channels/"+c.ID, s.Token(t, "viewer"), nil).Is(t, 200, res.Body)
	s.Do(t, "GET", base+"/channels/"+strings.ToUpper(c.ID), editor, nil).Is(t, 200, res.Body)
	s.Do(t, "GET", base+"/channels", editor, nil).Is(t, 200, `{"items":[`+res.Body+`],"total":1}`)

	url, came := receiver(t, 204)
	try := func(want string) {
		t.Helper()
		s.Do(t, "POST", base+"/channels/"+c.ID+"/try", editor, nil).Has(t, 200)
		if got := (<-came).URL.Path; got != want {
			t.Errorf("it is sent to %s, want %s", got, want)
		}
	}
	changed := servertest.Decode[channel](t, s.Do(t, "PUT", base+"/channels/"+c.ID, editor, webhook("Life", url+"/one")), 200)
	if changed.ID != c.ID || changed.Destination != url || !changed.CreatedAt.Equal(c.CreatedAt) || !changed.UpdatedAt.After(c.UpdatedAt) {
		t.Errorf("changed to %+v", changed)
	}
	try("/one")
	for body, enabled := range map[string]bool{`"enabled":false`: false, `"config":null`: true} { // the configuration stays as it is
		got := servertest.Decode[channel](t, s.Do(t, "PUT", base+"/channels/"+c.ID, editor, `{"name":"LIFE","type":"webhook",`+body+`}`), 200)
		if got.Name != "LIFE" || got.Destination != url || got.Enabled != enabled {
			t.Errorf("changed to %+v", got)
		}
		try("/one")
	}
	execute(t, s, `insert into notification.subscriptions (id, channel_id, spec, resource, min_severity) values
		(gen_random_uuid(), $1, 'healthcheck.system', '', 'info'), (gen_random_uuid(), $1, 'healthcheck.group', '', 'info')`, c.ID)
	execute(t, s, `update notification.channels set due_at = now() + interval '1 hour' where id = $1`, c.ID) // so that it waits
	execute(t, s, `insert into notification.deliveries (channel_id, notice_id) select $1, id from notification.notices order by id limit 2`, c.ID)
	execute(t, s, `update notification.deliveries set state = 'delivered', ended_at = now() where id = (select min(id) from notification.deliveries)`)
	if got := servertest.Decode[channel](t, s.Do(t, "GET", base+"/channels/"+c.ID, editor, nil), 200); got.Pending != 1 {
		t.Errorf("%d messages are pending", got.Pending)
	}
	s.Do(t, "DELETE", base+"/channels/"+c.ID, editor, nil).Is(t, 200, `{"channels":1,"subscriptions":2,"pending":1}`)
	s.Do(t, "DELETE", base+"/channels/"+c.ID, editor, nil).Is(t, 404, `{"error":"Not Found","message":"no such channel"}`)
	s.Do(t, "GET", base+"/channels", editor, nil).Is(t, 200, `{"items":[],"total":0}`)
	s.Do(t, "GET", base+"/subscriptions", editor, nil).Is(t, 200, `{"items":[],"total":0}`)
	s.Do(t, "GET", base+"/deliveries", editor, nil).Is(t, 200, `{"items":[],"total":0}`)
}

func channelInvalid(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c := madeChannel(t, s, "Valid", nowhere)
	before := s.Do(t, "GET", base+"/channels", editor, nil)
	sealed := stored(t, s)
	const config = `{"url":"http://127.0.0.1:1/hook"}`
	types := servertest.Decode[plugins.List[struct{ Type string }]](t, s.Do(t, "GET", base+"/channel-types", editor, nil), 200)
	var names []string
	for _, typ := range types.Items {
		names = append(names, typ.Type)
	}
	large := `{"url":"` + nowhere + `","token":"` + strings.Repeat("x", 64<<10-len(nowhere)-len(`{"url":"","token":""}`)+1) + `"}`
	for _, test := range []struct{ body, field, message string }{
		{`{"name":"","type":"webhook","config":` + config + `}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`{"name":" ","type":"webhook","config":` + config + `}`, "name", "expected a text of 1 to 200 characters, not an empty one"},
		{`{"name":"` + strings.Repeat("é", 201) + `","type":"webhook","config":` + config + `}`, "name", "expected a text of 1 to 200 characters, not 201"},
		{`{"name":"a\u0000","type":"webhook","config":` + config + `}`, "name", "expected a text without control characters"},
		{`{"name":7,"type":"webhook","config":` + config + `}`, "name", "expected a string, not number"},
		{`{"name":"X","config":` + config + `}`, "type", "expected a channel type"},
		{`{"name":"X","type":"pigeon","config":` + config + `}`, "type", "expected a channel type: " + strings.Join(names, ", ")},
		{`{"name":"X","type":"\u0000","config":` + config + `}`, "type", "expected a channel type: " + strings.Join(names, ", ")},
		{`{"name":"X","type":"webhook","config":[]}`, "config", "expected an object"},
		{`{"name":"X","type":"webhook","config":"x"}`, "config", "expected an object"},
		{`{"name":"X","type":"webhook","config":` + large + `}`, "config", "expected at most 65536 bytes, not 65537"},
		{`{"name":"X","type":"webhook","config":{"url":"` + nowhere + `","colour":1}}`, "config.colour", "there is no such field"},
		{`{"name":"X","type":"webhook","config":{"url":7}}`, "config.url", "expected a string, not number"},
		{`{"name":"X","type":"webhook","config":` + config + `,"enabled":"no"}`, "enabled", "expected true or false, not string"},
		{`{"name":"X","type":"webhook","config":` + config + `,"colour":"red"}`, "colour", "there is no such field"},
	} {
		s.Do(t, "POST", base+"/channels", editor, test.body).IsInvalid(t, test.field, test.message)
		s.Do(t, "PUT", base+"/channels/"+c.ID, editor, test.body).IsInvalid(t, test.field, test.message)
	}
	for _, absent := range []string{``, `,"config":null`} {
		s.Do(t, "POST", base+"/channels", editor, `{"name":"X","type":"webhook"`+absent+`}`).IsInvalid(t, "config", "expected this field, an object")
	}
	for _, query := range []string{"limit=0", "limit=501", "limit=x", "offset=-1", "offset=1000001"} {
		field, _, _ := strings.Cut(query, "=")
		if res := s.Do(t, "GET", base+"/channels?"+query, editor, nil); res.Status != 400 || !strings.Contains(res.Body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", query, res.Status, res.Body)
		}
	}
	s.Do(t, "GET", base+"/channels", editor, nil).Is(t, 200, before.Body)
	if now := stored(t, s); now != sealed {
		t.Errorf("a refused change has changed what is stored from %s to %s", sealed, now)
	}
	s.Do(t, "DELETE", base+"/channels/"+c.ID, editor, nil).Has(t, 200)
}

// stored is all that is in the table of channels.
func stored(t testing.TB, s *servertest.Server) (text string) {
	t.Helper()
	err := s.DB.QueryRowContext(t.Context(), `select coalesce(string_agg(c::text, ' ' order by id), '') from notification.channels c`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func channelUnknown(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	const body = `{"error":"Not Found","message":"no such channel"}`
	for _, id := range []string{plugins.NewID(), "x", "%00", "a%2Fb"} {
		path := base + "/channels/" + id
		s.Do(t, "GET", path, editor, nil).Is(t, 404, body)
		s.Do(t, "PUT", path, editor, webhook("X", nowhere)).Is(t, 404, body)
		s.Do(t, "DELETE", path, editor, nil).Is(t, 404, body)
		s.Do(t, "POST", path+"/try", editor, nil).Is(t, 404, body)
	}
}

func channelAccess(t *testing.T, s *servertest.Server) {
	c := madeChannel(t, s, "Guarded", nowhere)
	path := base + "/channels/" + c.ID
	access(t, s, []string{base + "/channels", path}, [][2]string{{"POST", base + "/channels"}, {"PUT", path}, {"DELETE", path}, {"POST", path + "/try"}},
		webhook("Changed", nowhere))
	s.Do(t, "DELETE", path, s.Token(t, "editor"), nil).Has(t, 200)
}

// access shows that viewers read, and that editors alone write.
func access(t *testing.T, s *servertest.Server, reads []string, writes [][2]string, body any) {
	t.Helper()
	for _, path := range reads {
		s.Do(t, "GET", path, "", nil).Has(t, 401)
		s.Do(t, "GET", path, strings.Repeat("x", 40), nil).Has(t, 401)
		s.Do(t, "GET", path, s.Token(t, "viewer"), nil).Has(t, 200)
	}
	for _, w := range writes {
		sent := body
		if w[0] == "DELETE" || strings.HasSuffix(w[1], "/try") {
			sent = nil
		}
		if res := s.Do(t, w[0], w[1], "", sent); res.Has(t, 401) && res.Header.Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
		s.Do(t, w[0], w[1], strings.Repeat("x", 40), sent).Has(t, 401)
		s.Do(t, w[0], w[1], s.Token(t, "viewer"), sent).Has(t, 403)
	}
}

func channelNames(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	const taken = `{"error":"Already exists","message":"there is a channel of this name already","field":"name"}`
	e, other := madeChannel(t, s, "Straße É", nowhere), madeChannel(t, s, "Other", nowhere)
	for _, name := range []string{"Straße É", "STRAßE é", " straße É "} {
		s.Do(t, "POST", base+"/channels", editor, webhook(name, nowhere)).Is(t, 409, taken)
		s.Do(t, "PUT", base+"/channels/"+other.ID, editor, webhook(name, nowhere)).Is(t, 409, taken)
	}
	s.Do(t, "PUT", base+"/channels/"+e.ID, editor, webhook("STRAßE É", nowhere)).Has(t, 200)
	var statuses [12]int
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() {
			statuses[i] = s.Do(t, "POST", base+"/channels", editor, webhook([]string{"raced", "RACED"}[i%2], nowhere)).Status
		})
	}
	all.Wait()
	slices.Sort(statuses[:])
	if want := [12]int{201, 409, 409, 409, 409, 409, 409, 409, 409, 409, 409, 409}; statuses != want {
		t.Errorf("made at once: %v", statuses)
	}
	execute(t, s, `truncate notification.channels cascade`)
}

func channelPages(t *testing.T, s *servertest.Server) {
	for _, name := range []string{"b", "A", "É", "c", "a2"} {
		madeChannel(t, s, name, nowhere)
	}
	for query, want := range map[string]string{
		"": "A a2 b c É", "?limit=2": "A a2", "?limit=2&offset=2": "b c", "?limit=2&offset=4": "É", "?offset=5": "", "?limit=500&offset=1000000": "",
	} {
		list := servertest.Decode[plugins.List[channel]](t, s.Do(t, "GET", base+"/channels"+query, s.Token(t, "viewer"), nil), 200)
		var got []string
		for _, c := range list.Items {
			got = append(got, c.Name)
		}
		if strings.Join(got, " ") != want || list.Total != 5 {
			t.Errorf("%s: %v of %d, want %s", query, got, list.Total, want)
		}
	}
	execute(t, s, `truncate notification.channels cascade`)
}

func channelManaged(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	c := madeChannel(t, s, "Mine", nowhere)
	path := base + "/channels/" + c.ID
	execute(t, s, `update notification.channels set managed_by = 'doc' where id = $1`, c.ID)
	before := s.Do(t, "GET", path, editor, nil)
	if !strings.Contains(before.Body, `"managedBy":"doc"`) {
		t.Errorf("it is shown as %s", before.Body)
	}
	const managed = `{"error":"Managed","message":"the document \"doc\" manages this: change it there, or release it first"}`
	s.Do(t, "PUT", path, editor, webhook("Changed", nowhere)).Is(t, 409, managed)
	s.Do(t, "DELETE", path, editor, nil).Is(t, 409, managed)
	s.Do(t, "POST", path+"/try", editor, nil).Has(t, 200)
	s.Do(t, "GET", path, editor, nil).Is(t, 200, before.Body)

	execute(t, s, `update notification.channels set managed_by = null`)
	execute(t, s, `insert into notification.subscriptions (id, channel_id, spec, resource, min_severity, managed_by)
		values (gen_random_uuid(), $1, 'healthcheck.system', '', 'info', 'doc')`, c.ID)
	s.Do(t, "DELETE", path, editor, nil).Is(t, 409,
		`{"error":"Managed","message":"the document \"doc\" has a subscription of the channel \"Mine\" that would end: take it out there, or release it first"}`)
	s.Do(t, "GET", path, editor, nil).Has(t, 200)
	execute(t, s, `update notification.subscriptions set managed_by = null`)
	s.Do(t, "DELETE", path, editor, nil).Is(t, 200, `{"channels":1,"subscriptions":1,"pending":0}`)
}

// channelSecrets looks for a secret wherever one could come to light.
func channelSecrets(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	url, came := receiver(t, 503)
	config := map[string]any{"url": url + "/hunter2", "token": "hunter2", "headers": map[string]any{"X-Key": "hunter2"}}
	in := map[string]any{"name": "Secret", "type": "webhook", "config": config}
	answers := []servertest.Response{s.Do(t, "POST", base+"/channels", editor, in)}
	c := servertest.Decode[channel](t, answers[0], 201)
	path := base + "/channels/" + c.ID
	tried := s.Do(t, "POST", path+"/try", editor, nil)
	if got := <-came; got.URL.Path != "/hunter2" || got.Header.Get("Authorization") != "Bearer hunter2" || !strings.Contains(tried.Body, `"delivered":false,"error":"`) {
		t.Errorf("it is tried with %s %v: %s", got.URL, got.Header, tried.Body)
	}
	answers = append(answers, tried, s.Do(t, "PUT", path, editor, `{"name":"Secret","type":"webhook"}`), s.Do(t, "PUT", path, editor, in),
		s.Do(t, "GET", path, editor, nil), s.Do(t, "GET", base+"/channels", editor, nil))
	config["token"] = "hunter2\n" // and what is wrong
	answers = append(answers, s.Do(t, "PUT", path, editor, in), s.Do(t, "POST", base+"/channels", editor, in))
	config["url"] = "hunter2://x"
	answers = append(answers, s.Do(t, "PUT", path, editor, in))
	answers = append(answers, s.Do(t, "POST", base+"/channels", editor, `{"name":"Secret","type":"webhook","config":{"url":["hunter2"]}}`))
	answers = append(answers, s.Do(t, "GET", base+"/deliveries", editor, nil))
	for _, res := range answers {
		if strings.Contains(res.Body, "hunter2") {
			t.Errorf("an answer shows the secret: %s", res.Body)
		}
	}
	if text := stored(t, s); strings.Contains(text, "hunter2") || !strings.Contains(text, ",v1.") {
		t.Errorf("what is stored is %s", text)
	}
	if log := s.Log(); strings.Contains(log, "hunter2") {
		t.Errorf("the log shows the secret:\n%s", log)
	}
	s.Do(t, "DELETE", path, editor, nil).Has(t, 200)
}

type tried struct {
	Delivered  bool
	Error      string
	DurationMs *int64
}

func channelTried(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	good, came := receiver(t, 200)
	c := madeChannel(t, s, "Good", good)
	s.Do(t, "PUT", base+"/channels/"+c.ID, editor, `{"name":"Good","type":"webhook","enabled":false}`).Has(t, 200) // all the same
	res := s.Do(t, "POST", base+"/channels/"+c.ID+"/try", editor, nil)
	got := servertest.Decode[tried](t, res, 200)
	if !got.Delivered || got.Error != "" || got.DurationMs == nil || strings.Contains(res.Body, `"error"`) || len(came) != 1 {
		t.Errorf("%d have come, and the answer is %s", len(came), res.Body)
	}
	bad := madeChannel(t, s, "Bad", nowhere)
	before := s.Do(t, "GET", base+"/channels", editor, nil)
	got = servertest.Decode[tried](t, s.Do(t, "POST", base+"/channels/"+bad.ID+"/try", editor, nil), 200)
	if got.Delivered || got.Error == "" {
		t.Errorf("where nobody answers: %+v", got)
	}
	s.Do(t, "GET", base+"/channels", editor, nil).Is(t, 200, before.Body)
	execute(t, s, `truncate notification.channels cascade`)
}

func channelBusy(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer slow.Close()
	c := madeChannel(t, s, "Slow", slow.URL)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := servertest.Decode[tried](t, s.Do(t, "POST", base+"/channels/"+c.ID+"/try", editor, nil), 200); !got.Delivered {
				t.Errorf("tried: %+v", got)
			}
		})
	}
	for range 8 {
		<-arrived
	}
	res := s.Do(t, "POST", base+"/channels/"+c.ID+"/try", editor, nil)
	res.Is(t, 429, `{"error":"Busy","message":"8 channels are being tried, which is as many as may be; try again"}`)
	if res.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	close(release)
	all.Wait()
	s.Do(t, "DELETE", base+"/channels/"+c.ID, editor, nil).Is(t, 200, fmt.Sprintf(`{"channels":1,"subscriptions":0,"pending":%d}`, 0))
}
