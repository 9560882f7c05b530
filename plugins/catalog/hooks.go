package catalog

import (
	"iter"
	"slices"
	"sync"
)

// Functions that other plugins have given the catalog to call. They are called without a lock, so that they may use the
// catalog themselves; one that is added or taken back meanwhile counts from the next time on.

// hooks are functions in the order in which they were added. The zero value has none.
type hooks[F any] struct {
	mu   sync.RWMutex
	list []*F // replaced, never changed in place; the address of a function tells it from others
}

// add adds a function. remove takes it back, and does nothing when it is called again.
func (h *hooks[F]) add(f F) (remove func()) {
	hook := &f
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(slices.Clip(h.list), hook)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.list = slices.DeleteFunc(slices.Clone(h.list), func(other *F) bool { return other == hook })
	}
}

// all yields the functions of this moment.
func (h *hooks[F]) all() iter.Seq[F] {
	h.mu.RLock()
	list := h.list
	h.mu.RUnlock()
	return func(yield func(F) bool) {
		for _, hook := range list {
			if !yield(*hook) {
				return
			}
		}
	}
}
