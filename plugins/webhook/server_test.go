package webhook

// What people see of it: a real server, with channels of this type.

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/notification"
)

var masterKey = strings.Repeat("5a", 32)

func TestREADME(t *testing.T) {
	servertest.Start(t, servertest.Config{Env: map[string]string{"CHECKSTACK_MASTER_KEY": masterKey}}).README(t)
}

// TestTheREADMEDescribesEveryField compares its table with the schema.
func TestTheREADMEDescribesEveryField(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Required   []string
		Properties map[string]struct {
			Description string
			Default     json.RawMessage
		}
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	table := "| field | default | |\n|---|---|---|\n"
	for _, name := range fields {
		field, def := s.Properties[name], ""
		if name == s.Required[0] {
			def = "required"
		}
		if len(field.Default) > 0 {
			def = "`" + string(field.Default) + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", name, def, field.Description)
	}
	if len(s.Required) != 1 || !strings.Contains(string(text), "\n\n"+table+"\n") {
		t.Errorf("README.md has no table\n%s", table)
	}
}

// made is the ID of what a request made.
func made(t *testing.T, s *servertest.Server, path string, body any) string {
	t.Helper()
	return servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", path, s.Token(t, "editor"), body), http.StatusCreated).ID
}

type object = map[string]any

// TestWhoSubscribedIsToldOfAnOutageAndItsEndInOrder has a receiver that does not take the first message at first.
func TestWhoSubscribedIsToldOfAnOutageAndItsEndInOrder(t *testing.T) {
	var works, failed atomic.Bool
	target := listen(t, func(c net.Conn) {
		if works.Load() {
			io.WriteString(c, "ready\n")
		}
		c.Close()
	})
	hook, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if failed.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "body-s3cret")
		}
	})
	s := servertest.Start(t, servertest.Config{
		Env:  map[string]string{"CHECKSTACK_MASTER_KEY": masterKey, "HOOK": hook.URL + "/path-s3cret", "TOKEN": "token-s3cret"},
		Args: []string{"-env-allow=HOOK,TOKEN"},
	})
	editor := s.Token(t, "editor")
	channel := object{"name": "On call", "type": "webhook", "config": object{"url": "${ENV:HOOK}?query-s3cret", "token": "${ENV:TOKEN}",
		"headers": object{"X-Key": "header-s3cret"}, "secret": "whsec_" + b64(24)}}
	channelID := made(t, s, "/api/notification/channels", channel)
	system := made(t, s, "/api/catalog/systems", object{"name": "Shop"})
	made(t, s, "/api/notification/subscriptions", object{"channelId": channelID, "spec": "healthcheck.system", "resource": system})
	check := made(t, s, "/api/healthcheck/configurations", object{"name": "Port", "type": "tcp", "config": object{"address": target, "banner": true},
		"intervalSeconds": 86400, "timeoutMs": 10000})
	s.Do(t, "PUT", "/api/healthcheck/systems/"+system+"/checks/"+check, editor, object{"enabled": true, "thresholds": object{"mode": "consecutive",
		"healthy": object{"minSuccessCount": 1}, "degraded": object{"minFailureCount": 1}, "unhealthy": object{"minFailureCount": 2}}}).Has(t, 200)
	run := func() {
		s.Do(t, "POST", "/api/healthcheck/configurations/"+check+"/run?systemId="+system, editor, nil).Has(t, 200)
	}
	run()
	first := next(t, got)
	run()
	works.Store(true)
	run()
	// Whoever changes a channel has it tried at once. The configuration stays.
	delete(channel, "config")
	s.Do(t, "PUT", "/api/notification/channels/"+channelID, editor, channel).Has(t, 200)

	var told []string
	for i, r := range []posted{first, next(t, got), next(t, got), next(t, got)} {
		var m notification.Message
		if err := json.Unmarshal([]byte(r.body), &m); err != nil {
			t.Fatal(err)
		}
		told = append(told, fmt.Sprintf("%s: %s: %s", m.Severity, m.Resource.Name, m.Title))
		if m.Spec != "healthcheck.system" || m.Resource.Type != "catalog.system" || m.Resource.ID != system || r.header.Get("Webhook-Id") != m.ID ||
			r.uri != "/path-s3cret?query-s3cret" || r.header.Get("Authorization") != "Bearer token-s3cret" || r.header.Get("X-Key") != "header-s3cret" ||
			r.header.Get("Webhook-Signature") != "v1,"+sign([]byte(strings.Repeat("\xfe", 24)), m.ID, r.header.Get("Webhook-Timestamp"), []byte(r.body)) {
			t.Errorf("got %+v", r)
		}
		if i == 1 && r.body != first.body {
			t.Errorf("the second try is\n%s\nand the first was\n%s", r.body, first.body)
		}
	}
	want := "[warning: Shop: Port is degraded warning: Shop: Port is degraded critical: Shop: Port is unhealthy recovered: Shop: Port is healthy]"
	if fmt.Sprint(told) != want {
		t.Errorf("got %s, want %s", told, want)
	}
	for _, path := range []string{"/channels", "/channels/" + channelID, "/deliveries", "/subscriptions"} {
		if res := s.Do(t, "GET", "/api/notification"+path, editor, nil); res.Status != 200 || strings.Contains(res.Body, "s3cret") {
			t.Errorf("%s: %d %s", path, res.Status, res.Body)
		}
	}
	s.Stop(t)
	if log := s.Log(); strings.Contains(log, "s3cret") || !strings.Contains(log, "the receiver answered 503 Service Unavailable") {
		t.Errorf("the log is\n%s", log)
	}
}

// TestAServerKeepsToWhatItMayConnectToAndUsesNoProxy has a proxy in the environment that would lead anywhere.
func TestAServerKeepsToWhatItMayConnectToAndUsesNoProxy(t *testing.T) {
	proxy, got := receiver(t, nil)
	s := servertest.Start(t, servertest.Config{
		Env:  map[string]string{"CHECKSTACK_MASTER_KEY": masterKey, "HTTP_PROXY": proxy.URL, "http_proxy": proxy.URL, "HTTPS_PROXY": proxy.URL, "ALL_PROXY": proxy.URL},
		Args: []string{"-deny-networks=198.51.100.0/24"},
	})
	for _, scheme := range []string{"http", "https"} {
		id := made(t, s, "/api/notification/channels", object{"name": scheme, "type": "webhook", "config": object{"url": scheme + "://198.51.100.1/"}})
		res := s.Do(t, "POST", "/api/notification/channels/"+id+"/try", s.Token(t, "editor"), nil)
		tried := servertest.Decode[notification.Tried](t, res, 200)
		want := "post to 198.51.100.1: the address is in a network that checks may not connect to (-deny-networks)"
		if tried.Delivered || tried.Error != want || len(got) != 0 {
			t.Errorf("%s: got %+v, want %s; %d requests came through the proxy", scheme, tried, want, len(got))
		}
	}
}
