package notification

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"sync"

	"checkstack/plugins"
)

// A registry holds what is registered in this process, each thing with the plugin that owns it. A type is reserved
// before it is written to the database and released again when that fails, so that the lock is held for neither, and of
// two plugins that register the same type at the same time one fails.

// Target is a kind of thing that people can be told about. It is a comparable value; what it refers to is given to
// [Notifier.RegisterTarget].
type Target struct {
	Type        string // the owner's ID and a word, such as "catalog.system"; unique among all targets
	Name        string // for people, such as "System"
	Description string // for people, one sentence; may be empty
}

// Resource is one thing of a target.
type Resource struct {
	Type    string     `json:"type"` // the target's
	ID      string     `json:"id"`   // unique within the target
	Name    string     `json:"name"`
	Parents []Ancestor `json:"parents"` // whoever watches one of these watches this too; may be empty
}

// Ancestor refers to a resource of any target.
type Ancestor struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Resources is how the owner of a target shows what there is of it. Both functions are required; they are called from
// many goroutines, and their errors are told to callers as those of a route of the owner would be.
type Resources struct {
	// List returns one page, in an order that does not change from page to page, and the total.
	List func(ctx context.Context, page plugins.Page) (plugins.List[Resource], error)

	// Find returns the resource with an ID, which can be any text, or [plugins.NotFound].
	Find func(ctx context.Context, id string) (Resource, error)
}

// Spec is a subject that people can subscribe to for the resources of one target.
type Spec struct {
	Type        string // the owner's ID and a word, such as "incident.system"; unique among all specs
	Target      Target // the registered target whose resources it is about
	Name        string // for people, such as "Incidents"
	Description string // for people, one sentence; may be empty

	// Covers is the type of a spec about resources whose parents are those of this one, or empty: who subscribed to this spec for a
	// parent is told of its children's notices.
	Covers string
}

// target is a registered target.
type target struct {
	Target
	resources Resources
}

//go:embed sql/target_upsert.sql
var upsertTarget string

// RegisterTarget registers a target and how its resources are found, until the plugin that owns host is closed. It is
// an error if another plugin, or the same one before, has registered the type, or if something is missing.
func (n *Notifier) RegisterTarget(ctx context.Context, host *plugins.Host, t Target, r Resources) error {
	switch {
	case t.Type == "" || t.Name == "":
		return fmt.Errorf("plugin %s: a target needs a type and a name: %+v", host.ID, t)
	case r.List == nil || r.Find == nil:
		return fmt.Errorf("plugin %s: target type %s needs both functions of its resources", host.ID, t.Type)
	}
	err := n.targets.add("Target type", t.Type, host, target{t, r}, func() error {
		_, err := n.host.DB.ExecContext(ctx, upsertTarget, t.Type, t.Name, t.Description, host.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("register a target: %w", err)
	}
	return nil
}

//go:embed sql/spec_upsert.sql
var upsertSpec string

// RegisterSpec registers a subscription spec until the plugin that owns host is closed. It is an error if its target is
// not registered, if another plugin, or the same one before, has registered the type, or if something is missing.
func (n *Notifier) RegisterSpec(ctx context.Context, host *plugins.Host, s Spec) error {
	if s.Type == "" || s.Name == "" {
		return fmt.Errorf("plugin %s: a spec needs a type and a name: %+v", host.ID, s)
	}
	if _, ok := n.targets.find(s.Target.Type); !ok {
		return fmt.Errorf("register spec %s: Target type %s is not registered", s.Type, cmp.Or(s.Target.Type, `""`))
	}
	err := n.specs.add("Spec type", s.Type, host, s, func() error {
		_, err := n.host.DB.ExecContext(ctx, upsertSpec, s.Type, s.Target.Type, s.Name, s.Description, host.ID, s.Covers)
		return err
	})
	if err != nil {
		return fmt.Errorf("register a spec: %w", err)
	}
	return nil
}

// Resource finds a resource by asking the owner of its target; [plugins.NotFound] if there is no such target or
// resource.
func (n *Notifier) Resource(ctx context.Context, targetType, id string) (Resource, error) {
	t, ok := n.targets.find(targetType)
	if !ok {
		return Resource{}, plugins.NotFound("target")
	}
	return t.resources.Find(ctx, id)
}

// registry holds values by type. The zero value is empty.
type registry[T any] struct {
	mu     sync.RWMutex
	values map[string]*registered[T]
}

type registered[T any] struct {
	value T
	owner string
	kept  bool // false while it is being written, when the type is taken but not there yet
}

func (r *registry[T]) find(typ string) (value T, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.values[typ]
	if !ok || !e.kept {
		return value, false
	}
	return e.value, true
}

// all returns what is registered, in no order.
func (r *registry[T]) all() (values []T) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.values {
		if e.kept {
			values = append(values, e.value)
		}
	}
	return values
}

// add registers a value once keep has written it, until the host's plugin is closed. The kind is for the error.
func (r *registry[T]) add(kind, typ string, host *plugins.Host, value T, keep func() error) error {
	e := &registered[T]{value: value, owner: host.ID}
	if holder := r.reserve(typ, e); holder != "" {
		return fmt.Errorf("%s %s is already registered by plugin %s, so plugin %s cannot register it", kind, typ, holder, host.ID)
	}
	if err := keep(); err != nil {
		r.release(typ)
		return fmt.Errorf("keep %s: %w", typ, err)
	}
	r.mu.Lock()
	e.kept = true
	r.mu.Unlock()
	host.OnClose(func(context.Context) error {
		r.release(typ)
		return nil
	})
	return nil
}

// reserve takes a type for e, or says who holds it.
func (r *registry[T]) reserve(typ string, e *registered[T]) (holder string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, taken := r.values[typ]; taken {
		return other.owner
	}
	if r.values == nil {
		r.values = make(map[string]*registered[T])
	}
	r.values[typ] = e
	return ""
}

func (r *registry[T]) release(typ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.values, typ)
}
