// What a check is as a whole, from all its sources, and who hears of it. It is written in the transaction that made it change,
// together with the transition, the signal and the notice that tell of it. So nobody is told of what was rolled back, and nobody
// is told twice.
//
//	slice   unknown, healthy, degraded, unhealthy by hysteresis; stale without results; unknown while its source is offline
//	check   the worst of its slices, or what a quorum of them agrees on; paused when it is off
//
// The hard case is that it changes with any of its sources, and with the configuration. So it is never moved on, but always
// made anew of what is there, by one function, and compared with what was written last.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/notification"
)

var (
	//go:embed sql/check_slices.sql
	checkSlicesSQL string
	//go:embed sql/checks_settle.sql
	checksSettleSQL string
)

// Statuses that no single run can have.
const (
	unknown plugins.Status = "unknown" // nobody has seen
	stale   plugins.Status = "stale"   // nobody has seen for three intervals
	paused  plugins.Status = "paused"  // nobody is to look
)

// badness orders the statuses. Unknown is worse than healthy, because nobody may call something healthy who has not looked
// at all of it, and better than degraded, because what was seen weighs more than what was not.
func badness(s plugins.Status) int {
	switch s {
	case paused:
		return -1
	case plugins.Healthy:
		return 0
	case stale:
		return 2
	case plugins.Degraded:
		return 3
	case plugins.Unhealthy:
		return 4
	}
	return 1 // unknown
}

// Causes of a transition.
const (
	causeRun       = "run"    // what runs found
	causeStale     = "stale"  // that none came
	causeSource    = "source" // that a satellite went offline, or came back
	causeEdit      = "edit"   // a change of the check or of where it is made
	transitionsMax = 5000     // that one statement inserts
	eventChanges   = 50       // changes in one signal, which has at most 16 KiB
	statusEvent    = "healthcheck.status"
)

// Transition is a change of a status.
type Transition struct {
	SystemID        string         `json:"systemId"`
	ConfigurationID string         `json:"configurationId"`
	SourceID        *string        `json:"sourceId"` // nil: the check as a whole
	From            plugins.Status `json:"from"`
	To              plugins.Status `json:"to"`
	At              time.Time      `json:"at"`
	Cause           string         `json:"cause"`           // "run", "stale", "source" or "edit"
	RunID           *string        `json:"runId,omitempty"` // the run that made it, if one did
}

// whole is a check as a whole.
type whole struct {
	key
	name    string
	status  plugins.Status // as it was written last
	since   time.Time
	on      bool
	quorum  *int
	alerted bool     // whether people were told that something is wrong, and not yet that it is over
	slices  []memory // of those that a source has to make
	offline []bool   // of each, whether its source is
}

// settle makes the statuses of checks anew and tells of those that have changed. The caller holds the assignments. why says what
// made a check change, and which run, if one did.
func (s *settler) settle(ctx context.Context, tx *sql.Tx, keys []key, why func(key) (cause string, run *string)) error {
	checks, err := readWhole(ctx, tx, keys)
	if err != nil {
		return fmt.Errorf("read the slices of checks: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	var turns []turn
	for _, c := range checks {
		status, since := c.settle()
		if status == c.status {
			continue
		}
		if !since.After(c.since) { // the slice was so before, and something else has ended
			since = now
		}
		cause, run := why(c.key)
		t := turn{name: c.name, Transition: Transition{SystemID: c.systemID, ConfigurationID: c.configurationID, From: c.status, To: status,
			At: since, Cause: cause, RunID: run}}
		t.severity, t.alerted = alert(status, c.alerted)
		turns = append(turns, t)
	}
	if len(turns) == 0 {
		return nil
	}
	var systems, configurations, statuses []string
	var sinces []time.Time
	var alerted []bool
	changes := make([]Transition, len(turns))
	for i, t := range turns {
		changes[i] = t.Transition
		systems, configurations = append(systems, t.SystemID), append(configurations, t.ConfigurationID)
		statuses, sinces, alerted = append(statuses, string(t.To)), append(sinces, t.At), append(alerted, t.alerted)
	}
	if _, err := tx.ExecContext(ctx, checksSettleSQL, pq.Array(systems), pq.Array(configurations), pq.Array(statuses), pq.Array(sinces),
		pq.Array(alerted)); err != nil {
		return fmt.Errorf("write the statuses of checks: %w", err)
	}
	if err := keepTransitions(ctx, tx, changes); err != nil {
		return err
	}
	return s.tell(ctx, tx, turns)
}

// turn is a change of the status of a check as a whole.
type turn struct {
	Transition
	name     string
	severity notification.Severity // of the notice; empty: nobody is told
	alerted  bool                  // whether people were told that something is wrong, and not yet that it is over
}

// alert says whether people are told that a check has come to a status, and whether they wait then to hear that it is over.
// What they were told is over when the check is healthy, whatever it was between: paused, or seen by nobody.
func alert(to plugins.Status, alerted bool) (notification.Severity, bool) {
	switch {
	case to == plugins.Unhealthy:
		return notification.Critical, true
	case to == plugins.Degraded || to == stale:
		return notification.Warning, true
	case to == plugins.Healthy && alerted:
		return notification.Recovered, false
	}
	return "", alerted
}

func readWhole(ctx context.Context, tx *sql.Tx, keys []key) ([]whole, error) {
	systems, configurations := columns(keys)
	var checks []whole
	_, err := plugins.Rows(ctx, tx, func(row plugins.Row) (none struct{}, err error) {
		var c whole
		var source *string
		var offline bool
		var m memory
		var since, staleSince *time.Time
		err = row.Scan(&c.systemID, &c.configurationID, &c.status, &c.since, &c.on, &c.quorum, &source, &offline,
			&m.status, &since, &m.stale, &staleSince, &c.name, &c.alerted)
		if n := len(checks); n == 0 || checks[n-1].key != c.key {
			checks = append(checks, c)
		}
		if source != nil {
			if since != nil {
				m.since = *since
			}
			if staleSince != nil {
				m.since = *staleSince
			}
			last := &checks[len(checks)-1]
			last.slices, last.offline = append(last.slices, m), append(last.offline, offline)
		}
		return none, err
	}, checkSlicesSQL, pq.Array(systems), pq.Array(configurations))
	return checks, err
}

// settle says what the check as a whole is: of its slices, from the worst on, the one that the quorum reaches. since is when it
// came to be so, as far as the slices can tell; zero if they cannot.
func (c *whole) settle() (status plugins.Status, since time.Time) {
	if !c.on {
		return paused, time.Time{}
	}
	all := make([]plugins.Status, len(c.slices))
	for i := range c.slices {
		all[i] = c.slices[i].effective()
		if c.offline[i] {
			all[i] = unknown
		}
	}
	status = combine(all, c.quorum)
	for i, m := range c.slices {
		switch { // the slice that came to it last made the check so
		case all[i] == status && !c.offline[i] && m.since.After(since):
			since = m.since
		}
	}
	return status, since
}

// combine makes one status of those of several sources: the worst, or with a quorum of n the worst that n of them are at
// least as bad as. Without a source it is unknown.
func combine(all []plugins.Status, quorum *int) plugins.Status {
	if len(all) == 0 {
		return unknown
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b plugins.Status) int { return badness(b) - badness(a) })
	n := 1
	if quorum != nil {
		n = min(*quorum, len(sorted))
	}
	return sorted[n-1]
}
