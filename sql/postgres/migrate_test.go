package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"

	"github.com/lib/pq"
)

// files makes migrations of names and texts.
func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func set(id string, pairs ...string) postgres.Set {
	return postgres.Set{ID: id, Files: files(pairs...)}
}

// empty returns a database without anything in it.
func empty(t testing.TB) (db *sql.DB, url string) {
	t.Helper()
	db, url = postgrestest.New(t)
	if _, err := db.Exec("DROP SCHEMA IF EXISTS checkstack CASCADE"); err != nil {
		t.Fatal(err)
	}
	return db, url
}

func migrate(t *testing.T, db *sql.DB, sets ...postgres.Set) {
	t.Helper()
	if err := postgres.Migrate(t.Context(), db, nil, sets...); err != nil {
		t.Fatal(err)
	}
}

// content returns everything that migrating makes: schemas, tables and records.
func content(t testing.TB, db *sql.DB) []string {
	t.Helper()
	rows, err := db.Query(`SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public)'
		UNION ALL SELECT 'table ' || schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(all, "table checkstack.migrations") {
		return all
	}
	var records []string
	if err := db.QueryRow("SELECT array_agg('record ' || plugin || '/' || file ORDER BY plugin, file) FROM checkstack.migrations").Scan(pq.Array(&records)); err != nil {
		t.Fatal(err)
	}
	return append(all, records...)
}

func expect(t testing.TB, db *sql.DB, want ...string) {
	t.Helper()
	if got := content(t, db); !slices.Equal(got, want) {
		t.Errorf("the database has\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestFilesAreAppliedOnceInTheirOrder(t *testing.T) {
	db, _ := empty(t)
	sets := []postgres.Set{
		set("checkstack", "0001_a.sql", "CREATE TABLE checkstack.a (n int);"),
		set("incident", "0002_fill.sql", "INSERT INTO incident.b SELECT n FROM checkstack.a; INSERT INTO incident.b VALUES (2);",
			"0001_b.sql", "INSERT INTO checkstack.a VALUES (1); CREATE TABLE incident.b (n int);", "README.md", "not a migration"),
		{ID: "quiet"},
	}
	for range 3 {
		migrate(t, db, sets...)
		expect(t, db, "schema checkstack", "schema incident", "schema quiet", "table checkstack.a", "table checkstack.migrations", "table incident.b",
			"record checkstack/0001_a.sql", "record incident/0001_b.sql", "record incident/0002_fill.sql")
		if got := show(t, db, "SELECT string_agg(n::text, ',' ORDER BY n) FROM incident.b"); got != "1,2" {
			t.Error(got)
		}
	}
	sets[1].Files = files("0001_b.sql", "INSERT INTO checkstack.a VALUES (1); CREATE TABLE incident.b (n int);",
		"0002_fill.sql", "INSERT INTO incident.b SELECT n FROM checkstack.a; INSERT INTO incident.b VALUES (2);",
		"0003_more.sql", "INSERT INTO incident.b VALUES (3);")
	migrate(t, db, sets...)
	if got := show(t, db, "SELECT string_agg(n::text, ',' ORDER BY n) FROM incident.b"); got != "1,2,3" {
		t.Error(got)
	}
}

func TestThreeServersMigrateAnEmptyDatabaseAtOnce(t *testing.T) {
	_, url := empty(t)
	var sets []postgres.Set
	want := []string{"schema checkstack"}
	for i := range 10 {
		id := fmt.Sprintf("p%d", i)
		sets = append(sets, set(id, "0001_t.sql", fmt.Sprintf("CREATE TABLE %s.t (n int); SELECT pg_catalog.pg_sleep(0.02);", id)))
		want = append(want, "schema "+id)
	}
	want = append(want, "table checkstack.migrations")
	var servers sync.WaitGroup
	for range 3 {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer closeDatabase(t, db)
		servers.Go(func() {
			if err := postgres.Migrate(t.Context(), db.DB, nil, sets...); err != nil {
				t.Error(err)
			}
		})
	}
	servers.Wait()
	db := openOne(t, url)
	for i := range 10 {
		want = append(want, fmt.Sprintf("table p%d.t", i))
	}
	for i := range 10 {
		want = append(want, fmt.Sprintf("record p%d/0001_t.sql", i))
	}
	expect(t, db.DB, want...)
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	db, _ := empty(t)
	good := set("good", "0001_t.sql", "CREATE TABLE good.t (n int);")
	for name, c := range map[string]struct {
		file string
		line int
		want string
	}{
		"syntax":              {"CREATE TABLE bad.t (n int);\n\nCREATE TABEL bad.u ();", 3, "syntax error"},
		"after other letters": {"-- ä ö ü\nSELECT 'é',\n  1/0, nothing();", 3, "function nothing() does not exist"},
		"at run time":         {"CREATE TABLE bad.t (n int PRIMARY KEY);\nINSERT INTO bad.t VALUES (1), (1);", 0, "duplicate key"},
		"without a schema":    {"CREATE TABLE t (n int);", 1, "no schema has been selected"},
		"not in transactions": {"CREATE TABLE bad.t (n int); VACUUM bad.t;", 0, "cannot run inside a transaction block"},
	} {
		t.Run(name, func(t *testing.T) {
			err := postgres.Migrate(t.Context(), db, nil, good, set("bad", "0001_first.sql", "CREATE TABLE bad.first (n int)", "0002_x.sql", c.file))
			e, ok := errors.AsType[*postgres.MigrationError](err)
			if !ok || e.ID != "bad" || e.File != "0002_x.sql" || e.Line != c.line || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%#v: %v", e, err)
			}
			if c.line > 0 && !strings.Contains(err.Error(), fmt.Sprintf("bad/0002_x.sql:%d: ", c.line)) {
				t.Error("the line is not in:", err)
			}
			expect(t, db)
		})
	}
	migrate(t, db, good)
}

func TestAppliedFileThatHasChangedIsAnErrorThatNamesIt(t *testing.T) {
	db, _ := empty(t)
	migrate(t, db, set("incident", "0001_t.sql", "CREATE TABLE incident.t (n int);"))
	before := content(t, db)
	err := postgres.Migrate(t.Context(), db, nil, set("catalog", "0001_t.sql", "CREATE TABLE catalog.t (n int);"),
		set("incident", "0001_t.sql", "CREATE TABLE incident.t (n int); "))
	e, ok := errors.AsType[*postgres.MigrationError](err)
	if !ok || e.ID != "incident" || e.File != "0001_t.sql" || !strings.Contains(err.Error(), "incident/0001_t.sql: it was applied before and has changed since") {
		t.Error(err)
	}
	expect(t, db, before...)
}

func TestOlderServerIgnoresWhatANewerOneHasApplied(t *testing.T) {
	db, _ := empty(t)
	migrate(t, db, set("a", "0001_t.sql", "CREATE TABLE a.t (n int);", "0002_u.sql", "CREATE TABLE a.u (n int);"), set("b"+"c", "0001_t.sql", "CREATE TABLE bc.t ();"))
	before, log := content(t, db), newLog()
	if err := postgres.Migrate(t.Context(), db, slog.New(log), set("a", "0001_t.sql", "CREATE TABLE a.t (n int);")); err != nil {
		t.Fatal(err)
	}
	expect(t, db, before...)
	if !strings.Contains(log.String(), "level=DEBUG") || !strings.Contains(log.String(), "file=0002_u.sql") {
		t.Error(log)
	}
}

func TestRenamedPluginKeepsItsTables(t *testing.T) {
	db, _ := empty(t)
	old := set("outage", "0001_t.sql", "CREATE TABLE outage.t AS SELECT 42 AS n;")
	migrate(t, db, old)
	renamed := postgres.Set{ID: "incident", PreviousIDs: []string{"trouble", "outage"},
		Files: files("0001_t.sql", "CREATE TABLE outage.t AS SELECT 42 AS n;", "0002_u.sql", "CREATE TABLE incident.u (n int);")}
	for range 2 {
		migrate(t, db, renamed)
		expect(t, db, "schema checkstack", "schema incident", "table checkstack.migrations", "table incident.t", "table incident.u",
			"record incident/0001_t.sql", "record incident/0002_u.sql")
	}
	if got := show(t, db, "SELECT n FROM incident.t"); got != "42" {
		t.Error(got)
	}
	// The old ID is free again, and the schema of the new one is not replaced by it.
	migrate(t, db, set("outage", "0001_new.sql", "CREATE TABLE outage.v (n int);"), renamed)
	if got := show(t, db, "SELECT n FROM incident.t"); got != "42" {
		t.Error(got)
	}
}

func TestSetsThatCannotWorkAreErrorsBeforeAnythingIsDone(t *testing.T) {
	db, _ := empty(t)
	sub, err := fs.Sub(fstest.MapFS{"migrations/0001_t.sql": {Data: []byte("SELECT 1")}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	for want, sets := range map[string][]postgres.Set{
		`migration p/1_t.sql: the name must be like 0001_what_it_does.sql`:                              {set("p", "1_t.sql", "")},
		`migration p/0001_T.sql: the name must be like 0001_what_it_does.sql`:                           {set("p", "0001_T.sql", "")},
		`migration p/0001_t.sql: the file is not UTF-8 text`:                                            {set("p", "0001_t.sql", "\xff")},
		`migration p: there are two sets with this ID`:                                                  {set("p", "0001_t.sql", ""), {ID: "p"}},
		`migration P: "P" cannot be a schema's name here`:                                               {{ID: "P"}},
		`migration pg_x: "pg_x" cannot be a schema's name here`:                                         {{ID: "pg_x"}},
		`migration p: "a;b" cannot be a schema's name here`:                                             {{ID: "p", PreviousIDs: []string{"a;b"}}},
		`migration p: there are no .sql files at the root of its files (fs.Sub of an embedded folder?)`: {{ID: "p", Files: sub}},
	} {
		if err := postgres.Migrate(t.Context(), db, nil, append([]postgres.Set{set("good", "0001_t.sql", "SELECT 1")}, sets...)...); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	expect(t, db)
}

func TestSchemaThatIsGoneIsAnError(t *testing.T) {
	db, _ := empty(t)
	incident := set("incident", "0001_t.sql", "CREATE TABLE incident.t (n int);")
	migrate(t, db, incident)
	if _, err := db.Exec("DROP SCHEMA incident CASCADE"); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), db, nil, incident); err == nil || !strings.Contains(err.Error(), "migration incident: its schema is gone") {
		t.Error(err)
	}
}

