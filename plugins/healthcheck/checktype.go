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
	"net/http"
	"slices"
	"strings"
	"sync"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/healthcheck/engine"
)

// What another plugin needs for a check type of its own. A plugin imports no folder of another, so it is named here too.
type (
	// CheckType is one way of looking at a system, such as "http".
	CheckType = engine.Type

	// Check is a configuration that a type has understood.
	Check = engine.Check

	// CheckConfig is a struct for a configuration, of which [NewCheckType] makes a type.
	CheckConfig = engine.Config

	// CheckPath is something that a run measures, and its kind.
	CheckPath = engine.Path

	// Outcome is how one run ended.
	Outcome = engine.Outcome

	// Measured is what a run measured.
	Measured = engine.Measured

	// Fault is an error of ours: nothing can be said of the target.
	Fault = engine.Fault

	// PlainError is an error whose text is for everybody.
	PlainError = engine.PlainError

	// Assertion says what must be so of what a run measured.
	Assertion = engine.Assertion

	// TLS is the part of a configuration that says how to speak TLS.
	TLS = engine.TLS
)

// NewCheckType makes a check type of a struct for its configuration; see [engine.New].
func NewCheckType(name string, paths []CheckPath, fresh func() CheckConfig) CheckType {
	return engine.New(name, paths, fresh)
}

// Failed is the outcome of a run that the target did not pass; see [engine.Failed].
func Failed(ctx context.Context, err error, measured Measured) Outcome {
	return engine.Failed(ctx, err, measured)
}

// Policy returns what checks may do on this server. A check type makes its connections with its DialContext.
func (h *Healthcheck) Policy() *Policy { return h.types.policy }

// ExpandVariables puts the values of variables in the place of ${ENV:NAME} in the texts of a JSON value, for other plugins that have
// something configured. A variable that may not be read (-env-allow) or is not set is a [plugins.Invalid] with the field.
func (h *Healthcheck) ExpandVariables(config json.RawMessage) (json.RawMessage, error) {
	return engine.ExpandVariables(config, h.types.policy)
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
	log    *slog.Logger
	policy *engine.Policy
	vault  *vault
	plans  planCache

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
		r.plans.clear() // they are plans of this type's
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

// TypeView is a check type as the API shows it.
type TypeView struct {
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"schema"` // JSON Schema (2020-12) of a configuration
	Paths  []engine.Path   `json:"paths"`  // what assertions can look at, beside latencyMs
}

// listTypes answers with the check types that this server has.
func (h *Healthcheck) listTypes(*http.Request, plugins.None) (plugins.List[TypeView], error) {
	types := h.CheckTypes()
	return plugins.List[TypeView]{Items: types, Total: len(types)}, nil
}

// CheckTypes returns the check types that this server has, by name.
func (h *Healthcheck) CheckTypes() (types []TypeView) {
	for _, name := range h.types.names() {
		kind, done, ok := h.types.begin(name)
		if !ok {
			continue
		}
		types = append(types, viewOf(kind))
		done()
	}
	return types
}

// BuiltInTypes returns the check types that every server has, by name.
func BuiltInTypes() (types []TypeView) {
	for _, t := range append(checks.BuiltIn(&engine.Policy{}), newHeartbeat()) {
		types = append(types, viewOf(t))
	}
	slices.SortFunc(types, func(a, b TypeView) int { return strings.Compare(a.Type, b.Type) })
	return types
}

func viewOf(t CheckType) TypeView {
	return TypeView{t.Type(), t.Schema(), append([]engine.Path{}, t.Paths()...)}
}
