package satellite

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"checkstack/plugins"
)

// The board answers the polls of this server. Every poll waits there for sheets: what its satellite has to check, as it
// was read at one moment. However many polls wait, one goroutine reads for all of them, and only for the satellites
// that something was announced for, or that a poll has come for.
//
//	poll joins  ─────────────► its satellite is stale ─┐
//	a change is announced ───► all are stale ──────────┼─► one transaction reads the stale ones ──► a sheet for each of their polls
//	every 15 s, for nothing ─► all are stale ──────────┘
//
// A poll gets no sheet that was read before it joined: what is stale is taken together with the polls that wait for it,
// before the transaction begins. So it cannot be told of an older state than its satellite knows already.

const (
	maxPolls     = 2000                  // at once on this server
	maxPollsEach = 100                   // of one satellite
	gather       = 50 * time.Millisecond // from an announcement to the reading, for changes that come one after the other
	reread       = 15 * time.Second      // in case an announcement was lost
	readTimeout  = 20 * time.Second      // for one reading
	readAgain    = time.Second           // after one that failed
)

// sheet is what a satellite had to check at one moment.
type sheet struct {
	token hash   // that was valid then; the zero value where there was no such satellite
	etag  string // in quotes
	body  []byte // shared by all polls of the satellite
}

// poll is a request that waits for sheets.
type poll struct {
	satellite string
	sheets    chan sheet // the newest one that it has not seen
	failed    chan error // why there is no first sheet
	served    bool       // had a sheet; the reader's
}

// place is where the polls of one satellite wait.
type place struct {
	polls map[*poll]bool
	stale bool
}

// board brings readings to polls.
type board struct {
	log       *slog.Logger
	read      func(ctx context.Context, satellites []string, found func(satellite string, s sheet)) error
	joined    chan struct{} // holds an element when a poll has come
	announced chan struct{} // holds an element when something may have changed
	ended     chan struct{} // closed when there are no more readings
	stopping  chan struct{} // closed when the server begins to stop

	mu     sync.Mutex
	told   bool              // the server tells when it stops
	places map[string]*place // by the ID of the satellite; none is empty
	polls  int
}

func newBoard(log *slog.Logger, read func(context.Context, []string, func(string, sheet)) error) *board {
	return &board{
		log: log, read: read, joined: make(chan struct{}, 1), announced: make(chan struct{}, 1),
		ended: make(chan struct{}), stopping: make(chan struct{}), places: make(map[string]*place),
	}
}

// join has a poll of a satellite wait. It must leave.
func (b *board) join(satellite string) (*poll, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.places[satellite]
	switch {
	case b.polls == maxPolls:
		return nil, &plugins.Error{Status: http.StatusServiceUnavailable, Title: "Busy",
			Message: fmt.Sprintf("%d requests wait for assignments on this server already; try again", maxPolls)}
	case at != nil && len(at.polls) == maxPollsEach:
		return nil, &plugins.Error{Status: http.StatusTooManyRequests,
			Message: fmt.Sprintf("%d requests wait for the assignments of this satellite already", maxPollsEach)}
	case at == nil:
		at = &place{polls: make(map[*poll]bool)}
		b.places[satellite] = at
	}
	p := &poll{satellite: satellite, sheets: make(chan sheet, 1), failed: make(chan error, 1)}
	at.polls[p], at.stale = true, true
	b.polls++
	signal(b.joined)
	return p, nil
}

// leave ends the wait of a poll.
func (b *board) leave(p *poll) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.places[p.satellite]
	delete(at.polls, p)
	if len(at.polls) == 0 {
		delete(b.places, p.satellite)
	}
	b.polls--
}

// stale says that what a satellite has to check, or its token, may not be what it was; of all satellites for an empty
// ID.
func (b *board) stale(satellite string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.places[satellite]; at != nil {
		at.stale = true
	} else if satellite == "" {
		for _, at := range b.places {
			at.stale = true
		}
	}
	signal(b.announced)
}

// endWith sees to it that polls end when the server begins to stop. It would wait for them otherwise.
func (b *board) endWith(server *http.Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.told {
		b.told = true
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(b.stopping) })) // Shutdown may be called again
	}
}

// loop reads what is stale until ctx ends.
func (b *board) loop(ctx context.Context) {
	defer close(b.ended)
	again := time.NewTicker(reread)
	defer again.Stop()
	failing := false
	for {
		select {
		case <-b.joined:
		case <-b.announced:
			pause(ctx, gather)
		case <-again.C:
			b.stale("")
			continue
		case <-ctx.Done():
			return
		}
		err := b.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			b.log.Warn("assignments cannot be read", "error", err)
		case err == nil && failing:
			b.log.Info("assignments can be read again")
		}
		if failing = err != nil; failing {
			pause(ctx, readAgain)
		}
	}
}

// round makes one reading.
func (b *board) round(ctx context.Context) error {
	waiting := b.take()
	if len(waiting) == 0 {
		return nil
	}
	ids := make([]string, 0, len(waiting))
	for id := range waiting {
		ids = append(ids, id)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err := b.read(ctx, ids, func(id string, s sheet) {
		for _, p := range waiting[id] {
			p.post(s)
		}
		delete(waiting, id)
	})
	if err == nil { // those that are left do not exist
		for _, polls := range waiting {
			for _, p := range polls {
				p.post(sheet{})
			}
		}
		return nil
	}
	for id, polls := range waiting {
		for _, p := range polls {
			if !p.served {
				p.fail(err)
			}
		}
		b.stale(id)
	}
	return err
}

// take returns the polls that wait for what is stale, by satellite.
func (b *board) take() map[string][]*poll {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := make(map[string][]*poll)
	for id, at := range b.places {
		if !at.stale {
			continue
		}
		at.stale = false
		for p := range at.polls {
			waiting[id] = append(waiting[id], p)
		}
	}
	return waiting
}

// post gives a poll a sheet in place of the one it has not seen yet. Only one goroutine posts.
func (p *poll) post(s sheet) {
	p.served = true
	select {
	case <-p.sheets:
	default:
	}
	p.sheets <- s
}

// fail tells a poll that it need not wait for its first sheet.
func (p *poll) fail(err error) {
	select {
	case p.failed <- err:
	default: // it was told
	}
}

// signal puts an element into a channel of one place, unless one is there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits for d or for the end of ctx, whichever comes first.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