func TestMigrationMayTakeLongerThanAStatement(t *testing.T) {
	_, url := empty(t)
	db := openOne(t, with(url, "statement_timeout=50", "idle_in_transaction_session_timeout=50"))
	migrate(t, db.DB, set("slow", "0001_t.sql", "SELECT pg_catalog.pg_sleep(0.3);"))
	if _, err := db.Exec("SELECT pg_sleep(0.3)"); err == nil || !strings.Contains(err.Error(), "57014") {
		t.Error("the time limit of statements is gone after migrating:", err)
	}
	if got := show(t, db, "SHOW search_path"); !strings.Contains(got, "public") {
		t.Error("the search path after migrating is", got)
	}
}

func TestMigrationWaitsForATableThatIsInUseAndTriesAgain(t *testing.T) {
	t.Parallel()
	db, _ := empty(t)
	first := []string{"0001_t.sql", "CREATE TABLE p.t (n int);"}
	migrate(t, db, set("p", first...))
	user, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := user.Exec("SELECT * FROM p.t"); err != nil {
		t.Fatal(err)
	}
	log, migrated := newLog(), make(chan error)
	go func() {
		migrated <- postgres.Migrate(t.Context(), db, slog.New(log), set("p", append(first, "0002_m.sql", "ALTER TABLE p.t ADD m int;")...))
	}()
	log.next(t, "others hold what the migrations need")
	if err := user.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-migrated; err != nil {
		t.Error(err)
	}
}

