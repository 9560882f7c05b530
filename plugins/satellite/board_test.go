package satellite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

// source is what a board reads from. Its satellites have a number that changes.
type source struct {
	mu       sync.Mutex
	numbers  map[string]int
	readings [][]string // the satellites of each reading
	err      error
	during   func() // called in each reading, between what it sees and what it tells
}

func (s *source) set(satellite string, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers[satellite] = number
}

func (s *source) read(_ context.Context, satellites []string, found func(string, sheet)) error {
	s.mu.Lock()
	seen := make(map[string]int)
	for _, id := range satellites {
		if n, ok := s.numbers[id]; ok {
			seen[id] = n
		}
	}
	s.readings = append(s.readings, slices.Sorted(slices.Values(satellites)))
	err, during := s.err, s.during
	s.mu.Unlock()
	if during != nil {
		during()
	}
	if err != nil {
		return err
	}
	for id, n := range seen {
		found(id, sheet{token: hash{1}, etag: fmt.Sprint(n)})
	}
	return nil
}

// taken returns the readings since the last call.
func (s *source) taken() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.readings
	s.readings = nil
	return all
}

// onBoard runs f with a board that reads from satellites "a" and "b", and an end to it.
func onBoard(t *testing.T, f func(b *board, s *source)) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{numbers: map[string]int{"a": 1, "b": 1}}
		b := newBoard(slog.New(slog.DiscardHandler), s.read)
		ctx, stop := context.WithCancel(t.Context())
		go b.loop(ctx)
		f(b, s)
		stop()
		<-b.ended
	})
}

func join(t *testing.T, b *board, satellite string) *poll {
	t.Helper()
	p, err := b.join(satellite)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAThousandPollsShareOneReading(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		var polls []*poll
		for i := range 1000 {
			s.set(fmt.Sprint("satellite ", i%20), 1)
			polls = append(polls, join(t, b, fmt.Sprint("satellite ", i%20)))
		}
		time.Sleep(time.Second)
		for _, p := range polls {
			<-p.sheets
		}
		s.taken()
		start := time.Now()
		s.set("satellite 7", 2)
		b.stale("")
		changed := 0
		for _, p := range polls {
			if got := <-p.sheets; got.etag == "2" {
				changed++
			}
		}
		if readings := s.taken(); len(readings) != 1 || len(readings[0]) != 20 || changed != 50 {
			t.Errorf("%d readings, of %v; %d polls saw the change, want 50", len(readings), readings, changed)
		}
		if took := time.Since(start); took > gather {
			t.Errorf("it took %v", took)
		}
	})
}

func TestOnlyWhatIsStaleIsRead(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		first, second := join(t, b, "a"), join(t, b, "b")
		<-first.sheets
		<-second.sheets
		s.taken()
		b.stale("b")
		<-second.sheets
		b.leave(second)
		b.stale("b")
		b.stale("nobody's")
		time.Sleep(reread - time.Second) // it began at the beginning
		if got := fmt.Sprint(s.taken()); got != "[[b]]" {
			t.Errorf("read: %v, want b once", got)
		}
		time.Sleep(time.Second + gather)
		synctest.Wait()
		if got := fmt.Sprint(s.taken()); got != "[[a]]" {
			t.Errorf("read after %v: %v, want what polls wait for", reread, got)
		}
		b.leave(first)
		time.Sleep(2 * reread)
		if got := s.taken(); len(got) != 0 || len(b.places) != 0 || b.polls != 0 {
			t.Errorf("without a poll it reads %v, and has %d places and %d polls", got, len(b.places), b.polls)
		}
	})
}

func TestAPollIsNotToldOfWhatWasBeforeItCame(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		old := join(t, b, "a")
		var late *poll
		s.mu.Lock()
		s.during = func() { // a reading has seen 1, then there is 2, and a poll that may know it
			s.mu.Lock()
			s.during = nil
			s.mu.Unlock()
			s.set("a", 2)
			late = join(t, b, "a")
		}
		s.mu.Unlock()
		if got := <-old.sheets; got.etag != "1" {
			t.Errorf("the first poll is told %q, want 1", got.etag)
		}
		if got := <-late.sheets; got.etag != "2" {
			t.Errorf("the poll that came during the reading is told %q, want 2", got.etag)
		}
	})
}

func TestAPollThatIsSlowGetsTheNewestSheet(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		p := join(t, b, "a")
		for n := range 5 {
			s.set("a", n)
			b.stale("a")
			time.Sleep(time.Second)
		}
		if got := <-p.sheets; got.etag != "4" || len(p.sheets) != 0 {
			t.Errorf("it gets %q, and %d more; want 4", got.etag, len(p.sheets))
		}
	})
}

func TestASatelliteThatDoesNotExistHasNoToken(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		if got := <-join(t, b, "gone").sheets; got.token != (hash{}) || got.etag != "" {
			t.Errorf("the poll gets %+v", got)
		}
	})
}

func TestAReadingThatFailsIsMadeAgain(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		old := join(t, b, "a")
		<-old.sheets
		broken := errors.New("broken")
		s.mu.Lock()
		s.err = broken
		s.mu.Unlock()
		fresh := join(t, b, "a")
		if err := <-fresh.failed; err != broken {
			t.Errorf("a new poll is told %v", err)
		}
		b.leave(fresh)
		time.Sleep(10 * time.Second)
		if n := len(s.taken()); n < 9 || n > 12 || len(old.failed) != 0 {
			t.Errorf("%d readings in 10 s, want about one a second; and the poll that has a sheet is told %d errors", n, len(old.failed))
		}
		s.mu.Lock()
		s.err = nil
		s.numbers["a"] = 2
		s.mu.Unlock()
		if got := <-old.sheets; got.etag != "2" {
			t.Errorf("after that it gets %q", got.etag)
		}
	})
}

func TestPollsAreBounded(t *testing.T) {
	onBoard(t, func(b *board, s *source) {
		refused := func(satellite string, status int) {
			t.Helper()
			_, err := b.join(satellite)
			if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != status {
				t.Errorf("poll %d of %s: %v, want status %d", b.polls+1, satellite, err, status)
			}
		}
		var last *poll
		for i := range maxPolls {
			last = join(t, b, fmt.Sprint(i/maxPollsEach))
			if i == maxPollsEach-1 {
				refused("0", 429)
			}
		}
		refused("0", 503)
		refused("another", 503)
		b.leave(last)
		join(t, b, "another")
		refused("another", 503)
	})
}
