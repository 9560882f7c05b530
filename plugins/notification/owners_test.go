package notification

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"checkstack/plugins"
)

// What other plugins do with channels and subscriptions in their own transactions. A document owns what it makes.

// input is a channel of the type post.
func input(name, config string) ChannelInput {
	return ChannelInput{Name: name, Type: "post", Config: json.RawMessage(config)}
}

// is fails the test unless err is what callers are told in these words: "status title: message (field)".
func is(t testing.TB, what string, err error, want string) {
	t.Helper()
	got := fmt.Sprint(err)
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		got = strings.TrimSuffix(fmt.Sprintf("%d %v (%s)", e.Status, e, e.Field), " ()")
	}
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func TestAChannelIsMadeAndChangedByADocument(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	ctx, doc := t.Context(), "doc"
	s.tx(func(tx *sql.Tx) error {
		c, err := s.CreateChannel(ctx, tx, input(" Straße ", `{ "to": "A" }`), &doc)
		is(t, "make", err, "<nil>")
		equal(t, "made", []any{c.Name, c.Type, c.Destination, c.Enabled, *c.ManagedBy, c.Failing, c.Pending}, "[Straße post to A true doc <nil> 0]")
		for _, name := range []string{"Straße", "STRAßE", "straße "} {
			_, err = s.CreateChannel(ctx, tx, input(name, `{"to":"A"}`), nil)
			is(t, "a name that is taken", err, "409 Already exists: there is a channel of this name already (name)")
		}
		named, err := s.ChannelsNamed(ctx, tx, []string{"STRAßE", "nobody"}) // tx is still of use
		if err != nil || len(named) != 1 || named[plugins.Fold("Straße")].ID != c.ID {
			t.Errorf("found %v, %v", named, err)
		}
		off := false
		next := ChannelInput{Name: "New", Type: "post", Enabled: &off}
		got, err := s.UpdateChannel(ctx, tx, c.ID, next, nil)
		is(t, "change", err, "<nil>")
		equal(t, "changed", []any{got.ID == c.ID, got.Name, got.Destination, got.Enabled, got.ManagedBy, got.UpdatedAt.After(c.UpdatedAt)}, "[true New to A false <nil> true]")
		_, err = s.UpdateChannel(ctx, tx, plugins.NewID(), next, nil)
		is(t, "an unknown one", err, "404 Not Found: no such channel")
		_, err = s.DeleteChannel(ctx, tx, plugins.NewID())
		is(t, "delete an unknown one", err, "404 Not Found: no such channel")
		return err2nil(s.DeleteChannel(ctx, tx, c.ID))
	})
	equal(t, "left", value[int](t, db, `select count(*) from notification.channels`), 0)
	a, b := s.channel("A"), s.channel("B")
	err := plugins.Tx(ctx, db, func(tx *sql.Tx) error { return err2nil(s.UpdateChannel(ctx, tx, b, input("a", `{"to":"A"}`), nil)) })
	is(t, "a name of another", err, "409 Already exists: there is a channel of this name already (name)")
	equal(t, "names", texts(t, db, `select name from notification.channels order by id = $1 desc`, a), "[A B]")
}

func err2nil[T any](_ T, err error) error { return err }

