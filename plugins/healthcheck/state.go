// The state of a system: how its checks went last. The recorder moves a check's state with each run, in the transaction
// that keeps the run; here it is only read. A check is looked at from one source or from several, and what it is like
// from one of them is a slice of it. A slice that has not run is unknown; so is that of a source that is offline, or
// that has been silent for three intervals and a timeout, whatever it saw last. A check is as bad as the worst of its
// slices, and a system as the worst of its enabled checks:
//
//	unhealthy > degraded > unknown > healthy
//
// Unknown is worse than healthy, because nobody may call a system healthy who has not looked at all of it, and better
// than degraded, because what was seen weighs more than what was not.

package healthcheck

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"time"

	"checkstack/plugins"
)

//go:embed sql/status.sql
var statusSQL string

// unknown is the status of what nobody has seen.
const unknown plugins.Status = "unknown"

// What is said of a slice that is unknown although it has run.
const (
	isOffline = "the source is offline"
	isSilent  = "the source has not reported for more than three intervals"
)

// SystemStatus is how a system is.
type SystemStatus struct {
	SystemID string         `json:"systemId"`
	Status   plugins.Status `json:"status"` // of the worst check; "unknown" if there is none

	// Since is when the system came to be so, as far as the checks of now can tell: if it is healthy, when the last of
	// them became so, otherwise when the first of the checks that are this bad did. Nil while the status is unknown.
	Since  *time.Time    `json:"since"`
	Checks []CheckStatus `json:"checks"` // the enabled ones, by name
}

// CheckStatus is how a check is: as the worst of its slices, and of several that are as bad, the one that ran last.
type CheckStatus struct {
	ConfigurationID string         `json:"configurationId"`
	Name            string         `json:"name"`
	Status          plugins.Status `json:"status"`    // "unknown" also where no source makes the check
	LastRunAt       *time.Time     `json:"lastRunAt"` // nil before the first run
	LatencyMs       *int32         `json:"latencyMs"` // nil if none was measured
	Message         string         `json:"message"`
	Sources         []SourceStatus `json:"sources"` // the slices, this server's first

	since *time.Time
}

// SourceStatus is how a check is as one source sees it.
type SourceStatus struct {
	SourceID  string         `json:"sourceId"`  // "" is this server, as in the history
	Name      string         `json:"name"`      // of the satellite; "local" is this server
	Status    plugins.Status `json:"status"`    // "unknown" before the first run, and while the source does not report
	LastRunAt *time.Time     `json:"lastRunAt"` // nil before the first run
	LatencyMs *int32         `json:"latencyMs"` // nil if none was measured, and while the status is unknown
	Message   string         `json:"message"`

	since *time.Time // nil while the status is unknown
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
	slices, err := plugins.Rows(ctx, db, scanSlice, statusSQL, system)
	if err != nil {
		return SystemStatus{}, fmt.Errorf("read status: %w", err)
	}
	return summarize(system, gatherSlices(slices)), nil
}

// slice is a check as one source sees it, or a check that no source makes.
type slice struct {
	configurationID, check string // the ID and the name of the check
	none                   bool   // no source makes it
	SourceStatus
}

func scanSlice(row plugins.Row) (slice, error) {
	var s slice
	var source, status *string
	var offline, silent bool
	err := row.Scan(&s.configurationID, &s.check, &source, &s.Name, &status, &s.since, &s.LastRunAt, &s.LatencyMs, &s.Message,
		&offline, &silent)
	if source == nil {
		s.none = true
		return s, err
	}
	s.SourceID = *source
	switch {
	case status == nil:
		s.Status = unknown
	case offline || silent:
		s.Status, s.since, s.LatencyMs = unknown, nil, nil
	default:
		s.Status = plugins.Status(*status)
	}
	switch {
	case offline:
		s.Message = isOffline
	case silent:
		s.Message = isSilent
	}
	return s, err
}

// gatherSlices makes checks of their slices, which come one check after the other.
func gatherSlices(all []slice) []CheckStatus {
	checks := []CheckStatus{}
	for _, s := range all {
		last := len(checks) - 1
		if last < 0 || checks[last].ConfigurationID != s.configurationID {
			checks = append(checks, CheckStatus{ConfigurationID: s.configurationID, Name: s.check, Status: unknown, Sources: []SourceStatus{}})
			last++
		}
		if !s.none {
			checks[last].add(s.SourceStatus)
		}
	}
	return checks
}

// add counts in a slice.
func (c *CheckStatus) add(s SourceStatus) {
	worse := badness(s.Status) - badness(c.Status)
	newer := s.LastRunAt != nil && (c.LastRunAt == nil || s.LastRunAt.After(*c.LastRunAt))
	if len(c.Sources) == 0 || worse > 0 || worse == 0 && newer {
		c.LastRunAt, c.LatencyMs, c.Message = s.LastRunAt, s.LatencyMs, s.Message
	}
	if len(c.Sources) == 0 || worse > 0 || worse == 0 && begins(s.Status, s.since, c.since) {
		c.since = s.since
	}
	if len(c.Sources) == 0 || worse > 0 {
		c.Status = s.Status
	}
	c.Sources = append(c.Sources, s)
}

// begins reports whether of two things that are as bad as each other the time of the first is since when both together
// are so: if they are healthy the later one, otherwise the earlier one.
func begins(status plugins.Status, since, other *time.Time) bool {
	switch {
	case since == nil:
		return false
	case other == nil:
		return true
	case status == plugins.Healthy:
		return since.After(*other)
	}
	return since.Before(*other)
}

// summarize makes the status of a system from those of its checks.
func summarize(system string, checks []CheckStatus) SystemStatus {
	s := SystemStatus{SystemID: system, Status: unknown, Checks: checks}
	for i, c := range checks {
		worse := badness(c.Status) - badness(s.Status)
		if i == 0 || worse > 0 || worse == 0 && begins(c.Status, c.since, s.Since) {
			s.Status, s.Since = c.Status, c.since
		}
	}
	return s
}

func badness(s plugins.Status) int {
	switch s {
	case plugins.Healthy:
		return 0
	case plugins.Degraded:
		return 2
	case plugins.Unhealthy:
		return 3
	}
	return 1 // unknown
}
