package satellite

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"checkstack/plugins"
)

// Runs arrive in bursts: when a network is back, every satellite sends what it has at once. So they take turns, in
// three steps, and nobody's burst costs more memory, or more of the pool of connections, than is set aside for all of
// them:
//
//	one at a time of each satellite ─► 32 in memory ─► a quarter of the pool in the database
//
// A satellite whose line is slow holds one of the 32 places, and none in the database.

const (
	maxInMemory = 32 // batches that are received, decoded or recorded at once
	maxTurns    = 16 // requests of one satellite, with those that wait
)

// arrivals orders the requests that bring runs.
type arrivals struct {
	memory   chan struct{} // one element for each batch in memory
	database chan struct{} // one element for each transaction

	mu    sync.Mutex
	turns map[string]*turn // by satellite
}

// turn is the place that the requests of one satellite take one after the other.
type turn struct {
	taken chan struct{} // holds an element while a request has it
	users int           // with those that wait
}

// newArrivals sets aside a quarter of a pool of connections.
func newArrivals(pool int) *arrivals {
	return &arrivals{
		memory:   make(chan struct{}, maxInMemory),
		database: make(chan struct{}, max(1, pool/4)),
		turns:    make(map[string]*turn),
	}
}

// enter waits for a satellite's turn and for a place in memory. done gives both back.
func (a *arrivals) enter(ctx context.Context, satellite string) (done func(), err error) {
	a.mu.Lock()
	mine := a.turns[satellite]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		a.turns[satellite] = mine
	}
	if mine.users == maxTurns {
		a.mu.Unlock()
		return nil, &plugins.Error{Status: http.StatusTooManyRequests,
			Message: fmt.Sprintf("%d requests bring runs of this satellite already", maxTurns)}
	}
	mine.users++
	a.mu.Unlock()
	leave := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(a.turns, satellite)
		}
	}
	if err := acquire(ctx, mine.taken); err != nil {
		leave()
		return nil, err
	}
	if err := acquire(ctx, a.memory); err != nil {
		<-mine.taken
		leave()
		return nil, err
	}
	return func() {
		<-a.memory
		<-mine.taken
		leave()
	}, nil
}

// record calls f when there is a connection for it.
func (a *arrivals) record(ctx context.Context, f func() error) error {
	if err := acquire(ctx, a.database); err != nil {
		return err
	}
	defer func() { <-a.database }()
	return f()
}

// acquire puts an element into a channel, unless ctx ends first.
func acquire(ctx context.Context, c chan<- struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
