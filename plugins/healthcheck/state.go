// The state of a system, as it is read. What a check as a whole is taken for is written when it changes, see settle; here it is
// shown with its slices: what the check is like from each source that makes it. A system is as bad as the worst of its
// checks that are on, and a group as the worst of its systems:
//
//	unhealthy > degraded > stale > unknown > healthy

package healthcheck

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
)

var (
	//go:embed sql/status.sql
	statusSQL string
	//go:embed sql/statuses.sql
	statusesSQL string
)

// What is said of a slice that is unknown or stale although it has run.
const (
	isOffline = "the source is offline"
	isSilent  = "there has been no result for more than three intervals"
)

// SystemStatus is how a system is.
type SystemStatus struct {
	SystemID string         `json:"systemId"`
	Status   plugins.Status `json:"status"` // of the worst check that is on; without one "paused", or "unknown" if there is none at all

	// Since is when the system came to be so, as far as the checks of now can tell: if it is healthy, when the last of
	// them became so, otherwise when the first of the checks that are this bad did. Nil while there is no check.
	Since  *time.Time    `json:"since"`
	Checks []CheckStatus `json:"checks"` // those that are on, by name
}

// CheckStatus is how a check is. When it last ran, how long it took and what it said are of the worst of its slices, and of
// several that are as bad, of the one that ran last.
type CheckStatus struct {
	ConfigurationID string         `json:"configurationId"`
	Name            string         `json:"name"`
	Type            string         `json:"type"`
	Status          plugins.Status `json:"status"` // "unknown" also where no source makes the check
	Since           time.Time      `json:"since"`
	LastRunAt       *time.Time     `json:"lastRunAt"` // nil before the first run
	LatencyMs       *int32         `json:"latencyMs"` // nil if none was measured
	Message         string         `json:"message"`
	Sources         []SourceStatus `json:"sources"` // the slices, this server's first
}

// SourceStatus is how a check is as one source sees it.
type SourceStatus struct {
	SourceID   string         `json:"sourceId"`   // "" is this server, as in the history
	Name       string         `json:"name"`       // of the satellite; "local" is this server
	Status     plugins.Status `json:"status"`     // by the thresholds; "unknown" before they are reached, "stale" without results
	Since      *time.Time     `json:"since"`      // nil while it is unknown
	LastStatus plugins.Status `json:"lastStatus"` // of the last run; "unknown" before the first
	LastRunAt  *time.Time     `json:"lastRunAt"`  // nil before the first run
	LatencyMs  *int32         `json:"latencyMs"`  // nil if none was measured, and without a result of late
	Message    string         `json:"message"`
	Error      *OpenError     `json:"error"` // why the check cannot be made there now, because of Checkstack; nil if it can
}

// OpenError is why a check cannot be made.
type OpenError struct {
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	Runs    int64     `json:"runs"` // that could not be made
}

func (h *Healthcheck) systemStatus(r *http.Request, _ plugins.None) (SystemStatus, error) {
	system, err := h.systemOf(r)
	if err != nil {
		return SystemStatus{}, err
	}
	return readStatus(r.Context(), h.host.DB, system)
}

// readStatus says how a system is.
func readStatus(ctx context.Context, db plugins.Queryer, system string) (SystemStatus, error) {
	checks, none := []CheckStatus{}, unknown
	_, err := plugins.Rows(ctx, db, func(row plugins.Row) (_ struct{}, err error) {
		c, s, err := scanSlice(row)
		if c.Status == paused {
			none = paused
			return struct{}{}, err
		}
		if last := len(checks) - 1; last < 0 || checks[last].ConfigurationID != c.ConfigurationID {
			checks = append(checks, c)
		}
		if s != nil {
			checks[len(checks)-1].add(*s)
		}
		return struct{}{}, err
	}, statusSQL, system)
	if err != nil {
		return SystemStatus{}, fmt.Errorf("read status: %w", err)
	}
	s := SystemStatus{SystemID: system, Status: none, Checks: checks}
	for i, c := range checks {
		s.Status, s.Since = worse(i == 0, s.Status, s.Since, c.Status, &c.Since)
	}
	return s, nil
}

