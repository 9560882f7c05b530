package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/satellite"
)

// The things that a document defines by name: systems, groups, checks and satellites. Each kind is found and held first,
// then compared and written, element by element, so that what is refused is told with its place.

// hold finds what the document names or owns, and holds what it names until the transaction ends.
func (w *work) hold(ctx context.Context) (err error) {
	var systems, groups, checks, stations []string
	for _, s := range w.doc.Systems {
		systems = append(systems, s.Name)
	}
	for _, g := range w.doc.Groups {
		groups, systems = append(groups, g.Name), append(systems, g.Systems...)
	}
	for _, c := range w.doc.Checks {
		checks = append(checks, c.Name)
	}
	for _, s := range w.doc.Satellites {
		stations = append(stations, s.Name)
	}
	for _, s := range w.doc.Subscriptions {
		if s.Group != "" {
			groups = append(groups, s.Group)
		} else if s.System != "" {
			systems = append(systems, s.System)
		}
	}
	for _, a := range w.doc.Assignments {
		checks, stations = append(checks, a.Check), append(stations, a.Sources...)
		if a.Group != "" {
			groups = append(groups, a.Group)
		} else {
			systems = append(systems, a.System)
		}
	}
	if w.groups, err = w.catalog.GroupsNamed(ctx, w.tx, groups); err != nil {
		return err
	}
	ownedGroups, err := w.catalog.ManagedGroups(ctx, w.tx, w.owner)
	if err != nil {
		return err
	}
	add(w.groups, ownedGroups, func(g catalog.Group) string { return g.Name })
	if w.systems, err = w.catalog.SystemsNamed(ctx, w.tx, systems); err != nil {
		return err
	}
	for _, s := range w.systems {
		w.held[s.ID] = true
	}
	ownedSystems, err := w.catalog.ManagedSystems(ctx, w.tx, w.owner)
	if err != nil {
		return err
	}
	add(w.systems, ownedSystems, func(s catalog.System) string { return s.Name })
	if err := w.holdChecks(ctx, checks); err != nil {
		return err
	}
	if w.stations, err = w.satellites.SatellitesNamed(ctx, w.tx, stations); err != nil {
		return err
	}
	ownedStations, err := w.satellites.ManagedSatellites(ctx, w.tx, w.owner)
	add(w.stations, ownedStations, func(s satellite.Satellite) string { return s.Name })
	w.had += len(ownedGroups) + len(ownedSystems) + len(ownedStations)
	return err
}

// add adds things to those of a kind.
func add[T any](all map[string]T, more []T, name func(T) string) {
	for _, v := range more {
		all[plugins.Fold(name(v))] = v
	}
}

// holdChecks finds the checks that the document owns and those that it names, and the assignments that it owns.
func (w *work) holdChecks(ctx context.Context, names []string) error {
	w.configs, w.assigned = make(map[string]healthcheck.Configuration), make(map[pair]healthcheck.Assignment)
	owned, assigned, err := w.checks.Owned(ctx, w.tx, w.owner)
	if err != nil {
		return err
	}
	add(w.configs, owned, func(c healthcheck.Configuration) string { return c.Name })
	for _, a := range assigned {
		w.assigned[pair{a.SystemID, a.ConfigurationID}] = a
	}
	w.had += len(owned) + len(assigned)
	looked := make(map[string]bool)
	for _, name := range names {
		key := plugins.Fold(name)
		if _, ok := w.configs[key]; ok || looked[key] {
			continue
		}
		looked[key] = true
		c, err := w.checks.ConfigurationByName(ctx, w.tx, name)
		switch {
		case isMissing(err):
		case err != nil:
			return err
		default:
			w.configs[key] = c
		}
	}
	return nil
}

// field names a field that is to be changed.
type field struct {
	name    string
	differs bool
}

func differing(fields ...field) (names []string) {
	for _, f := range fields {
		if f.differs {
			names = append(names, f.name)
		}
	}
	return names
}

