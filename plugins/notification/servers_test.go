package notification

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
)

// held is a Send that is under way: it waits until the test says how it ends.
type held struct {
	to, title string
	ctx       context.Context
	end       chan error
}

// holds has messages wait for the test, but for those to channels that are named.
func (p *post) holds(others ...string) chan held {
	begun := make(chan held, 100)
	p.answers(func(ctx context.Context, to string, m Message) error {
		if slices.Contains(others, to) {
			return nil
		}
		h := held{to, m.Title, ctx, make(chan error)}
		begun <- h
		return <-h.end
	})
	return begun
}

// begin looks for work without waiting for what is sent; done waits for that.
func (s *server) begin(ctx context.Context) (done func()) {
	s.t.Helper()
	var sending sync.WaitGroup
	if _, err := s.pass(ctx, &sending); err != nil {
		s.t.Error(err)
	}
	return sending.Wait
}

// take waits for the next message that is under way.
func take(t testing.TB, begun chan held) held {
	t.Helper()
	select {
	case h := <-begun:
		return h
	case <-time.After(time.Minute):
		t.Fatal("no message is under way")
		return held{}
	}
}

// two makes two servers that share a database, whose messages come to the same post.
func two(t *testing.T, channels ...string) (a, b *server, p *post) {
	t.Helper()
	a, p = sends(t, channels...)
	return a, still(t, a.db, &sky{groups: map[string][]string{"shop": nil}}, p), p
}

func TestAChannelIsSentThroughByOneServerAtATime(t *testing.T) {
	t.Parallel()
	a, b, p := two(t, "A", "B")
	begun := p.holds("B")
	a.number(2)
	done := a.begin(t.Context())
	first := take(t, begun)
	b.work()
	b.say(about("shop", Critical, "3"))
	b.work()
	first.end <- nil
	take(t, begun).end <- nil
	take(t, begun).end <- nil
	done()
	b.work()
	var ofA []string
	for _, line := range p.all() {
		if line[0] == 'A' {
			ofA = append(ofA, line)
		}
	}
	equal(t, "came", ofA, "[A: 1 A: 2 A: 3]")
	equal(t, "sent", value[int](t, a.db, `select count(*) from notification.deliveries where state = 'delivered' and attempts = 1`), 6)
}

// A server that is lost, or sleeps for longer than a minute, has its channels taken over. What it had sent and not noted comes again,
// with the same ID. If it wakes up it lets go.
func TestAnotherServerTakesOverTheChannelsOfOneThatIsLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ends error // of the Send of the server that was lost
	}{{"it succeeds in the end", nil}, {"it fails in the end", errAway}, {"it is refused in the end", &Refused{"no"}}} {
		t.Run(test.name, func(t *testing.T) {
			a, b, p := two(t, "A")
			begun := p.holds()
			a.number(3)
			done := a.begin(t.Context())
			lost := take(t, begun)
			execute(t, a.db, `update notification.channels set leased_until = now()`)
			doneB := b.begin(t.Context())
			again := take(t, begun)
			equal(t, "came", p.all(), "[A: 1 A: 1]")
			equal(t, "its ID", p.ids[1], p.ids[0])
			again.end <- nil
			second := take(t, begun) // of b
			equal(t, "then", second.title, "2")
			lost.end <- test.ends
			done()
			second.end <- nil
			take(t, begun).end <- nil
			doneB()
			equal(t, "came", p.all(), "[A: 1 A: 1 A: 2 A: 3]")
			equal(t, "kept", states(t, a.db), "[1 delivered 1 2 delivered 1 3 delivered 1]")
			equal(t, "failing", failing(t, a.db, "A"), "")
		})
	}
}

func TestAStopWhileAMessageIsSentIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		ends       error
		came, kept string
	}{
		{"it is cut short", context.Canceled, "[A: 1 A: 1 A: 2]", "[1 delivered 1 2 delivered 1]"},
		{"it fails", errAway, "[A: 1 A: 1 A: 2]", "[1 delivered 1 2 delivered 1]"},
		{"it succeeds all the same", nil, "[A: 1 A: 2]", "[1 delivered 1 2 delivered 1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, p := two(t, "A")
			begun := p.holds()
			a.number(2)
			ctx, stop := context.WithCancel(t.Context())
			done := a.begin(ctx)
			first := take(t, begun)
			stop()
			<-first.ctx.Done()
			first.end <- test.ends
			done()
			equal(t, "failing", failing(t, a.db, "A"), "")
			p.answers(nil)
			b.work() // at once: the channel was let go
			equal(t, "came", p.all(), test.came)
			equal(t, "kept", states(t, a.db), test.kept)
			if log := a.log.String(); log != "" {
				t.Errorf("it logs %s", log)
			}
		})
	}
}

