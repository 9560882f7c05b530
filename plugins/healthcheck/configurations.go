// Configurations: what to look at, how, and how often. They are what editors write; everything in them is checked here,
// the part that belongs to a check type by that type.
//
// A changed configuration is checked again at once, wherever it is assigned: who mends a URL wants to see that it is mended.
// A template is a configuration that says things like ${system.name}: it is checked for every system with what the catalog says
// of that one.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

var (
	//go:embed sql/configuration_insert.sql
	configurationInsertSQL string
	//go:embed sql/configuration.sql
	configurationSQL string
	//go:embed sql/configuration_hold.sql
	configurationHoldSQL string
	//go:embed sql/configurations.sql
	configurationsSQL string
	//go:embed sql/configuration_update.sql
	configurationUpdateSQL string
	//go:embed sql/configuration_assignments_lock.sql
	configurationAssignmentsLockSQL string
	//go:embed sql/reschedule.sql
	rescheduleSQL string
)

// maxDescription is the greatest length of a description, in characters.
const maxDescription = 2000

// Configuration says what to look at, how, and how often.
type Configuration struct {
	ID              string             `json:"id"`
	Name            string             `json:"name"` // unique without regard to case
	Description     string             `json:"description"`
	Type            string             `json:"type"`   // of the check
	Config          json.RawMessage    `json:"config"` // in the normal form of its type, each secret as "********"
	Assertions      []engine.Assertion `json:"assertions"`
	IntervalSeconds int                `json:"intervalSeconds"` // from one run to the next
	TimeoutMs       int                `json:"timeoutMs"`       // for all of one run, in milliseconds
	Enabled         bool               `json:"enabled"`         // false: paused wherever it is assigned
	Template        bool               `json:"template"`
	ManagedBy       *string            `json:"managedBy"` // the document that owns it; nil: people do
	CreatedAt       time.Time          `json:"createdAt"`
	UpdatedAt       time.Time          `json:"updatedAt"`

	stored  json.RawMessage // the config with its secrets sealed
	version int64
}

// ConfigurationInput is what an editor says of a configuration.
type ConfigurationInput struct {
	Name            string             `json:"name"`
	Description     string             `json:"description,omitempty"`
	Type            string             `json:"type"`
	Config          json.RawMessage    `json:"config,omitempty"`     // as the type says; by default {}
	Assertions      []engine.Assertion `json:"assertions,omitempty"` // at most 50
	IntervalSeconds int                `json:"intervalSeconds"`      // 1 to 2,592,000
	TimeoutMs       int                `json:"timeoutMs"`            // 100 to 120,000
	Enabled         *bool              `json:"enabled,omitempty"`    // true by default
	Template        bool               `json:"template,omitempty"`   // whether ${system.…} may be in it
}

// Validate trims the name and checks the ranges. The config is left to its type.
func (in *ConfigurationInput) Validate() (err error) {
	if in.Name, err = plugins.Name("name", in.Name); err != nil {
		return err
	}
	if err := plugins.Text("description", in.Description, maxDescription); err != nil {
		return err
	}
	return in.times()
}

func (in *ConfigurationInput) times() error {
	switch {
	case in.IntervalSeconds == 0:
		return plugins.Invalid("intervalSeconds", "expected this field, a whole number of seconds from 1 to 2592000")
	case in.TimeoutMs == 0:
		return plugins.Invalid("timeoutMs", "expected this field, a whole number of milliseconds from 100 to 120000")
	}
	if in.IntervalSeconds < 1 || in.IntervalSeconds > 2_592_000 {
		return plugins.Invalid("intervalSeconds", "expected a whole number of seconds from 1 to 2592000, not %d", in.IntervalSeconds)
	}
	if in.TimeoutMs < 100 || in.TimeoutMs > 120_000 {
		return plugins.Invalid("timeoutMs", "expected a whole number of milliseconds from 100 to 120000, not %d", in.TimeoutMs)
	}
	return nil
}

func (in *ConfigurationInput) enabled() bool { return in.Enabled == nil || *in.Enabled }