func (w *work) makeSystems(ctx context.Context) error {
	for i, s := range w.doc.Systems {
		here, key := place("systems", i), plugins.Fold(s.Name)
		old, exists := w.systems[key]
		if err := w.claim(here+".name", fmt.Sprintf("system %q", s.Name), old.ManagedBy); err != nil {
			return err
		}
		fields := differing(field{"name", s.Name != old.Name}, field{"description", s.Description != old.Description},
			field{"metadata", !s.Metadata.Equal(old.Metadata)})
		if !w.decide(Change{Kind: kindSystem, Name: s.Name, Fields: fields}, exists, old.ManagedBy) {
			continue
		}
		next := catalog.System{ID: old.ID, Name: s.Name, Description: s.Description, Metadata: s.Metadata, ManagedBy: &w.owner}
		write := w.catalog.UpdateSystem
		if !exists {
			write = w.catalog.CreateSystem
		}
		next, err := write(ctx, w.tx, next)
		if err != nil {
			return at(here, err)
		}
		w.systems[key], w.made[next.ID], w.held[next.ID] = next, !exists, true
	}
	return nil
}

func (w *work) makeGroups(ctx context.Context) error {
	var ids []string
	for _, g := range w.doc.Groups {
		if old, ok := w.groups[plugins.Fold(g.Name)]; ok {
			ids = append(ids, old.ID)
		}
	}
	members, err := w.catalog.GroupMembers(ctx, w.tx, ids)
	if err != nil {
		return err
	}
	for i, g := range w.doc.Groups {
		here, key := place("groups", i), plugins.Fold(g.Name)
		old, exists := w.groups[key]
		if err := w.claim(here+".name", fmt.Sprintf("group %q", g.Name), old.ManagedBy); err != nil {
			return err
		}
		systems := make([]string, len(g.Systems))
		for j, name := range g.Systems {
			s, err := w.system(place(here+".systems", j), name)
			if err != nil {
				return err
			}
			systems[j] = s.ID
		}
		moved := !slices.Equal(slices.Sorted(slices.Values(systems)), slices.Sorted(slices.Values(members[old.ID])))
		fields := differing(field{"name", g.Name != old.Name}, field{"description", g.Description != old.Description},
			field{"metadata", !g.Metadata.Equal(old.Metadata)}, field{"systems", moved})
		if !w.decide(Change{Kind: kindGroup, Name: g.Name, Fields: fields}, exists, old.ManagedBy) {
			continue
		}
		next := catalog.Group{ID: old.ID, Name: g.Name, Description: g.Description, Metadata: g.Metadata, ManagedBy: &w.owner}
		write := w.catalog.UpdateGroup
		if !exists {
			write = w.catalog.CreateGroup
		}
		if next, err = write(ctx, w.tx, next); err != nil {
			return at(here, err)
		}
		if moved {
			if err := w.catalog.SetMembers(ctx, w.tx, next.ID, systems); err != nil {
				return at(here+".systems", err)
			}
		}
		w.groups[key] = next
	}
	return nil
}

// system finds a system that is referred to.
func (w *work) system(place, name string) (catalog.System, error) {
	s, ok := w.systems[plugins.Fold(name)]
	if !ok {
		return s, missing(place, kindSystem, name)
	}
	return s, w.stays(place, kindSystem, name, s.ManagedBy)
}

func (w *work) makeChecks(ctx context.Context) error {
	for i, in := range w.doc.Checks {
		here, key := place("checks", i), plugins.Fold(in.Name)
		old, exists := w.configs[key]
		if err := w.claim(here+".name", fmt.Sprintf("check %q", in.Name), old.ManagedBy); err != nil {
			return err
		}
		var fields []string
		var err error
		if exists {
			if fields, err = w.checks.ConfigurationChanges(ctx, w.tx, old.ID, in); err != nil {
				return at(here, err)
			}
		}
		if !w.decide(Change{Kind: kindCheck, Name: in.Name, Fields: fields}, exists, old.ManagedBy) {
			continue
		}
		var next healthcheck.Configuration
		if exists {
			next, err = w.checks.UpdateConfiguration(ctx, w.tx, old.ID, in, &w.owner)
		} else {
			next, err = w.checks.CreateConfiguration(ctx, w.tx, in, &w.owner)
		}
		if err != nil {
			return at(here, err)
		}
		w.configs[key], w.made[next.ID] = next, !exists
	}
	return nil
}