func TestADocumentSeesWhichFieldsOfAChannelItWouldChange(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	other := (&post{}).channelType()
	other.Type = "other"
	host := &plugins.Host{ID: "other", Log: s.host.Log}
	plugins.Lend(t.Context(), host, nil)
	if err := s.RegisterChannelType(host, other); err != nil {
		t.Fatal(err)
	}
	id := s.channel("A")
	on, off := true, false
	for _, test := range []struct {
		name string
		in   ChannelInput
		want string
		err  string
	}{
		{"nothing", ChannelInput{Name: "A", Type: "post", Config: json.RawMessage(`{"to":"A"}`), Enabled: &on}, "[]", "<nil>"},
		{"no configuration", ChannelInput{Name: " A", Type: "post"}, "[]", "<nil>"},
		{"another configuration", input("A", `{"to":"A","secret":""}`), "[config]", "<nil>"},
		{"the same in another form", input("A", `{ "to" : "\u0041" }`), "[]", "<nil>"},
		{"the case of the name", ChannelInput{Name: "a", Type: "post"}, "[name]", "<nil>"},
		{"all", ChannelInput{Name: "B", Type: "other", Config: json.RawMessage(`{"to":"B"}`), Enabled: &off}, "[name type enabled config]", "<nil>"},
		{"a type without a configuration", ChannelInput{Name: "A", Type: "other"}, "[type config]", "400 Invalid input: expected this field, an object (config)"},
		{"what is not understood", input("A", `{"to":""}`), "[config]", "400 Invalid input: expected somebody (config.to)"},
		{"an empty name", input("", `{}`), "[]", "400 Invalid input: expected a text of 1 to 200 characters, not an empty one (name)"},
	} {
		s.tx(func(tx *sql.Tx) error {
			fields, err := s.ChannelChanges(t.Context(), tx, id, test.in)
			is(t, test.name, err, test.err)
			equal(t, test.name, fields, test.want)
			return nil
		})
	}
	s.tx(func(tx *sql.Tx) error {
		_, err := s.ChannelChanges(t.Context(), tx, plugins.NewID(), input("A", `{"to":"A"}`))
		is(t, "an unknown one", err, "404 Not Found: no such channel")
		return nil
	})
	// Without its key it is given anew, or not at all.
	s.host.Secrets = keys(t, "b", "")
	s.tx(func(tx *sql.Tx) error {
		fields, err := s.ChannelChanges(t.Context(), tx, id, ChannelInput{Name: "A", Type: "post"})
		is(t, "a lost key", err, "<nil>") // it stays lost
		equal(t, "a lost key", fields, "[]")
		c, err := s.UpdateChannel(t.Context(), tx, id, ChannelInput{Name: "A", Type: "post", Enabled: new(false)}, nil)
		is(t, "silenced without its key", err, "<nil>")
		equal(t, "silenced without its key", fmt.Sprintf("%t, %s", c.Enabled, c.Destination), "false, to A")
		c, err = s.UpdateChannel(t.Context(), tx, id, ChannelInput{Name: "A", Type: "post"}, nil)
		is(t, "enabled without its key", err, "<nil>")
		equal(t, "enabled without its key", c.Enabled, "true")
		fields, err = s.ChannelChanges(t.Context(), tx, id, input("A", `{"to":"A"}`))
		is(t, "given anew", err, "<nil>")
		equal(t, "given anew", fields, "[config]")
		return err2nil(s.UpdateChannel(t.Context(), tx, id, input("A", `{"to":"A"}`), nil))
	})
	if fields := s.changes(Channel{ID: id, Name: "A", Type: "post", Enabled: true, config: value[string](t, db, `select config from notification.channels`)},
		ChannelInput{Name: "A", Type: "post"}); fields != nil {
		t.Errorf("afterwards %v differ", fields)
	}
	s.host.Secrets = nil
	s.tx(func(tx *sql.Tx) error {
		_, err := s.CreateChannel(t.Context(), tx, input("C", `{"to":"A"}`), nil)
		is(t, "no key", err, "409 No master key: a secret cannot be kept without a key to seal it with; set CHECKSTACK_MASTER_KEY and restart the server")
		return nil
	})
}

