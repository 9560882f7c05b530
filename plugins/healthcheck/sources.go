// Sources: where checks are made. This server, that is, all servers that share the database, is the source "local", and
// is always there. Every other one is a satellite: a program elsewhere that is told what to check, checks it, and
// reports. The plugin that speaks with satellites says here which there are and which are offline, asks for their
// checks, and hands over what they found; see [Healthcheck.RecordFrom].
//
// Everything that locks several rows does it in one order, so that no two wait for each other: the system and the
// configuration first, then the sources by their ID, then the assignments by their key.

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
)

var (
	//go:embed sql/announce.sql
	announceSQL string
	//go:embed sql/source_add.sql
	sourceAddSQL string
	//go:embed sql/source_lock_delete.sql
	sourceLockDeleteSQL string
	//go:embed sql/source_assignments_lock.sql
	sourceAssignmentsLockSQL string
	//go:embed sql/source_delete.sql
	sourceDeleteSQL string
	//go:embed sql/source_offline.sql
	sourceOfflineSQL string
	//go:embed sql/source_checks.sql
	sourceChecksSQL string
)

// Changed is the channel on which every change of what is checked, how, and from where, is announced, with an empty
// payload, by the transaction that makes it. See [plugins.Host.Listen].
const Changed = "healthcheck_changed"

// local is how assignments name this server.
const local = "local"

// Source is where checks are made, other than on this server.
type Source struct {
	ID   string // 1 to 200 characters, not "local"; in the history, the source of its runs
	Name string // for people, 1 to 200 characters
}

// AddSource makes a source known in the caller's transaction, so that checks can be assigned to it, or renames it. An
// ID or a name that cannot be one is an error with status 400.
func (h *Healthcheck) AddSource(ctx context.Context, tx *sql.Tx, s Source) error {
	id, err := plugins.Name("id", s.ID)
	switch {
	case err != nil:
		return err
	case id != s.ID || id == local:
		return plugins.Invalid("id", "expected the ID of a source, not %q", s.ID)
	}
	name, err := plugins.Name("name", s.Name)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, sourceAddSQL, id, name); err != nil {
		return fmt.Errorf("add source: %w", err)
	}
	return announce(ctx, tx)
}

// RemoveSource forgets a source in the caller's transaction: it has no checks any more, and the status of a check is
// without what it saw. Its runs stay in the history. A source that does not exist is no error.
func (h *Healthcheck) RemoveSource(ctx context.Context, tx *sql.Tx, id string) error {
	var locked string
	switch err := tx.QueryRowContext(ctx, sourceLockDeleteSQL, id).Scan(&locked); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("lock source: %w", err)
	}
	keys, err := plugins.Rows(ctx, tx, scanKey, sourceAssignmentsLockSQL, id)
	if err != nil {
		return fmt.Errorf("lock assignments: %w", err)
	}
	if _, err := tx.ExecContext(ctx, sourceDeleteSQL, id); err != nil {
		return fmt.Errorf("delete source: %w", err)
	}
	if err := h.settle(ctx, tx, keys); err != nil {
		return err
	}
	return announce(ctx, tx)
}

// SetSourceOffline says in the caller's transaction since when a source has been offline, or, with nil, that it is not.
// While it is, nobody knows how the things are that it looks at. A source that does not exist is a [plugins.NotFound].
func (h *Healthcheck) SetSourceOffline(ctx context.Context, tx *sql.Tx, id string, since *time.Time) error {
	result, err := tx.ExecContext(ctx, sourceOfflineSQL, id, since)
	if err != nil {
		return fmt.Errorf("set source offline: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return plugins.NotFound("source")
	}
	return announce(ctx, tx)
}

// SourceCheck is a check as a source has to make it.
type SourceCheck struct {
	SystemID        string          `json:"systemId"`
	ConfigurationID string          `json:"configurationId"`
	Name            string          `json:"name"` // of the configuration
	Type            string          `json:"type"`
	Config          json.RawMessage `json:"config"`               // in the normal form of its type; it may hold secrets
	Assertions      json.RawMessage `json:"assertions,omitempty"` // a list of what must be so; none if it is absent
	Values          json.RawMessage `json:"values,omitempty"`     // what placeholders such as ${system.name} stand for, by their names
	IntervalSeconds int             `json:"intervalSeconds"`      // from one run to the next
	TimeoutMs       int             `json:"timeoutMs"`            // for all of one run, in milliseconds
}

// SourceChecks lists the enabled checks of a source, ordered by system and configuration; none for a source that does not
// exist. Secrets are open in them. A check whose secrets cannot be opened is left out.
func (h *Healthcheck) SourceChecks(ctx context.Context, db plugins.Queryer, id string) ([]SourceCheck, error) {
	checks, err := plugins.Rows(ctx, db, func(row plugins.Row) (SourceCheck, error) {
		var c SourceCheck
		err := row.Scan(&c.SystemID, &c.ConfigurationID, &c.Name, &c.Type, (*[]byte)(&c.Config), (*[]byte)(&c.Assertions), (*[]byte)(&c.Values),
			&c.IntervalSeconds, &c.TimeoutMs)
		return c, err
	}, sourceChecksSQL, id)
	if err != nil {
		return nil, fmt.Errorf("read the checks of a source: %w", err)
	}
	usable := checks[:0]
	for _, c := range checks {
		if c.Config, err = h.types.vault.open(c.ConfigurationID, c.Config); err != nil {
			h.host.Log.Warn("a check of a satellite is left out", "source", id, "system", c.SystemID, "configuration", c.ConfigurationID, "error", err)
			continue
		}
		if string(c.Assertions) == "[]" {
			c.Assertions = nil
		}
		usable = append(usable, c)
	}
	return usable, nil
}

// announce tells all servers of a change, when the transaction that makes it is committed.
func announce(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, announceSQL); err != nil {
		return fmt.Errorf("announce a change: %w", err)
	}
	return nil
}