func (w *work) makeSatellites(ctx context.Context) error {
	for i, s := range w.doc.Satellites {
		here, key := place("satellites", i), plugins.Fold(s.Name)
		old, exists := w.stations[key]
		if err := w.claim(here+".name", fmt.Sprintf("satellite %q", s.Name), old.ManagedBy); err != nil {
			return err
		}
		next := satellite.Satellite{ID: old.ID, Name: s.Name, Region: strings.TrimSpace(s.Region), ManagedBy: &w.owner,
			OfflineAfterSeconds: satellite.DefaultSilence}
		if s.OfflineAfterSeconds != nil {
			next.OfflineAfterSeconds = *s.OfflineAfterSeconds
		}
		fields := differing(field{"name", next.Name != old.Name}, field{"region", next.Region != old.Region},
			field{"offlineAfterSeconds", next.OfflineAfterSeconds != old.OfflineAfterSeconds})
		if !w.decide(Change{Kind: kindSatellite, Name: s.Name, Fields: fields}, exists, old.ManagedBy) {
			continue
		}
		if err := w.administers(here); err != nil {
			return err
		}
		var token string
		var err error
		if exists {
			next, err = w.satellites.UpdateSatellite(ctx, w.tx, next)
		} else {
			next, token, err = w.satellites.CreateSatellite(ctx, w.tx, next)
		}
		if err != nil {
			return at(here, err)
		}
		if token != "" {
			w.plan.Tokens = append(w.plan.Tokens, Token{Kind: kindSatellite, Name: next.Name, Token: token,
				renew: "POST /api/satellite/satellites/" + next.ID + "/rotate"})
		}
		w.stations[key] = next
	}
	return nil
}

// leave ends what the document owns of a kind and does not define any more, by name, or leaves it as it is without prune.
// It returns how many things of the kind it owns then. What remove takes with a thing comes before it in the plan.
func leave[T any](w *work, kind string, all map[string]T, of func(T) (id, name string, managedBy *string), remove func(id, name string) error) (int, error) {
	owned := 0
	for _, key := range slices.Sorted(maps.Keys(all)) {
		id, name, managedBy := of(all[key])
		if !w.owns(managedBy) {
			continue
		}
		named := w.defined[ref{kind, key}]
		if !named && w.prune {
			if err := remove(id, name); err != nil {
				return 0, fmt.Errorf("delete the %s %q: %w", kind, name, err)
			}
		}
		if named || !w.end(Change{Kind: kind, Name: name}) {
			owned++
		}
	}
	return owned, nil
}

func (w *work) leaveChecks(ctx context.Context) (err error) {
	w.count.Checks, err = leave(w, kindCheck, w.configs, func(c healthcheck.Configuration) (string, string, *string) {
		return c.ID, c.Name, c.ManagedBy
	}, func(id, _ string) error {
		with, err := w.checks.AssignmentsOf(ctx, w.tx, id, "")
		if err == nil {
			err = w.alongside(ctx, Change{Op: opDelete}, with, "")
		}
		if err != nil {
			return err
		}
		_, err = w.checks.DeleteConfiguration(ctx, w.tx, id)
		return err
	})
	return err
}

func (w *work) leaveGroups(ctx context.Context) (err error) {
	w.count.Groups, err = leave(w, kindGroup, w.groups, func(g catalog.Group) (string, string, *string) {
		return g.ID, g.Name, g.ManagedBy
	}, func(id, _ string) error {
		if err := w.forgetting(ctx, catalog.GroupTarget, id); err != nil {
			return err
		}
		return w.catalog.DeleteGroup(ctx, w.tx, id)
	})
	return err
}

func (w *work) leaveSatellites(ctx context.Context) (err error) {
	w.count.Satellites, err = leave(w, kindSatellite, w.stations, func(s satellite.Satellite) (string, string, *string) {
		return s.ID, s.Name, s.ManagedBy
	}, func(id, name string) error {
		if err := w.administers("satellites"); err != nil {
			return err
		}
		from, err := w.checks.AssignmentsFrom(ctx, w.tx, id)
		if err == nil { // they stay, and are made elsewhere or nowhere
			err = w.alongside(ctx, Change{Op: opUpdate, Fields: []string{"sources"}}, from, fmt.Sprintf(" from the satellite %q", name))
		}
		if err != nil {
			return err
		}
		return w.satellites.DeleteSatellite(ctx, w.tx, id)
	})
	return err
}

func (w *work) leaveSystems(ctx context.Context) (err error) {
	w.count.Systems, err = leave(w, kindSystem, w.systems, func(s catalog.System) (string, string, *string) {
		return s.ID, s.Name, s.ManagedBy
	}, func(id, _ string) error {
		with, err := w.checks.AssignmentsOf(ctx, w.tx, "", id)
		if err == nil {
			err = w.alongside(ctx, Change{Op: opDelete}, with, "")
		}
		if err == nil {
			err = w.forgetting(ctx, catalog.SystemTarget, id)
		}
		if err != nil {
			return err
		}
		return w.catalog.DeleteSystem(ctx, w.tx, id)
	})
	return err
}
