// Package engine makes runs of checks, without a server: the plugin healthcheck, a satellite and "checkstack check" all run
// checks with it, so that a check means the same wherever it is made.
//
// A check type says what its configuration may hold and how one run is made. A run measures; whether what it measured is
// good enough is said by assertions, which are one language for all types.
//
//	config ── Compile ──► Check ── Run ──► Outcome{measured} ── assertions ──► status, message, result
//
// The hard case is a run that says nothing about the target. A process without free file descriptors, a name server that
// nobody can reach, an address that checks may not go to: none of them is the target's fault. Such a run has a fault
// instead of a status, see [Fault], and is never counted as the target's downtime.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"checkstack/plugins"
)

// Type is one way of looking at a system, such as "http". Its methods are called from several goroutines. [New] makes one of
// a Go type for its configuration.
type Type interface {
	// Type is the name that configurations use: 1 to 40 lower case letters, digits and dashes, the first a letter.
	Type() string

	// Schema is the JSON Schema (2020-12) of a configuration, an object, for the API and for forms.
	Schema() json.RawMessage

	// Paths are what a run measures, for assertions, apart from latencyMs, which every type has.
	Paths() []Path

	// Compile checks config, an object, and makes a check of it. An error names the field as config does, "url"; to the caller
	// of the API it becomes "config.url". See [plugins.Invalid].
	Compile(config json.RawMessage) (Check, error)
}

// Check is a configuration that was understood. It is used by several goroutines at once.
type Check interface {
	// Normal is the configuration written anew: what was understood of it and nothing else. Compile accepts it, with the same
	// meaning. It is what is stored and shown.
	Normal() json.RawMessage

	// Target is what the check connects to, "host:port", so that runs against one target can be limited; empty where that
	// says nothing, as for a command.
	Target() string

	// Run makes one run. It returns soon after ctx has ended; [context.Cause] then has the words for it, such as "timed out
	// after 5s". A run whose ctx ended because the server or the plugin stops is not recorded, whatever it returns.
	Run(ctx context.Context) Outcome
}

// Path is something that a run may measure, and that assertions can look at.
type Path struct {
	// Name is "status", "certificate.daysLeft", or a whole family: "header.*", "json.*".
	Name string `json:"path"`
	Kind Kind   `json:"kind"`
	Doc  string `json:"description"`
}

// Kind is what kind of value a path has.
type Kind string

// The kinds of values.
const (
	Number Kind = "number"
	Text   Kind = "string"
	Bool   Kind = "boolean"
	Texts  Kind = "strings" // a list of texts
	Any    Kind = "any"     // whatever the other side sent, as in a JSON body
)

// Outcome is how one run ended.
type Outcome struct {
	// Status is what the type itself says: Healthy if the target did what it has to do. Assertions can only make it worse. It does
	// not matter if there is a fault.
	Status  plugins.Status
	Latency *time.Duration // nil where none was measured
	Message string         // a short sentence for everybody: no secret, no address, nothing that the other side sent

	// Measured is what assertions look at, and what those who may see runs are shown.
	Measured Measured

	// Fault is why nothing can be said of the target: an error of ours. See [AsFault].
	Fault error
}

// atOnce is how much earlier than its context the deadline of a connection may come.
const atOnce = 50 * time.Millisecond

// over reports whether the time of a run is over. The deadline of a connection, or of a lookup, may come a moment before that of the
// context that it was made of; then it waits for that.
func over(ctx context.Context, err error) bool {
	e, ok := errors.AsType[net.Error](err)
	if at, limited := ctx.Deadline(); limited && ok && e.Timeout() && time.Until(at) < atOnce {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// Failed is the outcome of a run that the target did not pass, for a reason that err tells: of a fault if it is ours, and
// otherwise unhealthy with a message of a few words, [Explain], and what the network said among what was measured. What was
// measured until then is kept.
func Failed(ctx context.Context, err error, measured Measured) Outcome {
	if over(ctx, err) {
		return Outcome{Status: plugins.Unhealthy, Message: context.Cause(ctx).Error(), Measured: measured}
	}
	if fault := AsFault(ctx, err); fault != nil {
		return Outcome{Fault: fault, Measured: measured}
	}
	measured.Set("error", Shorten(err.Error(), maxDetail))
	return Outcome{Status: plugins.Unhealthy, Message: Explain(err), Measured: measured}
}