// validate has the type look at the config, and returns the config's normal form. Only that may be stored: decoders differ in
// what they make of a field that is given twice or in another case, and one of them would run what another has checked.
func (r *registry) validate(in ConfigurationInput) (normal json.RawMessage, err error) {
	kind, done, ok := r.begin(in.Type)
	if !ok {
		return nil, plugins.Invalid("type", "expected a check type: %s", strings.Join(r.names(), ", "))
	}
	defer done()
	if len(in.Config) == 0 {
		in.Config = json.RawMessage("{}") // a heartbeat, for one, has nothing to say
	}
	if in.Config[0] != '{' {
		return nil, plugins.Invalid("config", "expected an object")
	}
	var refused error
	if err := plugins.Protect(func() error {
		normal, refused = engine.Validate(engine.Spec{Type: kind, Config: in.Config, Assertions: in.Assertions, Template: in.Template, Policy: r.policy})
		return nil
	}); err != nil {
		return nil, fmt.Errorf("validate a config of type %s: %w", in.Type, err)
	}
	if refused == nil && (len(normal) == 0 || normal[0] != '{' || !json.Valid(normal)) {
		return nil, fmt.Errorf("validate a config of type %s: its normal form is not an object", in.Type)
	}
	return normal, refused
}

func (h *Healthcheck) createConfiguration(r *http.Request, in ConfigurationInput) (plugins.Created[Configuration], error) {
	var created plugins.Created[Configuration]
	err := plugins.Tx(r.Context(), h.host.DB, func(tx *sql.Tx) (err error) {
		created.Value, err = h.CreateConfiguration(r.Context(), tx, in, nil)
		return err
	})
	created.Location = "/api/" + h.host.ID + "/configurations/" + created.Value.ID
	return created, err
}

// CreateConfiguration makes a configuration in the caller's transaction, owned by the document owner, or by people if that is
// nil. What is wrong with in is told as by the API.
func (h *Healthcheck) CreateConfiguration(ctx context.Context, tx *sql.Tx, in ConfigurationInput, owner *string) (Configuration, error) {
	id := plugins.NewID()
	if err := in.Validate(); err != nil {
		return Configuration{}, err
	}
	config, err := engine.KeepSecrets(in.Config, nil, id, h.types.vault.sealer())
	if err != nil {
		return Configuration{}, within("config", err)
	}
	in.Config = config
	return h.write(ctx, tx, configurationInsertSQL, id, in, owner)
}

// UpdateConfiguration replaces a configuration in the caller's transaction, as CreateConfiguration makes one. A secret that is
// "********" in it stays as it is. An unknown ID is a [plugins.NotFound]. Its checks are due at once.
func (h *Healthcheck) UpdateConfiguration(ctx context.Context, tx *sql.Tx, id string, in ConfigurationInput, owner *string) (Configuration, error) {
	if err := in.Validate(); err != nil {
		return Configuration{}, err
	}
	old, err := holdConfiguration(ctx, tx, id)
	if err != nil {
		return Configuration{}, err
	}
	if in.Config, err = h.keepSecrets(in, old); err != nil {
		return Configuration{}, within("config", err)
	}
	if err := h.holdSystems(ctx, tx, id, in.Template); err != nil {
		return Configuration{}, err
	}
	if plugins.Fold(in.Name) != plugins.Fold(old.Name) {
		if _, err := tx.ExecContext(ctx, configurationAssignmentsLockSQL, id); err != nil {
			return Configuration{}, fmt.Errorf("lock assignments: %w", err)
		}
	}
	c, err := h.write(ctx, tx, configurationUpdateSQL, id, in, owner)
	if err != nil {
		return c, err
	}
	if err := h.revisit(ctx, tx, c); err != nil {
		return c, err
	}
	keys, err := plugins.Rows(ctx, tx, scanKey, rescheduleSQL, id, !c.Enabled)
	if err != nil {
		return c, fmt.Errorf("reschedule assignments: %w", err)
	}
	if old.Enabled != c.Enabled {
		if err := h.turned(ctx, tx, keys, c.Enabled); err != nil {
			return c, err
		}
	}
	return c, announce(ctx, tx)
}

// keepSecrets puts the secrets of a configuration that is stored where in has the mask. Another type would do other things with them.
func (h *Healthcheck) keepSecrets(in ConfigurationInput, old Configuration) (json.RawMessage, error) {
	stored := old.stored
	if in.Type != old.Type {
		stored = nil
	}
	return engine.KeepSecrets(in.Config, stored, old.ID, h.types.vault.sealer())
}

