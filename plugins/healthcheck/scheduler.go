// The scheduler finds the checks that are due and has them run. Its memory is the table of assignments, so any number of
// servers can share the work and none of them matters:
//
//	due_at      now          claim: due_at = when the run must be given up, next_run_at = the next slot
//	            │            run ends and is stored: due_at = next_run_at
//	            │            run cut short by a stop: due_at = now, another server takes it
//	            └─ nothing:  the server died; due_at comes, the slot is claimed again
//
// The rhythm is that of the slots, not of the runs: a run that takes long does not shift those after it, and slots that
// passed while nothing could run are left out. Where in its interval a check has its slots is decided by a hash of its key,
// so that a thousand checks of one minute are spread over the minute. What is claimed goes to the lanes, which run it.
//
// Between claims the scheduler sleeps until the next row is due. Every change is announced and wakes it, whichever
// server makes the change; but it sleeps for a second at most, so that a lost announcement does no harm. When no place
// becomes free for long, because every run hangs, the scheduler still goes round but does nothing: it says so in the
// log and to the probe.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

var (
	//go:embed sql/claim.sql
	claimSQL string
	//go:embed sql/next_due.sql
	nextDueSQL string
)

const (
	maxIdle      = time.Second           // between two looks at the table where no change is announced
	minIdle      = 50 * time.Millisecond // so that a busy server claims many rows at a time
	claimTimeout = 10 * time.Second      // for one look at the table
	maxSilence   = 30 * time.Second      // without a look at the table or a free place, then the probe fails
	leaseSlack   = 5 * time.Second       // that a claim lasts beyond the time of its run: to wait in the queue, and to be stored
)

// scheduler claims due checks and runs them.
type scheduler struct {
	db       *sql.DB
	log      *slog.Logger
	types    *registry
	recorder *recorder
	idle     time.Duration // the longest time between two looks at the table
	outage   outage
	woken    chan struct{} // holds an element when there is a reason to look at the table now

	lanes lanes

	looked atomic.Int64 // when the table was last looked at, in ns since 1970
	jam    jam
}

// claimed is a check that this server has to run, and the lease it holds on it.
type claimed struct {
	check
	lease string
	slow  bool      // the last run took all of its time
	due   time.Time // when it was due
}

// wake has the scheduler look at the table now.
func (s *scheduler) wake() { signal(s.woken) }

// loop runs due checks until ctx ends; then those that are running are cut short and waited for.
func (s *scheduler) loop(ctx context.Context) {
	s.lanes.run = func(c claimed) { s.run(ctx, c) }
	s.lanes.putOff = func(c claimed) {
		s.recorder.add(finished{key: key{c.systemID, c.configurationID}, lease: c.lease, postponed: ctx.Err() == nil})
	}
	s.lanes.room = s.wake
	defer s.lanes.drain()
	for ctx.Err() == nil {
		wait, err := s.look(ctx)
		full := errors.Is(err, errFull)
		if !full {
			s.jam.ended(s.log)
		}
		switch {
		case full:
			s.jam.lasts(s.log, s.lanes.places)
		case err == nil:
			s.looked.Store(time.Now().UnixNano())
			s.outage.ended(s.log, "checks can be claimed again")
		case ctx.Err() == nil:
			s.outage.began(s.log, "checks cannot be claimed", err)
		}
		pause(ctx, minIdle, nil)
		pause(ctx, wait-minIdle, s.woken)
	}
}

// errFull says that no run can begin.
var errFull = errors.New("all places are taken")

// look claims what is due, has it run, and says how long there is nothing more to do. The error may be errFull.
func (s *scheduler) look(ctx context.Context) (wait time.Duration, err error) {
	s.lanes.sweep()
	fast, slow := s.lanes.free()
	if s.lanes.stuck() {
		err = errFull // the first run that ends wakes the loop
	}
	if fast == 0 && slow == 0 {
		return s.idle, err
	}
	ctxClaim, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	due, wait, failed := s.claim(ctxClaim, fast, slow, nil)
	if failed != nil {
		return s.idle, failed
	}
	s.lanes.add(s.targets(due))
	return wait, err
}

// targets finds out what claimed checks connect to.
func (s *scheduler) targets(due []claimed) []queued {
	now := time.Now()
	all := make([]queued, len(due))
	for i, c := range due {
		all[i] = queued{claimed: c, target: s.types.target(c.check), since: now}
	}
	return all
}

