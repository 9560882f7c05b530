// A check type is a way of looking at a system: what its configuration may say, and how one run is made. This file is the
// contract between the plugin and whoever brings such a type, and the registry that holds them.
//
// A type may belong to another plugin, and plugins come and go while the server runs. So a type is taken back when its
// owner is closed: no new run of it starts, those that are running are cancelled and waited for, and only then is the
// owner gone. Its checks are not lost. The scheduler claims only checks whose type it has, so they wait until the type is
// there again, here or on another server.

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"checkstack/plugins"
)

// CheckType is one way of looking at a system, such as "http". Its methods are called from several goroutines.
type CheckType interface {
	// Type is the name that configurations use: 1 to 40 lower case letters, digits and dashes, the first a letter.
	Type() string

	// Validate checks config, an object as it came in a request, and returns its normal form: an object with what was
	// understood of it and nothing else, written anew from what was decoded. The normal form is what is stored, shown and
	// given to Run, in any order of its fields; Validate must accept it, with the same meaning. An error names the
	// field as config does, "url"; to the caller of the API it becomes "config.url". See [plugins.Invalid].
	Validate(config json.RawMessage) (normal json.RawMessage, err error)

	// Run makes one run with a normal form that Validate has returned, and says how it ended. It returns soon after ctx has
	// ended; [context.Cause] then has the words for it, such as "timed out after 5s". A run whose ctx ended because the
	// server or the plugin stops is not recorded, whatever it returns.
	Run(ctx context.Context, config json.RawMessage) Outcome
}

// Outcome is how one run ended.
type Outcome struct {
	Status  plugins.Status
	Latency *time.Duration  // nil where none was measured
	Message string          // a short sentence for everybody: no secret, no address, at most 500 characters of it are kept
	Result  json.RawMessage // what was measured, for those who may see runs; nil, or valid JSON of at most 16 KiB
}

// RegisterCheckType makes a check type known until the plugin host belongs to is closed. It is an error if its name is not
// well formed or taken.
func (h *Healthcheck) RegisterCheckType(host *plugins.Host, t CheckType) error {
	remove, err := h.types.add(t)
	if err != nil {
		return err
	}
	host.OnClose(remove)
	h.scheduler.wake()
	return nil
}

// registry holds the check types by name.
type registry struct {
	log   *slog.Logger
	mu    sync.RWMutex
	types map[string]*registered
}

// registered is a check type with the runs that are made of it.
type registered struct {
	CheckType
	ctx     context.Context // ends when the type is taken back
	running sync.WaitGroup  // added to under registry.mu only, so that nothing is added once the type is taken back
}

// errTypeRemoved ends the runs of a type that is taken back.
var errTypeRemoved = errors.New("the check type was removed")

func (r *registry) add(t CheckType) (remove func(context.Context) error, err error) {
	name := t.Type()
	if !isTypeName(name) {
		return nil, fmt.Errorf("register check type %q: expected 1 to 40 lower case letters, digits and dashes, the first a letter", name)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	entry := &registered{CheckType: t, ctx: ctx}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.types[name]; taken {
		cancel(nil)
		return nil, fmt.Errorf("register check type %q: there is one already", name)
	}
	if r.types == nil {
		r.types = make(map[string]*registered)
	}
	r.types[name] = entry
	return func(ctx context.Context) error {
		r.mu.Lock()
		if r.types[name] == entry {
			delete(r.types, name)
		}
		r.mu.Unlock()
		cancel(errTypeRemoved)
		return wait(ctx, &entry.running, "runs of check type "+name)
	}, nil
}

// begin finds a type for one run. The run ends with done.
func (r *registry) begin(name string) (t *registered, done func(), ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	t, ok = r.types[name]
	if !ok {
		return nil, nil, false
	}
	t.running.Add(1)
	return t, t.running.Done, true
}

// names lists the types, sorted.
func (r *registry) names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.types))
}

func isTypeName(s string) bool {
	if len(s) == 0 || len(s) > 40 {
		return false
	}
	for i, c := range []byte(s) {
		letter, inner := c >= 'a' && c <= 'z', c >= '0' && c <= '9' || c == '-'
		if !letter && (i == 0 || !inner) {
			return false
		}
	}
	return true
}

// wait returns when the group is done, or an error when ctx ends first.
func wait(ctx context.Context, group *sync.WaitGroup, what string) error {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
	}
}
