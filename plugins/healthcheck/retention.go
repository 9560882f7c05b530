// How long the history of a check is kept, and how available systems were. Both are the history's to know; here is who
// may ask, and that a retention is only said of a check that is assigned, so that it ends with the assignment.

package healthcheck

import (
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"checkstack/plugins"
)

//go:embed sql/own_retention.sql
var ownRetentionSQL string

// RetentionInput is what an editor says of a retention: all of it, so that nothing is changed by being left out.
type RetentionInput struct {
	RawDays    *int `json:"rawDays"`
	HourlyDays *int `json:"hourlyDays"`
	DailyDays  *int `json:"dailyDays"`
}

// Validate asks for all fields, and for numbers that are a retention.
func (in *RetentionInput) Validate() error {
	for _, field := range []struct {
		name string
		days *int
	}{{"rawDays", in.RawDays}, {"hourlyDays", in.HourlyDays}, {"dailyDays", in.DailyDays}} {
		if field.days == nil {
			return plugins.Invalid(field.name, "expected rawDays, hourlyDays and dailyDays, but %s is missing", field.name)
		}
	}
	r := in.retention()
	return r.Validate()
}

func (in *RetentionInput) retention() plugins.Retention {
	return plugins.Retention{RawDays: *in.RawDays, HourlyDays: *in.HourlyDays, DailyDays: *in.DailyDays}
}

// maxSystems is how many systems may be asked for their availability at once.
const maxSystems = 500

func (h *Healthcheck) readRetention(r *http.Request, _ plugins.None) (plugins.Retention, error) {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return plugins.Retention{}, err
	}
	ctx := r.Context()
	if _, _, err := h.assigned(ctx, system, configuration); err != nil {
		return plugins.Retention{}, err
	}
	retention, err := h.host.History.Retention(ctx, system, configuration)
	if err != nil {
		return plugins.Retention{}, fmt.Errorf("read retention: %w", err)
	}
	return retention, nil
}

func (h *Healthcheck) writeRetention(r *http.Request, in RetentionInput) (plugins.Retention, error) {
	retention := in.retention()
	return retention, h.setRetention(r, &retention)
}

func (h *Healthcheck) resetRetention(r *http.Request, _ plugins.None) (plugins.None, error) {
	return plugins.None{}, h.setRetention(r, nil)
}

// setRetention has the history of a check kept for a time of its own, or, with nil, for the default.
func (h *Healthcheck) setRetention(r *http.Request, retention *plugins.Retention) error {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	return plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		var own bool
		switch err := tx.QueryRowContext(ctx, ownRetentionSQL, system, configuration, retention != nil).Scan(&own); {
		case errors.Is(err, sql.ErrNoRows):
			return plugins.NotFound("assignment")
		case err != nil:
			return fmt.Errorf("lock assignment: %w", err)
		}
		if err := h.host.History.SetRetention(ctx, tx, system, configuration, retention); err != nil {
			return fmt.Errorf("set retention: %w", err)
		}
		return nil
	})
}

// availability answers for the systems that exist of those asked for, in that order.
func (h *Healthcheck) availability(r *http.Request, _ plugins.None) (list plugins.List[plugins.Availability], err error) {
	ids, err := systemsParam(r, maxSystems)
	if err != nil {
		return list, err
	}
	ctx := r.Context()
	names, err := h.catalog.SystemNames(ctx, ids)
	if err != nil {
		return list, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool {
		_, exists := names[id]
		return !exists
	})
	if len(ids) > 0 {
		list.Items, err = h.host.History.Availability(ctx, ids)
	}
	list.Total = len(list.Items)
	return list, err
}

// systemsParam reads systemId, which may be there up to max times. What is there again is left out.
func systemsParam(r *http.Request, max int) ([]string, error) {
	given := r.URL.Query()["systemId"]
	if n := len(given); n < 1 || n > max {
		return nil, plugins.Invalid("systemId", "expected 1 to %d IDs of systems, not %d", max, n)
	}
	ids := make([]string, 0, len(given))
	seen := make(map[string]bool, len(given))
	for _, id := range given {
		id = strings.ToLower(id)
		if !plugins.IsID(id) {
			return nil, plugins.Invalid("systemId", "expected the ID of a system")
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}
