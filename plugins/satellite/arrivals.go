package satellite

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"checkstack/plugins"
)

// Runs arrive in bursts: when a network is back, every satellite sends what it has at once. So they go through three
// doors, and nobody's burst costs more memory, or more of the pool of connections, than is set aside for all of them:
//
//	received   as they are sent, 2 at once of each satellite, 64 MiB of all
//	decoded    one at a time of each satellite, 8 of all; once decoded the body is let go
//	recorded   of those 8, as many as a quarter of the pool
//
// A satellite whose line is slow is only at the first door, where its next request can pass it.

const (
	maxArriving = 16   // requests of one satellite, with those that wait
	maxReceived = 2    // of them, bodies in memory
	maxUnits    = 1024 // of unit bytes, for the bodies of all satellites
	unit        = 64 << 10
	maxDecoded  = 8 // batches that are decoded or recorded at once
)

// arrivals orders the requests that bring runs.
type arrivals struct {
	asking   chan struct{} // holds an element while somebody takes units, so that two do not wait for each other's
	units    chan struct{} // one element for each unit of a body in memory
	decoding chan struct{} // one element for each batch that is decoded or recorded
	database chan struct{} // one element for each transaction

	mu   sync.Mutex
	from map[string]*sender
}

// sender is a satellite of which there are requests.
type sender struct {
	receiving chan struct{} // one element for each body in memory
	turn      chan struct{} // holds an element while a batch is decoded or recorded
	requests  int           // with those that wait
}

// newArrivals sets aside a quarter of a pool of connections.
func newArrivals(pool int) *arrivals {
	return &arrivals{
		asking:   make(chan struct{}, 1),
		units:    make(chan struct{}, maxUnits),
		decoding: make(chan struct{}, maxDecoded),
		database: make(chan struct{}, max(1, pool/4)),
		from:     make(map[string]*sender),
	}
}

// enter counts a request of a satellite, which must leave.
func (a *arrivals) enter(satellite string) (*sender, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.from[satellite]
	if s == nil {
		s = &sender{receiving: make(chan struct{}, maxReceived), turn: make(chan struct{}, 1)}
		a.from[satellite] = s
	}
	if s.requests == maxArriving {
		return nil, &plugins.Error{Status: http.StatusTooManyRequests,
			Message: fmt.Sprintf("%d requests bring runs of this satellite already", maxArriving)}
	}
	s.requests++
	return s, nil
}

func (a *arrivals) leave(satellite string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.from[satellite]
	if s.requests--; s.requests == 0 {
		delete(a.from, satellite)
	}
}

// receive waits for room for a body of at most size bytes. done gives it back.
func (a *arrivals) receive(ctx context.Context, s *sender, size int64) (done func(), err error) {
	if err := acquire(ctx, s.receiving); err != nil {
		return nil, err
	}
	taken, needed := 0, int((size+unit-1)/unit)
	done = func() {
		for range taken {
			<-a.units
		}
		<-s.receiving
	}
	if err = acquire(ctx, a.asking); err == nil {
		for ; taken < needed; taken++ {
			if err = acquire(ctx, a.units); err != nil {
				break
			}
		}
		<-a.asking
	}
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// decode waits for a satellite's turn and for a place to decode and record a batch. done gives both back.
func (a *arrivals) decode(ctx context.Context, s *sender) (done func(), err error) {
	if err := acquire(ctx, s.turn); err != nil {
		return nil, err
	}
	if err := acquire(ctx, a.decoding); err != nil {
		<-s.turn
		return nil, err
	}
	return func() {
		<-a.decoding
		<-s.turn
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
