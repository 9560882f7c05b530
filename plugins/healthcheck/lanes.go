// Lanes keep slow targets from delaying fast ones. A run begins in one of as many places as there are, 64 by default; but
// most of the time of a run that takes long is spent waiting, which costs next to nothing. So after 100 ms a run hands its
// place on and waits in a room beside it, which is much larger. What does not answer is known after one run:
//
//	        claimed ──► queue ──► place ── 100 ms ──► waiting room ──► ends
//	                                └── ends
//	        claimed, and the last run took all of its time ──► slow lane ──► ends
//
// The hard case is the first minute of an outage, when a thousand targets that answered until now do not. None of them is known
// to be slow, so they all come through the places. They hold one for 100 ms each and not for their whole time, and 64 places are
// enough to begin 640 such runs a second.
//
// No target gets more than its share: of the places, and of the slow lane. A run that has to wait for its target's share too
// long is put off and does not count.

package healthcheck

import (
	"sync"
	"time"
)

const (
	handOver     = 100 * time.Millisecond // after which a run hands its place on
	roomFor      = 16                     // times as many runs may wait as there are places
	slowShare    = 8                      // times as many slow runs may be under way as there are places, and against one target as of others
	queueFor     = 4                      // times as many runs may be queued as there are places
	maxQueued    = 2 * time.Second        // that a run waits in the queue
	postponedFor = 5 * time.Second        // until a run that is put off is due again
)

// lanes decide which claimed checks run.
type lanes struct {
	places  int // runs that begin at once
	perHost int // of them against one target, and slowShare times as many slow runs
	run     func(claimed)
	putOff  func(claimed)
	room    func()        // is called when there is room for more
	began   func(claimed) // may be nil; is told of each run

	mu      sync.Mutex
	active  int // runs in a place
	waiting int // runs that have handed theirs on
	slow    int // runs in the slow lane
	queue   []queued
	begun   int64 // runs, since the start
	looked  int64 // begun when stuck was called last
	targets map[string]*load
	work    sync.WaitGroup
}

// queued is a claimed check that is to be run.
type queued struct {
	claimed
	target string
	since  time.Time
}

// load is what is under way against one target: runs in a place, slow runs, and slow ones that are queued.
type load struct{ active, slow, queued int }

func (l *load) idle() bool { return *l == load{} }

// free says how many checks may be claimed: of those that answer in time, and of those that do not.
func (l *lanes) free() (fast, slow int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fast, slow = queueFor*l.places, slowShare*l.places-l.slow
	for _, q := range l.queue {
		if q.slow {
			slow--
		} else {
			fast--
		}
	}
	return max(fast, 0), max(slow, 0)
}

// add queues checks and runs what can be run. Slow ones whose target has too many queued already are put off.
func (l *lanes) add(all []queued) {
	l.mu.Lock()
	var off []queued
	for _, q := range all {
		if t := l.load(q.target); q.slow {
			if q.target != "" && t.slow+t.queued >= slowShare*l.perHost {
				off = append(off, q)
				continue
			}
			t.queued++
		}
		l.queue = append(l.queue, q)
	}
	off = append(off, l.dispatch()...)
	l.mu.Unlock()
	l.postpone(off)
}

// load returns what is under way against a target. The caller holds mu.
func (l *lanes) load(target string) *load {
	t := l.targets[target]
	if t == nil {
		if l.targets == nil {
			l.targets = make(map[string]*load)
		}
		t = new(load)
		l.targets[target] = t
	}
	return t
}

// dispatch starts what can be started, in the order of the queue, and returns what has waited too long. The caller holds mu.
func (l *lanes) dispatch() (off []queued) {
	now := time.Now()
	rest := l.queue[:0]
	for _, q := range l.queue {
		t := l.load(q.target)
		limited := func(n, most int) bool { return q.target != "" && n >= most }
		switch {
		case q.slow && l.slow < slowShare*l.places && !limited(t.slow, slowShare*l.perHost):
			l.slow++
			t.slow++
		case !q.slow && l.active < l.places && !limited(t.active, l.perHost):
			l.active++
			t.active++
		case now.Sub(q.since) > maxQueued:
			if q.slow {
				t.queued--
			}
			off = append(off, q)
			continue
		default:
			rest = append(rest, q)
			continue
		}
		if q.slow {
			t.queued--
		}
		l.start(q)
	}
	clear(l.queue[len(rest):])
	l.queue = rest
	return off
}

// postpone puts checks off.
func (l *lanes) postpone(off []queued) {
	for _, q := range off {
		l.putOff(q.claimed)
	}
}

// start begins a run that has a place. The caller holds mu.
func (l *lanes) start(q queued) {
	l.begun++
	if l.began != nil {
		l.began(q.claimed)
	}
	l.work.Go(func() {
		if q.slow {
			l.run(q.claimed)
			l.ended(func() { l.slow--; l.load(q.target).slow-- }, q.target)
			return
		}
		var moved, done bool // under mu
		hand := time.AfterFunc(handOver, func() {
			l.mu.Lock()
			if done || l.waiting >= roomFor*l.places {
				l.mu.Unlock()
				return
			}
			moved = true
			l.active--
			l.load(q.target).active--
			l.waiting++
			off := l.dispatch()
			l.mu.Unlock()
			l.postpone(off)
		})
		l.run(q.claimed)
		hand.Stop()
		l.ended(func() {
			done = true
			if moved {
				l.waiting--
				return
			}
			l.active--
			l.load(q.target).active--
		}, q.target)
	})
}

// ended gives back what a run had, and starts what can be started now.
func (l *lanes) ended(give func(), target string) {
	l.mu.Lock()
	wasFull := len(l.queue) >= queueFor*l.places/2
	give()
	off := l.dispatch()
	if t := l.targets[target]; t != nil && t.idle() {
		delete(l.targets, target)
	}
	more := wasFull && len(l.queue) < queueFor*l.places/2
	l.mu.Unlock()
	l.postpone(off)
	if more {
		l.room()
	}
}

// sweep puts off what has waited too long. It is called now and then, for when no run ends.
func (l *lanes) sweep() {
	l.mu.Lock()
	off := l.dispatch()
	l.mu.Unlock()
	l.postpone(off)
}

// drain gives back what is queued and waits for what runs.
func (l *lanes) drain() {
	l.mu.Lock()
	off := l.queue
	l.queue = nil
	l.targets = nil
	l.mu.Unlock()
	l.postpone(off)
	l.work.Wait()
}

// stuck reports whether no place is free and no run has begun since it was called last: the room beside the places is full
// too then. What is queued says nothing: all of it is put off now and then.
func (l *lanes) stuck() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	stuck := l.active >= l.places && l.begun == l.looked
	l.looked = l.begun
	return stuck
}
