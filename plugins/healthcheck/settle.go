// What new runs mean: the memory of each slice moves on, and where the status of a slice changes, so may that of its check.
// All of it happens in the transaction that keeps the runs, while the assignments are held, and a change of a check's status
// is written together with the signal and the notice that tell of it. So nobody is told of what was rolled back, and nobody
// is told twice: a batch that is stored again finds states that are as new as its runs.
//
//	slice   unknown, healthy, degraded, unhealthy by hysteresis; stale without results; unknown while its source is offline
//	check   the worst of its slices, or what a quorum of them agrees on; paused when it is off
//
// The hard case is the check as a whole. It changes with any of its sources, and with the configuration. So it is never
// moved on, but always made anew of what is there, by one function, and compared with what was written last.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/notification"
	"checkstack/plugins/signals"
)

var (
	//go:embed sql/memories.sql
	memoriesSQL string
	//go:embed sql/states_write.sql
	statesWriteSQL string
	//go:embed sql/check_slices.sql
	checkSlicesSQL string
	//go:embed sql/checks_settle.sql
	checksSettleSQL string
	//go:embed sql/transitions_insert.sql
	transitionsInsertSQL string
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

// kept is an assignment that is held, with what is remembered of one of its slices.
type kept struct {
	here       bool // whether this source has to make it
	on         bool // whether it is to be made at all
	thresholds Thresholds
	memory     memory
	erring     bool      // whether an error of ours is open
	clock      time.Time // the database's, when it was held
}

// hold locks the assignments that lock selects, and returns them, each with what is remembered of it at a source.
func hold(ctx context.Context, tx *sql.Tx, source, lock string, args ...any) (map[key]kept, error) {
	held := make(map[key]kept)
	keys, err := plugins.Rows(ctx, tx, func(row plugins.Row) (k key, err error) {
		var v kept
		var thresholds []byte
		if err = row.Scan(&k.systemID, &k.configurationID, &v.here, &v.on, &thresholds, &v.clock); err == nil {
			v.thresholds, err = parseThresholds(thresholds)
		}
		held[k] = v
		return k, err
	}, lock, args...)
	if err != nil || len(keys) == 0 {
		return held, err
	}
	systems, configurations := columns(keys)
	_, err = plugins.Rows(ctx, tx, func(row plugins.Row) (none struct{}, err error) {
		var (
			k            key
			status       *string
			since, last  *time.Time
			seen         *int
			failed, down *int64
			m            memory
			erring       bool
		)
		err = row.Scan(&k.systemID, &k.configurationID, &status, &since, &last, &seen, &failed, &down, &m.stale, &erring)
		if status != nil {
			m.status, m.since, m.last, m.seen = plugins.Status(*status), *since, *last, *seen
			m.failed, m.down = uint64(*failed), uint64(*down)
		}
		v := held[k]
		v.memory, v.erring = m, erring
		held[k] = v
		return none, err
	}, memoriesSQL, pq.Array(systems), pq.Array(configurations), source)
	return held, err
}

// settler writes what runs mean.
type settler struct {
	events *signals.Signals
	notify *notification.Notifier
}

// advance takes the runs, which history did not refuse, into the memories of their slices. The caller holds the assignments.
// A run that is not newer than the state changes nothing, so a batch may come twice or late. One that is ahead of the clock
// counts as of now, so that a fast clock does not hide what comes after it.
func (s *settler) advance(ctx context.Context, tx *sql.Tx, held map[key]kept, runs []plugins.Run, refused []plugins.Refusal) error {
	skip := make(map[string]bool, len(refused))
	for _, r := range refused {
		skip[r.RunID] = true
	}
	runs = slices.DeleteFunc(slices.Clone(runs), func(r plugins.Run) bool { return skip[r.ID] })
	slices.SortStableFunc(runs, func(a, b plugins.Run) int { return a.ExecutedAt.Compare(b.ExecutedAt) })
	var changes []Transition
	newest := make(map[key]plugins.Run, len(runs))
	var order []key
	for _, run := range runs {
		k := keyOf(run)
		v, ok := held[k]
		at := run.ExecutedAt.UTC().Truncate(time.Microsecond) // as the database keeps it
		ahead := at.After(v.clock)
		if ahead {
			at = v.clock.UTC()
		}
		if !ok || !at.After(v.memory.last) && !(ahead && at.Equal(v.memory.last)) { // equal: another that is ahead, of the same batch
			continue
		}
		before := v.memory.effective()
		v.memory.step(run.Status, at, &v.thresholds)
		held[k] = v
		if after := v.memory.effective(); after != before && v.on {
			changes = append(changes, Transition{SystemID: k.systemID, ConfigurationID: k.configurationID, SourceID: &run.SourceID,
				From: before, To: after, At: at, Cause: causeRun, RunID: &run.ID})
		}
		if _, known := newest[k]; !known {
			order = append(order, k)
		}
		newest[k] = run
	}
	if len(order) == 0 {
		return nil
	}
	if err := writeStates(ctx, tx, held, newest, order); err != nil {
		return fmt.Errorf("write states: %w", err)
	}
	return s.changed(ctx, tx, changes)
}

func writeStates(ctx context.Context, tx *sql.Tx, held map[key]kept, newest map[key]plugins.Run, order []key) error {
	var (
		systems, configurations, sources, statuses, lasts, messages, ids []string
		sinces, times                                                    []time.Time
		latencies                                                        []*int32
		seen, failed, down                                               []int64
	)
	for _, k := range order {
		run, m := newest[k], held[k].memory
		systems, configurations, sources = append(systems, k.systemID), append(configurations, k.configurationID), append(sources, run.SourceID)
		since := m.since
		if since.IsZero() { // it is unknown still
			since = m.last
		}
		statuses, sinces, times = append(statuses, string(orUnknown(m.status))), append(sinces, since), append(times, m.last)
		lasts, latencies, messages = append(lasts, string(run.Status)), append(latencies, run.LatencyMs), append(messages, run.Message)
		ids, seen = append(ids, run.ID), append(seen, int64(m.seen))
		failed, down = append(failed, int64(m.failed)), append(down, int64(m.down))
	}
	_, err := tx.ExecContext(ctx, statesWriteSQL, pq.Array(systems), pq.Array(configurations), pq.Array(sources), pq.Array(statuses),
		pq.Array(sinces), pq.Array(times), pq.Array(lasts), pq.Array(latencies), pq.Array(messages), pq.Array(ids), pq.Array(seen),
		pq.Array(failed), pq.Array(down))
	return err
}

func orUnknown(s plugins.Status) plugins.Status {
	if s == "" {
		return unknown
	}
	return s
}

// changed keeps the transitions of slices, and settles their checks. The caller holds the assignments.
func (s *settler) changed(ctx context.Context, tx *sql.Tx, changes []Transition) error {
	if len(changes) == 0 {
		return nil
	}
	if err := keepTransitions(ctx, tx, changes); err != nil {
		return err
	}
	causes := make(map[key]Transition, len(changes))
	var keys []key
	for _, c := range changes {
		k := key{c.SystemID, c.ConfigurationID}
		if _, known := causes[k]; !known {
			keys = append(keys, k)
		}
		causes[k] = c
	}
	return s.settle(ctx, tx, keys, func(k key) (string, *string) { return causes[k].Cause, causes[k].RunID })
}

func keepTransitions(ctx context.Context, tx *sql.Tx, changes []Transition) error {
	for part := range slices.Chunk(changes, transitionsMax) {
		var (
			systems, configurations, from, to, causes []string
			sources, runs                             []*string
			times                                     []time.Time
		)
		for _, c := range part {
			systems, configurations, sources = append(systems, c.SystemID), append(configurations, c.ConfigurationID), append(sources, c.SourceID)
			from, to, times = append(from, string(c.From)), append(to, string(c.To)), append(times, c.At)
			causes, runs = append(causes, c.Cause), append(runs, c.RunID)
		}
		if _, err := tx.ExecContext(ctx, transitionsInsertSQL, pq.Array(systems), pq.Array(configurations), pq.Array(sources),
			pq.Array(from), pq.Array(to), pq.Array(times), pq.Array(causes), pq.Array(runs)); err != nil {
			return fmt.Errorf("keep transitions: %w", err)
		}
	}
	return nil
}

// whole is a check as a whole.
type whole struct {
	key
	name    string
	status  plugins.Status // as it was written last
	since   time.Time
	on      bool
	quorum  *int
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
	var changes []Transition
	names := make(map[key]string)
	for _, c := range checks {
		status, since := c.settle()
		if status == c.status {
			continue
		}
		if !since.After(c.since) { // the slice was so before, and something else has ended
			since = now
		}
		cause, run := why(c.key)
		changes = append(changes, Transition{SystemID: c.systemID, ConfigurationID: c.configurationID, From: c.status, To: status, At: since,
			Cause: cause, RunID: run})
		names[c.key] = c.name
	}
	if len(changes) == 0 {
		return nil
	}
	var systems, configurations, statuses []string
	var sinces []time.Time
	for _, c := range changes {
		systems, configurations = append(systems, c.SystemID), append(configurations, c.ConfigurationID)
		statuses, sinces = append(statuses, string(c.To)), append(sinces, c.At)
	}
	if _, err := tx.ExecContext(ctx, checksSettleSQL, pq.Array(systems), pq.Array(configurations), pq.Array(statuses), pq.Array(sinces)); err != nil {
		return fmt.Errorf("write the statuses of checks: %w", err)
	}
	if err := keepTransitions(ctx, tx, changes); err != nil {
		return err
	}
	return s.tell(ctx, tx, changes, names)
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
			&m.status, &since, &m.stale, &staleSince, &c.name)
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

// change is a transition of a check as the signal tells it.
type change struct {
	SystemID        string         `json:"systemId"`
	ConfigurationID string         `json:"configurationId"`
	From            plugins.Status `json:"from"`
	To              plugins.Status `json:"to"`
	At              time.Time      `json:"at"`
}

// tell publishes the changes of checks as signals, and has those who subscribed notified of what is an alert or its end.
func (s *settler) tell(ctx context.Context, tx *sql.Tx, changes []Transition, names map[key]string) error {
	if s == nil || s.events == nil {
		return nil
	}
	for part := range slices.Chunk(changes, eventChanges) {
		told := make([]change, len(part))
		for i, c := range part {
			told[i] = change{c.SystemID, c.ConfigurationID, c.From, c.To, c.At}
		}
		err := s.events.Publish(ctx, tx, signals.Event{Name: statusEvent, Public: true, Data: map[string]any{"changes": told}})
		if err != nil {
			return err
		}
	}
	var notices []notification.Notice
	for _, c := range changes {
		severity, alert := alerts(c.From, c.To)
		if !alert {
			continue
		}
		name := names[key{c.SystemID, c.ConfigurationID}]
		notices = append(notices, notification.Notice{
			Key:      fmt.Sprintf("%s/%s/%s/%d", c.SystemID, c.ConfigurationID, c.To, c.At.UnixMicro()),
			Spec:     systemSpec.Type,
			Target:   notification.Ancestor{Type: catalog.SystemTarget.Type, ID: c.SystemID},
			Severity: severity,
			Title:    fmt.Sprintf("%s is %s", name, c.To),
			Message:  fmt.Sprintf("%s was %s, and has been %s since %s.", name, c.From, c.To, c.At.UTC().Format(time.RFC3339)),
			Data:     c,
		})
	}
	return s.notify.Post(ctx, tx, notices)
}

// alerts says whether somebody should hear of a transition, and how much it matters.
func alerts(from, to plugins.Status) (severity notification.Severity, alert bool) {
	switch to {
	case plugins.Unhealthy:
		return notification.Critical, true
	case plugins.Degraded, stale:
		return notification.Warning, true
	case plugins.Healthy:
		return notification.Recovered, badness(from) >= badness(stale)
	}
	return "", false
}

// errorEvery is how often people are told of errors for one reason.
const errorEvery = 10 * time.Minute

// tellErrors has people told that checks cannot be made because of this server: once for a reason, however many checks it
// keeps from being made and however many servers see it. reasons has each with a system whose checks are not made.
func (s *settler) tellErrors(ctx context.Context, tx *sql.Tx, reasons map[string]string) error {
	if s == nil || s.events == nil {
		return nil
	}
	var notices []notification.Notice
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		err := s.events.Publish(ctx, tx, signals.Event{Name: "healthcheck.error", Data: map[string]string{"message": reason}})
		if err != nil {
			return err
		}
		notices = append(notices, notification.Notice{
			Key:      fmt.Sprintf("error/%d/%s", time.Now().Unix()/int64(errorEvery.Seconds()), reason),
			Spec:     systemSpec.Type,
			Target:   notification.Ancestor{Type: catalog.SystemTarget.Type, ID: reasons[reason]},
			Severity: notification.Warning,
			Title:    "Checks cannot be made",
			Message:  "Checks cannot be made because of Checkstack itself, and nothing is known of what they look at: " + reason + ".",
			Data:     map[string]string{"error": reason},
		})
	}
	return s.notify.Post(ctx, tx, notices)
}
