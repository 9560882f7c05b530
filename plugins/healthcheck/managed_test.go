package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"testing"

	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck/checks"
)

// A document makes a system and assigns a template to it in one transaction, which nobody else sees yet.
func TestATemplateIsAssignedToASystemOfItsTransaction(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	if _, err := h.types.add(checks.HTTP(h.types.policy)); err != nil {
		t.Fatal(err)
	}
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
		s, err := h.catalog.CreateSystem(ctx, tx, catalog.System{Name: "Shop", Metadata: map[string]any{"host": "example.org", "port": json.Number("80")}})
		if err != nil {
			return err
		}
		c, err := h.CreateConfiguration(ctx, tx, ConfigurationInput{Name: "Page", Type: "http", Template: true, IntervalSeconds: 60, TimeoutMs: 1000,
			Config: json.RawMessage(`{"url":"http://${system.metadata.host}:${system.metadata.port}/"}`)}, new("a document"))
		if err != nil {
			return err
		}
		a, err := h.Assign(ctx, tx, s.ID, c.ID, AssignmentInput{Enabled: new(true)}, new("a document"))
		if err == nil && (a.ManagedBy == nil || *a.ManagedBy != "a document") {
			t.Errorf("assigned %+v", a)
		}
		return err
	})
	const kept = `select vars ->> 'system.name' || ' ' || (vars ->> 'system.metadata.host') || ' ' || (vars ->> 'system.metadata.port') from healthcheck.assignments`
	if got := value[string](t, db, kept); got != "Shop example.org 80" {
		t.Errorf("kept is %s", got)
	}
}
