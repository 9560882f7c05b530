package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/notification"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// open returns a catalog on a database of its own, as other plugins see it.
func open(t testing.TB) (*Catalog, *sql.DB) {
	t.Helper()
	notices := notification.New(&plugins.Host{}).Plugin().Migrations
	files := New(&plugins.Host{}, nil).Plugin().Migrations
	db, _ := postgrestest.New(t, postgres.Set{ID: "notification", Files: notices}, postgres.Set{ID: "catalog", Files: files})
	return New(&plugins.Host{ID: "catalog", DB: db}, notification.New(&plugins.Host{ID: "notification", DB: db})), db
}

// create makes a system in a transaction of its own.
func create(t testing.TB, c *Catalog, s System) System {
	t.Helper()
	err := plugins.Tx(t.Context(), c.host.DB, func(tx *sql.Tx) (err error) {
		s, err = c.CreateSystem(t.Context(), tx, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// remove deletes a system as its route does.
func remove(t testing.TB, c *Catalog, id string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "DELETE", "/", nil)
	r.SetPathValue("id", id)
	w := httptest.NewRecorder()
	plugins.JSON(c.deleteSystem).ServeHTTP(w, r)
	return w.Code
}

func status(err error) int {
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		return e.Status
	}
	return 0
}

func TestSystemIsFoundByItsID(t *testing.T) {
	c, _ := open(t)
	want := create(t, c, System{ID: "ignored", Name: " Shop ", Description: "d", Metadata: map[string]any{"a": "b"}})
	if want.Name != "Shop" || !plugins.IsID(want.ID) || want.Metadata["a"] != "b" {
		t.Errorf("created %+v", want)
	}
	got, err := c.System(t.Context(), want.ID)
	if err != nil || got.ID != want.ID || got.Name != want.Name || !got.CreatedAt.Equal(want.CreatedAt) || !maps.Equal(got.Metadata, want.Metadata) {
		t.Errorf("System: %+v, %v; want %+v", got, err, want)
	}
	for _, id := range []string{"", "x", plugins.NewID()} {
		if _, err := c.System(t.Context(), id); status(err) != http.StatusNotFound {
			t.Errorf("System(%q): %v", id, err)
		}
	}
}

func TestNamesOfSystemsThatExist(t *testing.T) {
	c, _ := open(t)
	a, b := create(t, c, System{Name: "A"}), create(t, c, System{Name: "B"})
	ids := []string{b.ID, plugins.NewID(), "no ID", a.ID, a.ID}
	before := slices.Clone(ids)
	got, err := c.SystemNames(t.Context(), ids)
	if want := map[string]string{a.ID: "A", b.ID: "B"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("SystemNames: %v, %v; want %v", got, err, want)
	}
	if !slices.Equal(ids, before) {
		t.Error("SystemNames has changed its argument")
	}
	if got, err := c.SystemNames(t.Context(), nil); got == nil || len(got) != 0 || err != nil {
		t.Errorf("SystemNames of none: %v, %v", got, err)
	}
}

func TestCreateSystemLeavesTheTransactionUsable(t *testing.T) {
	c, db := open(t)
	create(t, c, System{Name: "Taken"})
	err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
		if _, err := c.CreateSystem(t.Context(), tx, System{Name: "TAKEN"}); status(err) != http.StatusConflict {
			t.Errorf("a name that is taken: %v", err)
		}
		if _, err := c.CreateSystem(t.Context(), tx, System{Name: "x", Metadata: map[string]any{"f": func() {}}}); status(err) != http.StatusBadRequest {
			t.Errorf("metadata that is not JSON: %v", err)
		}
		_, err := c.CreateSystem(t.Context(), tx, System{Name: "Free"})
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEmptyMeansNeitherSystemsNorGroups(t *testing.T) {
	c, db := open(t)
	for _, step := range []struct {
		statement string
		want      bool
	}{
		{"select 1", true},
		{"insert into catalog.groups (id, name, name_key, description, metadata) values (gen_random_uuid(), 'g', 'G', '', '{}')", false},
		{"delete from catalog.groups", true},
		{"insert into catalog.systems (id, name, name_key, description, metadata) values (gen_random_uuid(), 's', 'S', '', '{}')", false},
	} {
		if _, err := db.ExecContext(t.Context(), step.statement); err != nil {
			t.Fatal(err)
		}
		err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
			if got, err := c.Empty(t.Context(), tx); err != nil || got != step.want {
				t.Errorf("after %q: %v, %v; want %v", step.statement, got, err, step.want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeletionCallsHooksInItsTransaction also shows that a hook may use the catalog's own methods: no lock is held.
func TestDeletionCallsHooksInItsTransaction(t *testing.T) {
	c, db := open(t)
	if _, err := db.ExecContext(t.Context(), "create table referring (system_id text)"); err != nil {
		t.Fatal(err)
	}
	s := create(t, c, System{Name: "Shop"})
	var called []string
	hook := func(name string) func(context.Context, *sql.Tx, string) error {
		return func(ctx context.Context, tx *sql.Tx, id string) error {
			called = append(called, name+" "+id)
			c.OnSystemDeleted(func(context.Context, *sql.Tx, string) error { return nil })()
			if _, err := tx.ExecContext(ctx, "insert into referring values ($1)", name); err != nil {
				return err
			}
			return c.LockSystem(ctx, tx, id) // it is still there
		}
	}
	c.OnSystemDeleted(hook("first"))
	removeSecond := c.OnSystemDeleted(hook("second"))
	c.OnSystemDeleted(hook("third"))
	removeSecond()
	removeSecond() // does nothing more
	refuse := c.OnSystemDeleted(func(context.Context, *sql.Tx, string) error {
		return &plugins.Error{Status: http.StatusConflict, Message: "not this one"}
	})
	if code := remove(t, c, s.ID); code != http.StatusConflict {
		t.Errorf("refused by a hook: %d", code)
	}
	if want := []string{"first " + s.ID, "third " + s.ID}; !slices.Equal(called, want) {
		t.Errorf("called %q, want %q", called, want)
	}
	var rows int
	if err := db.QueryRowContext(t.Context(), "select count(*) from referring").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("what hooks wrote is kept although one refused: %d rows, %v", rows, err)
	}
	if _, err := c.System(t.Context(), s.ID); err != nil {
		t.Errorf("deleted although a hook refused: %v", err)
	}
	refuse()
	if code := remove(t, c, s.ID); code != http.StatusNoContent {
		t.Errorf("delete: %d", code)
	}
	if _, err := c.System(t.Context(), s.ID); status(err) != http.StatusNotFound {
		t.Errorf("after the deletion: %v", err)
	}
	if err := db.QueryRowContext(t.Context(), "select count(*) from referring").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows of hooks, %v; want 2", rows, err)
	}
}

// TestNoRowSurvivesItsSystem plays the two orders of the package comment.
func TestNoRowSurvivesItsSystem(t *testing.T) {
	c, db := open(t)
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, "create table referring (system_id text)"); err != nil {
		t.Fatal(err)
	}
	deleting, goOn := make(chan bool), make(chan bool)
	c.OnSystemDeleted(func(ctx context.Context, tx *sql.Tx, id string) error {
		deleting <- true
		<-goOn
		_, err := tx.ExecContext(ctx, "delete from referring where system_id = $1", id)
		return err
	})
	s := create(t, c, System{Name: "Shop"})
	begin := func() *sql.Tx {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tx.Rollback() })
		return tx
	}
	assigning, other := begin(), begin()
	for _, tx := range []*sql.Tx{assigning, other} { // they do not wait for each other
		if err := c.LockSystem(ctx, tx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "insert into referring values ($1)", s.ID); err != nil {
			t.Fatal(err)
		}
	}
	deleted, late := make(chan int), make(chan error)
	go func() { deleted <- remove(t, c, s.ID) }()
	waitForLocks(t, db, 1)
	for _, tx := range []*sql.Tx{assigning, other} {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	<-deleting
	tooLate := begin()
	go func() { late <- c.LockSystem(ctx, tooLate, s.ID) }()
	waitForLocks(t, db, 1)
	close(goOn)
	if code := <-deleted; code != http.StatusNoContent {
		t.Errorf("delete: %d", code)
	}
	if err := <-late; status(err) != http.StatusNotFound {
		t.Errorf("LockSystem while the system is deleted: %v", err)
	}
	var rows int
	if err := db.QueryRowContext(ctx, "select count(*) from referring").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows have survived their system, %v", rows, err)
	}
}

// waitForLocks waits until n sessions of the database wait for a lock.
func waitForLocks(t testing.TB, db *sql.DB, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		var waiting int
		err := db.QueryRowContext(t.Context(),
			"select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if waiting >= n {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d sessions wait for a lock, want %d", waiting, n)
		}
	}
}

