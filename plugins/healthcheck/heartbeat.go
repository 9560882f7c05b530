// The check type heartbeat looks at nothing: the target reports by itself, within the interval of the check, with a token that
// is its own. A backup that has run, a job that should run every hour, a machine behind a firewall tell so that they live.
//
//	GET or POST /api/healthcheck/heartbeats/{token}    is a run, healthy or as it says
//	the interval and the timeout pass                  is a run too, unhealthy: "no heartbeat"
//
// The timetable of such a check has no slots. A report moves the moment when it is due, and only if that comes is the check
// run, which finds that there was no report. While no server could be reached nobody could report: see watch.

package healthcheck

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

var (
	//go:embed sql/beat_token.sql
	beatTokenSQL string
	//go:embed sql/beat_find.sql
	beatFindSQL string
	//go:embed sql/beat_due.sql
	beatDueSQL string
)

// heartbeat is the name of the type.
const heartbeat = "heartbeat"

// heartbeatCheck is the configuration of a heartbeat.
type heartbeatCheck struct{}

func newHeartbeat() engine.Type {
	return engine.New(heartbeat, nil, func() engine.Config { return new(heartbeatCheck) })
}

// Validate accepts everything: there is nothing to say but the interval and the timeout.
func (*heartbeatCheck) Validate() error { return nil }

// Target is empty: nothing is connected to.
func (*heartbeatCheck) Target() string { return "" }

// Run says that there was no report in time.
func (*heartbeatCheck) Run(context.Context) engine.Outcome {
	return engine.Outcome{Status: plugins.Unhealthy, Message: "no heartbeat"}
}

// maxBeats is how many reports are stored at once. A thousand jobs may end at the full minute, and few of them try again, so
// the others wait. Runs by hand, which may take minutes, have places of their own.
const maxBeats = 16

const beatPrefix = "hb_"

var beatForm = regexp.MustCompile(`^hb_[A-Za-z0-9_-]{32}$`)

// renewBeat gives a check a new token to report with, and returns it. The old one is of no use then.
func (h *Healthcheck) renewBeat(ctx context.Context, tx *sql.Tx, k key) (string, error) {
	var random [24]byte
	rand.Read(random[:])
	token := beatPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(token))
	result, err := tx.ExecContext(ctx, beatTokenSQL, k.systemID, k.configurationID, sum[:])
	if err != nil {
		return "", fmt.Errorf("keep a heartbeat token: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return "", errors.Join(err, plugins.NotFound("heartbeat"))
	}
	return token, nil
}

// HeartbeatToken is a new token of a heartbeat.
type HeartbeatToken struct {
	Token string `json:"heartbeatToken"` // hb_…; the target reports with it
	Path  string `json:"heartbeatPath"`  // where to
}

// beatPath is where a target reports with a token.
func (h *Healthcheck) beatPath(token string) string {
	return "/api/" + h.host.ID + "/heartbeats/" + token
}

func (h *Healthcheck) rotateBeat(r *http.Request, _ plugins.None) (t HeartbeatToken, err error) {
	system, configuration, err := assignmentPath(r)
	if err != nil {
		return t, err
	}
	err = plugins.Tx(r.Context(), h.host.DB, func(tx *sql.Tx) (err error) {
		t.Token, err = h.renewBeat(r.Context(), tx, key{system, configuration})
		return err
	})
	t.Path = h.beatPath(t.Token)
	return t, err
}

// Beat is what a target may say of itself when it reports. All of it may be left out.
type Beat struct {
	Status    plugins.Status `json:"status,omitempty"`    // healthy, degraded or unhealthy; by default healthy
	LatencyMs *int32         `json:"latencyMs,omitempty"` // how long what it did took, in milliseconds
	Message   string         `json:"message,omitempty"`   // for everybody; at most 500 characters
}

// Validate checks the ranges.
func (b *Beat) Validate() error {
	switch {
	case b.Status != "" && b.Status != plugins.Healthy && b.Status != plugins.Degraded && b.Status != plugins.Unhealthy:
		return plugins.Invalid("status", "expected healthy, degraded or unhealthy")
	case b.LatencyMs != nil && *b.LatencyMs < 0:
		return plugins.Invalid("latencyMs", "expected a number of milliseconds from 0")
	}
	return plugins.Text("message", b.Message, maxMessage)
}

// beatByGET takes a report of a target that cannot send a body.
func (h *Healthcheck) beatByGET(r *http.Request, _ plugins.None) (RunResult, error) {
	return h.beat(r, nil)
}

// with is what a target says in the parameters status, latencyMs and message, where it has sent no body.
func (b *Beat) with(query url.Values) (*Beat, error) {
	if b != nil {
		return b, nil
	}
	b = &Beat{Status: plugins.Status(query.Get("status")), Message: query.Get("message")}
	if s := query.Get("latencyMs"); s != "" {
		ms, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return nil, plugins.Invalid("latencyMs", "expected a number of milliseconds from 0")
		}
		b.LatencyMs = new(int32(ms))
	}
	return b, b.Validate()
}

// beat takes a report. It is answered once it is stored.
func (h *Healthcheck) beat(r *http.Request, in *Beat) (RunResult, error) {
	token := r.PathValue("token")
	if !beatForm.MatchString(token) {
		return RunResult{}, plugins.NotFound("heartbeat")
	}
	in, err := in.with(r.URL.Query())
	if err != nil {
		return RunResult{}, err
	}
	if in.Status == "" {
		in.Status = plugins.Healthy
	}
	if in.Message == "" {
		in.Message = "reported"
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	select {
	case h.beats <- struct{}{}:
		defer func() { <-h.beats }()
	case <-ctx.Done():
		return RunResult{}, &plugins.Error{Status: http.StatusTooManyRequests, Title: "Busy", Message: "too many heartbeats wait to be stored; try again"}
	}
	sum := sha256.Sum256([]byte(token))
	var k key
	switch err := h.host.DB.QueryRowContext(ctx, beatFindSQL, sum[:]).Scan(&k.systemID, &k.configurationID); {
	case errors.Is(err, sql.ErrNoRows):
		return RunResult{}, plugins.NotFound("heartbeat")
	case err != nil:
		return RunResult{}, fmt.Errorf("find a heartbeat: %w", err)
	}
	run := plugins.Run{ID: plugins.NewID(), SystemID: k.systemID, ConfigurationID: k.configurationID, Status: in.Status, LatencyMs: in.LatencyMs,
		Message: engine.Shorten(in.Message, maxMessage), ExecutedAt: time.Now().UTC().Truncate(time.Microsecond)}
	if err := h.keepRun(ctx, run); err != nil {
		return RunResult{}, err
	}
	if _, err := h.host.DB.ExecContext(ctx, beatDueSQL, k.systemID, k.configurationID); err != nil {
		return RunResult{}, fmt.Errorf("move the time of a heartbeat: %w", err)
	}
	return resultOf(&run), nil
}
