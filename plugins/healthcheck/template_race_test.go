package healthcheck

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
)

// TestWhatATemplateKeepsOfASystemIsWhatTheCatalogSays changes a system while a template is assigned to it, between the moment when
// the system was read and the one when the assignment is written.
func TestWhatATemplateKeepsOfASystemIsWhatTheCatalogSays(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Hour, time.Second, start)
	execute(t, db, `update healthcheck.configurations set template = true`)
	system := commitSystem(t, h, "shop", map[string]any{"host": "old"})
	stop := h.catalog.OnSystemChanged(h.systemChanged)
	defer stop()

	block, err := db.BeginTx(t.Context(), nil) // has the key, so that the assignment waits before it is written
	if err != nil {
		t.Fatal(err)
	}
	defer block.Rollback()
	if _, err := block.ExecContext(t.Context(), `insert into healthcheck.assignments (system_id, configuration_id, enabled) values ($1, $2, true)`, system, id); err != nil {
		t.Fatal(err)
	}
	waiting := func(n int) bool {
		return value[int](t, db, `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) >= n
	}
	until := func(done func() bool) {
		for deadline := time.Now().Add(20 * time.Second); !done(); {
			if time.Now().After(deadline) {
				t.Fatal("nobody waits")
			}
		}
	}
	ended := make(chan error, 2)
	go func() {
		ended <- plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
			if err := h.catalog.LockSystem(t.Context(), tx, system); err != nil {
				return err
			}
			_, err := h.Assign(t.Context(), tx, system, id, AssignmentInput{Enabled: new(true)}, nil)
			return err
		})
	}()
	until(func() bool { return waiting(1) })
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		ended <- plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
			_, err := h.catalog.UpdateSystem(context.WithoutCancel(t.Context()), tx, catalog.System{ID: system, Name: "shop", Metadata: map[string]any{"host": "new"}})
			return err
		})
	}()
	until(func() bool {
		select {
		case <-changed:
			return true
		default:
			return waiting(2)
		}
	})
	block.Rollback()
	for range 2 {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	if vars := value[string](t, db, `select vars::text from healthcheck.assignments`); !strings.Contains(vars, `"new"`) {
		t.Errorf("the assignment keeps %s", vars)
	}
}