// scanSlice reads a check as one source sees it. There is no slice of a check that no source makes.
func scanSlice(row plugins.Row) (c CheckStatus, s *SourceStatus, err error) {
	var (
		slice                      SourceStatus
		source, status, last, fail *string
		offline                    bool
		since, staleSince, failed  *time.Time
		runs                       int64
	)
	err = row.Scan(&c.ConfigurationID, &c.Name, &c.Type, &c.Status, &c.Since, &source, &slice.Name, &offline, &status, &last, &since,
		&staleSince, &slice.LastRunAt, &slice.LatencyMs, &slice.Message, &fail, &failed, &runs)
	c.Sources = []SourceStatus{}
	if err != nil || source == nil {
		return c, nil, err
	}
	slice.SourceID, slice.Status, slice.LastStatus = *source, unknown, unknown
	if last != nil {
		slice.LastStatus = plugins.Status(*last)
	}
	switch {
	case offline:
		slice.LatencyMs, slice.Message = nil, isOffline
	case staleSince != nil:
		slice.Status, slice.Since, slice.LatencyMs, slice.Message = stale, staleSince, nil, isSilent
	case status != nil:
		if slice.Status = plugins.Status(*status); slice.Status != unknown {
			slice.Since = since
		}
	}
	if fail != nil {
		message, _, _ := strings.Cut(*fail, notRunnable+": ")
		if message == "" {
			message = notRunnable
		}
		slice.Error = &OpenError{message, *failed, runs}
	}
	return c, &slice, nil
}

// add counts in a slice.
func (c *CheckStatus) add(s SourceStatus) {
	worse := 1
	if len(c.Sources) > 0 {
		worst := c.Sources[0].Status
		for _, o := range c.Sources {
			if badness(o.Status) > badness(worst) {
				worst = o.Status
			}
		}
		worse = badness(s.Status) - badness(worst)
	}
	newer := s.LastRunAt != nil && (c.LastRunAt == nil || s.LastRunAt.After(*c.LastRunAt))
	if worse > 0 || worse == 0 && newer {
		c.LastRunAt, c.LatencyMs, c.Message = s.LastRunAt, s.LatencyMs, s.Message
	}
	c.Sources = append(c.Sources, s)
}

// worse is what two things are together, of which one has a status since a time: the worse, and since the first of those that
// are as bad came to be so, or, if they are healthy, the last.
func worse(first bool, status plugins.Status, since *time.Time, other plugins.Status, at *time.Time) (plugins.Status, *time.Time) {
	by := badness(other) - badness(status)
	switch {
	case first, by > 0:
		return other, at
	case by < 0, at == nil:
		return status, since
	case since == nil, status == plugins.Healthy && at.After(*since), status != plugins.Healthy && at.Before(*since):
		return status, at
	}
	return status, since
}

// ShortStatus is how a system is, in few words: how many checks it has of each status, and those that are not healthy.
type ShortStatus struct {
	SystemID  string                 `json:"systemId"`
	Name      string                 `json:"name"`
	Status    plugins.Status         `json:"status"`
	Since     *time.Time             `json:"since"`     // as of a SystemStatus
	LastRunAt *time.Time             `json:"lastRunAt"` // of the check that ran last
	Checks    map[plugins.Status]int `json:"checks"`    // those that are on, by their status
	Problems  []ShortCheck           `json:"problems"`  // those that are not healthy, by name
}

// ShortCheck is how a check is, in few words.
type ShortCheck struct {
	ConfigurationID string         `json:"configurationId"`
	Name            string         `json:"name"`
	Status          plugins.Status `json:"status"`
	Since           time.Time      `json:"since"`
	LastRunAt       *time.Time     `json:"lastRunAt"`
	LatencyMs       *int32         `json:"latencyMs"`
}

// count takes in a check.
func (s *ShortStatus) count(c ShortCheck) {
	if c.Status == paused {
		if len(s.Checks) == 0 {
			s.Status = paused
		}
		return
	}
	s.Status, s.Since = worse(len(s.Checks) == 0, s.Status, s.Since, c.Status, &c.Since)
	s.Checks[c.Status]++
	if c.LastRunAt != nil && (s.LastRunAt == nil || c.LastRunAt.After(*s.LastRunAt)) {
		s.LastRunAt = c.LastRunAt
	}
	if c.Status != plugins.Healthy {
		s.Problems = append(s.Problems, c)
	}
}

// maxStatuses is how many systems may be asked for at once.
const maxStatuses = 1000