func TestMigrateEndsWithItsContextWhileItWaits(t *testing.T) {
	_, url := empty(t)
	holder, waiter := openOne(t, url), openOne(t, url)
	migrate(t, holder.DB, postgres.Set{ID: "p"})
	tx, err := holder.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SELECT pg_advisory_xact_lock(4854161925180)"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log, migrated := newLog(), make(chan error)
	go func() { migrated <- postgres.Migrate(ctx, waiter.DB, slog.New(log)) }()
	log.next(t, "another server migrates the database; waiting for it")
	began := time.Now()
	cancel()
	if err := <-migrated; err == nil || !strings.Contains(err.Error(), "waiting for other servers to migrate") || time.Since(began) > 4*time.Second {
		t.Error(err)
	}
}

// What it costs a start that there is nothing to migrate.
func BenchmarkMigrateNothing(b *testing.B) {
	db, _ := empty(b)
	var sets []postgres.Set
	for i := range 12 {
		id := fmt.Sprintf("p%d", i)
		sets = append(sets, set(id, "0001_t.sql", fmt.Sprintf("CREATE TABLE %s.t (n int);", id), "0002_u.sql", fmt.Sprintf("CREATE TABLE %s.u (n int);", id)))
	}
	for b.Loop() {
		if err := postgres.Migrate(b.Context(), db, nil, sets...); err != nil {
			b.Fatal(err)
		}
	}
}

