// A run by hand: an editor wants to know now. With a system it is a run like any other, kept and shown, and it is
// answered only once it is committed; it does not move the rhythm of the check. Without a system there is nobody it
// could be a run of, so it is answered and forgotten.

package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"checkstack/plugins"
)

// maxByHand is how many runs by hand may be under way at once. They may take two minutes each.
const maxByHand = 16

// RunResult is how a run by hand ended.
type RunResult struct {
	RunID      string          `json:"runId,omitempty"` // of the run in the history; absent if it is not kept
	Status     plugins.Status  `json:"status"`
	LatencyMs  *int32          `json:"latencyMs"` // nil where none was measured
	Message    string          `json:"message"`
	Result     json.RawMessage `json:"result,omitempty"`
	ExecutedAt time.Time       `json:"executedAt"`
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
	if system != "" {
		here, err := h.assigned(ctx, system, id)
		if err != nil {
			return RunResult{}, err
		}
		if !here {
			return RunResult{}, &plugins.Error{Status: http.StatusConflict, Title: "Not checked from here",
				Message: "only satellites make this check for that system; without systemId it is run here, and not kept"}
		}
	}
	select {
	case h.byHand <- struct{}{}:
		defer func() { <-h.byHand }()
	default:
		return RunResult{}, &plugins.Error{Status: http.StatusTooManyRequests, Title: "Busy",
			Message: fmt.Sprintf("%d runs by hand are under way, which is as many as may be; try again", maxByHand)}
	}
	run, err := h.types.run(ctx, check{systemID: system, configurationID: id, kind: c.Type, config: c.Config,
		timeout: time.Duration(c.TimeoutMs) * time.Millisecond})
	switch {
	case errors.Is(err, ErrNoType):
		return RunResult{}, &plugins.Error{Status: http.StatusConflict, Title: "Check type missing",
			Message: "no plugin that is enabled has check type " + c.Type}
	case err != nil:
		return RunResult{}, err
	}
	result := RunResult{Status: run.Status, LatencyMs: run.LatencyMs, Message: run.Message, Result: run.Result, ExecutedAt: run.ExecutedAt}
	if system != "" {
		result.RunID = run.ID
		err = h.keepRun(ctx, run)
	}
	return result, err
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

// assigned reports whether this server makes a check. It is an error if the check is not assigned at all.
func (h *Healthcheck) assigned(ctx context.Context, system, configuration string) (here bool, err error) {
	err = h.host.DB.QueryRowContext(ctx, assignedSQL, system, configuration).Scan(&here)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, plugins.NotFound("assignment")
	case err != nil:
		return false, fmt.Errorf("read assignment: %w", err)
	}
	return here, nil
}
