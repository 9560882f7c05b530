package apply

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
)

// A document, and what is wrong with one before anybody looks at what there is. Whatever is wrong is told with its place,
// "checks[3].config.url", so each element is decoded by itself: the decoder would say "checks.config.url". What is inside an
// element is left to the plugin that the element is for.

const (
	maxDocument    = 16 << 20 // bytes
	maxSystems     = 10_000
	maxGroups      = 1_000
	maxMembers     = 1_000 // of one group
	maxChecks      = 10_000
	maxSatellites  = 1_000
	maxAssignments = 10_000
	maxAssigned    = 50_000 // assignments, with each group as its systems
	maxChannels    = 1_000
	maxSubscribed  = 10_000

	defaultName = "default"
	local       = "local" // how a source names this server
)

// Document says what is to be monitored. What is left out of an element has its default: it is not left as it is.
type Document struct {
	Name          string         `json:"name"` // absent: "default"
	Systems       []System       `json:"systems,omitempty"`
	Groups        []Group        `json:"groups,omitempty"`
	Checks        []Check        `json:"checks,omitempty"`
	Satellites    []Satellite    `json:"satellites,omitempty"`
	Assignments   []Assignment   `json:"assignments,omitempty"`
	Channels      []Channel      `json:"channels,omitempty"`
	Subscriptions []Subscription `json:"subscriptions,omitempty"`
}

// System is a system of the catalog.
type System struct {
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Metadata    catalog.Metadata `json:"metadata,omitempty"`
}

// Group is a group of the catalog, with all its systems.
type Group struct {
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Metadata    catalog.Metadata `json:"metadata,omitempty"`
	Systems     []string         `json:"systems,omitempty"` // their names
}

// Check is a check of healthcheck, which calls it a configuration.
type Check = healthcheck.ConfigurationInput

// Satellite is where checks are made elsewhere.
type Satellite struct {
	Name                string `json:"name"`
	Region              string `json:"region,omitempty"`
	OfflineAfterSeconds *int   `json:"offlineAfterSeconds,omitempty"` // absent: 45
}

// Assignment has a check made for a system, or for all systems that a group has when the document is applied.
type Assignment struct {
	Check      string                  `json:"check"`
	System     string                  `json:"system,omitempty"`
	Group      string                  `json:"group,omitempty"`
	Enabled    *bool                   `json:"enabled,omitempty"` // absent: true
	Sources    []string                `json:"sources,omitempty"` // "local" and names of satellites; absent: "local"
	Thresholds *healthcheck.Thresholds `json:"thresholds,omitempty"`
	Quorum     *int                    `json:"quorum,omitempty"`
}

// Channel is a channel of notification. A configuration that is left out stays as it is, so that a secret need not be in a document.
type Channel = notification.ChannelInput

// Subscription has people told through a channel of the health of a system, of the systems of a group, also of those that join it
// later, or, with neither, of all systems.
type Subscription struct {
	Channel     string                `json:"channel"`
	System      string                `json:"system,omitempty"`
	Group       string                `json:"group,omitempty"`
	MinSeverity notification.Severity `json:"minSeverity,omitempty"` // absent: info
}

// UnmarshalJSON reads a subscription. A name that is empty or null is not one that is absent, which would be all systems: it comes of
// a template whose variable is not set.
func (s *Subscription) UnmarshalJSON(data []byte) error {
	var in struct {
		Channel     string          `json:"channel"`
		System      json.RawMessage `json:"system"`
		Group       json.RawMessage `json:"group"`
		MinSeverity json.RawMessage `json:"minSeverity"`
	}
	if err := plugins.Decode(data, &in); err != nil {
		return err
	}
	*s = Subscription{Channel: in.Channel}
	for _, f := range []struct {
		name string
		text json.RawMessage
		into *string
	}{{"system", in.System, &s.System}, {"group", in.Group, &s.Group}, {"minSeverity", in.MinSeverity, (*string)(&s.MinSeverity)}} {
		if f.text == nil {
			continue
		}
		if err := plugins.Decode(f.text, f.into); err != nil {
			return at(f.name, err)
		}
		if *f.into == "" {
			return plugins.Invalid(f.name, "expected a text that is not empty, or no such field")
		}
	}
	return nil
}

// UnmarshalJSON reads a document; errors name the place.
func (d *Document) UnmarshalJSON(data []byte) (err error) {
	var in struct {
		Schema        string            `json:"$schema"` // for editors
		Name          string            `json:"name"`
		Systems       []json.RawMessage `json:"systems"`
		Groups        []json.RawMessage `json:"groups"`
		Checks        []json.RawMessage `json:"checks"`
		Satellites    []json.RawMessage `json:"satellites"`
		Assignments   []json.RawMessage `json:"assignments"`
		Channels      []json.RawMessage `json:"channels"`
		Subscriptions []json.RawMessage `json:"subscriptions"`
	}
	if len(data) == 0 || data[0] != '{' {
		return plugins.Invalid("", "expected an object")
	}
	if err := once(data); err != nil {
		return err
	}
	if err := plugins.Decode(data, &in); err != nil {
		return err
	}
	d.Name = in.Name
	if d.Systems, err = section[System]("systems", in.Systems, maxSystems); err != nil {
		return err
	}
	if d.Groups, err = section[Group]("groups", in.Groups, maxGroups); err != nil {
		return err
	}
	if d.Checks, err = section[Check]("checks", in.Checks, maxChecks); err != nil {
		return err
	}
	if d.Satellites, err = section[Satellite]("satellites", in.Satellites, maxSatellites); err != nil {
		return err
	}
	if d.Assignments, err = section[Assignment]("assignments", in.Assignments, maxAssignments); err != nil {
		return err
	}
	if d.Channels, err = section[Channel]("channels", in.Channels, maxChannels); err != nil {
		return err
	}
	d.Subscriptions, err = section[Subscription]("subscriptions", in.Subscriptions, maxSubscribed)
	return err
}

