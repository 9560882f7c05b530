// What somebody on call asks first: how much is wrong, what is worst, and what changed. And what a Checkstack itself cannot do.

package healthcheck

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"checkstack/plugins"
)

var (
	//go:embed sql/overview.sql
	overviewSQL string
	//go:embed sql/worst.sql
	worstSQL string
	//go:embed sql/open_errors.sql
	openErrorsSQL string
	//go:embed sql/transitions.sql
	transitionsSQL string
	//go:embed sql/errors.sql
	errorsSQL string
)

// Overview is how everything is.
type Overview struct {
	Systems map[plugins.Status]int `json:"systems"` // how many that have a check there are of each status
	Checks  map[plugins.Status]int `json:"checks"`  // how many checks of systems

	// Problems are the checks that are not healthy, the worst first, up to limit of them.
	Problems []Problem `json:"problems"`

	// Errors is what keeps checks from being made, because of Checkstack itself, up to 20 reasons.
	Errors []ErrorReason `json:"errors"`
}

// Problem is a check that is not healthy.
type Problem struct {
	SystemID        string         `json:"systemId"`
	System          string         `json:"system"` // its name
	ConfigurationID string         `json:"configurationId"`
	Name            string         `json:"name"` // of the configuration
	Status          plugins.Status `json:"status"`
	Since           time.Time      `json:"since"`
	Message         string         `json:"message"` // of the worst slice's last run
	LastRunAt       *time.Time     `json:"lastRunAt"`
}

// ErrorReason is something that keeps checks from being made.
type ErrorReason struct {
	Message string    `json:"message"`
	Checks  int       `json:"checks"`
	Since   time.Time `json:"since"`
}

func (h *Healthcheck) overview(r *http.Request, _ plugins.None) (o Overview, err error) {
	ctx := r.Context()
	limit, err := plugins.Number(r.URL.Query(), "limit", 50, 1, 500)
	if err != nil {
		return o, err
	}
	o = Overview{Systems: map[plugins.Status]int{}, Checks: map[plugins.Status]int{}, Problems: []Problem{}, Errors: []ErrorReason{}}
	if _, err := plugins.Rows(ctx, h.host.DB, func(row plugins.Row) (none struct{}, err error) {
		var what string
		var status plugins.Status
		var n int
		err = row.Scan(&what, &status, &n)
		if what == "system" {
			o.Systems[status] = n
		} else {
			o.Checks[status] = n
		}
		return none, err
	}, overviewSQL); err != nil {
		return o, fmt.Errorf("count statuses: %w", err)
	}
	if o.Problems, err = h.problems(ctx, limit); err != nil {
		return o, err
	}
	reasons, err := plugins.Rows(ctx, h.host.DB, func(row plugins.Row) (e ErrorReason, err error) {
		err = row.Scan(&e.Message, &e.Checks, &e.Since)
		return e, err
	}, openErrorsSQL)
	if err != nil {
		return o, fmt.Errorf("read errors: %w", err)
	}
	o.Errors = append(o.Errors, reasons...)
	return o, nil
}

func (h *Healthcheck) problems(ctx context.Context, limit int) ([]Problem, error) {
	var ids []string
	found, err := plugins.Rows(ctx, h.host.DB, func(row plugins.Row) (p Problem, err error) {
		var message *string
		err = row.Scan(&p.SystemID, &p.ConfigurationID, &p.Name, &p.Status, &p.Since, &message, &p.LastRunAt)
		if message != nil {
			p.Message = *message
		}
		ids = append(ids, p.SystemID)
		return p, err
	}, worstSQL, limit)
	if err != nil {
		return nil, fmt.Errorf("read what is worst: %w", err)
	}
	names, err := h.catalog.SystemNames(ctx, ids)
	if err != nil {
		return nil, err
	}
	problems := make([]Problem, 0, len(found))
	for _, p := range found {
		p.System = names[p.SystemID]
		problems = append(problems, p)
	}
	return problems, nil
}

// listTransitions answers with changes of statuses, the newest first; those of sources too with sources=true. The cursor of
// the next page is the smallest ID of this one.
func (h *Healthcheck) listTransitions(r *http.Request, _ plugins.None) (list plugins.List[Transition], err error) {
	system, err := h.systemOf(r)
	if err != nil {
		return list, err
	}
	query := r.URL.Query()
	configuration, err := configurationParam(query)
	if err != nil {
		return list, err
	}
	limit, err := plugins.Number(query, "limit", 100, 1, 500)
	if err != nil {
		return list, err
	}
	sources, err := boolParam(query, "sources")
	if err != nil {
		return list, err
	}
	var before int64
	if s := query.Get("cursor"); s != "" {
		if before, err = strconv.ParseInt(s, 10, 64); err != nil || before < 1 {
			return list, plugins.Invalid("cursor", "expected the next of a page of transitions")
		}
	}
	var asked *string
	if configuration != "" {
		asked = &configuration
	}
	var last int64
	list.Items, err = plugins.Rows(r.Context(), h.host.DB, func(row plugins.Row) (t Transition, err error) {
		err = row.Scan(&last, &t.SystemID, &t.ConfigurationID, &t.SourceID, &t.From, &t.To, &t.At, &t.Cause, &t.RunID)
		return t, err
	}, transitionsSQL, system, asked, before, sources != nil && *sources, limit)
	if err != nil {
		return list, fmt.Errorf("read transitions: %w", err)
	}
	list.Total = len(list.Items)
	if list.Total == limit {
		list.Next = strconv.FormatInt(last, 10)
	}
	return list, nil
}

// CheckError is a streak of runs of a check that could not be made, because of Checkstack itself.
type CheckError struct {
	ConfigurationID string     `json:"configurationId"`
	SourceID        string     `json:"sourceId"`
	Message         string     `json:"message"` // of the last one
	BeganAt         time.Time  `json:"beganAt"`
	LastAt          time.Time  `json:"lastAt"`
	EndedAt         *time.Time `json:"endedAt"` // nil while it lasts
	Runs            int64      `json:"runs"`
}

func (h *Healthcheck) listErrors(r *http.Request, _ plugins.None) (plugins.List[CheckError], error) {
	system, err := h.systemOf(r)
	if err != nil {
		return plugins.List[CheckError]{}, err
	}
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[CheckError]{}, err
	}
	return plugins.ListRows(r.Context(), h.host.DB, page, func(row plugins.Row) (e CheckError, err error) {
		err = row.Scan(&e.ConfigurationID, &e.SourceID, &e.Message, &e.BeganAt, &e.LastAt, &e.EndedAt, &e.Runs)
		return e, err
	}, errorsSQL, system)
}
