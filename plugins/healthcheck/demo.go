// The example that a newcomer finds: on the first boot with an empty catalog the server watches itself, so that there is
// something to see within a minute. It is made at most once in the life of a database, whoever removes it and however many
// servers boot at once: the row of healthcheck.demo decides, and it is there also when there was nothing to make.
//
// A server that comes back on another port points the example there, as long as nobody has changed it. But the example may
// belong to another server on the same database that is up and well: as long as one answers at the example's
// address, it stays there.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
)

var (
	//go:embed sql/demo_mark.sql
	demoMarkSQL string
	//go:embed sql/demo_keep.sql
	demoKeepSQL string
	//go:embed sql/demo_elsewhere.sql
	demoElsewhereSQL string
	//go:embed sql/demo_move.sql
	demoMoveSQL string
)

// demoPatience is how long the server that the example points at may take to answer.
const demoPatience = time.Second

// demo makes the example, or looks after the one that is there.
func (h *Healthcheck) demo(ctx context.Context) error {
	url := h.host.LocalURL + "/.checkstack/health"
	config, err := demoConfig(url)
	if err != nil {
		return err
	}
	if err := h.moveDemo(ctx, url, config); err != nil {
		return err
	}
	return plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		var marked bool
		if err := tx.QueryRowContext(ctx, demoMarkSQL).Scan(&marked); errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return fmt.Errorf("mark the example: %w", err)
		}
		if empty, err := h.catalog.Empty(ctx, tx); err != nil || !empty {
			return err
		}
		system, err := h.catalog.CreateSystem(ctx, tx, catalog.System{Name: "Checkstack", Description: "This server, as an example."})
		if err != nil {
			return fmt.Errorf("create the example's system: %w", err)
		}
		c, err := h.CreateConfiguration(ctx, tx, ConfigurationInput{Name: "Checkstack health", Type: "http", Config: config,
			IntervalSeconds: 30, TimeoutMs: 5000}, nil)
		if err != nil {
			return err
		}
		if _, err := h.Assign(ctx, tx, system.ID, c.ID, AssignmentInput{Enabled: new(true)}, nil); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, demoKeepSQL, c.ID, url)
		return err
	})
}

// moveDemo points an example that nobody has changed at this server's present address, unless one answers at the address
// that it has.
func (h *Healthcheck) moveDemo(ctx context.Context, url string, config json.RawMessage) error {
	var old string
	switch err := h.host.DB.QueryRowContext(ctx, demoElsewhereSQL, url).Scan(&old); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("find the example: %w", err)
	}
	there, err := demoConfig(old)
	if err != nil {
		return err
	}
	made, err := h.types.run(ctx, check{kind: "http", config: there, timeout: demoPatience})
	if err != nil || made.run == nil || made.run.Status == plugins.Healthy {
		return err
	}
	return plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		var id string
		switch err := tx.QueryRowContext(ctx, demoMoveSQL, old, url, string(config)).Scan(&id); {
		case errors.Is(err, sql.ErrNoRows):
			return nil // somebody has changed it, or another server was first
		case err != nil:
			return fmt.Errorf("move the example: %w", err)
		}
		if _, err := tx.ExecContext(ctx, rescheduleSQL, id, false); err != nil {
			return fmt.Errorf("reschedule the example: %w", err)
		}
		return announce(ctx, tx)
	})
}

// demoConfig is the config of the example where nobody has changed it.
func demoConfig(url string) (json.RawMessage, error) {
	return json.Marshal(map[string]string{"url": url})
}
