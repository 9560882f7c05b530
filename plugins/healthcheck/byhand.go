// A run by hand: an editor wants to know now. With a system it is a run like any other, kept and shown, and it is
// answered only once it is committed; it does not move the rhythm of the check. Without a system there is nobody it
// could be a run of, so it is answered and forgotten. A configuration need not even be stored: POST /try runs what it is given.

package healthcheck

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// maxByHand is how many runs by hand may be under way at once. They may take two minutes each.
const maxByHand = 16

// RunResult is how a run by hand ended.
type RunResult struct {
	RunID      string                   `json:"runId,omitempty"` // of the run in the history; absent if it is not kept
	Status     plugins.Status           `json:"status"`          // "unknown" if there was an error of ours
	LatencyMs  *int32                   `json:"latencyMs"`       // nil where none was measured
	Message    string                   `json:"message"`
	Error      string                   `json:"error,omitempty"` // why the run could not be made, because of this server
	Result     json.RawMessage          `json:"result,omitempty"`
	Assertions []engine.AssertionResult `json:"assertions,omitempty"` // each with what was expected and what there was
	ExecutedAt time.Time                `json:"executedAt"`
}

func resultOf(run *plugins.Run) RunResult {
	return RunResult{Status: run.Status, LatencyMs: run.LatencyMs, Message: run.Message, Result: run.Result, ExecutedAt: run.ExecutedAt}
}

// result is what a run by hand is answered with.
func (m *made) result() RunResult {
	if m.run == nil {
		return RunResult{Status: unknown, Error: m.fault, ExecutedAt: m.report.At.UTC().Truncate(time.Microsecond)}
	}
	r := resultOf(m.run)
	r.Assertions = m.report.Assertions
	if measured := m.report.Measured; len(r.Assertions) > 0 {
		r.Result = measured.Object() // which has the assertions beside it here
	}
	return r
}

// enterByHand takes one of the places for runs by hand.
func (h *Healthcheck) enterByHand() (leave func(), err error) {
	select {
	case h.byHand <- struct{}{}:
		return func() { <-h.byHand }, nil
	default:
		return nil, &plugins.Error{Status: http.StatusTooManyRequests, Title: "Busy",
			Message: fmt.Sprintf("%d runs by hand are under way, which is as many as may be; try again", cap(h.byHand))}
	}
}

func (h *Healthcheck) runByHand(r *http.Request, _ plugins.None) (RunResult, error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return RunResult{}, err
	}
	system := strings.ToLower(r.URL.Query().Get("systemId"))
	if system != "" && !plugins.IsID(system) {
		return RunResult{}, plugins.Invalid("systemId", "expected the ID of a system")
	}
	ctx := r.Context()
	c, err := h.configuration(ctx, id)
	if err != nil {
		return RunResult{}, err
	}
	todo := check{systemID: system, configurationID: id, kind: c.Type, version: c.version, config: c.stored,
		timeout: time.Duration(c.TimeoutMs) * time.Millisecond}
	if todo.assertions, err = json.Marshal(c.Assertions); err != nil {
		return RunResult{}, fmt.Errorf("write assertions: %w", err)
	}
	switch {
	case c.Type == heartbeat:
		return RunResult{}, &plugins.Error{Status: http.StatusConflict, Title: "Not checked from here",
			Message: "the target of a heartbeat reports by itself, and cannot be asked"}
	case system != "":
		var here bool
		if here, todo.vars, err = h.assigned(ctx, system, id); err != nil {
			return RunResult{}, err
		}
		if !here {
			return RunResult{}, &plugins.Error{Status: http.StatusConflict, Title: "Not checked from here",
				Message: "only satellites make this check for that system; without systemId it is run here, and not kept"}
		}
	case c.Template:
		return RunResult{}, plugins.Invalid("systemId", "expected the ID of a system, because the configuration is a template")
	}
	made, err := h.runNow(ctx, todo)
	if err != nil {
		return RunResult{}, err
	}
	result := made.result()
	if system != "" && made.run != nil {
		result.RunID = made.run.ID
		err = h.keepRun(ctx, *made.run)
	}
	return result, err
}

