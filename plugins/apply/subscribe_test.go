package apply_test

import (
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/apply"
	"checkstack/plugins/internal/servertest"
)

// hook is a channel that nothing can be sent through: nobody listens there.
func hook(name string) M {
	return M{"name": name, "type": "webhook", "config": M{"url": "http://127.0.0.1:1/secret-path"}}
}

// idOf finds the thing with a name, below a route that lists things.
func idOf(t *testing.T, s *servertest.Server, route, name string) string {
	t.Helper()
	list := servertest.Decode[plugins.List[M]](t, s.Do(t, "GET", route+"?limit=500", servertest.Admin, nil), 200)
	for _, item := range list.Items {
		if item["name"] == name {
			return item["id"].(string)
		}
	}
	t.Fatalf("%s has no %q", route, name)
	return ""
}

const (
	channelRoute      = "/api/notification/channels"
	subscriptionRoute = "/api/notification/subscriptions"
)

// subscribed are the subscriptions of a channel, for comparison.
func subscribed(t *testing.T, s *servertest.Server, channel string) (all []string) {
	t.Helper()
	list := servertest.Decode[plugins.List[M]](t, s.Do(t, "GET", subscriptionRoute+"?channelId="+idOf(t, s, channelRoute, channel), servertest.Admin, nil), 200)
	for _, item := range list.Items {
		about := "all"
		if item["resource"] != nil {
			about = "one"
		}
		owner, _ := item["managedBy"].(string)
		all = append(all, strings.Join([]string{item["spec"].(string), about, item["minSeverity"].(string), owner}, " "))
	}
	return all
}

// notified has a document say who is told.
func notified(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	d := M{"name": "told", "systems": L{M{"name": "Told"}}, "groups": L{M{"name": "Told", "systems": L{"Told"}}}, "channels": L{hook("Pager")},
		"subscriptions": L{M{"channel": "paGER", "system": "told", "minSeverity": "critical"}, M{"channel": "Pager", "group": "Told"}, M{"channel": "Pager"}}}
	told := []string{"create channel Pager", "create subscription Pager of Told", "create subscription Pager of group Told", "create subscription Pager"}
	created := append([]string{"create system Told", "create group Told"}, append(told[:4:4], "6 0 0 0 0")...)
	is(t, applied(t, s, "?dryRun=true", d), created...)
	is(t, servertest.Decode[apply.Plan](t, s.Do(t, "POST", documents, editor, d), 200), created...)
	is(t, applied(t, s, "", d), "0 0 0 0 6")
	want := "[healthcheck.group one info told healthcheck.system all info told healthcheck.system one critical told]"
	if got := strings.Join(subscribed(t, s, "Pager"), " "); "["+got+"]" != want {
		t.Errorf("the subscriptions are [%s], not %s", got, want)
	}

	// A config that is left out stays.
	left := M{"name": "Pager", "type": "webhook"}
	is(t, applied(t, s, "", with(d, "channels", L{left})), "0 0 0 0 6")
	other := with(hook("PAGER"), "config", M{"url": "http://127.0.0.1:1/other"}, "enabled", false)
	is(t, applied(t, s, "", with(d, "channels", L{other})), "update channel PAGER (name enabled config)", "0 1 0 0 5")
	is(t, applied(t, s, "", with(d, "channels", L{with(left, "enabled", false)})), "update channel Pager (name)", "0 1 0 0 5")
	is(t, applied(t, s, "", with(d, "channels", L{with(other, "name", "Pager")})), "0 0 0 0 6")
	is(t, applied(t, s, "", d), "update channel Pager (enabled config)", "0 1 0 0 5")

	// People keep their hands off it.
	const managed = `{"error":"Managed","message":"the document \"told\" manages this: change it there, or release it first"}`
	channel := channelRoute + "/" + idOf(t, s, channelRoute, "Pager")
	of := servertest.Decode[plugins.List[M]](t, s.Do(t, "GET", subscriptionRoute+"?channelId="+idOf(t, s, channelRoute, "Pager"), editor, nil), 200)
	subscription := subscriptionRoute + "/" + of.Items[0]["id"].(string)
	s.Do(t, "PUT", channel, editor, hook("Mine")).Is(t, 409, managed)
	s.Do(t, "DELETE", channel, editor, nil).Is(t, 409, managed)
	s.Do(t, "PUT", subscription, editor, `{"minSeverity":"info"}`).Is(t, 409, managed)
	s.Do(t, "DELETE", subscription, editor, nil).Is(t, 409, managed)

	// What is not named any more is left, or ends.
	less := with(d, "subscriptions", L{M{"channel": "Pager", "system": "Told"}})
	is(t, applied(t, s, "", less), "update subscription Pager of Told (minSeverity)", "orphaned subscription Pager", "orphaned subscription Pager of group Told", "0 1 0 2 3")
	is(t, applied(t, s, "?prune=true", less), "delete subscription Pager", "delete subscription Pager of group Told", "0 0 2 0 4")
	s.Do(t, "POST", documents+"?prune=true", editor, with(less, "channels", L{})).IsInvalid(t, "subscriptions[0].channel",
		`the channel "Pager" is not defined in this document any more, and is about to be deleted`)
	s.Do(t, "POST", documents+"?prune=true", editor, with(less, "systems", L{}, "groups", L{})).IsInvalid(t, "subscriptions[0].system",
		`the system "Told" is not defined in this document any more, and is about to be deleted`)
	is(t, applied(t, s, "?prune=true", with(d, "channels", L{}, "subscriptions", L{})), "delete subscription Pager of Told", "delete channel Pager", "0 0 2 0 2")
	is(t, applied(t, s, "", d), append(told[:4:4], "4 0 0 0 2")...)
	if strings.Contains(s.Log(), "secret-path") {
		t.Error("the log shows the address of a channel")
	}
}