// run runs one claimed check and hands over what it found.
func (s *scheduler) run(ctx context.Context, c claimed) {
	f := finished{key: key{c.systemID, c.configurationID}, lease: c.lease}
	if made, err := s.types.run(ctx, c.check); err == nil {
		f.run, f.fault = made.run, made.fault
		if f.run != nil {
			f.slow = new(made.report.TimedOut)
		}
	}
	s.recorder.add(f)
}

// claim takes checks that are due at a time, nil for the database's now: up to fast of those whose last run came to an end in
// time, and up to slow of the others. It says how long it is until the next one is due. Who holds the claim must give it back
// through the recorder. An error leaves at worst claims that nobody holds; they run out.
func (s *scheduler) claim(ctx context.Context, fast, slow int, at *time.Time) (due []claimed, wait time.Duration, err error) {
	types, lease := pq.Array(s.types.names()), plugins.NewID()
	err = plugins.Tx(ctx, s.db, func(tx *sql.Tx) error {
		wait = 0
		due, err = plugins.Rows(ctx, tx, func(row plugins.Row) (claimed, error) {
			c := claimed{lease: lease}
			var timeout int64
			err := row.Scan(&c.systemID, &c.configurationID, &c.kind, &c.version, (*[]byte)(&c.config), (*[]byte)(&c.assertions), &timeout,
				(*[]byte)(&c.vars), &c.slow, &c.due)
			c.timeout = time.Duration(timeout) * time.Millisecond
			return c, err
		}, claimSQL, fast, slow, lease, types, at, fmt.Sprintf("%d milliseconds", leaseSlack.Milliseconds()))
		if err != nil {
			return fmt.Errorf("claim due checks: %w", err)
		}
		claimedSlow := 0
		for _, c := range due {
			if c.slow {
				claimedSlow++
			}
		}
		if fast > 0 && len(due)-claimedSlow == fast {
			return nil // there may be more
		}
		var seconds *float64
		if err := tx.QueryRowContext(ctx, nextDueSQL, types, claimedSlow < slow).Scan(&seconds); err != nil {
			return fmt.Errorf("find the next due check: %w", err)
		}
		wait = s.idle
		if seconds != nil {
			wait = time.Duration(min(max(*seconds, 0), s.idle.Seconds()) * float64(time.Second))
		}
		return nil
	})
	return due, wait, err
}

// probe is whether the scheduler does its work.
func (s *scheduler) probe() plugins.Probe {
	s.looked.Store(time.Now().UnixNano())
	return plugins.Probe{
		Name:     "healthcheck.scheduler",
		Optional: true, // a server that cannot check can still show what is known
		Check: func(context.Context) (plugins.Result, error) {
			if full := s.jam.age(); full > maxSilence {
				return plugins.Result{Message: jamMessage(full, s.lanes.places)}, nil
			}
			if silent := time.Since(time.Unix(0, s.looked.Load())); silent > maxSilence {
				return plugins.Result{Message: fmt.Sprintf("no due check could be claimed for %d s", int(silent.Seconds()))}, nil
			}
			return plugins.Result{OK: true}, nil
		},
	}
}

// jam is a time without a free place. One goroutine reports it, any may ask its age.
type jam struct {
	since  atomic.Pointer[time.Time] // nil while there is a free place
	warned bool
}

// lasts is called again and again while no place is free; once that has been so for long it logs a warning.
func (j *jam) lasts(log *slog.Logger, places int) {
	j.since.CompareAndSwap(nil, new(time.Now()))
	if age := j.age(); age > maxSilence && !j.warned {
		j.warned = true
		log.Warn("no check can be started", "error", jamMessage(age, places))
	}
}

// ended is called when there is a free place.
func (j *jam) ended(log *slog.Logger) {
	if j.warned {
		j.warned = false
		log.Info("checks can be started again", "after", j.age().Round(time.Millisecond).String())
	}
	j.since.Store(nil)
}

// age is how long no place has been free.
func (j *jam) age() time.Duration {
	if since := j.since.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

func jamMessage(age time.Duration, places int) string {
	return fmt.Sprintf("all %d places have been taken for %s", places, age.Truncate(time.Second))
}

// outage logs the first of a row of failures, and their end. It is used by one goroutine.
type outage struct{ since time.Time }

func (o *outage) began(log *slog.Logger, what string, err error) {
	if o.since.IsZero() {
		o.since = time.Now()
		log.Warn(what, "error", err)
	}
}

func (o *outage) ended(log *slog.Logger, what string) {
	if !o.since.IsZero() {
		log.Info(what, "after", time.Since(o.since).Round(time.Millisecond).String())
		o.since = time.Time{}
	}
}

// pause waits for d, for an element of woken, or for the end of ctx, whichever comes first.
func pause(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// signal puts an element into a channel of one place, unless one is there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