func TestATypeThatIsTakenBackIsWaitedForAndItsMessagesAreNoFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		ends       error
		came, kept string
	}{
		{"it is cut short", context.Canceled, "[A: 1 A: 1 A: 2]", "[1 delivered 1 2 delivered 1]"},
		{"it fails", errAway, "[A: 1 A: 1 A: 2]", "[1 delivered 1 2 delivered 1]"},
		{"it succeeds all the same", nil, "[A: 1 A: 2]", "[1 delivered 1 2 delivered 1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, p := two(t, "A")
			begun := p.holds()
			a.number(2)
			done := a.begin(t.Context())
			first := take(t, begun)
			closed := make(chan error)
			go func() { closed <- a.post.Undo(context.Background()) }()
			<-first.ctx.Done()
			if cause := context.Cause(first.ctx); cause != errTypeGone {
				t.Errorf("its context ends because of %v", cause)
			}
			select {
			case err := <-closed:
				t.Fatalf("it is not waited for: %v", err)
			default:
			}
			first.end <- test.ends
			if err := <-closed; err != nil {
				t.Error(err)
			}
			done()
			equal(t, "failing", failing(t, a.db, "A"), "")
			a.work()
			p.answers(nil)
			b.work() // which has the type, at once
			equal(t, "came", p.all(), test.came)
			equal(t, "kept", states(t, a.db), test.kept)
			if log := a.log.String(); log != "" {
				t.Errorf("it logs %s", log)
			}
		})
	}
}

func TestATypeWhoseMessagesDoNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	a, p := sends(t, "A")
	begun := p.holds()
	a.number(1)
	done := a.begin(t.Context())
	first := take(t, begun)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("the time is up"))
	defer cancel()
	want := "messages of channel type post are still on their way: the time is up"
	if err := a.post.Undo(ctx); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	first.end <- nil
	done()
}

// The types and targets of other plugins come after the loop has begun, and may go before it ends.
func TestWhatWaitsForATypeIsSentOnceItIsThere(t *testing.T) {
	t.Parallel()
	a, p := sends(t, "A")
	a.number(1)
	if err := a.post.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, a.db, `update notification.channels set due_at = '2026-01-01'`)
	a.work()
	equal(t, "without the type", p.all(), "[]")
	equal(t, "due", value[string](t, a.db, `select due_at::date from notification.channels`), "2026-01-01T00:00:00Z") // nobody held it
	select {
	case <-a.woken:
	default:
	}
	host := &plugins.Host{ID: "mail", Log: a.host.Log}
	a.post = plugins.Lend(t.Context(), host, func(err error) { t.Error(err) })
	if err := a.RegisterChannelType(host, p.channelType()); err != nil {
		t.Fatal(err)
	}
	<-a.woken
	a.work()
	equal(t, "with it", p.all(), "[A: 1]")
}

// Servers that work by themselves hear of what others post, and send each message once and in order, whichever of them it is.
func TestServersSendEachMessageOnceAndInOrder(t *testing.T) {
	t.Parallel()
	db, url := database(t)
	world, p := &sky{}, &post{}
	for _, system := range []string{"s0", "s1", "s2", "s3"} {
		world.set(system, "all")
	}
	const servers, channels, each = 3, 5, 30
	var mu sync.Mutex
	under, left := map[string]bool{}, channels*4*each
	failed := map[string]bool{}
	over := make(chan struct{})
	p.answers(func(_ context.Context, to string, m Message) error {
		mu.Lock()
		defer mu.Unlock()
		if under[to] {
			t.Errorf("two send through %s at once", to)
		}
		if to == "C0" && !failed[m.Title] && strings.HasSuffix(m.Title, "7") { // and one of them has troubles
			failed[m.Title] = true
			return errAway
		}
		under[to] = true
		defer delete(under, to)
		if left--; left == 0 {
			close(over)
		}
		return nil
	})
	var all []*server
	for range servers {
		all = append(all, live(t, url, world, p))
	}
	for i := range channels {
		all[0].subscribe(all[0].channel(fmt.Sprint("C", i)), groupSpec, "all", Info)
	}
	var posting sync.WaitGroup
	for i := range 4 {
		posting.Go(func() {
			for j := range each {
				all[j%servers].say(about(fmt.Sprint("s", i), Critical, fmt.Sprint("s", i, " ", j)))
			}
		})
	}
	posting.Wait()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatalf("%d messages have not come", left)
	}
	for _, s := range all {
		s.stop()
	}
	last, count := map[string]int{}, map[string]int{}
	for _, line := range p.all() {
		var to, system string
		var n int
		if _, err := fmt.Sscanf(line, "%s %s %d", &to, &system, &n); err != nil {
			t.Fatal(line, err)
		}
		if n < last[to+system] {
			t.Errorf("%s comes after %d", line, last[to+system])
		}
		last[to+system] = n
		count[line]++
	}
	for line, n := range count {
		want := 1
		if strings.HasPrefix(line, "C0") && strings.HasSuffix(line, "7") {
			want = 2
		}
		if n != want {
			t.Errorf("%s has come %d times, want %d", line, n, want)
		}
	}
	equal(t, "different messages", len(count), channels*4*each)
	equal(t, "kept", value[int](t, db, `select count(*) from notification.deliveries where state = 'delivered'`), channels*4*each)
}
