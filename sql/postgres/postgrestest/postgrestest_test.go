package postgrestest_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// things is a set that no other run has had, so that its template is made anew.
func things(t testing.TB) postgres.Set {
	sql := fmt.Sprintf("CREATE TABLE things.things (n int); -- %s %d", t.Name(), time.Now().UnixNano())
	return postgres.Set{ID: "things", Files: fstest.MapFS{"0001_things.sql": {Data: []byte(sql)}}}
}

func TestEachTestHasItsOwnMigratedDatabase(t *testing.T) {
	set := things(t)
	var names []string
	for i := range 3 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			db, url := postgrestest.New(t, set)
			var name string
			var n int
			if err := db.QueryRow("SELECT current_database(), count(*) FROM things.things").Scan(&name, &n); err != nil || n != 0 {
				t.Fatalf("%d rows, %v", n, err)
			}
			if _, err := db.Exec("INSERT INTO things.things VALUES (1)"); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
			// Another process, which may still be connected when the test ends.
			other, err := postgres.Open(t.Context(), postgres.Config{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			if err := other.QueryRow("SELECT count(*) FROM things.things").Scan(&n); err != nil || n != 1 {
				t.Errorf("%d rows, %v", n, err)
			}
		})
	}
	db, _ := postgrestest.New(t)
	for _, name := range names {
		var left int
		if err := db.QueryRow("SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&left); err != nil || left != 0 {
			t.Errorf("the database of a test that has ended is still there (%v)", err)
		}
	}
}

func TestTemplateIsMadeOnceHoweverManyTestsBegin(t *testing.T) {
	set := things(t)
	slow := fstest.MapFS{"0001_a.sql": {Data: []byte("SELECT pg_catalog.pg_sleep(0.2); -- " + t.Name() + time.Now().String())}}
	var tests sync.WaitGroup
	for range 4 {
		tests.Go(func() { postgrestest.New(t, set, postgres.Set{ID: "slow", Files: slow}) })
	}
	tests.Wait()
}

func TestWhatKilledTestsLeftIsRemovedAndDoesNoHarm(t *testing.T) {
	db, _ := postgrestest.New(t)
	year := time.Now().AddDate(-1, 0, 0)
	id := strconv.FormatInt(time.Now().UnixNano(), 16)
	var (
		clone    = fmt.Sprintf("checkstack_test_%d_%s", year.Unix(), id)
		young    = fmt.Sprintf("checkstack_test_%d_%s", time.Now().Unix(), id)
		template = "checkstack_template_" + id
		other    = "checkstack_template_of_somebody_else_" + id
	)
	for _, name := range []string{clone, young, template, other} {
		if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+name); err != nil {
				t.Error(err)
			}
		})
		if _, err := db.Exec("COMMENT ON DATABASE " + name + " IS '" + year.UTC().Format(time.RFC3339) + "'"); err != nil {
			t.Fatal(err)
		}
	}
	postgrestest.New(t, things(t)) // a new template is made
	for name, want := range map[string]int{clone: 0, young: 1, template: 0, other: 1} {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&n); err != nil || n != want {
			t.Errorf("%s: %d, want %d (%v)", name, n, want, err)
		}
	}
}

// What a test pays for its database, from the second one on, without its removal.
func BenchmarkNew(b *testing.B) {
	set := things(b)
	postgrestest.New(b, set)
	for b.Loop() {
		postgrestest.New(b, set)
	}
}
