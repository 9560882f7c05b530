package plugins

import (
	"context"
	"time"
)

// Readiness is where a plugin says what has to work for the server to be ready.
type Readiness interface {
	// Register adds a probe, or replaces the one of the same name with a warning in the log. The probe disappears with
	// the plugin. An empty name, one that begins with "core.", and a missing check are logged and ignored.
	Register(Probe)
}

// Probe is one named condition of being ready.
type Probe struct {
	Name     string        // such as "queue.connected"; shown at /.checkstack/ready, so it holds no secret
	Optional bool          // a failing optional probe does not make the server unready; the zero value is critical
	Timeout  time.Duration // past it the probe counts as failed; 0 means 2 s

	// Check says whether the condition holds. An error or a panic is reported as a failure with that text. It should
	// respect its context; one that does not is never started a second time while it runs.
	Check func(context.Context) (Result, error)
}

// Result is a probe's answer.
type Result struct {
	OK      bool
	Message string // shown to whoever reads /.checkstack/ready, without login
}
