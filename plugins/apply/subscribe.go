package apply

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
)

// Who is told: channels and their subscriptions. Only channels that change are held, and they come last, because nothing is sent
// through them meanwhile. A subscription has no name. It is known by its channel and by what it is about, and of that by the ID:
//
//	{"channel": "On call", "group": "Shops"}    →  channel 5b2f…, healthcheck.group, group 17ac…

// topic is the key of a subscription: the ID of the channel, the type of the spec, and the ID of a resource, or none for all.
type topic struct{ channel, spec, resource string }

// topicOf is the key of a subscription that there is.
func topicOf(s notification.Subscription) topic {
	t := topic{channel: s.ChannelID, spec: s.Spec}
	if s.Resource != nil {
		t.resource = *s.Resource
	}
	return t
}

// about is the resource of a subscription as it is written.
func (t topic) about() *string {
	if t.resource == "" {
		return nil
	}
	return &t.resource
}

// findChannels finds the channels and subscriptions that the document names or owns.
func (w *work) findChannels(ctx context.Context) (err error) {
	var names []string
	for _, c := range w.doc.Channels {
		names = append(names, c.Name)
	}
	for _, s := range w.doc.Subscriptions {
		names = append(names, s.Channel)
	}
	owned, err := w.notify.ManagedChannels(ctx, w.tx, w.owner)
	if err != nil {
		return err
	}
	for _, c := range owned {
		names = append(names, c.Name)
	}
	if w.channels, err = w.notify.ChannelsNamed(ctx, w.tx, names); err != nil {
		return err
	}
	subscribed, err := w.notify.ManagedSubscriptions(ctx, w.tx, w.owner)
	if err != nil {
		return err
	}
	w.topics = make(map[topic]notification.Subscription, len(subscribed))
	for _, s := range subscribed {
		w.topics[topicOf(s)] = s
	}
	w.had += len(owned) + len(subscribed)
	return nil
}

func (w *work) makeChannels(ctx context.Context) error {
	for i, in := range w.doc.Channels {
		here, key := place("channels", i), plugins.Fold(in.Name)
		old, exists := w.channels[key]
		if err := w.claim(here+".name", fmt.Sprintf("channel %q", in.Name), old.ManagedBy); err != nil {
			return err
		}
		var fields []string
		var err error
		if exists {
			if fields, err = w.notify.ChannelChanges(ctx, w.tx, old.ID, in); err != nil {
				return at(here, err)
			}
		}
		if !w.decide(Change{Kind: kindChannel, Name: in.Name, Fields: fields}, exists, old.ManagedBy) {
			continue
		}
		var next notification.Channel
		if exists {
			next, err = w.notify.UpdateChannel(ctx, w.tx, old.ID, in, &w.owner)
		} else {
			next, err = w.notify.CreateChannel(ctx, w.tx, in, &w.owner)
		}
		if err != nil {
			return at(here, err)
		}
		w.channels[key], w.made[next.ID] = next, !exists
	}
	return nil
}

// subscribe makes and ends subscriptions.
func (w *work) subscribe(ctx context.Context) error {
	topics := make([]topic, len(w.doc.Subscriptions))
	first := make(map[topic]int, len(topics))
	for i := range w.doc.Subscriptions {
		t, err := w.topic(place("subscriptions", i), &w.doc.Subscriptions[i])
		if err != nil {
			return err
		}
		if j, taken := first[t]; taken {
			return plugins.Invalid(place("subscriptions", i), "expected each subscription once, but %s is to the same", place("subscriptions", j))
		}
		topics[i], first[t] = t, i
	}
	if err := w.leaveSubscriptions(ctx, first); err != nil {
		return err
	}
	for i, s := range w.doc.Subscriptions {
		if err := w.subscribeOne(ctx, topics[i], s); err != nil {
			return at(place("subscriptions", i), err)
		}
	}
	w.count.Subscriptions += len(topics)
	return nil
}

// topic finds what an element refers to, and puts the names in it as they are.
func (w *work) topic(here string, s *Subscription) (t topic, err error) {
	c, ok := w.channels[plugins.Fold(s.Channel)]
	if !ok {
		return t, missing(here+".channel", kindChannel, s.Channel)
	}
	if err := w.stays(here+".channel", kindChannel, s.Channel, c.ManagedBy); err != nil {
		return t, err
	}
	s.Channel, t = c.Name, topic{channel: c.ID, spec: healthcheck.SystemSpec.Type}
	switch {
	case s.System != "":
		system, err := w.system(here+".system", s.System)
		s.System, t.resource = system.Name, system.ID
		return t, err
	case s.Group != "":
		g, ok := w.groups[plugins.Fold(s.Group)]
		if !ok {
			return t, missing(here+".group", kindGroup, s.Group)
		}
		s.Group, t.spec, t.resource = g.Name, healthcheck.GroupSpec.Type, g.ID
		return t, w.stays(here+".group", kindGroup, s.Group, g.ManagedBy)
	}
	return t, nil
}

