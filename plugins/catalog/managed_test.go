package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins"
)

// in runs f in a transaction that is kept.
func in(t testing.TB, c *Catalog, f func(tx *sql.Tx) error) {
	t.Helper()
	if err := plugins.Tx(t.Context(), c.host.DB, f); err != nil {
		t.Fatal(err)
	}
}

// group makes a group in a transaction of its own.
func group(t testing.TB, c *Catalog, g Group) Group {
	t.Helper()
	in(t, c, func(tx *sql.Tx) (err error) {
		g, err = c.CreateGroup(t.Context(), tx, g)
		return err
	})
	return g
}

// call makes a request with path values, in pairs, and returns the answer.
func call(t testing.TB, h http.Handler, body string, values ...string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(values); i += 2 {
		r.SetPathValue(values[i], values[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return fmt.Sprint(w.Code, " ", w.Body)
}

func TestWhatADocumentManagesIsNotChangedByHandUntilItIsReleased(t *testing.T) {
	c, _ := open(t)
	owner := "prod"
	s, free := create(t, c, System{Name: "Shop", ManagedBy: &owner}), create(t, c, System{Name: "Free"})
	g, open := group(t, c, Group{Name: "All", ManagedBy: &owner}), group(t, c, Group{Name: "Open"})
	const (
		refused = `409 {"error":"Managed","message":"the document \"prod\" manages this: change it there, or release it first"}`
		body    = `{"name":"x","description":"","metadata":{}}`
	)
	byHand := func(g Group, s System) []string {
		return []string{
			call(t, plugins.JSON(c.systems.replace), body, "id", s.ID),
			call(t, plugins.JSON(c.groups.replace), body, "id", g.ID),
			call(t, plugins.JSON(c.join), "", "id", g.ID, "systemId", free.ID),
			call(t, plugins.JSON(c.leave), "", "id", g.ID, "systemId", free.ID),
			call(t, plugins.JSON(c.deleteSystem), "", "id", s.ID),
			call(t, plugins.JSON(c.deleteGroup), "", "id", g.ID),
		}
	}
	for i, got := range byHand(g, s) {
		if got != refused {
			t.Errorf("change %d by hand: %s", i, got)
		}
	}
	if got := call(t, plugins.JSON(c.join), "", "id", open.ID, "systemId", s.ID); got != "204 " {
		t.Errorf("a managed system into a group that people own: %s", got)
	}

	in(t, c, func(tx *sql.Tx) error {
		for _, release := range []func(context.Context, *sql.Tx, string, string) error{c.ReleaseSystems, c.ReleaseGroups} {
			for _, id := range []string{"x", plugins.NewID()} {
				if err := release(t.Context(), tx, "prod", id); err != nil {
					return err
				}
			}
			if err := release(t.Context(), tx, "another", ""); err != nil {
				return err
			}
		}
		return nil
	})
	if got := call(t, plugins.JSON(c.deleteSystem), "", "id", s.ID); got != refused {
		t.Errorf("what was not released is deleted: %s", got)
	}
	in(t, c, func(tx *sql.Tx) error {
		if err := c.ReleaseSystems(t.Context(), tx, "prod", s.ID); err != nil {
			return err
		}
		return c.ReleaseGroups(t.Context(), tx, "prod", "")
	})
	for i, got := range byHand(g, s) {
		if code := got[:3]; code != "200" && code != "204" {
			t.Errorf("change %d by hand after the release: %s", i, got)
		}
	}
}

func TestADocumentFindsReplacesAndDeletesWhatItManages(t *testing.T) {
	c, db := open(t)
	ctx := t.Context()
	one, two := "one", "two"
	a, b := create(t, c, System{Name: "A", ManagedBy: &one}), create(t, c, System{Name: "b", ManagedBy: &one})
	people, other := create(t, c, System{Name: "People's"}), create(t, c, System{Name: "Z", ManagedBy: &two})
	g := group(t, c, Group{Name: "G", ManagedBy: &one})
	names := func(list []System, err error) string {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		var all []string
		for _, s := range list {
			all = append(all, s.Name)
		}
		return strings.Join(all, " ")
	}
	if got := names(c.ManagedSystems(ctx, db, "one")); got != "A b" {
		t.Errorf("the document manages %s", got)
	}
	if got, err := c.ManagedGroups(ctx, db, "one"); err != nil || len(got) != 1 || got[0].ID != g.ID {
		t.Errorf("the document manages the groups %+v, %v", got, err)
	}

	var changed []string
	c.OnSystemChanged(func(ctx context.Context, tx *sql.Tx, s System) error {
		found, err := c.Systems(ctx, tx, []string{s.ID})
		changed = append(changed, s.Name+" is "+names(found, err))
		return nil
	})
	in(t, c, func(tx *sql.Tx) error {
		found, err := c.SystemsNamed(ctx, tx, []string{"a", "PEOPLE'S", "nobody", "z"})
		if err != nil || len(found) != 3 || found["A"].ID != a.ID || found["PEOPLE'S"].ManagedBy != nil || *found["Z"].ManagedBy != "two" {
			t.Errorf("found by name: %+v, %v", found, err)
		}
		adopted, err := c.UpdateSystem(ctx, tx, System{ID: people.ID, Name: "Ours", ManagedBy: &one})
		if err != nil || adopted.Name != "Ours" || *adopted.ManagedBy != "one" {
			t.Errorf("adopted: %+v, %v", adopted, err)
		}
		groups, err := c.GroupsNamed(ctx, tx, []string{"g", "h"})
		if err != nil || len(groups) != 1 || groups["G"].ID != g.ID {
			t.Errorf("groups found by name: %+v, %v", groups, err)
		}
		_, err = c.UpdateGroup(ctx, tx, Group{ID: g.ID, Name: "Renamed", ManagedBy: &one})
		return err
	})
	if want := []string{"Ours is Ours"}; !slices.Equal(changed, want) {
		t.Errorf("changes were told as %q, want %q", changed, want)
	}
	var deleted []string
	c.OnSystemDeleted(func(_ context.Context, _ *sql.Tx, id string) error {
		deleted = append(deleted, id)
		return nil
	})
	in(t, c, func(tx *sql.Tx) error { return c.DeleteSystem(ctx, tx, b.ID) })
	in(t, c, func(tx *sql.Tx) error { return c.DeleteGroup(ctx, tx, g.ID) })
	if !slices.Equal(deleted, []string{b.ID}) {
		t.Errorf("deletions were told as %q", deleted)
	}
	in(t, c, func(tx *sql.Tx) error {
		for _, id := range []string{"x", b.ID} {
			if _, err := c.UpdateSystem(ctx, tx, System{ID: id, Name: "x"}); status(err) != 404 {
				t.Errorf("update %q: %v", id, err)
			}
			if _, err := c.UpdateGroup(ctx, tx, Group{ID: id, Name: "x"}); status(err) != 404 {
				t.Errorf("update group %q: %v", id, err)
			}
			if err := c.DeleteSystem(ctx, tx, id); status(err) != 404 {
				t.Errorf("delete %q: %v", id, err)
			}
			if err := c.DeleteGroup(ctx, tx, id); status(err) != 404 {
				t.Errorf("delete group %q: %v", id, err)
			}
		}
		return nil
	})
	all, err := c.AllSystems(ctx, db, plugins.Page{Limit: 2, Offset: 1})
	if got := names(all.Items, err); got != "Ours Z" || all.Total != 3 {
		t.Errorf("a page of all systems: %s of %d", got, all.Total)
	}
	some := []string{other.ID, a.ID}
	slices.Sort(some)
	found, err := c.Systems(ctx, db, []string{other.ID, "x", plugins.NewID(), a.ID, "", a.ID})
	if err != nil || len(found) != 2 || found[0].ID != some[0] || found[1].ID != some[1] {
		t.Errorf("found by ID: %+v, %v", found, err)
	}
	if found, err := c.Systems(ctx, db, []string{"x"}); err != nil || found == nil || len(found) != 0 {
		t.Errorf("found by no ID: %+v, %v", found, err)
	}
}

// TestUpdateIsUndoneWhenAHookRefusesIt also shows that a hook that was taken back is not called.
func TestUpdateIsUndoneWhenAHookRefusesIt(t *testing.T) {
	c, _ := open(t)
	s := create(t, c, System{Name: "Shop"})
	var told []string
	forget := c.OnSystemChanged(func(_ context.Context, _ *sql.Tx, s System) error {
		told = append(told, s.Description)
		return &plugins.Error{Status: http.StatusConflict, Message: "not this one"}
	})
	const body = `{"name":"Shop","description":"new","metadata":{}}`
	if got, want := call(t, plugins.JSON(c.systems.replace), body, "id", s.ID), `409 {"error":"Conflict","message":"not this one"}`; got != want {
		t.Errorf("refused by a hook: %s", got)
	}
	if got, err := c.System(t.Context(), s.ID); err != nil || got.Description != "" {
		t.Errorf("changed although a hook refused: %+v, %v", got, err)
	}
	forget()
	forget() // does nothing more
	if got := call(t, plugins.JSON(c.systems.replace), body, "id", s.ID); !strings.HasPrefix(got, "200 ") {
		t.Errorf("replaced: %s", got)
	}
	if !slices.Equal(told, []string{"new"}) {
		t.Errorf("told %q", told)
	}
}

func TestSetMembersReplacesTheSystemsOfAGroup(t *testing.T) {
	c, db := open(t)
	ctx := t.Context()
	a, b, z := create(t, c, System{Name: "A"}), create(t, c, System{Name: "b"}), create(t, c, System{Name: "Z"})
	g, empty := group(t, c, Group{Name: "G"}), group(t, c, Group{Name: "Empty"})
	set := func(group string, ids ...string) error {
		return plugins.Tx(ctx, db, func(tx *sql.Tx) error { return c.SetMembers(ctx, tx, group, ids) })
	}
	for _, ids := range [][]string{{z.ID, a.ID, a.ID}, {z.ID, b.ID}, {}, {b.ID, a.ID, z.ID}, {b.ID, a.ID, z.ID}} {
		if err := set(g.ID, ids...); err != nil {
			t.Fatal(err)
		}
		got, err := c.GroupSystems(ctx, db, g.ID)
		want := slices.DeleteFunc([]string{a.ID, b.ID, z.ID}, func(id string) bool { return !slices.Contains(ids, id) })
		if err != nil || got == nil || !slices.Equal(got, want) {
			t.Errorf("the group has %q, %v; want %q", got, err, want)
		}
	}
	members, err := c.GroupMembers(ctx, db, []string{g.ID, empty.ID, "x"})
	if err != nil || len(members) != 1 || !slices.Equal(members[g.ID], []string{a.ID, b.ID, z.ID}) {
		t.Errorf("the systems of groups: %v, %v", members, err)
	}
	for _, id := range []string{"x", plugins.NewID()} {
		if err := set(id, a.ID); status(err) != 404 || err.Error() != "Not Found: no such group" {
			t.Errorf("into the group %q: %v", id, err)
		}
		if err := set(g.ID, a.ID, id); status(err) != 404 || err.Error() != "Not Found: no such system" {
			t.Errorf("the system %q into a group: %v", id, err)
		}
		if _, err := c.GroupSystems(ctx, db, id); status(err) != 404 {
			t.Errorf("the systems of the group %q: %v", id, err)
		}
	}
	many := make([]string, maxSystemsInGroup+1)
	for i := range many {
		many[i] = plugins.NewID()
	}
	if err := set(g.ID, many...); status(err) != 409 || err.Error() != "Too many: a group has at most 1000 systems" {
		t.Errorf("%d systems: %v", len(many), err)
	}
	_, err = db.ExecContext(ctx, `with made as (insert into catalog.groups (id, name, name_key, description, metadata)
		select gen_random_uuid(), 'g' || i, 'G' || i, '', '{}' from generate_series(1, $1) i returning id)
		insert into catalog.memberships (group_id, system_id) select id, $2 from made`, maxGroupsOfSystem-1, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := set(g.ID, a.ID); err != nil { // the hundredth, which it is in already
		t.Error(err)
	}
	if err := set(empty.ID, a.ID); status(err) != 409 || err.Error() != "Too many: a system is in at most 100 groups" {
		t.Errorf("the 101st group of a system: %v", err)
	}
}