func TestThereAreAtMostSoManyChannelsAndSubscriptions(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	execute(t, db, `insert into notification.channels (id, name, name_key, type, config, destination, enabled)
		select gen_random_uuid(), 'x' || i, 'x' || i, 'post', '', '', true from generate_series(1, 999) i`)
	id := s.channel("last")
	execute(t, db, `insert into notification.subscriptions (id, channel_id, spec, resource, min_severity)
		select gen_random_uuid(), $1, 'sky.system', 'r' || i, 'info' from generate_series(1, 9999) i`, id)
	s.subscribe(id, systemSpec, "last", Info)
	s.tx(func(tx *sql.Tx) error {
		is(t, "as many as may be", s.Bounded(t.Context(), tx), "<nil>")
		made, err := s.Subscribe(t.Context(), tx, SubscriptionInput{ChannelID: id, Spec: "sky.system"}, nil)
		is(t, "one more subscription", err, "<nil>")
		is(t, "subscriptions", s.Bounded(t.Context(), tx), "409 Too many: there are at most 10000 subscriptions")
		is(t, "one less", s.Unsubscribe(t.Context(), tx, made.ID), "<nil>")
		is(t, "as many as may be again", s.Bounded(t.Context(), tx), "<nil>")
		c, err := s.CreateChannel(t.Context(), tx, input("one more", `{"to":"A"}`), nil)
		is(t, "one more channel", err, "<nil>")
		is(t, "channels", s.Bounded(t.Context(), tx), "409 Too many: there are at most 1000 channels")
		_, err = s.DeleteChannel(t.Context(), tx, c.ID)
		is(t, "one channel less", err, "<nil>")
		_, err = s.CreateChannel(t.Context(), tx, input("LAST", `{"to":"A"}`), nil)
		is(t, "a name that is taken", err, "409 Already exists: there is a channel of this name already (name)")
		_, err = s.Subscribe(t.Context(), tx, SubscriptionInput{ChannelID: id, Spec: "sky.system", Resource: new("last")}, nil)
		is(t, "one that there is", err, "409 Already exists: the channel has this subscription already")
		return nil
	})
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
	_, err := s.createChannel(r, input("one more", `{"to":"A"}`))
	is(t, "a channel by hand", err, "409 Too many: there are at most 1000 channels")
	_, err = s.createSubscription(r, SubscriptionInput{ChannelID: id, Spec: "sky.system", MinSeverity: Info})
	is(t, "a subscription by hand", err, "409 Too many: there are at most 10000 subscriptions")
	equal(t, "channels", value[int](t, db, `select count(*) from notification.channels`), 1000)
	equal(t, "subscriptions", value[int](t, db, `select count(*) from notification.subscriptions`), 10000)
}