// toldBeside has people and another document subscribe to what a document deletes: the plan shows all of it, or nothing is deleted.
func toldBeside(t *testing.T, s *servertest.Server) {
	mine := M{"name": "quiet", "systems": L{M{"name": "Quiet"}, M{"name": "Kept"}}, "groups": L{M{"name": "Quiet"}}, "channels": L{hook("Quiet"), hook("Loud")},
		"subscriptions": L{M{"channel": "Loud", "system": "Quiet"}}}
	applied(t, s, "", mine)
	byHand := M{"name": "loud", "subscriptions": L{M{"channel": "Quiet"}, M{"channel": "Loud", "group": "Quiet"}, M{"channel": "Quiet", "system": "Quiet"}}}
	applied(t, s, "", byHand)
	less := M{"name": "quiet", "systems": L{M{"name": "Kept"}}, "channels": L{hook("Loud")}}
	before := everything(t, s)
	refused := func(document M, channel string) {
		t.Helper()
		for _, query := range []string{"?prune=true", "?prune=true&dryRun=true"} {
			s.Do(t, "POST", documents+query, servertest.Admin, document).Is(t, 409,
				`{"error":"Managed","message":"the document \"loud\" still has a subscription of the channel \"`+channel+`\" that would end"}`)
		}
	}
	refused(less, "Quiet")
	refused(with(less, "channels", mine["channels"]), "Loud") // of the group
	refused(with(less, "channels", mine["channels"], "groups", mine["groups"]), "Quiet")
	s.Do(t, "DELETE", "/api/catalog/systems/"+idOf(t, s, "/api/catalog/systems", "Quiet"), servertest.Admin, nil).Has(t, 409)
	if after := everything(t, s); after != before {
		t.Errorf("what was refused has changed\n%s\nto\n%s", before, after)
	}
	s.Do(t, "POST", documents+"/loud/release", servertest.Admin, nil).Is(t, 200, released("loud", map[string]int{"subscriptions": 3}))
	want := []string{
		"delete subscription Loud of Quiet", "delete subscription Quiet", "delete subscription Quiet of Quiet", "delete channel Quiet",
		"delete subscription Loud of group Quiet", "delete group Quiet", "delete system Quiet", "0 0 7 0 2",
	}
	is(t, applied(t, s, "?prune=true&dryRun=true", less), want...)
	is(t, applied(t, s, "?prune=true", less), want...)
	is(t, applied(t, s, "?prune=true", less), "0 0 0 0 2")
	if left := subscribed(t, s, "Loud"); len(left) > 0 {
		t.Errorf("what is left is %q", left)
	}
}
