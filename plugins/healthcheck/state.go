// The state of a system: how its checks went last. The recorder moves a check's state with each run, in the transaction that
// keeps the run; here it is only read. A check that has not run is unknown, and a system is as bad as the worst of its
// enabled checks:
//
//	unhealthy > degraded > unknown > healthy
//
// Unknown is worse than healthy, because nobody may call a system healthy who has not looked at all of it, and better than
// degraded, because what was seen weighs more than what was not.

package healthcheck

import (
	_ "embed"
	"fmt"
	"net/http"
	"time"

	"checkstack/plugins"
)

//go:embed sql/status.sql
var statusSQL string

// unknown is the status of a check that has not run.
const unknown plugins.Status = "unknown"

// SystemStatus is how a system is.
type SystemStatus struct {
	SystemID string         `json:"systemId"`
	Status   plugins.Status `json:"status"` // of the worst check; "unknown" if there is none

	// Since is when the system came to be so, as far as the checks of now can tell: if it is healthy, when the last of
	// them became so, otherwise when the first of the checks that are this bad did. Nil while the status is unknown.
	Since  *time.Time    `json:"since"`
	Checks []CheckStatus `json:"checks"` // the enabled ones, by name
}

// CheckStatus is how the last run of a check ended.
type CheckStatus struct {
	ConfigurationID string         `json:"configurationId"`
	Name            string         `json:"name"`
	Status          plugins.Status `json:"status"`    // "unknown" before the first run
	LastRunAt       *time.Time     `json:"lastRunAt"` // nil before the first run
	LatencyMs       *int32         `json:"latencyMs"` // nil if none was measured
	Message         string         `json:"message"`

	since *time.Time
}

func (h *Healthcheck) systemStatus(r *http.Request, _ plugins.None) (SystemStatus, error) {
	system, err := h.systemOf(r)
	if err != nil {
		return SystemStatus{}, err
	}
	checks, err := plugins.Rows(r.Context(), h.host.DB, scanCheckStatus, statusSQL, system)
	if err != nil {
		return SystemStatus{}, fmt.Errorf("read status: %w", err)
	}
	return summarize(system, checks), nil
}

// summarize makes the status of a system from those of its checks.
func summarize(system string, checks []CheckStatus) SystemStatus {
	s := SystemStatus{SystemID: system, Status: unknown, Checks: checks}
	if len(checks) == 0 {
		s.Checks = []CheckStatus{}
		return s
	}
	s.Status = plugins.Healthy
	for _, c := range checks {
		if badness(c.Status) > badness(s.Status) {
			s.Status = c.Status
		}
	}
	side := -1 // the earliest
	if s.Status == plugins.Healthy {
		side = 1 // the latest
	}
	for _, c := range checks {
		if c.Status != s.Status || c.since == nil {
			continue
		}
		if s.Since == nil || c.since.Compare(*s.Since) == side {
			s.Since = c.since
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

func scanCheckStatus(row plugins.Row) (CheckStatus, error) {
	var c CheckStatus
	err := row.Scan(&c.ConfigurationID, &c.Name, &c.Status, &c.since, &c.LastRunAt, &c.LatencyMs, &c.Message)
	return c, err
}
