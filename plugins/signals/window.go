package signals

import (
	"sort"
	"sync"
)

// window is the end of the log in memory, from where all clients of this server are served. There is one for all of them:
// a client has a position in it and no queue of its own, so a slow one costs no more memory than a fast one.
type window struct {
	mu      sync.RWMutex
	base    int64 // all events after this position, up to the newest, are here
	newest  int64
	events  []event // never changed where a reader may look: new ones are appended, and old ones left behind in a copy
	changed chan struct{}
}

// windowSize is how many events a window has at least, once there were as many, and half of what it has at most.
const windowSize = 1000

// newWindow returns an empty window.
func newWindow() *window { return &window{changed: make(chan struct{})} }

// begin makes the window an empty one after a position.
func (w *window) begin(position int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.base, w.newest, w.events = position, position, nil
	w.tell()
}

// tell wakes all who wait for a change.
func (w *window) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// end returns the position of the newest event.
func (w *window) end() int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.newest
}

// add adds the events that follow.
func (w *window) add(events []event) {
	if len(events) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, events...)
	w.newest = events[len(events)-1].position
	if over := len(w.events) - windowSize; over > windowSize {
		w.base = w.events[over-1].position
		w.events = append([]event(nil), w.events[over:]...)
	}
	w.tell()
}

// has reports whether the window has all events after a position, and the position is not one of the future.
func (w *window) has(position int64) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.base <= position && position <= w.newest
}

// after returns the first events after a position, at most most of them, and a channel that is closed when there are more
// than the window has now. ok is false if the window begins later.
func (w *window) after(position int64, most int) (events []event, changed <-chan struct{}, ok bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if position < w.base {
		return nil, nil, false
	}
	first := sort.Search(len(w.events), func(i int) bool { return w.events[i].position > position })
	last := min(first+most, len(w.events))
	return w.events[first:last:last], w.changed, true
}