func TestDocumentsOwnChannelsAndSubscriptionsUntilTheyReleaseThem(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	ctx, doc, other := t.Context(), "doc", "other"
	ids := map[string]string{}
	s.tx(func(tx *sql.Tx) error {
		for _, name := range []string{"b", "A", "c", "x"} {
			owner := &doc
			if name == "x" {
				owner = &other
			}
			c, err := s.CreateChannel(ctx, tx, input(name, `{"to":"A"}`), owner)
			if err != nil {
				return err
			}
			ids[name] = c.ID
			for _, resource := range []*string{nil, new("shop")} {
				made, err := s.Subscribe(ctx, tx, SubscriptionInput{ChannelID: c.ID, Spec: "sky.system", Resource: resource, MinSeverity: Warning}, owner)
				if err != nil {
					return err
				}
				ids[name+" "+*cmp.Or(resource, new(""))] = made.ID
			}
		}
		return nil
	})
	owned := func(owner string) (all []string) {
		t.Helper()
		channels, err := s.ManagedChannels(ctx, db, owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range channels {
			all = append(all, c.Name)
		}
		subscriptions, err := s.ManagedSubscriptions(ctx, db, owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range subscriptions {
			all = append(all, sub.Channel+"/"+*cmp.Or(sub.Resource, new("")))
		}
		return all
	}
	equal(t, "owned", owned(doc), "[A b c A/ A/shop b/ b/shop c/ c/shop]")
	s.tx(func(tx *sql.Tx) error {
		return errors.Join(s.ReleaseSubscriptions(ctx, tx, doc, ids["A shop"]), s.ReleaseSubscriptions(ctx, tx, doc, ids["x shop"]),
			s.ReleaseChannels(ctx, tx, doc, ids["b"]), s.ReleaseChannels(ctx, tx, doc, ids["x"]))
	})
	equal(t, "one of each released", owned(doc), "[A c A/ c/ c/shop]")
	s.tx(func(tx *sql.Tx) error {
		got, err := s.Resubscribe(ctx, tx, ids["b shop"], Critical, &doc)
		if err != nil || got.MinSeverity != Critical || *got.ManagedBy != doc {
			t.Errorf("taken over %+v, %v", got, err)
		}
		_, err = s.Resubscribe(ctx, tx, plugins.NewID(), Info, nil)
		is(t, "an unknown one", err, "404 Not Found: no such subscription")
		_, err = s.Resubscribe(ctx, tx, ids["b shop"], Recovered, nil)
		is(t, "a severity", err, "400 Invalid input: expected info, warning or critical (minSeverity)")
		found, ok, err := s.SubscriptionTo(ctx, tx, ids["b"], "sky.system", new("shop"))
		if found.ID != ids["b shop"] || !ok || err != nil {
			t.Errorf("found %+v, %v, %v", found, ok, err)
		}
		if found, ok, err = s.SubscriptionTo(ctx, tx, ids["b"], "sky.group", nil); ok || err != nil {
			t.Errorf("found %+v, %v, %v", found, ok, err)
		}
		return s.Unsubscribe(ctx, tx, ids["c shop"])
	})
	equal(t, "changed", owned(doc), "[A c A/ b/shop c/]")
	s.tx(func(tx *sql.Tx) error {
		return errors.Join(s.ReleaseChannels(ctx, tx, doc, ""), s.ReleaseSubscriptions(ctx, tx, doc, ""))
	})
	equal(t, "all released", owned(doc), "[]")
	equal(t, "of the other", owned(other), "[x x/ x/shop]")
	equal(t, "all", value[int](t, db, `select count(*) from notification.subscriptions`), 7)
}

func TestForgettingAResourceEndsWhatIsSubscribedToIt(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	a, b := s.channel("A"), s.channel("B")
	for _, channel := range []string{a, b} {
		s.subscribe(channel, systemSpec, "shop", Info)
		s.subscribe(channel, newsSpec, "shop", Info)
		s.subscribe(channel, systemSpec, "blog", Info)
		s.subscribe(channel, systemSpec, "", Info)
		s.subscribe(channel, groupSpec, "shop", Info)
	}
	left := func() []string {
		return texts(t, db, `select spec || '/' || resource from notification.subscriptions where channel_id = $1 order by 1`, a)
	}
	all := "[sky.group/shop sky.news/shop sky.system/ sky.system/blog sky.system/shop]"
	equal(t, "before", left(), all)
	forget := func(t Target, id string) error {
		return plugins.Tx(context.Background(), db, func(tx *sql.Tx) error { return s.Forget(context.Background(), tx, t, id) })
	}
	execute(t, db, `update notification.subscriptions set managed_by = 'doc' where channel_id = $1 and spec = 'sky.news'`, b)
	is(t, "managed", forget(systemTarget, "shop"), `409 Managed: the document "doc" has a subscription of the channel "B" that would end: take it out there, or release it first`)
	equal(t, "refused", left(), all)
	execute(t, db, `update notification.subscriptions set managed_by = null`)
	is(t, "forget", errors.Join(forget(systemTarget, "shop"), forget(systemTarget, "nothing")), "<nil>")
	equal(t, "after", left(), "[sky.group/shop sky.system/ sky.system/blog]")
	is(t, "forget a group", forget(groupTarget, "shop"), "<nil>")
	equal(t, "at last", left(), "[sky.system/ sky.system/blog]")
}