// statuses answers for many systems at once: those that are asked for by systemId, those of a group, or all, a page of them.
func (h *Healthcheck) statuses(r *http.Request, _ plugins.None) (list plugins.List[ShortStatus], err error) {
	ctx, query := r.Context(), r.URL.Query()
	limit, err := plugins.Number(query, "limit", 100, 1, maxStatuses)
	if err != nil {
		return list, err
	}
	offset, err := plugins.Number(query, "offset", 0, 0, 1<<31-1)
	if err != nil {
		return list, err
	}
	var ids []string
	switch {
	case query.Has("systemId"):
		if ids, err = systemsParam(r, maxStatuses); err != nil {
			return list, err
		}
	case query.Has("groupId"):
		id := strings.ToLower(query.Get("groupId"))
		if !plugins.IsID(id) {
			return list, plugins.Invalid("groupId", "expected the ID of a group")
		}
		if ids, err = h.catalog.GroupSystems(ctx, h.host.DB, id); err != nil {
			return list, err
		}
	default:
		page, err := h.catalog.AllSystems(ctx, h.host.DB, plugins.Page{Limit: limit, Offset: offset})
		if err != nil {
			return list, err
		}
		list.Total = page.Total
		list.Items, err = h.shortStatuses(ctx, page.Items)
		return list, err
	}
	systems, err := h.named(ctx, ids)
	if err != nil {
		return list, err
	}
	list.Items, err = h.shortStatuses(ctx, systems)
	list.Total = len(list.Items)
	return list, err
}

// named returns the systems that exist of those with IDs, in that order, with their names.
func (h *Healthcheck) named(ctx context.Context, ids []string) ([]catalog.System, error) {
	names, err := h.catalog.SystemNames(ctx, ids)
	if err != nil {
		return nil, err
	}
	systems := make([]catalog.System, 0, len(ids))
	for _, id := range ids {
		if name, exists := names[id]; exists {
			systems = append(systems, catalog.System{ID: id, Name: name})
		}
	}
	return systems, nil
}

// shortStatuses says how systems are, in the order given.
func (h *Healthcheck) shortStatuses(ctx context.Context, systems []catalog.System) ([]ShortStatus, error) {
	all := make([]ShortStatus, len(systems))
	ids := make([]string, len(systems))
	place := make(map[string]int, len(systems))
	for i, s := range systems {
		all[i] = ShortStatus{SystemID: s.ID, Name: s.Name, Status: unknown, Checks: map[plugins.Status]int{}, Problems: []ShortCheck{}}
		ids[i], place[s.ID] = s.ID, i
	}
	_, err := plugins.Rows(ctx, h.host.DB, func(row plugins.Row) (none struct{}, err error) {
		var id string
		var c ShortCheck
		if err := row.Scan(&id, &c.ConfigurationID, &c.Name, &c.Status, &c.Since, &c.LastRunAt, &c.LatencyMs); err != nil {
			return none, err
		}
		all[place[id]].count(c)
		return none, nil
	}, statusesSQL, pq.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read statuses: %w", err)
	}
	return all, nil
}

// GroupStatus is how a group is.
type GroupStatus struct {
	GroupID string         `json:"groupId"`
	Status  plugins.Status `json:"status"` // of the worst system; "unknown" if there is none
	Since   *time.Time     `json:"since"`  // as of a SystemStatus
	Systems []ShortStatus  `json:"systems"`
}

func (h *Healthcheck) groupStatus(r *http.Request, _ plugins.None) (GroupStatus, error) {
	id, err := plugins.PathID(r, "groupId", "group")
	if err != nil {
		return GroupStatus{}, err
	}
	ctx := r.Context()
	ids, err := h.catalog.GroupSystems(ctx, h.host.DB, id)
	if err != nil {
		return GroupStatus{}, err
	}
	systems, err := h.named(ctx, ids)
	if err != nil {
		return GroupStatus{}, err
	}
	g := GroupStatus{GroupID: id, Status: unknown}
	if g.Systems, err = h.shortStatuses(ctx, systems); err != nil {
		return GroupStatus{}, err
	}
	first := true
	for _, s := range g.Systems {
		if len(s.Checks) > 0 { // one that nobody checks says nothing of the group
			g.Status, g.Since = worse(first, g.Status, g.Since, s.Status, s.Since)
			first = false
		}
	}
	return g, nil
}
