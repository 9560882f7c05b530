// What the satellite says of itself, at the same paths and in the same form as the server: whether it is alive, and whether it is
// ready. Where it is asked from is up to -listen; no token is needed, and nothing secret is told.

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"checkstack/plugins"
)

// maxSilence is how long ago the server may have taken a request.
const maxSilence = time.Minute

// probe is one condition of being ready.
type probe struct {
	Name       string `json:"name"`
	Critical   bool   `json:"critical"`
	OK         bool   `json:"ok"`
	Message    string `json:"message,omitempty"`
	DurationMs int64  `json:"durationMs"` // always 0: nothing has to be asked
}

// readiness is the answer of /.checkstack/ready.
type readiness struct {
	Ready  bool    `json:"ready"`
	Checks []probe `json:"checks"`
}

// readiness evaluates all conditions. A server that is away does not make the satellite unready: it does its work, and restarting
// it would not help.
func (a *agent) readiness() readiness {
	journal := probe{Name: "satellite.journal", Critical: true, OK: true}
	if state := a.journal.State(); state.Failing != "" {
		journal.OK, journal.Message = false, fmt.Sprintf("cannot be written; %d results are in memory", state.InMemory)
	}
	server := probe{Name: "satellite.server", OK: true}
	if silent, ever := a.client.silent(); !ever {
		server.OK, server.Message = false, "not reached yet"
	} else if silent > maxSilence {
		server.OK, server.Message = false, fmt.Sprintf("not reached for %v", silent.Truncate(time.Second))
	}
	assigned := probe{Name: "satellite.assignments", Critical: true, OK: a.scheduler.ready()}
	if !assigned.OK {
		assigned.Message = "not known yet"
	}
	return readiness{journal.OK && assigned.OK, []probe{journal, server, assigned}}
}

// handler answers the two paths.
func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.checkstack/health", func(w http.ResponseWriter, r *http.Request) {
		plugins.WriteJSON(w, r, http.StatusOK, struct {
			Status string `json:"status"`
		}{"ok"})
	})
	mux.HandleFunc("GET /.checkstack/ready", func(w http.ResponseWriter, r *http.Request) {
		answer, status := a.readiness(), http.StatusOK
		if !answer.Ready {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		plugins.WriteJSON(w, r, status, answer)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(plugins.NewResponse(w, r), r)
	})
}

// serve serves until ctx ends.
func (a *agent) serve(ctx context.Context, listener net.Listener) {
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelWarn),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		a.cfg.Log.Error("the satellite cannot be asked how it is any more", "error", err)
	}
}
