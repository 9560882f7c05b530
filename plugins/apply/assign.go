package apply

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck"
)

// Assignments. An element is for one system, or for the systems that a group has at this moment, so it is first spread out
// into pairs of a system and a check. What an element says of one system counts more than what one says of its group:
//
//	{"check": "Front page", "group": "Shops"}
//	{"check": "Front page", "system": "Old shop", "enabled": false}
//
// Two that count the same must say the same. The pairs are written in the order of their IDs, as everybody locks systems,
// and told in the order of the document.

// wanted is an assignment as it is to be.
type wanted struct {
	pair
	place   string
	ofGroup bool
	check   string // the names
	system  string
	in      healthcheck.AssignmentInput
	change  Change // what became of it
	token   string // of a heartbeat that is new
}

// assign makes and ends assignments.
func (w *work) assign(ctx context.Context) error {
	all, err := w.spread(ctx)
	if err != nil {
		return err
	}
	if err := w.leaveAssignments(ctx, all); err != nil {
		return err
	}
	byKey := slices.SortedFunc(slices.Values(all), func(a, b *wanted) int {
		return cmp.Or(strings.Compare(a.pair.system, b.pair.system), strings.Compare(a.pair.check, b.pair.check))
	})
	last := ""
	for _, a := range byKey {
		if a.pair.system != last && !w.held[a.pair.system] { // one that only a group brings
			if err := w.catalog.LockSystem(ctx, w.tx, a.pair.system); err != nil {
				return at(a.place, err)
			}
			last = a.pair.system
		}
		if err := w.assignOne(ctx, a); err != nil {
			return a.failed(err)
		}
	}
	for _, a := range all {
		w.plan.note(a.change)
		if a.token != "" {
			w.plan.Tokens = append(w.plan.Tokens, Token{Kind: kindAssignment, Name: a.check, System: a.system, Token: a.token,
				renew: "POST /api/healthcheck/systems/" + a.pair.system + "/checks/" + a.pair.check + "/heartbeat-token"})
		}
	}
	w.count.Assignments += len(all)
	return nil
}

// spread returns the pairs in the order of the document.
func (w *work) spread(ctx context.Context) (all []*wanted, err error) {
	var groups []string
	for _, a := range w.doc.Assignments {
		if g, ok := w.groups[plugins.Fold(a.Group)]; ok && a.Group != "" {
			groups = append(groups, g.ID)
		}
	}
	members, err := w.catalog.GroupMembers(ctx, w.tx, groups)
	if err != nil {
		return nil, err
	}
	found, err := w.catalog.Systems(ctx, w.tx, slices.Concat(slices.Collect(maps.Values(members))...))
	if err != nil {
		return nil, err
	}
	byID := make(map[string]catalog.System, len(found))
	for _, s := range found {
		byID[s.ID] = s
	}
	taken := make(map[pair]*wanted)
	for i, a := range w.doc.Assignments {
		here := place("assignments", i)
		check, ok := w.configs[plugins.Fold(a.Check)]
		if !ok {
			return nil, missing(here+".check", kindCheck, a.Check)
		}
		if err := w.stays(here+".check", kindCheck, a.Check, check.ManagedBy); err != nil {
			return nil, err
		}
		in, err := w.input(here, a)
		if err != nil {
			return nil, err
		}
		var systems []catalog.System
		if a.Group != "" {
			systems, err = w.systemsOf(here+".group", a.Group, members, byID)
		} else {
			systems = make([]catalog.System, 1)
			systems[0], err = w.system(here+".system", a.System)
		}
		if err != nil {
			return nil, err
		}
		for _, s := range systems {
			next := &wanted{pair: pair{s.ID, check.ID}, place: here, ofGroup: a.Group != "", check: check.Name, system: s.Name, in: in}
			first, again := taken[next.pair]
			switch {
			case !again:
				taken[next.pair] = next
				all = append(all, next)
			case first.ofGroup && !next.ofGroup:
				*first = *next
			case !first.ofGroup && next.ofGroup:
			case !first.ofGroup || !reflect.DeepEqual(first.in, next.in):
				return nil, plugins.Invalid(here, "%s assigns the check %q to the system %q already", first.place, check.Name, s.Name)
			}
		}
		if len(all) > maxAssigned {
			return nil, plugins.Invalid("assignments", "expected at most %d, with each group as its systems", maxAssigned)
		}
	}
	return all, nil
}

// systemsOf returns the systems of a group that is referred to, but for those that are about to be deleted.
func (w *work) systemsOf(place, name string, members map[string][]string, byID map[string]catalog.System) ([]catalog.System, error) {
	g, ok := w.groups[plugins.Fold(name)]
	if !ok {
		return nil, missing(place, kindGroup, name)
	}
	if err := w.stays(place, kindGroup, name, g.ManagedBy); err != nil {
		return nil, err
	}
	var systems []catalog.System
	for _, id := range members[g.ID] {
		if s, ok := byID[id]; ok && w.stays(place, kindSystem, s.Name, s.ManagedBy) == nil {
			systems = append(systems, s)
		}
	}
	return systems, nil
}

// input is what an element says, with IDs for names: "local" first, then satellites by ID, as it is shown.
func (w *work) input(here string, a Assignment) (healthcheck.AssignmentInput, error) {
	in := healthcheck.AssignmentInput{Enabled: a.Enabled, Thresholds: a.Thresholds, Quorum: a.Quorum, Sources: []string{local}}
	if in.Enabled == nil {
		in.Enabled = new(true)
	}
	if a.Sources != nil {
		in.Sources = []string{}
	}
	for i, name := range a.Sources {
		if plugins.Fold(name) == plugins.Fold(local) {
			in.Sources = append(in.Sources, local)
			continue
		}
		s, ok := w.stations[plugins.Fold(name)]
		if !ok {
			return in, missing(place(here+".sources", i), kindSatellite, name)
		}
		if err := w.stays(place(here+".sources", i), kindSatellite, name, s.ManagedBy); err != nil {
			return in, err
		}
		in.Sources = append(in.Sources, s.ID)
	}
	inOrder(in.Sources)
	return in, at(here, in.Validate())
}