// runNow makes a run by hand.
func (h *Healthcheck) runNow(ctx context.Context, c check) (made, error) {
	leave, err := h.enterByHand()
	if err != nil {
		return made{}, err
	}
	defer leave()
	m, err := h.types.run(ctx, c)
	if errors.Is(err, ErrNoType) {
		return m, &plugins.Error{Status: http.StatusConflict, Title: "Check type missing",
			Message: "no plugin that is enabled has check type " + c.kind}
	}
	return m, err
}

// TryInput is a configuration that is to be run once and not stored. Its name and its interval do not matter.
type TryInput struct {
	ConfigurationInput
	SystemID        string `json:"systemId,omitempty"`        // whose values a template has
	ConfigurationID string `json:"configurationId,omitempty"` // whose secrets "********" stands for
}

// Validate checks the ranges of what matters.
func (in *TryInput) Validate() error {
	in.SystemID, in.ConfigurationID = strings.ToLower(in.SystemID), strings.ToLower(in.ConfigurationID)
	switch {
	case in.SystemID != "" && !plugins.IsID(in.SystemID):
		return plugins.Invalid("systemId", "expected the ID of a system")
	case in.ConfigurationID != "" && !plugins.IsID(in.ConfigurationID):
		return plugins.Invalid("configurationId", "expected the ID of a configuration")
	case in.Template && in.SystemID == "":
		return plugins.Invalid("systemId", "expected the ID of a system, because the configuration is a template")
	}
	in.IntervalSeconds, in.TimeoutMs = cmp.Or(in.IntervalSeconds, 60), cmp.Or(in.TimeoutMs, 10_000)
	return in.times()
}

// try runs a configuration that is not stored.
func (h *Healthcheck) try(r *http.Request, in TryInput) (RunResult, error) {
	ctx := r.Context()
	if in.Type == heartbeat {
		return RunResult{}, plugins.Invalid("type", "expected a type that can be run; the target of a heartbeat reports by itself")
	}
	var known Configuration
	if in.ConfigurationID != "" {
		var err error
		if known, err = h.configuration(ctx, in.ConfigurationID); err != nil {
			return RunResult{}, err
		}
	}
	config, err := h.keepSecrets(in.ConfigurationInput, known)
	if err != nil {
		return RunResult{}, within("config", err)
	}
	in.Config = config
	normal, err := h.types.validate(in.ConfigurationInput)
	if err != nil {
		return RunResult{}, err
	}
	todo := check{kind: in.Type, config: normal, timeout: time.Duration(in.TimeoutMs) * time.Millisecond}
	if todo.assertions, err = json.Marshal(in.Assertions); err != nil {
		return RunResult{}, fmt.Errorf("write assertions: %w", err)
	}
	if in.Template {
		s, err := h.catalog.System(ctx, in.SystemID)
		if err != nil {
			return RunResult{}, err
		}
		if todo.vars, err = json.Marshal(varsOf(s)); err != nil {
			return RunResult{}, fmt.Errorf("write what placeholders stand for: %w", err)
		}
	}
	made, err := h.runNow(ctx, todo)
	return made.result(), err
}

// keepRun makes a run by hand durable.
func (h *Healthcheck) keepRun(ctx context.Context, run plugins.Run) error {
	out, err := h.recorder.store(ctx, []finished{{key: key{run.SystemID, run.ConfigurationID}, run: &run}})
	switch {
	case err != nil:
		return err
	case len(out.gone) > 0:
		return plugins.NotFound("assignment")
	case len(out.refused) > 0:
		return &plugins.Error{Status: http.StatusConflict, Title: "Run not recorded", Message: out.refused[0].Reason}
	}
	return nil
}

// assigned reports whether this server makes a check, and what its placeholders stand for. It is an error if the check is
// not assigned at all.
func (h *Healthcheck) assigned(ctx context.Context, system, configuration string) (here bool, vars json.RawMessage, err error) {
	err = h.host.DB.QueryRowContext(ctx, assignedSQL, system, configuration).Scan(&here, (*[]byte)(&vars))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil, plugins.NotFound("assignment")
	case err != nil:
		return false, nil, fmt.Errorf("read assignment: %w", err)
	}
	return here, vars, nil
}
