// The heart: the server hears every 15 s that the satellite is alive, and how it is, and says what it thinks of its clock.

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"checkstack/plugins/satellite/wire"
)

const (
	beatEvery   = 15 * time.Second
	beatTimeout = 10 * time.Second
	firstBeat   = 5 * time.Second  // that the first one waits at most for the list of checks, to say how many there are
	maxSkew     = 30 * time.Second // by which a clock may be wrong before that is logged
)

// heart sends heartbeats.
type heart struct {
	client  *client
	log     *slog.Logger
	state   func(now time.Time) wire.Heartbeat
	started time.Time
	came    chan<- struct{} // gets an element when an outage has ended; nil for nobody
	outage  outage
	skewed  bool
}

// loop beats until ctx ends, for the first time when there is an element in first, or it is closed.
func (h *heart) loop(ctx context.Context, first <-chan struct{}) {
	pause(ctx, firstBeat, first)
	for ctx.Err() == nil {
		began := time.Now()
		err := h.beat(ctx)
		rest := beatEvery - time.Since(began)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			h.outage.began(h.log, "the server does not hear that this satellite is alive", err)
			if e, ok := errors.AsType[*statusError](err); ok {
				rest = max(rest, e.after)
			}
			if isDenied(err) {
				rest = max(rest, deniedDelay)
			}
		default:
			if h.outage.ended(h.log, "the server hears again that this satellite is alive") && h.came != nil {
				signal(h.came)
			}
		}
		pause(ctx, rest, nil)
	}
}

func (h *heart) beat(ctx context.Context) error {
	body, err := json.Marshal(h.state(time.Now()))
	if err != nil {
		return fmt.Errorf("encode a heartbeat: %w", err)
	}
	var answer wire.HeartbeatAnswer
	header := http.Header{"Content-Type": {"application/json"}}
	_, err = h.client.do(ctx, request{method: "POST", path: "/heartbeat", header: header, body: body, timeout: beatTimeout, out: &answer})
	if err != nil {
		return err
	}
	h.compare(time.Duration(answer.SkewMs) * time.Millisecond)
	return nil
}

// compare logs that the clock is wrong, or right again.
func (h *heart) compare(skew time.Duration) {
	skewed := skew.Abs() > maxSkew
	switch {
	case skewed && !h.skewed:
		h.log.Warn("the clock of this machine differs from the server's; results have the wrong time", "ahead", skew)
	case !skewed && h.skewed:
		h.log.Info("the clock of this machine is right again", "ahead", skew)
	}
	h.skewed = skewed
}