// write validates, seals and stores a configuration.
func (h *Healthcheck) write(ctx context.Context, tx *sql.Tx, statement, id string, in ConfigurationInput, owner *string) (Configuration, error) {
	normal, err := h.types.validate(in)
	if err != nil {
		return Configuration{}, err
	}
	sealed, err := h.types.vault.seal(id, normal)
	if err != nil {
		return Configuration{}, err
	}
	if in.Assertions == nil {
		in.Assertions = []engine.Assertion{}
	}
	assertions, err := json.Marshal(in.Assertions)
	if err != nil {
		return Configuration{}, fmt.Errorf("write assertions: %w", err)
	}
	c, err := scanConfiguration(tx.QueryRowContext(ctx, statement, id, in.Name, plugins.Fold(in.Name), in.Description, in.Type,
		string(sealed), string(assertions), in.IntervalSeconds, in.TimeoutMs, in.enabled(), in.Template, owner))
	return c, named(err)
}

// within puts an error of a part of the input under the field of that part.
func within(field string, err error) error {
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		inner := *e
		inner.Field = strings.TrimSuffix(field+"."+e.Field, ".")
		return &inner
	}
	return err
}

// named says of a unique violation what it means: of all that must be unique, only the name is not made here.
func named(err error) error {
	switch {
	case plugins.SQLState(err) == "23505":
		return &plugins.Error{Status: http.StatusConflict, Title: "Already exists", Field: "name",
			Message: "there is a configuration with this name; case does not distinguish names"}
	case errors.Is(err, sql.ErrNoRows):
		return plugins.NotFound("configuration")
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
	query := r.URL.Query()
	contains := query.Get("q")
	if err := plugins.Text("q", contains, plugins.MaxName); err != nil {
		return plugins.List[Configuration]{}, err
	}
	template, err := boolParam(query, "template")
	if err != nil {
		return plugins.List[Configuration]{}, err
	}
	return plugins.ListRows(r.Context(), h.host.DB, page, scanConfiguration, configurationsSQL, query.Get("type"), plugins.Fold(contains), template)
}

// boolParam reads a parameter that is true, false, or absent.
func boolParam(query url.Values, name string) (*bool, error) {
	s := query.Get(name)
	if s == "" {
		return nil, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return nil, plugins.Invalid(name, "expected true or false")
	}
	return &b, nil
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
	return readConfiguration(h.host.DB.QueryRowContext(ctx, configurationSQL, id))
}

// holdConfiguration reads one configuration and holds it against changes.
func holdConfiguration(ctx context.Context, tx *sql.Tx, id string) (Configuration, error) {
	return readConfiguration(tx.QueryRowContext(ctx, configurationHoldSQL, id))
}

func readConfiguration(row plugins.Row) (Configuration, error) {
	c, err := scanConfiguration(row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Configuration{}, plugins.NotFound("configuration")
	case err != nil:
		return Configuration{}, fmt.Errorf("read configuration: %w", err)
	}
	return c, nil
}

func (h *Healthcheck) updateConfiguration(r *http.Request, in ConfigurationInput) (Configuration, error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return Configuration{}, err
	}
	ctx := r.Context()
	var c Configuration
	err = plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) (err error) {
		if err := h.unmanaged(ctx, tx, id); err != nil {
			return err
		}
		c, err = h.UpdateConfiguration(ctx, tx, id, in, nil)
		return err
	})
	if err == nil {
		h.scheduler.wake()
	}
	return c, err
}

// unmanaged holds a configuration that people own. One that a document owns is a conflict.
func (h *Healthcheck) unmanaged(ctx context.Context, tx *sql.Tx, id string) error {
	c, err := holdConfiguration(ctx, tx, id)
	if err == nil && c.ManagedBy != nil {
		err = plugins.Managed(*c.ManagedBy)
	}
	return err
}

func scanConfiguration(row plugins.Row) (Configuration, error) {
	var c Configuration
	var assertions []byte
	err := row.Scan(&c.ID, &c.Name, &c.Description, &c.Type, (*[]byte)(&c.stored), &assertions, &c.IntervalSeconds, &c.TimeoutMs, &c.Enabled,
		&c.Template, &c.ManagedBy, &c.version, &c.CreatedAt, &c.UpdatedAt)
	if err != nil {
		return c, err
	}
	if c.Config, err = engine.MaskSecrets(c.stored); err != nil {
		return c, err
	}
	return c, json.Unmarshal(assertions, &c.Assertions)
}

func scanKey(row plugins.Row) (k key, err error) {
	err = row.Scan(&k.systemID, &k.configurationID)
	return k, err
}
