package plugins

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
)

// Mux is an [http.ServeMux] that can also forget patterns, and that knows when the last request for one has finished.
//
// A ServeMux cannot remove a pattern. It does allow one to be added while it serves, so Add is as cheap as there; to
// remove one, a new ServeMux is built of the patterns that stay. A request that found its pattern in the old one just
// before is stopped by the pattern itself: it counts its requests, the count starts at one, removing takes that one away,
// and whoever brings it to zero ends the wait. Nobody enters at zero.
type Mux struct {
	mux atomic.Pointer[http.ServeMux]

	mu       sync.Mutex // orders changes
	patterns map[string]*counted
	closed   bool
}

// counted is the handler of one pattern.
type counted struct {
	pattern  string
	handler  http.Handler
	requests atomic.Int64  // in flight, and one more until the pattern is removed
	drained  chan struct{} // closed when requests reaches zero
}

// NewMux makes a Mux without patterns.
func NewMux() *Mux {
	m := &Mux{patterns: make(map[string]*counted)}
	m.mux.Store(http.NewServeMux())
	return m
}

// ServeHTTP serves like [http.ServeMux.ServeHTTP].
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.Load().ServeHTTP(w, r) }

var registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)

// Add serves a pattern, as [http.ServeMux.Handle] does, from the next request on. A malformed pattern, or one that
// conflicts with another, is an error and changes nothing.
func (m *Mux) Add(pattern string, h http.Handler) (err error) {
	c := &counted{pattern: pattern, handler: h, drained: make(chan struct{})}
	c.requests.Store(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("the routes are closed")
	}
	defer func() { // ServeMux says it with a panic, before it has changed anything
		if v := recover(); v != nil {
			err = errors.New(registeredAt.ReplaceAllString(fmt.Sprint(v), ""))
		}
	}()
	m.mux.Load().Handle(pattern, c)
	m.patterns[pattern] = c
	return nil
}

// Remove forgets a pattern and waits until its requests have finished, or until ctx is done. Either way no request
// reaches its handler any more once Remove has returned, but those that are in it already.
func (m *Mux) Remove(ctx context.Context, pattern string) error {
	m.mu.Lock()
	c := m.patterns[pattern]
	if c == nil {
		m.mu.Unlock()
		return errors.New("there is no such route")
	}
	delete(m.patterns, pattern)
	mux := http.NewServeMux()
	for _, other := range m.patterns {
		mux.Handle(other.pattern, other)
	}
	m.mux.Store(mux)
	m.mu.Unlock()
	c.leave()
	return c.drain(ctx)
}

// Close forgets all patterns and waits like Remove. Nothing can be added after it.
func (m *Mux) Close(ctx context.Context) error {
	m.mu.Lock()
	patterns := m.patterns
	m.patterns, m.closed = nil, true
	m.mu.Unlock()
	for _, c := range patterns {
		c.leave()
	}
	for _, c := range patterns {
		if err := c.drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether a pattern is served.
func (m *Mux) Has(pattern string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.patterns[pattern] != nil
}

// Handlers returns the handlers by pattern.
func (m *Mux) Handlers() map[string]http.Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]http.Handler, len(m.patterns))
	for pattern, c := range m.patterns {
		all[pattern] = c.handler
	}
	return all
}

// ServeHTTP counts the request while the handler has it.
func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		WriteError(w, r, &Error{Status: http.StatusNotFound, Message: "this route was removed"})
		return
	}
	defer c.leave()
	c.handler.ServeHTTP(w, r)
}

func (c *counted) enter() bool {
	for {
		n := c.requests.Load()
		if n == 0 {
			return false
		}
		if c.requests.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *counted) leave() {
	if c.requests.Add(-1) == 0 {
		close(c.drained)
	}
}

func (c *counted) drain(ctx context.Context) error {
	select {
	case <-c.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d requests still in %q: %w", c.requests.Load(), c.pattern, context.Cause(ctx))
	}
}