// inOrder sorts sources.
func inOrder(sources []string) {
	slices.SortFunc(sources, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == local:
			return -1
		case b == local:
			return 1
		}
		return strings.Compare(a, b)
	})
}

// leaveAssignments ends the assignments that the document owns and that are not wanted any more.
func (w *work) leaveAssignments(ctx context.Context, all []*wanted) error {
	left := maps.Clone(w.assigned)
	for _, a := range all {
		delete(left, a.pair)
	}
	ids := make([]string, 0, len(left))
	for p := range left {
		ids = append(ids, p.system)
	}
	names, err := w.systemNames(ctx, w.tx, ids)
	if err != nil {
		return err
	}
	for _, a := range inNameOrder(slices.Collect(maps.Values(left)), names) {
		name := names[a.SystemID]
		if !w.end(Change{Kind: kindAssignment, Name: a.Name, System: name}) {
			w.count.Assignments++
			continue
		}
		if _, err := w.checks.Unassign(ctx, w.tx, a.SystemID, a.ConfigurationID); err != nil {
			return fmt.Errorf("end the assignment of %q to %q: %w", a.Name, name, err)
		}
	}
	return nil
}

// systemNames returns the names of systems by their IDs, as the transaction sees them.
func (p *Applier) systemNames(ctx context.Context, tx *sql.Tx, ids []string) (map[string]string, error) {
	systems, err := p.catalog.Systems(ctx, tx, ids)
	names := make(map[string]string, len(systems))
	for _, s := range systems {
		names[s.ID] = s.Name
	}
	return names, err
}

// inNameOrder sorts assignments by the names of the check and of the system.
func inNameOrder(all []healthcheck.Assignment, names map[string]string) []healthcheck.Assignment {
	return slices.SortedFunc(slices.Values(all), func(a, b healthcheck.Assignment) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(names[a.SystemID], names[b.SystemID]))
	})
}

// assignOne compares and writes one assignment of a system that is held.
func (w *work) assignOne(ctx context.Context, a *wanted) (err error) {
	old, exists := w.assigned[a.pair]
	if !exists && !w.made[a.pair.system] && !w.made[a.pair.check] {
		if old, exists, err = w.checks.AssignmentOf(ctx, w.tx, a.pair.system, a.pair.check); err != nil {
			return err
		}
	}
	if err := w.claim("", fmt.Sprintf("assignment of %q to %q", a.check, a.system), old.ManagedBy); err != nil {
		return err
	}
	c := Change{Kind: kindAssignment, Name: a.check, System: a.system}
	if exists { // what a document does not say is the default, and does not stay as it is
		a.in.Thresholds = cmp.Or(a.in.Thresholds, new(healthcheck.DefaultThresholds(old.Type)))
		a.in.Quorum = cmp.Or(a.in.Quorum, new(1))
		c.Fields = differences(a.in, old)
	}
	if a.change = judge(c, exists, old.ManagedBy); a.change.Op == "" {
		return nil
	}
	made, err := w.checks.Assign(ctx, w.tx, a.pair.system, a.pair.check, a.in, &w.owner)
	a.token = made.HeartbeatToken
	return err
}

// differences names what differs between an assignment as it is to be and as it is.
func differences(in healthcheck.AssignmentInput, old healthcheck.Assignment) []string {
	sources := slices.Clone(old.Sources)
	inOrder(sources)
	return differing(field{"enabled", *in.Enabled != old.Enabled}, field{"sources", !slices.Equal(in.Sources, sources)},
		field{"thresholds", *in.Thresholds != old.Thresholds}, field{"quorum", *in.Quorum != *cmp.Or(old.Quorum, new(1))})
}

// failed puts an error under the place of the assignment; of a group it says for which system.
func (a *wanted) failed(err error) error {
	err = at(a.place, err)
	if e, ok := errors.AsType[*plugins.Error](err); ok && a.ofGroup {
		e.Message += fmt.Sprintf(" (system %q)", a.system)
	}
	return err
}

// alongside notes what happens to assignments of others with a thing that is deleted. Those of this document have ended by
// then. People's are noted like its own, and one of another document is a conflict: it would make it again, or be in error.
func (w *work) alongside(ctx context.Context, c Change, all []healthcheck.Assignment, from string) error {
	ids := make([]string, len(all))
	for i, a := range all {
		ids[i] = a.SystemID
	}
	names, err := w.systemNames(ctx, w.tx, ids)
	if err != nil {
		return err
	}
	for _, a := range inNameOrder(all, names) {
		c.Kind, c.Name, c.System = kindAssignment, a.Name, names[a.SystemID]
		if a.ManagedBy != nil {
			e := plugins.Managed(*a.ManagedBy)
			e.Message = fmt.Sprintf("the document %q still assigns the check %q to %q%s", *a.ManagedBy, c.Name, c.System, from)
			return e
		}
		key := pair{a.SystemID, a.ConfigurationID}
		switch moved := w.moved[key]; {
		case moved && c.Op == opUpdate: // another satellite of it went before
			continue
		case moved:
			w.ends = slices.DeleteFunc(w.ends, func(e Change) bool { return e.Op == opUpdate && e.Name == c.Name && e.System == c.System })
		}
		w.moved[key] = c.Op == opUpdate
		w.ends = append(w.ends, c)
	}
	return nil
}