// What opening costs when the server runs already, which is most of a start with DATABASE_URL.
func BenchmarkOpen(b *testing.B) {
	_, url := postgrestest.New(b)
	for b.Loop() {
		db, err := postgres.Open(b.Context(), postgres.Config{URL: url})
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNewFileBesideAnUnknownAppliedOneIsARenameUnlessItComesAfterAll(t *testing.T) {
	const a, b, c = "CREATE TABLE p.a ();", "CREATE TABLE p.b ();", "CREATE TABLE p.c ();"
	const was = " was applied and is no longer there: was it renamed? Restore its name"
	applied := []string{"0001_notes.sql", a, "0003_tags.sql", b}
	for name, x := range map[string]struct {
		files []string
		file  string // what the error is about, or empty
		text  string // of the error, or of the warning
	}{
		"renamed":                    {[]string{"0001_note.sql", a, "0003_tags.sql", b}, "0001_note.sql", "0001_notes.sql with the same number" + was},
		"renamed and changed":        {[]string{"0001_note.sql", c, "0003_tags.sql", b}, "0001_note.sql", "0001_notes.sql with the same number" + was},
		"the last one":               {[]string{"0001_notes.sql", a, "0003_topics.sql", b}, "0003_topics.sql", "0003_tags.sql with the same number" + was},
		"given another number":       {[]string{"0003_tags.sql", b, "0004_notes.sql", a}, "0004_notes.sql", "0001_notes.sql with the same text" + was},
		"both, crosswise":            {[]string{"0001_tags.sql", b, "0003_notes.sql", a}, "0001_tags.sql", "0003_tags.sql with the same text" + was},
		"a new one among what is":    {[]string{"0001_notes.sql", a, "0002_more.sql", c}, "0002_more.sql", "0003_tags.sql" + was + ", or give the new file a number above 0003"},
		"a new one after an unknown": {[]string{"0002_more.sql", c, "0003_tags.sql", b}, "0002_more.sql", "0001_notes.sql" + was + ", or give the new file a number above 0003"},
		"an older version":           {[]string{"0001_notes.sql", a}, "", ""},
		"a higher number":            {[]string{"0001_notes.sql", a, "0004_more.sql", c}, "", "0004_more.sql is new, and 0003_tags.sql, which was applied already, is not known to this version"},
		"late, with all others":      {[]string{"0001_notes.sql", a, "0002_more.sql", c, "0003_tags.sql", b}, "", "0002_more.sql is new but sorts before 0003_tags.sql, which was applied already"},
		"all as it was and one more": {[]string{"0001_notes.sql", a, "0003_tags.sql", b, "0004_more.sql", c}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := empty(t)
			migrate(t, db, set("p", applied...))
			before, log := content(t, db), newLog()
			first := set("q", "0001_q.sql", "CREATE TABLE q.t ();") // it is undone with the other
			err := postgres.Migrate(t.Context(), db, slog.New(log), first, set("p", x.files...))
			if x.file != "" {
				if want := "migration p/" + x.file + ": it is new, but " + x.text; err == nil || err.Error() != want {
					t.Errorf("%v\nwant %s", err, want)
				}
				expect(t, db, before...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if x.text == "" && strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), x.text) {
				t.Errorf("the log has not %q as its only warning:\n%s", x.text, log)
			}
		})
	}
}
