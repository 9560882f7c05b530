// A plan is all that one run of a check needs, compiled once and run many times: the check itself, what is asserted of what it
// measures, and how long it may take.

package engine

import (
	"encoding/json"
	"time"

	"checkstack/plugins"
)

// Spec is what a plan is made of.
type Spec struct {
	Type       Type
	Config     json.RawMessage // as the type's Compile takes it, or with placeholders; see [Expand]
	Assertions []Assertion
	Timeout    time.Duration // for all of one run

	// Values are what placeholders such as ${system.name} stand for, by their names. A nil map leaves no placeholder but
	// ${ENV:NAME} allowed.
	Values map[string]string
	Policy *Policy
}

// Plan is a compiled [Spec]. It is used by several goroutines at once.
type Plan struct {
	check      Check
	assertions Assertions
	timeout    time.Duration
}

// Report is how one run ended, as it is kept.
type Report struct {
	Status     plugins.Status
	Latency    *time.Duration
	Message    string            // at most 500 characters
	Result     json.RawMessage   // one object of at most 16 KiB: what was measured, and the assertions
	Assertions []AssertionResult // every assertion, in order; none where the run failed before there was anything to assert
	Fault      error             // an error of ours: the other fields say nothing of the target
	TimedOut   bool              // the run took all of its time
	At         time.Time         // when the run ended
}
