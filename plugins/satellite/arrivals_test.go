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
		var inMemory, decoding, inDatabase, mostMemory, mostDecoding, mostDatabase, done atomic.Int64
		received, turns := make([]atomic.Int64, 50), make([]atomic.Int64, 50)
		most := func(now int64, most *atomic.Int64) {
			for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
			}
		}
		for i := range 200 {
			all.Go(func() {
				id, size := fmt.Sprint(i%50), int64(8<<20-i)
				from, err := a.enter(id)
				if err != nil {
					t.Error(err)
					return
				}
				defer a.leave(id)
				free, err := a.receive(t.Context(), from, size)
				if err != nil {
					t.Error(err)
					return
				}
				if received[i%50].Add(1) > maxReceived {
					t.Errorf("satellite %d has three bodies in memory", i%50)
				}
				most(inMemory.Add(size), &mostMemory)
				time.Sleep(time.Second)
				leave, err := a.decode(t.Context(), from)
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				if turns[i%50].Add(1) != 1 {
					t.Errorf("satellite %d has two turns at once", i%50)
				}
				defer turns[i%50].Add(-1)
				most(decoding.Add(1), &mostDecoding)
				defer decoding.Add(-1)
				time.Sleep(time.Second)
				inMemory.Add(-size)
				received[i%50].Add(-1)
				free()
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
		if mostMemory.Load() > 64<<20 || mostMemory.Load() < 56<<20 || mostDecoding.Load() != maxDecoded || mostDatabase.Load() != 4 || done.Load() != 200 {
			t.Errorf("%d bytes in memory, %d decoded and %d in the database at once, %d done; want up to 64 MiB, %d, 4 and 200",
				mostMemory.Load(), mostDecoding.Load(), mostDatabase.Load(), done.Load(), maxDecoded)
		}
		if len(a.from) != 0 || len(a.units) != 0 || len(a.decoding) != 0 {
			t.Errorf("%d satellites, %d units and %d places are left", len(a.from), len(a.units), len(a.decoding))
		}
	})
}

func TestASatelliteThatPressesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals(16)
		stalled, err := a.enter("a")
		if err != nil {
			t.Fatal(err)
		}
		free, err := a.receive(t.Context(), stalled, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		second, err := a.enter("a") // passes the first, whose body does not come
		if err != nil {
			t.Fatal(err)
		}
		freeSecond, err := a.receive(t.Context(), second, 100)
		if err != nil {
			t.Fatal(err)
		}
		done, err := a.decode(t.Context(), second)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for range maxArriving - 2 {
			waiting.Go(func() {
				from, err := a.enter("a")
				if err != nil {
					t.Error(err)
					return
				}
				defer a.leave("a")
				if _, err := a.receive(ctx, from, 100); err != context.Canceled {
					t.Errorf("whoever gives up waiting is told %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := a.enter("a"); err == nil || asStatus(err) != 429 {
			t.Errorf("one more is told %v", err)
		}
		other, err := a.enter("b")
		if err != nil {
			t.Fatalf("another satellite is told %v", err)
		}
		freeOther, err := a.receive(t.Context(), other, 48<<20)
		if err != nil {
			t.Fatalf("another satellite is told %v", err)
		}
		third, err := a.enter("c") // there is room for half of what it brings
		if err != nil {
			t.Fatal(err)
		}
		waiting.Go(func() {
			if _, err := a.receive(ctx, third, 16<<20); err != context.Canceled {
				t.Errorf("whoever gives up waiting for room is told %v", err)
			}
		})
		synctest.Wait()
		cancel()
		waiting.Wait()
		if len(a.units) != 128+1+768 {
			t.Errorf("%d units are taken", len(a.units))
		}
		for _, f := range []func(){freeOther, done, freeSecond, free} {
			f()
		}
		for _, id := range []string{"a", "a", "b", "c"} {
			a.leave(id)
		}
		if len(a.from)+len(a.units)+len(a.asking)+len(a.decoding) != 0 {
			t.Errorf("%d satellites, %d units and %d places are left", len(a.from), len(a.units), len(a.decoding))
		}
	})
}

func asStatus(err error) int {
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		return e.Status
	}
	return 0
}
