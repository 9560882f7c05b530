package engine

import "encoding/json"

// Assertion says what must be so of what a run measured.
type Assertion struct {
	Path     string          `json:"path"`               // one of the type's paths, latencyMs, or below a family: "header.content-type", "json.$.a.b"
	Op       string          `json:"op"`                 // eq ne lt le gt ge in contains matches exists empty
	Value    json.RawMessage `json:"value,omitempty"`    // what it is compared with; for exists and empty true, by default, or false
	Severity string          `json:"severity,omitempty"` // "degraded" or, by default, "unhealthy": what the run is if it is not so
}

// AssertionResult is what became of an assertion in one run.
type AssertionResult struct {
	Assertion
	OK     bool   `json:"ok"`
	Actual any    `json:"actual"`          // at most 200 characters of a text; null where nothing was measured
	Error  string `json:"error,omitempty"` // why it could not be compared
}

// Assertions are compiled assertions.
type Assertions []compiledAssertion

type compiledAssertion struct{ Assertion }
