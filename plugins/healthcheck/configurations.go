// Configurations: what to look at, how, and how often. They are what editors write; everything in them is checked here,
// the part that belongs to a check type by that type.
//
// A changed configuration is checked again at once, wherever it is assigned: who mends a URL wants to see that it is mended.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"checkstack/plugins"
)

var (
	//go:embed sql/configuration_insert.sql
	configurationInsertSQL string
	//go:embed sql/configuration.sql
	configurationSQL string
	//go:embed sql/configurations.sql
	configurationsSQL string
	//go:embed sql/configuration_update.sql
	configurationUpdateSQL string
	//go:embed sql/reschedule.sql
	rescheduleSQL string
)

// Configuration says what to look at, how, and how often.
type Configuration struct {
	ID              string          `json:"id"`
	Name            string          `json:"name"`            // unique without regard to case
	Type            string          `json:"type"`            // of the check
	Config          json.RawMessage `json:"config"`          // in the normal form of its type
	IntervalSeconds int             `json:"intervalSeconds"` // from one run to the next
	TimeoutMs       int             `json:"timeoutMs"`       // for all of one run, in milliseconds
	CreatedAt       time.Time       `json:"createdAt"`
	UpdatedAt       time.Time       `json:"updatedAt"`
}

// ConfigurationInput is what an editor says of a configuration. All of it is required.
type ConfigurationInput struct {
	Name            string          `json:"name"`
	Type            string          `json:"type"`
	Config          json.RawMessage `json:"config"`
	IntervalSeconds int             `json:"intervalSeconds"` // 1 to 2,592,000
	TimeoutMs       int             `json:"timeoutMs"`       // 100 to 120,000
}

// Validate trims the name and checks the ranges. The config is left to its type.
func (in *ConfigurationInput) Validate() (err error) {
	if in.Name, err = plugins.Name("name", in.Name); err != nil {
		return err
	}
	if in.IntervalSeconds < 1 || in.IntervalSeconds > 2_592_000 {
		return plugins.Invalid("intervalSeconds", "expected a whole number of seconds from 1 to 2592000, not %d", in.IntervalSeconds)
	}
	if in.TimeoutMs < 100 || in.TimeoutMs > 120_000 {
		return plugins.Invalid("timeoutMs", "expected a whole number of milliseconds from 100 to 120000, not %d", in.TimeoutMs)
	}
	return nil
}

// validate has the type look at the config, and returns the config's normal form. Only that may be stored: decoders differ in
// what they make of a field that is given twice or in another case, and one of them would run what another has checked.
func (r *registry) validate(in ConfigurationInput) (normal json.RawMessage, err error) {
	kind, done, ok := r.begin(in.Type)
	if !ok {
		return nil, plugins.Invalid("type", "expected a check type: %s", strings.Join(r.names(), ", "))
	}
	defer done()
	if len(in.Config) == 0 || in.Config[0] != '{' {
		return nil, plugins.Invalid("config", "expected an object")
	}
	var refused error
	if err := plugins.Protect(func() error {
		normal, refused = kind.Validate(in.Config)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("validate a config of type %s: %w", in.Type, err)
	}
	if e, ok := errors.AsType[*plugins.Error](refused); ok {
		within := *e
		within.Field = strings.TrimSuffix("config."+e.Field, ".")
		return nil, &within
	}
	if refused == nil && (!json.Valid(normal) || normal[0] != '{') {
		return nil, fmt.Errorf("validate a config of type %s: its normal form is not an object", in.Type)
	}
	return normal, refused
}

func (h *Healthcheck) createConfiguration(r *http.Request, in ConfigurationInput) (plugins.Created[Configuration], error) {
	var created plugins.Created[Configuration]
	var err error
	if in.Config, err = h.types.validate(in); err != nil {
		return created, err
	}
	err = plugins.Tx(r.Context(), h.host.DB, func(tx *sql.Tx) (err error) {
		created.Value, err = insertConfiguration(r.Context(), tx, in)
		return err
	})
	created.Location = "/api/" + h.host.ID + "/configurations/" + created.Value.ID
	return created, err
}

func insertConfiguration(ctx context.Context, tx *sql.Tx, in ConfigurationInput) (Configuration, error) {
	row := tx.QueryRowContext(ctx, configurationInsertSQL,
		plugins.NewID(), in.Name, plugins.Fold(in.Name), in.Type, string(in.Config), in.IntervalSeconds, in.TimeoutMs)
	c, err := scanConfiguration(row)
	return c, named(err)
}

// named says of a unique violation what it means: of all that must be unique, only the name is not made here.
func named(err error) error {
	switch {
	case plugins.SQLState(err) == "23505":
		return &plugins.Error{Status: http.StatusConflict, Title: "Already exists", Field: "name",
			Message: "there is a configuration with this name; case does not distinguish names"}
	case err != nil:
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

func (h *Healthcheck) listConfigurations(r *http.Request, _ plugins.None) (plugins.List[Configuration], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Configuration]{}, err
	}
	return plugins.ListRows(r.Context(), h.host.DB, page, scanConfiguration, configurationsSQL)
}

func (h *Healthcheck) readConfiguration(r *http.Request, _ plugins.None) (Configuration, error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return Configuration{}, err
	}
	return h.configuration(r.Context(), id)
}

// configuration reads one configuration. An unknown ID is a [plugins.NotFound].
func (h *Healthcheck) configuration(ctx context.Context, id string) (Configuration, error) {
	c, err := scanConfiguration(h.host.DB.QueryRowContext(ctx, configurationSQL, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Configuration{}, plugins.NotFound("configuration")
	}
	if err != nil {
		return Configuration{}, fmt.Errorf("read configuration: %w", err)
	}
	return c, nil
}

func (h *Healthcheck) updateConfiguration(r *http.Request, in ConfigurationInput) (Configuration, error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return Configuration{}, err
	}
	if in.Config, err = h.types.validate(in); err != nil {
		return Configuration{}, err
	}
	ctx := r.Context()
	var c Configuration
	err = plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) (err error) {
		row := tx.QueryRowContext(ctx, configurationUpdateSQL,
			id, in.Name, plugins.Fold(in.Name), in.Type, string(in.Config), in.IntervalSeconds, in.TimeoutMs)
		if c, err = scanConfiguration(row); errors.Is(err, sql.ErrNoRows) {
			return plugins.NotFound("configuration")
		} else if err != nil {
			return named(err)
		}
		if _, err := tx.ExecContext(ctx, rescheduleSQL, id); err != nil {
			return fmt.Errorf("reschedule assignments: %w", err)
		}
		return announce(ctx, tx)
	})
	if err == nil {
		h.scheduler.wake()
	}
	return c, err
}

func scanConfiguration(row plugins.Row) (Configuration, error) {
	var c Configuration
	err := row.Scan(&c.ID, &c.Name, &c.Type, (*[]byte)(&c.Config), &c.IntervalSeconds, &c.TimeoutMs, &c.CreatedAt, &c.UpdatedAt)
	return c, err
}