// section decodes the elements of one section.
func section[T any](name string, raw []json.RawMessage, most int) ([]T, error) {
	if len(raw) > most {
		return nil, plugins.Invalid(name, "expected at most %d, not %d", most, len(raw))
	}
	all := make([]T, len(raw))
	for i, text := range raw {
		if text[0] != '{' {
			return nil, plugins.Invalid(place(name, i), "expected an object")
		}
		if err := plugins.Decode(text, &all[i]); err != nil {
			return nil, at(place(name, i), err)
		}
	}
	return all, nil
}

// Validate trims names, and checks those things that need no look at the server.
func (d *Document) Validate() (err error) {
	if d.Name == "" {
		d.Name = defaultName
	}
	if d.Name, err = plugins.Name("name", d.Name); err != nil {
		return err
	}
	if err := names("systems", d.Systems, func(s *System) *string { return &s.Name }); err != nil {
		return err
	}
	if err := names("groups", d.Groups, func(g *Group) *string { return &g.Name }); err != nil {
		return err
	}
	if err := names("checks", d.Checks, func(c *Check) *string { return &c.Name }); err != nil {
		return err
	}
	if err := names("satellites", d.Satellites, func(s *Satellite) *string { return &s.Name }); err != nil {
		return err
	}
	for i, s := range d.Satellites {
		if s.OfflineAfterSeconds != nil && *s.OfflineAfterSeconds == 0 { // which would be none that is given
			return plugins.Invalid(place("satellites", i)+".offlineAfterSeconds", "expected a whole number of seconds from 30, not 0")
		}
	}
	for i := range d.Groups {
		members := place("groups", i) + ".systems"
		if n := len(d.Groups[i].Systems); n > maxMembers {
			return plugins.Invalid(members, "expected at most %d, not %d", maxMembers, n)
		}
		if err := names(members, d.Groups[i].Systems, func(s *string) *string { return s }); err != nil {
			return err
		}
	}
	for i := range d.Assignments {
		if err := d.Assignments[i].validate(); err != nil {
			return at(place("assignments", i), err)
		}
	}
	if err := names("channels", d.Channels, func(c *Channel) *string { return &c.Name }); err != nil {
		return err
	}
	for i := range d.Subscriptions {
		if err := d.Subscriptions[i].validate(); err != nil {
			return at(place("subscriptions", i), err)
		}
	}
	return nil
}

// names trims and checks the names of a section, each of which may be there once, whatever its case.
func names[T any](section string, all []T, name func(*T) *string) (err error) {
	first := make(map[string]int, len(all))
	for i := range all {
		v, field := name(&all[i]), place(section, i)
		if _, plain := any(&all[i]).(*string); !plain {
			field += ".name"
		}
		if *v, err = plugins.Name(field, *v); err != nil {
			return err
		}
		if j, taken := first[plugins.Fold(*v)]; taken {
			return plugins.Invalid(field, "expected each name once, but %s is %q too", place(section, j), *v)
		}
		first[plugins.Fold(*v)] = i
	}
	return nil
}

// validate trims names; the rest is checked where it is written.
func (a *Assignment) validate() (err error) {
	if a.Check, err = plugins.Name("check", a.Check); err != nil {
		return err
	}
	if (a.System == "") == (a.Group == "") {
		return plugins.Invalid("system", "expected a system or a group, and not both")
	}
	of, field := &a.System, "system"
	if a.Group != "" {
		of, field = &a.Group, "group"
	}
	if *of, err = plugins.Name(field, *of); err != nil {
		return err
	}
	return names("sources", a.Sources, func(s *string) *string { return s })
}

// validate trims names; the rest is checked where it is written.
func (s *Subscription) validate() (err error) {
	if s.Channel, err = plugins.Name("channel", s.Channel); err != nil {
		return err
	}
	if s.System != "" && s.Group != "" {
		return plugins.Invalid("system", "expected a system or a group, and not both")
	}
	if s.System != "" {
		s.System, err = plugins.Name("system", s.System)
	} else if s.Group != "" {
		s.Group, err = plugins.Name("group", s.Group)
	}
	s.MinSeverity = cmp.Or(s.MinSeverity, notification.Info)
	return err
}

// place is the path of an element.
func place(section string, i int) string { return fmt.Sprintf("%s[%d]", section, i) }

// at puts a known error under the place it is about.
func at(place string, err error) error {
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok {
		return err
	}
	inner := *e
	inner.Field = strings.TrimSuffix(place+"."+e.Field, ".")
	return &inner
}
