package plugins

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Host is what the server lends to one plugin, already limited to it. Everything a plugin registers goes through its
// Host, so that unloading the plugin revokes all of it.
type Host struct {
	ID        string       // "incident": routes below /api/incident/, tables in the schema incident
	Log       *slog.Logger // carries plugin=<ID>
	DB        *sql.DB      // the shared pool; SQL names its schema
	Routes    Routes
	Readiness Readiness
	Callers   Callers
	History   History
	Notices   Notices  // what other servers announce through the database; use [Host.Listen]
	Secrets   *Secrets // seals what is stored and must not be read there
	BaseURL   string   // the origin the server is reached at from outside, such as https://status.example.org; no slash at its end
	LocalURL  string   // this server as it reaches itself, such as http://127.0.0.1:3000; no slash at its end
	DataDir   string   // the folder of the private database cluster; empty with a DATABASE_URL
	Demo      bool     // whether a first boot may create example data

	// Settings is what the package's own function Flags returned, a pointer to its type, now with the values of the command
	// line and the environment. It is nil where the package has none, and where there is no command line of a server, as in
	// tests: take it with settings, ok := host.Settings.(*Settings).
	Settings any

	// Getenv reads the environment the server was started with. What is secret comes from here only, or from a [Flags.Secret].
	Getenv func(string) string

	lease *Lease
}

// Lend gives h its lifetime: [Host.Go] and [Host.OnClose] work until the returned lease is ended. The context of
// background work keeps the values of ctx, but not its end. A panic in background work is passed to failed, once it is
// logged, because a plugin that has lost a part of itself must not go on as if it were whole.
func Lend(ctx context.Context, h *Host, failed func(error)) *Lease {
	l := &Lease{host: h, failed: failed}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.lease = l
	return l
}

// Go runs f in a goroutine of its own until the plugin is closed: the context ends then, and f is waited for before the
// plugin's Close. After that it does nothing.
func (h *Host) Go(f func(context.Context)) { h.lease.run(f) }

// OnClose registers f to be called after the plugin's Close, last registered first. It undoes what was contributed to
// other plugins.
func (h *Host) OnClose(f func(context.Context) error) {
	l := h.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onClose = append(l.onClose, f)
}

// Notices tells what transactions announce with pg_notify, on whatever server they ran.
type Notices interface {
	// Listen calls f with the payload of each notification on channel, one after the other, soon after its transaction was
	// committed. After the connection to the database was lost and made again, or notifications came faster than f took
	// them, it calls f once with an empty payload: some may have been missed, so look at what they tell of. f should return
	// soon. Listen returns when the database has confirmed it, so that all that is committed afterwards is heard, or
	// after a first attempt that failed; then f("") comes once it is heard. stop ends it and waits for a call that is
	// under way, so f must not call it.
	Listen(channel string, f func(payload string)) (stop func())
}

// Listen is [Notices.Listen] until the plugin is closed. The channel of a plugin begins with its ID: "incident_changed".
func (h *Host) Listen(channel string, f func(payload string)) {
	stop := h.Notices.Listen(channel, f)
	h.OnClose(func(context.Context) error {
		stop()
		return nil
	})
}

// Lease is the server's hold on what it lent: the background work of one plugin and what is to be undone after it.
type Lease struct {
	host   *Host
	failed func(error)
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	work    sync.WaitGroup
	running atomic.Int64
	onClose []func(context.Context) error
}

func (l *Lease) run(f func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.running.Add(1)
	l.work.Go(func() {
		defer l.running.Add(-1)
		defer func() {
			if v := recover(); v != nil {
				l.host.Log.Error("background work panicked", "panic", v, "stack", string(debug.Stack()))
				l.failed(fmt.Errorf("plugin %s: background work panicked: %v", l.host.ID, v))
			}
		}()
		f(l.ctx)
	})
}

// Stop ends the context of the background work and waits until it has finished, or until ctx is done.
func (l *Lease) Stop(ctx context.Context) error {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.cancel()
	done := make(chan struct{})
	go func() {
		l.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		if n := l.running.Load(); n > 0 {
			return fmt.Errorf("%d background tasks still running: %w", n, context.Cause(ctx))
		}
		return nil // both at once: the time is over, and so is the work
	}
}

// Undo calls the functions given to OnClose, the last one first, each whatever the others returned.
func (l *Lease) Undo(ctx context.Context) error {
	l.mu.Lock()
	fs := l.onClose
	l.onClose = nil
	l.mu.Unlock()
	var errs []error
	for i := len(fs) - 1; i >= 0; i-- {
		errs = append(errs, Protect(func() error { return fs[i](ctx) }))
	}
	return errors.Join(errs...)
}

// Protect calls f and turns a panic into an error that carries the stack.
func Protect(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// PanicError is a panic of a plugin's code that [Protect] caught.
type PanicError struct {
	Value any
	Stack []byte
}

// Error is what the code panicked with, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
