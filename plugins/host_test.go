package plugins_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

// lend makes a host with a lifetime, whose failures fail the test.
func lend(t *testing.T) (*plugins.Host, *plugins.Lease) {
	h := &plugins.Host{ID: "echo", Log: slog.New(slog.DiscardHandler)}
	return h, plugins.Lend(t.Context(), h, func(err error) { t.Errorf("failed was called: %v", err) })
}

func TestStopEndsBackgroundWorkAndWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lease := lend(t)
		var finished atomic.Int64
		for i := range 3 {
			h.Go(func(ctx context.Context) {
				<-ctx.Done()
				time.Sleep(time.Duration(i) * time.Hour) // virtual: the time it takes to tidy up
				finished.Add(1)
			})
		}
		start := time.Now()
		if err := lease.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if finished.Load() != 3 || time.Since(start) != 2*time.Hour {
			t.Errorf("Stop returned after %v, with %d of 3 finished", time.Since(start), finished.Load())
		}
	})
}

func TestStopGivesUpAtItsDeadlineAndCountsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lease := lend(t)
		release := make(chan struct{})
		for range 2 {
			h.Go(func(context.Context) { <-release }) // does not respect its context
		}
		h.Go(func(ctx context.Context) { <-ctx.Done() })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := lease.Stop(ctx)
		if err == nil || err.Error() != "2 background tasks still running: context deadline exceeded" ||
			!errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(release)
		if err := lease.Stop(t.Context()); err != nil {
			t.Errorf("a second Stop, when all has finished: %v", err)
		}
	})
}

func TestStopWithoutWorkSucceedsHoweverLateItIs(t *testing.T) {
	for range 200 { // the end of the time and of the work are seen in either order
		h, lease := lend(t)
		h.Go(func(context.Context) {})
		if err := lease.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := lease.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBackgroundWorkKeepsTheValuesOfItsContextButNotItsEnd(t *testing.T) {
	type key struct{}
	boot, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	h := &plugins.Host{ID: "echo", Log: slog.New(slog.DiscardHandler)}
	lease := plugins.Lend(boot, h, func(err error) { t.Errorf("failed was called: %v", err) })
	cancel() // the boot is over
	seen := make(chan error, 1)
	h.Go(func(ctx context.Context) {
		if v := ctx.Value(key{}); v != "value" {
			t.Errorf("the value is %v", v)
		}
		seen <- ctx.Err()
	})
	if err := <-seen; err != nil {
		t.Errorf("the context of the work ended with that of the boot: %v", err)
	}
	if err := lease.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWorkAfterStopIsNotStarted(t *testing.T) {
	h, lease := lend(t)
	h.Go(func(ctx context.Context) {
		<-ctx.Done()
		h.Go(func(context.Context) { t.Error("work was started by work that is being stopped") })
	})
	if err := lease.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Go(func(context.Context) { t.Error("work was started after Stop") })
	if err := lease.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoWorkRunsOnceStopHasReturned(t *testing.T) {
	for range 50 {
		h, lease := lend(t)
		var running atomic.Int64
		var starters sync.WaitGroup
		for range 8 {
			starters.Go(func() {
				for range 20 {
					h.Go(func(context.Context) {
						running.Add(1)
						runtime.Gosched()
						running.Add(-1)
					})
				}
			})
		}
		if err := lease.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := running.Load(); n != 0 {
			t.Fatalf("%d tasks run after Stop", n)
		}
		starters.Wait()
		if n := running.Load(); n != 0 {
			t.Fatalf("%d tasks were started after Stop", n)
		}
	}
}

func TestAPanicInBackgroundWorkIsLoggedAndReported(t *testing.T) {
	var log bytes.Buffer
	failures := make(chan error, 1)
	h := &plugins.Host{ID: "echo", Log: slog.New(slog.NewTextHandler(&log, nil)).With("plugin", "echo")}
	lease := plugins.Lend(t.Context(), h, func(err error) { failures <- err })
	h.Go(func(context.Context) { panicInBackground() })
	if err := <-failures; err.Error() != "plugin echo: background work panicked: lost my mind" {
		t.Errorf("reported: %v", err)
	}
	if err := lease.Stop(t.Context()); err != nil {
		t.Errorf("the work counts as running: %v", err)
	}
	for _, want := range []string{
		"level=ERROR", `msg="background work panicked"`, "plugin=echo", `panic="lost my mind"`, "panicInBackground",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
}

func panicInBackground() { panic("lost my mind") }

func TestWorkThatEndsItsGoroutineHasFinished(t *testing.T) {
	h, lease := lend(t)
	h.Go(func(context.Context) { runtime.Goexit() })
	if err := lease.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUndoCallsTheLastOneFirstWhateverTheOthersReturn(t *testing.T) {
	h, lease := lend(t)
	var calls []int
	type key struct{}
	for i := range 5 {
		h.OnClose(func(ctx context.Context) error {
			calls = append(calls, i)
			switch {
			case ctx.Value(key{}) != "close":
				return errors.New("another context")
			case i == 1:
				return errors.New("first trouble")
			case i == 3:
				panicInBackground()
			}
			return nil
		})
	}
	err := lease.Undo(context.WithValue(t.Context(), key{}, "close"))
	if got := fmt.Sprint(calls); got != "[4 3 2 1 0]" {
		t.Errorf("the order was %s", got)
	}
	if err == nil || err.Error() != "panic: lost my mind\nfirst trouble" {
		t.Errorf("the error is %v", err)
	}
	p, ok := errors.AsType[*plugins.PanicError](err)
	if !ok || p.Value != "lost my mind" || !strings.Contains(string(p.Stack), "panicInBackground") {
		t.Errorf("the panic is %+v", p)
	}
	if err := lease.Undo(t.Context()); err != nil || len(calls) != 5 {
		t.Errorf("a second Undo called %v and returned %v", calls[5:], err)
	}
}

func TestProtectReturnsWhatTheFunctionReturns(t *testing.T) {
	trouble := errors.New("trouble")
	if err := plugins.Protect(func() error { return trouble }); err != trouble {
		t.Errorf("got %v", err)
	}
	if err := plugins.Protect(func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
	if err := plugins.Protect(func() error { panic(nil) }); err == nil {
		t.Error("a panic with nil was not noticed")
	}
}
