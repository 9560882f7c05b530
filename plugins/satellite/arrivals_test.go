package satellite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

func TestArrivalsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals(16)
		var all sync.WaitGroup
		var inMemory, inDatabase, mostMemory, mostDatabase, done atomic.Int64
		each := make([]atomic.Int64, 50)
		most := func(now int64, most *atomic.Int64) {
			for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
			}
		}
		for i := range 200 {
			all.Go(func() {
				leave, err := a.enter(t.Context(), fmt.Sprint(i%50))
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				if each[i%50].Add(1) != 1 {
					t.Errorf("satellite %d has two turns at once", i%50)
				}
				defer each[i%50].Add(-1)
				most(inMemory.Add(1), &mostMemory)
				defer inMemory.Add(-1)
				time.Sleep(time.Second)
				err = a.record(t.Context(), func() error {
					most(inDatabase.Add(1), &mostDatabase)
					defer inDatabase.Add(-1)
					time.Sleep(time.Second)
					done.Add(1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if mostMemory.Load() != maxInMemory || mostDatabase.Load() != 4 || done.Load() != 200 || len(a.turns) != 0 {
			t.Errorf("%d in memory and %d in the database at once, %d done, %d left; want %d, 4, 200 and 0",
				mostMemory.Load(), mostDatabase.Load(), done.Load(), len(a.turns), maxInMemory)
		}
	})
}

func TestASatelliteThatPressesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals(16)
		leave, err := a.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for range maxTurns - 1 {
			waiting.Go(func() {
				if _, err := a.enter(ctx, "a"); err != context.Canceled {
					t.Errorf("whoever gives up waiting is told %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := a.enter(t.Context(), "a"); err == nil || asStatus(err) != 429 {
			t.Errorf("one more is told %v", err)
		}
		other, err := a.enter(t.Context(), "b")
		if err != nil {
			t.Errorf("another satellite is told %v", err)
		}
		other()
		cancel()
		waiting.Wait()
		leave()
		if len(a.turns) != 0 || len(a.memory) != 0 {
			t.Errorf("%d turns and %d places in memory are left", len(a.turns), len(a.memory))
		}
	})
}

func asStatus(err error) int {
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		return e.Status
	}
	return 0
}