// subscribeOne compares and writes one subscription.
func (w *work) subscribeOne(ctx context.Context, t topic, s Subscription) (err error) {
	old, exists := w.topics[t]
	if !exists && !w.made[t.channel] {
		if old, exists, err = w.notify.SubscriptionTo(ctx, w.tx, t.channel, t.spec, t.about()); err != nil {
			return err
		}
	}
	if err := w.claim("", fmt.Sprintf("subscription of the channel %q", s.Channel), old.ManagedBy); err != nil {
		return err
	}
	c := Change{Kind: kindSubscription, Name: s.Channel, System: s.System, Group: s.Group, Fields: differing(field{"minSeverity", s.MinSeverity != old.MinSeverity})}
	if !w.decide(c, exists, old.ManagedBy) {
		return nil
	}
	if exists {
		_, err = w.notify.Resubscribe(ctx, w.tx, old.ID, s.MinSeverity, &w.owner)
		return err
	}
	_, err = w.notify.Subscribe(ctx, w.tx, notification.SubscriptionInput{ChannelID: t.channel, Spec: t.spec, Resource: t.about(),
		MinSeverity: s.MinSeverity}, &w.owner)
	return err
}

// leaveSubscriptions ends the subscriptions that the document owns and that are not wanted any more.
func (w *work) leaveSubscriptions(ctx context.Context, wanted map[topic]int) error {
	var left []notification.Subscription
	for t, s := range w.topics {
		if _, ok := wanted[t]; !ok {
			left = append(left, s)
		}
	}
	all, err := w.subscriptionObjects(ctx, w.tx, left)
	if err != nil {
		return err
	}
	for _, o := range all {
		if !w.end(Change{Kind: kindSubscription, Name: o.Name, System: o.System, Group: o.Group}) {
			w.count.Subscriptions++
			continue
		}
		if err := w.notify.Unsubscribe(ctx, w.tx, o.ids[0]); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) leaveChannels(ctx context.Context) (err error) {
	w.count.Channels, err = leave(w, kindChannel, w.channels, func(c notification.Channel) (string, string, *string) {
		return c.ID, c.Name, c.ManagedBy
	}, func(id, _ string) error {
		of, err := w.notify.SubscriptionsOf(ctx, w.tx, id)
		if err == nil {
			err = w.subscribedAlongside(ctx, of)
		}
		if err != nil {
			return err
		}
		_, err = w.notify.DeleteChannel(ctx, w.tx, id)
		return err
	})
	return err
}

// forgetting notes the subscriptions that go with a system or a group which is about to be deleted.
func (w *work) forgetting(ctx context.Context, t notification.Target, id string) error {
	about, err := w.notify.SubscriptionsAbout(ctx, w.tx, t, id)
	if err != nil {
		return err
	}
	return w.subscribedAlongside(ctx, about)
}

// subscribedAlongside is [work.alongside] for subscriptions, each of which goes.
func (w *work) subscribedAlongside(ctx context.Context, all []notification.Subscription) error {
	for _, s := range all {
		if s.ManagedBy != nil {
			e := plugins.Managed(*s.ManagedBy)
			e.Message = fmt.Sprintf("the document %q still has a subscription of the channel %q that would end", *s.ManagedBy, s.Channel)
			return e
		}
	}
	objects, err := w.subscriptionObjects(ctx, w.tx, all)
	for _, o := range objects {
		w.ends = append(w.ends, Change{Op: opDelete, Kind: kindSubscription, Name: o.Name, System: o.System, Group: o.Group})
	}
	return err
}

// subscriptionObjects says of subscriptions what they are about, in the order of the names of the channels, then of the systems and groups.
func (p *Applier) subscriptionObjects(ctx context.Context, db plugins.Queryer, all []notification.Subscription) ([]Object, error) {
	ids := map[string][]string{}
	for _, s := range all {
		if s.Resource != nil {
			ids[s.Target] = append(ids[s.Target], *s.Resource)
		}
	}
	systems, err := p.catalog.Systems(ctx, db, ids[catalog.SystemTarget.Type])
	if err != nil {
		return nil, err
	}
	groups, err := p.catalog.Groups(ctx, db, ids[catalog.GroupTarget.Type])
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(systems)+len(groups))
	for _, s := range systems {
		names[s.ID] = s.Name
	}
	for _, g := range groups {
		names[g.ID] = g.Name
	}
	objects := make([]Object, len(all))
	for i, s := range all {
		o := &objects[i]
		*o = Object{Kind: kindSubscription, Name: s.Channel, ids: [2]string{s.ID}}
		switch {
		case s.Resource == nil:
		case s.Target == catalog.GroupTarget.Type:
			o.Group = names[*s.Resource]
		default:
			o.System = names[*s.Resource]
		}
	}
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.System, b.System), strings.Compare(a.Group, b.Group),
			strings.Compare(a.ids[0], b.ids[0]))
	})
	return objects, nil
}
