// What the satellite says of itself, at the same paths and in the same form as the server: whether it is alive, and whether it is
// ready. Where it is asked from is up to -listen; no token is needed, and nothing secret is told.

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"checkstack/plugins"
)

// maxSilence is how long ago the server may have taken a request. It is several heartbeats, so that one that was lost does not
// show. A token that is refused shows at once.
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
	if silent, ever := a.client.silent(); a.client.refused() {
		server.OK, server.Message = false, "the server refuses the token"
	} else if !ever {
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

// ready answers for all probes or for one, as JSON or, with ?verbose, as text.
func (a *agent) ready(w http.ResponseWriter, r *http.Request) {
	answer, status := a.readiness(), http.StatusOK
	if name := r.PathValue("probe"); name != "" {
		i := slices.IndexFunc(answer.Checks, func(p probe) bool { return p.Name == name })
		if i < 0 {
			plugins.WriteError(w, r, plugins.NotFound("probe"))
			return
		}
		one := answer.Checks[i]
		answer = readiness{one.OK || !one.Critical, []probe{one}}
	}
	if !answer.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	if !r.URL.Query().Has("verbose") {
		plugins.WriteJSON(w, r, status, answer)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, answer.text())
}

// text is the answer for people.
func (r readiness) text() string {
	var b strings.Builder
	for _, p := range r.Checks {
		if p.OK {
			fmt.Fprintf(&b, "[+]%s ok\n", p.Name)
		} else {
			fmt.Fprintf(&b, "[-]%s failed: %s\n", p.Name, p.Message)
		}
	}
	return b.String() + map[bool]string{true: "ready\n", false: "not ready\n"}[r.Ready]
}

// handler answers the paths below /.checkstack/.
func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.checkstack/health", func(w http.ResponseWriter, r *http.Request) {
		plugins.WriteJSON(w, r, http.StatusOK, struct {
			Status string `json:"status"`
		}{"ok"})
	})
	mux.HandleFunc("GET /.checkstack/ready", a.ready)
	mux.HandleFunc("GET /.checkstack/ready/{probe}", a.ready)
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
