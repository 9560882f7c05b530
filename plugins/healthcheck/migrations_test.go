package healthcheck

import (
	"io/fs"
	"log/slog"
	"testing"
	"testing/fstest"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// TestChecksOfTheFirstReleaseGoOnAsTheyWere updates a database that has checks and states of the first release.
func TestChecksOfTheFirstReleaseGoOnAsTheyWere(t *testing.T) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	first, err := fs.ReadFile(files, "0001_checks.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, _ := postgrestest.New(t, postgres.Set{ID: "healthcheck", Files: fstest.MapFS{"0001_checks.sql": {Data: first}}})
	id := plugins.NewID()
	execute(t, db, `insert into healthcheck.configurations (id, name, name_key, type, config, interval_seconds, timeout_ms)
		values ($1, 'Old', 'old', 'test', '{}', 60, 1000)`, id)
	execute(t, db, `insert into healthcheck.assignments (system_id, configuration_id, enabled) values ('a', $1, true), ('b', $1, false)`, id)
	execute(t, db, `insert into healthcheck.states values ('a', $1, '', 'healthy', $2, $2, 7, 'fine', gen_random_uuid())`, id, start)

	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if err := postgres.Migrate(t.Context(), db, log, postgres.Set{ID: "healthcheck", Files: files}); err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"a", "b"} {
		if got := sources(t, db, system, id); got != "[local]" {
			t.Errorf("%s is checked by %s", system, got)
		}
	}
	got, err := readStatus(t.Context(), db, "a")
	if err != nil || got.Status != plugins.Healthy || !got.Since.Equal(start) || len(got.Checks) != 1 || len(got.Checks[0].Sources) != 1 {
		t.Errorf("the status is %+v, %v", got, err)
	}
	if due := claimAll(t, servers(t, db, 1, kind{"test", fine})[0], 10, time.Now().Add(time.Second)); len(due) != 1 || due[0].systemID != "a" {
		t.Errorf("claimed %+v", due)
	}
}