// TestMembershipsAreBounded fills a group, and a system's groups, to the bound in SQL, and then shows the next one
// refused.
func TestMembershipsAreBounded(t *testing.T) {
	c, db := open(t)
	ctx := t.Context()
	s := create(t, c, System{Name: "Shop"})
	for _, statement := range []string{
		`insert into catalog.systems (id, name, name_key, description, metadata)
		 select gen_random_uuid(), 'full ' || i, 'FULL ' || i, '', '{}' from generate_series(1, 1000) i`,
		`insert into catalog.groups (id, name, name_key, description, metadata)
		 select gen_random_uuid(), 'g ' || i, 'G ' || i, '', '{}' from generate_series(1, 102) i`,
		`insert into catalog.memberships select g.id, s.id from catalog.groups g, catalog.systems s where g.name = 'g 1' and s.name <> 'Shop'`,
		`insert into catalog.memberships select g.id, s.id from catalog.groups g, catalog.systems s
		 where g.name not in ('g 1', 'g 102', 'g 101') and s.name = 'Shop'`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	group := func(name string) (id string) {
		if err := db.QueryRowContext(ctx, "select id from catalog.groups where name = $1", name).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	add := func(name string) error {
		return plugins.Tx(ctx, db, func(tx *sql.Tx) error { return addMember(ctx, tx, group(name), s.ID) })
	}
	for _, test := range []struct{ group, want string }{
		{"g 1", "Too many: a group has at most 1000 systems"},
		{"g 101", ""}, // the 100th
		{"g 102", "Too many: a system is in at most 100 groups"},
		{"g 2", ""}, // it is in there
	} {
		if err := add(test.group); err == nil && test.want != "" || err != nil && err.Error() != test.want {
			t.Errorf("%s: %v, want %q", test.group, err, test.want)
		}
	}

	// With one place left in a group, and one group left for a system, one of many who come at once gets it.
	if _, err := db.ExecContext(ctx, `delete from catalog.memberships m using catalog.groups g, catalog.systems s
		where m.group_id = g.id and m.system_id = s.id and (g.name = 'g 1' and s.name = 'full 1' or g.name in ('g 2', 'g 101') and s.name = 'Shop')`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var joined [2]atomic.Int32
	type member struct{ group, system string }
	var members [2][8]member
	for i := range members[0] {
		members[0][i] = member{group("g 1"), create(t, c, System{Name: fmt.Sprint("newcomer ", i)}).ID}
		members[1][i] = member{group([]string{"g 2", "g 101"}[i%2]), s.ID}
	}
	start := make(chan bool)
	for n := range members {
		for _, m := range members[n] {
			wg.Go(func() {
				<-start
				err := plugins.Tx(ctx, db, func(tx *sql.Tx) error { return addMember(ctx, tx, m.group, m.system) })
				if err == nil {
					joined[n].Add(1)
				} else if status(err) != http.StatusConflict {
					t.Error(err)
				}
			})
		}
	}
	close(start)
	wg.Wait()
	var systems, groups int
	if err := db.QueryRowContext(ctx, `select (select count(*) from catalog.memberships where group_id = $1),
		(select count(*) from catalog.memberships where system_id = $2)`, group("g 1"), s.ID).Scan(&systems, &groups); err != nil {
		t.Fatal(err)
	}
	if systems != maxSystemsInGroup || joined[0].Load() != 1 || groups != maxGroupsOfSystem {
		t.Errorf("the group has %d systems, of which %d have joined at last; the system is in %d groups", systems, joined[0].Load(), groups)
	}
	resource, err := c.systemResource(ctx, s.ID)
	if err != nil || len(resource.Parents) != maxGroupsOfSystem {
		t.Errorf("the system has %d parents, %v", len(resource.Parents), err)
	}
}
