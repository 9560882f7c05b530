// One run of a check: its plan is found or compiled, given its time, and what it reports is brought into the form that
// history keeps. The scheduler, a run by hand and a satellite all come through here.

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const (
	maxMessage = 500    // characters of a message that are kept
	maxPlans   = 20_000 // compiled checks that are kept
)

// check is what one run needs to know.
type check struct {
	systemID        string // empty for a run that is made for nobody
	configurationID string // empty for one that is not stored
	kind            string // the name of the check type
	version         int64  // of the configuration
	config          json.RawMessage
	assertions      json.RawMessage // a list, or nothing
	vars            json.RawMessage // what placeholders stand for, an object; nothing where there are none
	timeout         time.Duration
}

// notRunnable begins the fault of a configuration that cannot be run. What comes after it, why, is for those who may see
// configurations.
const notRunnable = "the configuration cannot be run"

// ErrNoType says that a check cannot be made here because nobody brought its type.
var ErrNoType = errors.New("no such check type")

// made is how a run ended: with a run that says how the target is, or with a fault that says why nobody knows.
type made struct {
	run    *plugins.Run // nil if there is a fault
	fault  string       // for everybody
	report engine.Report
}

// run makes one run of c. The error is ErrNoType, or says why the run was cut short by something other than its own time:
// there is nothing to record then. A configuration that cannot be run, because what it refers to is not there, is a fault:
// it was understood when it was written, and nothing is known of the target.
func (r *registry) run(ctx context.Context, c check) (made, error) {
	kind, done, ok := r.begin(c.kind)
	if !ok {
		return made{}, ErrNoType
	}
	defer done()
	plan, err := r.plan(kind, c)
	if err != nil {
		return made{fault: notRunnable + ": " + engine.Shorten(reason(err), maxMessage/2), report: engine.Report{Fault: err, At: time.Now()}}, nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(kind.ctx, func() { stop(context.Cause(kind.ctx)) })()
	report := plan.Run(ctx)
	if ctx.Err() != nil {
		return made{}, context.Cause(ctx)
	}
	if e := report.Panic; e != nil {
		r.log.Error("check type panicked", "type", c.kind, "panic", e.Value, "stack", string(e.Stack))
	}
	if report.Fault != nil {
		return made{fault: engine.Shorten(report.Fault.Error(), maxMessage), report: report}, nil
	}
	return made{run: runOf(c, report), report: report}, nil
}

// reason is what an error says, with the field that it is about.
func reason(err error) string {
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		return strings.TrimPrefix(e.Field+": "+e.Message, ": ")
	}
	return err.Error()
}

// target is what a check connects to; empty if that is not known.
func (r *registry) target(c check) string {
	kind, done, ok := r.begin(c.kind)
	if !ok {
		return ""
	}
	defer done()
	plan, err := r.plan(kind, c)
	if err != nil {
		return ""
	}
	return plan.Target()
}

// runOf is a report as history keeps it.
func runOf(c check, report engine.Report) *plugins.Run {
	run := &plugins.Run{
		ID:              plugins.NewID(),
		ConfigurationID: c.configurationID,
		SystemID:        c.systemID,
		Status:          report.Status,
		Message:         report.Message,
		Result:          report.Result,
		ExecutedAt:      report.At.UTC().Truncate(time.Microsecond), // what PostgreSQL can hold
	}
	if report.Latency != nil {
		ms := min(max(report.Latency.Round(time.Millisecond).Milliseconds(), 0), math.MaxInt32)
		run.LatencyMs = new(int32(ms))
	}
	return run
}

// plan finds or compiles what c says.
func (r *registry) plan(kind *registered, c check) (*engine.Plan, error) {
	k := planKey{kind, c.configurationID, c.version, c.timeout, string(c.vars)}
	if plan := r.plans.find(k); plan != nil {
		return plan, nil
	}
	spec, err := r.spec(kind, c)
	if err != nil {
		return nil, err
	}
	plan, err := engine.Compile(spec)
	if err != nil {
		return nil, err
	}
	r.plans.keep(k, plan)
	return plan, nil
}

// spec is c as the engine takes it, with its secrets open.
func (r *registry) spec(kind engine.Type, c check) (engine.Spec, error) {
	config, err := r.vault.open(c.configurationID, c.config)
	if err != nil {
		return engine.Spec{}, err
	}
	spec := engine.Spec{Type: kind, Config: config, Timeout: c.timeout, Policy: r.policy}
	if len(c.assertions) > 0 {
		if err := json.Unmarshal(c.assertions, &spec.Assertions); err != nil {
			return spec, fmt.Errorf("read assertions: %w", err)
		}
	}
	if len(c.vars) > 0 {
		if err := json.Unmarshal(c.vars, &spec.Values); err != nil {
			return spec, fmt.Errorf("read what placeholders stand for: %w", err)
		}
	}
	return spec, nil
}

// planKey is what a plan was compiled of, and by which type: another may have its name later, while a run of this one compiles
// still. A configuration never changes without its version, so neither does the plan.
type planKey struct {
	kind            *registered
	configurationID string
	version         int64
	timeout         time.Duration
	vars            string
}

// planCache keeps plans. The zero value is empty. When it is full it begins anew: compiling costs little, and remembering what
// was used last would cost something on every run.
type planCache struct {
	mu    sync.RWMutex
	plans map[planKey]*engine.Plan
}

func (p *planCache) find(k planKey) *engine.Plan {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.plans[k]
}

// keep keeps a plan of a configuration that is stored.
func (p *planCache) keep(k planKey, plan *engine.Plan) {
	if k.configurationID == "" || k.version == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plans == nil || len(p.plans) >= maxPlans {
		p.plans = make(map[planKey]*engine.Plan)
	}
	p.plans[k] = plan
}

func (p *planCache) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plans = nil
}
