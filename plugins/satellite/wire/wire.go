// Package wire is what a satellite and its server say to each other: the JSON of four requests, all made by the satellite with
// "Authorization: Bearer sat_…", below /api/satellite.
//
//	GET  /assignments?wait=55   If-None-Match    → 200 Assignments with an ETag, or 304 after the wait
//	POST /runs                  Batch, or gzip   → 200 Answer
//	POST /heartbeat             Heartbeat        → 200 HeartbeatAnswer
//
// The hard case is an answer that is lost. The satellite cannot know then whether its runs were recorded, and for runs older
// than the raw retention the server has no row that would tell. So a batch has a number, which is bound to its content
// for ever: the same number is always sent with the same runs, higher ones only after it. The server keeps the highest
// number it has applied, in the transaction that records, and answers everything up to it as known. Numbers rise within
// one journal, the folder on a satellite's disk; a satellite that lost its disk begins a new journal, and at 1.
package wire

import (
	"encoding/json"
	"time"

	"checkstack/plugins"
)

const (
	MaxRuns = 5000             // runs in one batch
	MaxBody = 8 << 20          // bytes of a request's body once it is decompressed
	MaxWait = 55 * time.Second // the longest wait of one request for assignments
)

// Assignments is what a satellite has to check.
type Assignments struct {
	Satellite string  `json:"satellite"` // its ID
	Checks    []Check `json:"checks"`    // ordered by their key, the system and the configuration
}

// Check is one check of one system. Its fields are those of healthcheck.SourceCheck, which it can be converted from and to.
type Check struct {
	SystemID        string          `json:"systemId"`
	ConfigurationID string          `json:"configurationId"`
	Name            string          `json:"name"`
	Type            string          `json:"type"`
	Config          json.RawMessage `json:"config"`               // as the check type defines it; may hold secrets
	Assertions      json.RawMessage `json:"assertions,omitempty"` // a list of what must be so; none if it is absent
	Values          json.RawMessage `json:"values,omitempty"`     // what placeholders in them stand for, by their names
	IntervalSeconds int             `json:"intervalSeconds"`
	TimeoutMs       int             `json:"timeoutMs"`
}

// Batch is a number of runs, of which all or none are recorded.
type Batch struct {
	// Batch is the number, from 1; each is higher than the one sent before it, with gaps. Without it a repeat is told by
	// the IDs of the runs alone, and runs older than the raw retention are refused.
	Batch *int64 `json:"batch,omitempty"`

	// Journal is the ID, a UUID, of the journal that Batch is a number of. Empty is a journal too.
	Journal string `json:"journal,omitempty"`

	Runs []Run `json:"runs"` // at most [MaxRuns]
}

// Validate checks the batch, but not its runs: those are refused one by one.
func (b *Batch) Validate() error {
	switch {
	case b.Batch != nil && *b.Batch < 1:
		return plugins.Invalid("batch", "expected a whole number from 1, not %d", *b.Batch)
	case b.Journal != "" && b.Batch == nil:
		return plugins.Invalid("journal", "expected a journal only together with a batch, which is a number of it")
	case b.Journal != "" && !plugins.IsID(b.Journal):
		return plugins.Invalid("journal", "expected a UUID, in lower case")
	case b.Runs == nil:
		return plugins.Invalid("runs", "expected an array of runs")
	case len(b.Runs) > MaxRuns:
		return plugins.Invalid("runs", "expected at most %d runs, not %d", MaxRuns, len(b.Runs))
	}
	return nil
}

// Run is one run of a check. Where it was made is known from the token.
type Run struct {
	RunID           string          `json:"runId"` // a UUID made where the check ran
	ConfigurationID string          `json:"configurationId"`
	SystemID        string          `json:"systemId"`
	Status          plugins.Status  `json:"status"`
	LatencyMs       *int32          `json:"latencyMs"` // nil where none was measured
	Message         string          `json:"message"`
	Result          json.RawMessage `json:"result,omitempty"` // what the check measured, as its type defines it
	ExecutedAt      time.Time       `json:"executedAt"`       // when the run ended
}

// RunOf is a run as it is sent.
func RunOf(r plugins.Run) Run {
	return Run{
		RunID: r.ID, ConfigurationID: r.ConfigurationID, SystemID: r.SystemID, Status: r.Status,
		LatencyMs: r.LatencyMs, Message: r.Message, Result: r.Result, ExecutedAt: r.ExecutedAt,
	}
}

// From is a run as history keeps it, made by the satellite with the ID source.
func (r Run) From(source string) plugins.Run {
	return plugins.Run{
		ID: r.RunID, ConfigurationID: r.ConfigurationID, SystemID: r.SystemID, SourceID: source, Status: r.Status,
		LatencyMs: r.LatencyMs, Message: r.Message, Result: r.Result, ExecutedAt: r.ExecutedAt,
	}
}

// Answer says what became of a batch. The three add up to its runs.
type Answer struct {
	Stored  int               `json:"stored"`  // new, and counted
	Known   int               `json:"known"`   // recorded before
	Refused []plugins.Refusal `json:"refused"` // not recorded, and never will be
}

// Heartbeat says that a satellite is alive, and how it is. Counts are of runs.
type Heartbeat struct {
	Version      string    `json:"version"`      // of the satellite's program
	StartedAt    time.Time `json:"startedAt"`    // when it started, by its own clock
	SentAt       time.Time `json:"sentAt"`       // its own clock, as the request was made
	Checks       int       `json:"checks"`       // how many it runs at intervals
	PendingRuns  int64     `json:"pendingRuns"`  // that the server has not acknowledged
	PendingBytes int64     `json:"pendingBytes"` // of those runs in its journal; 0 if there are none
	Dropped      int64     `json:"dropped"`      // runs lost because there was no room to keep them, since the journal was made
}

// Validate checks the ranges.
func (h *Heartbeat) Validate() error {
	if err := plugins.Text("version", h.Version, plugins.MaxName); err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		value int64
	}{{"checks", int64(h.Checks)}, {"pendingRuns", h.PendingRuns}, {"pendingBytes", h.PendingBytes}, {"dropped", h.Dropped}} {
		if f.value < 0 {
			return plugins.Invalid(f.name, "expected a whole number from 0, not %d", f.value)
		}
	}
	if h.SentAt.IsZero() {
		return plugins.Invalid("sentAt", "expected the time by the satellite's clock, RFC 3339")
	}
	return nil
}

// HeartbeatAnswer is the server's view of a heartbeat.
type HeartbeatAnswer struct {
	ServerTime time.Time `json:"serverTime"`
	SkewMs     int64     `json:"skewMs"` // how far the satellite's clock is ahead of the server's; negative: behind
}
