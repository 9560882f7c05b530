package plugins

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// History is the record of all check runs: raw runs for days, hours for weeks, days for years.
type History interface {
	// Record stores runs in the caller's transaction and adds each new one to its hour; a run whose ID is known already is
	// skipped, so a batch may be sent again. At most 5,000 runs at a time. What is refused is returned with
	// its reason and stops nothing else. Nothing is kept unless tx commits.
	Record(ctx context.Context, tx *sql.Tx, runs []Run) (Recorded, error)

	// RecordOnce is Record for a caller who knows, by what he has read and written in tx, that he never recorded these runs
	// before: a satellite's batch number. So it also takes runs older than the raw retention, which no raw row could tell
	// from a repeat: they are added to their hour and have no raw row. Where a run is twice in one batch it counts once.
	RecordOnce(ctx context.Context, tx *sql.Tx, runs []Run) (Recorded, error)

	// Retention says how long the history of one check of one system is kept.
	Retention(ctx context.Context, systemID, configurationID string) (Retention, error)

	// SetRetention keeps the history of one check of one system for as long as r says, from the next roll-up on; nil puts
	// the defaults back, as does whoever removes a check. What is gone already does not come back.
	SetRetention(ctx context.Context, tx *sql.Tx, systemID, configurationID string, r *Retention) error

	// Runs lists raw runs, the newest first.
	Runs(ctx context.Context, q RunsQuery) ([]Run, error)

	// Run finds one raw run of a system by its ID; [NotFound] if there is none, or none any more.
	Run(ctx context.Context, systemID, runID string) (Run, error)

	// CountRuns says how many raw runs there are in all for Runs to list: Before, BeforeID and Limit of q do not matter. It
	// counts no further than 100,000.
	CountRuns(ctx context.Context, q RunsQuery) (int, error)

	// Series reads what happened to one check over time.
	Series(ctx context.Context, q SeriesQuery) ([]Bucket, error)

	// Availability says of each of up to 500 systems, in the order given, how available it was over the last day, week,
	// month, quarter and year.
	Availability(ctx context.Context, systemIDs []string) ([]Availability, error)
}

// Status is how one run of a check ended.
type Status string

// The ways a run can end.
const (
	Healthy   Status = "healthy"
	Degraded  Status = "degraded"
	Unhealthy Status = "unhealthy"
)

// Run is one execution of one check against one system.
type Run struct {
	ID              string          `json:"id"`              // a UUID made where the check ran
	ConfigurationID string          `json:"configurationId"` // a UUID
	SystemID        string          `json:"systemId"`
	SourceID        string          `json:"sourceId"` // where it ran: "" is this server, otherwise a satellite's ID
	Status          Status          `json:"status"`
	LatencyMs       *int32          `json:"latencyMs"` // milliseconds, from 0; nil where none was measured
	Message         string          `json:"message"`
	Result          json.RawMessage `json:"result,omitempty"` // what the check measured, as its type defines it; may be nil
	ExecutedAt      time.Time       `json:"executedAt"`       // when the run ended; at most 5 min ahead of the database's clock
}

// Recorded says what became of a batch.
type Recorded struct {
	Stored  int // new, and counted
	Known   int // stored before, and not counted again
	Refused []Refusal
}

// Refusal is a run that was not stored.
type Refusal struct {
	RunID  string `json:"runId"`
	Reason string `json:"reason"`
}

// RunsQuery selects raw runs.
type RunsQuery struct {
	SystemID        string
	ConfigurationID string    // empty: of every check of the system
	SourceID        *string   // only those of one source: "" is this server; nil: of all
	Statuses        []Status  // only those that ended so; none: of all
	From, To        time.Time // only runs executed at or after From and before To; zero: from the oldest, to the newest
	Before          time.Time // only runs executed before it; zero: from the newest
	BeforeID        string    // with Before: also runs executed at Before whose ID is smaller
	Limit           int       // 1 to 500
}

// SeriesQuery selects a range of the history of one check.
type SeriesQuery struct {
	ConfigurationID string
	SystemID        string
	SourceID        *string   // only what one source saw: "" is this server; nil: all sources together
	From, To        time.Time // the range, From before To; widened to whole hours, UTC
	Points          int       // the greatest number of buckets, 1 to 2,000; 0 means 200
}

// Bucket is the sum of the runs of one stretch of time. The pointers are nil where nothing was measured.
type Bucket struct {
	Start        time.Time `json:"start"`
	End          time.Time `json:"end"` // exclusive
	Runs         int64     `json:"runs"`
	Healthy      int64     `json:"healthy"`
	Degraded     int64     `json:"degraded"`
	Unhealthy    int64     `json:"unhealthy"`
	Availability *float64  `json:"availability"` // share of runs that were not unhealthy, 0 to 1
	AverageMs    *float64  `json:"averageMs"`
	MinMs        *int32    `json:"minMs"`
	MaxMs        *int32    `json:"maxMs"`
	P95Ms        *int32    `json:"p95Ms"` // within 2 % of the true one
}

// Retention is how long the history of one check is kept, in days of 24 hours (SPEC D).
type Retention struct {
	RawDays    int `json:"rawDays"`    // single runs: 1 to 30, by default 7
	HourlyDays int `json:"hourlyDays"` // hours, before they become days: 7 to 90, by default 30; more than RawDays
	DailyDays  int `json:"dailyDays"`  // days: 30 to 3,650, by default 365; more than HourlyDays
}

// DefaultRetention is how long things are kept where nobody says otherwise.
func DefaultRetention() Retention { return Retention{RawDays: 7, HourlyDays: 30, DailyDays: 365} }

// Validate checks the ranges and the order.
func (r *Retention) Validate() error {
	switch {
	case r.RawDays < 1 || r.RawDays > 30:
		return Invalid("rawDays", "expected a whole number of days from 1 to 30, not %d", r.RawDays)
	case r.HourlyDays < 7 || r.HourlyDays > 90:
		return Invalid("hourlyDays", "expected a whole number of days from 7 to 90, not %d", r.HourlyDays)
	case r.DailyDays < 30 || r.DailyDays > 3650:
		return Invalid("dailyDays", "expected a whole number of days from 30 to 3650, not %d", r.DailyDays)
	case r.HourlyDays <= r.RawDays:
		return Invalid("hourlyDays", "expected more than the %d days of rawDays", r.RawDays)
	case r.DailyDays <= r.HourlyDays:
		return Invalid("dailyDays", "expected more than the %d days of hourlyDays", r.HourlyDays)
	}
	return nil
}

// Availability is how available a system was: all of its checks from all sources together.
type Availability struct {
	SystemID string   `json:"systemId"`
	Windows  []Window `json:"windows"` // 24h, 7d, 30d, 90d, 365d
}

// Window is a time that ends now. It begins at a whole hour, from 30 days on at a whole day (UTC), at or before the moment
// that long ago.
type Window struct {
	Name         string    `json:"name"` // "24h", "7d", "30d", "90d" or "365d"
	From         time.Time `json:"from"`
	Runs         int64     `json:"runs"`
	Unhealthy    int64     `json:"unhealthy"`
	Availability *float64  `json:"availability"` // share of runs that were not unhealthy, 0 to 1; nil without runs
}
