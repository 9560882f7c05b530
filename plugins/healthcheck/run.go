// One run of a check: the type is found, given its time, and what it returns is brought into the form that history keeps.
// The scheduler and a run by hand both come through here.

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"checkstack/plugins"
)

const (
	maxMessage = 500      // characters of a message that are kept
	maxResult  = 16 << 10 // bytes of a result that are kept
)

// check is what one run needs to know.
type check struct {
	systemID        string // empty for a run that is made for nobody
	configurationID string
	kind            string // the name of the check type
	config          json.RawMessage
	timeout         time.Duration
}

// ErrNoType says that a check cannot be made here because nobody brought its type.
var ErrNoType = errors.New("no such check type")

// run makes one run of c. The error is ErrNoType, or says why the run was cut short by something other than its own time:
// there is nothing to record then.
func (r *registry) run(ctx context.Context, c check) (plugins.Run, error) {
	kind, done, ok := r.begin(c.kind)
	if !ok {
		return plugins.Run{}, ErrNoType
	}
	defer done()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(kind.ctx, func() { stop(context.Cause(kind.ctx)) })()
	timed, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("timed out after %s", c.timeout))
	defer cancel()

	var out Outcome
	err := plugins.Protect(func() error {
		out = kind.Run(timed, c.config)
		return nil
	})
	if ctx.Err() != nil {
		return plugins.Run{}, context.Cause(ctx)
	}
	if e, ok := errors.AsType[*plugins.PanicError](err); ok {
		r.log.Error("check type panicked", "type", c.kind, "panic", e.Value, "stack", string(e.Stack))
		out = Outcome{Status: plugins.Unhealthy, Message: "the check itself failed"}
	}
	return out.run(c), nil
}

// run is the outcome as history keeps it. A type may come from anywhere, so nothing of what it says is taken on trust.
func (o Outcome) run(c check) plugins.Run {
	run := plugins.Run{
		ID:              plugins.NewID(),
		ConfigurationID: c.configurationID,
		SystemID:        c.systemID,
		Status:          o.Status,
		Message:         shorten(o.Message, maxMessage),
		ExecutedAt:      time.Now().UTC().Truncate(time.Microsecond), // what PostgreSQL can hold
	}
	switch o.Status {
	case plugins.Healthy, plugins.Degraded, plugins.Unhealthy:
	default:
		run.Status, run.Message = plugins.Unhealthy, "the check type "+c.kind+" gave no valid status"
	}
	if o.Latency != nil {
		ms := min(max(o.Latency.Round(time.Millisecond).Milliseconds(), 0), math.MaxInt32)
		run.LatencyMs = new(int32(ms))
	}
	if len(o.Result) <= maxResult && json.Valid(o.Result) && !strings.Contains(string(o.Result), `\u0000`) {
		run.Result = o.Result
	}
	return run
}

// shorten makes a text of at most max characters that the database can hold.
func shorten(s string, max int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
	for i := range s {
		if max == 0 {
			return s[:i]
		}
		max--
	}
	return s
}
