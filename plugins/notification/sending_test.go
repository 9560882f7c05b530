package notification

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// sends makes a server with channels that are each told of everything.
func sends(t *testing.T, channels ...string) (*server, *post) {
	t.Helper()
	db, _ := database(t)
	world, p := &sky{}, &post{}
	world.set("shop")
	s := still(t, db, world, p)
	for _, name := range channels {
		s.subscribe(s.channel(name), systemSpec, "", Info)
	}
	return s, p
}

// number posts notices with the titles from 1 on.
func (s *server) number(n int) {
	s.t.Helper()
	for i := range n {
		s.say(about("shop", Critical, fmt.Sprint(i+1)))
	}
}

// due has all channels that failed tried again now.
func (s *server) due() {
	s.t.Helper()
	execute(s.t, s.db, `update notification.channels set due_at = now()`)
}

// failing says how a channel is: "failures error", or nothing.
func failing(t testing.TB, db *sql.DB, channel string) string {
	t.Helper()
	return value[string](t, db, `select case when failures = 0 then concat(error, failing_since) else failures || ' ' || error end
		from notification.channels where name = $1`, channel)
}

var errAway = errors.New("nobody is in")

// away answers that nobody is in to some.
func away(channels ...string) func(context.Context, string, Message) error {
	return func(_ context.Context, to string, _ Message) error {
		if strings.Contains(strings.Join(channels, " "), to) {
			return errAway
		}
		return nil
	}
}

func TestAMessageHasAllThatANoticeSays(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	var got []Message
	p.answers(func(_ context.Context, _ string, m Message) error {
		got = append(got, m)
		return nil
	})
	n := about("shop", Warning, "Slow")
	n.Message, n.Data = "It takes 3 s.", map[string]int{"ms": 3000}
	s.say(n, about("gone", Info, "Nothing"))
	s.work()
	if len(got) != 2 {
		t.Fatalf("sent %+v", got)
	}
	for i, want := range []string{
		`{"id":"%s","spec":"sky.system","severity":"warning","title":"Slow","message":"It takes 3 s.",` +
			`"resource":{"type":"sky.system","id":"shop","name":"SHOP"},"data":{"ms": 3000},"createdAt":"%s"}`,
		`{"id":"%s","spec":"sky.system","severity":"info","title":"Nothing","message":"",` +
			`"resource":{"type":"sky.system","id":"gone","name":""},"data":null,"createdAt":"%s"}`,
	} {
		id := value[string](t, s.db, `select d.uuid from notification.deliveries d order by id offset $1 limit 1`, i)
		at := value[time.Time](t, s.db, `select created_at from notification.notices order by id offset $1 limit 1`, i)
		text, err := json.Marshal(got[i])
		if err != nil {
			t.Fatal(err)
		}
		compact := strings.ReplaceAll(fmt.Sprintf(want, id, at.UTC().Format(time.RFC3339Nano)), `": `, `":`)
		equal(t, "message", string(text), compact)
	}
}

func TestTheMessagesOfAChannelAreSentInTheirOrder(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.number(30)
	s.work()
	var came, kept []string
	for i := range 30 {
		came, kept = append(came, fmt.Sprint("A: ", i+1)), append(kept, fmt.Sprint(i+1, " delivered 1"))
	}
	equal(t, "came", p.all(), came)
	equal(t, "kept", states(t, s.db), kept)
	s.work()
	equal(t, "came once more", len(p.all()), 30)
}

func TestAChannelThatFailsHoldsUpItselfAndNoOther(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A", "B")
	var delays []int
	s.delay = func(failures int) time.Duration {
		delays = append(delays, failures)
		return time.Hour
	}
	p.answers(away("A"))
	s.number(2)
	for i := range 3 {
		s.due()
		if wait := s.work(); wait != maxIdle {
			t.Errorf("after try %d it waits %v", i+1, wait)
		}
		s.work() // not before it is due
		equal(t, "failing", failing(t, s.db, "A"), fmt.Sprint(i+1, " nobody is in"))
	}
	equal(t, "B", failing(t, s.db, "B"), "")
	first := value[string](t, s.db, `select d.uuid from notification.deliveries d join notification.channels c on c.id = d.channel_id
		where c.name = 'A' order by d.id limit 1`)
	p.answers(nil)
	s.due()
	s.work()
	came := map[byte]string{}
	for i, line := range p.all() {
		came[line[0]] += line[3:]
		if line == "A: 1" && p.ids[i] != first {
			t.Errorf("a try has the ID %s, want %s", p.ids[i], first)
		}
	}
	equal(t, "came", came, map[byte]string{'A': "11112", 'B': "12"})
	equal(t, "failing", failing(t, s.db, "A"), "")
	equal(t, "tries", texts(t, s.db, `select concat_ws(' ', c.name, state, attempts, d.error) from notification.deliveries d
		join notification.channels c on c.id = d.channel_id order by name, d.id`), "[A delivered 4 A delivered 1 B delivered 1 B delivered 1]")

	p.answers(away("A"))
	s.say(about("shop", Critical, "again"))
	s.work()
	equal(t, "failures before each wait", delays, []int{0, 1, 2, 0})
	for text, want := range map[string]int{"nothing gets through a channel": 2, "a channel works again": 1, "nobody is in": 2} {
		equal(t, "log: "+text, strings.Count(s.log.String(), text), want)
	}
}

func TestTheLoopWaitsUntilAChannelIsDue(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.delay = func(int) time.Duration { return 10 * time.Second }
	p.answers(away("A"))
	if wait := s.work(); wait != maxIdle {
		t.Errorf("with nothing to do it waits %v", wait)
	}
	s.number(1)
	s.work()
	if wait := s.work(); wait < 9*time.Second || wait > 10*time.Second {
		t.Errorf("after a failure it waits %v", wait)
	}
	execute(t, s.db, `update notification.channels set enabled = false`)
	if wait := s.work(); wait != maxIdle {
		t.Errorf("when it is disabled it waits %v", wait)
	}
}

// rename changes a channel, and keeps what it is otherwise.
func (s *server) change(name, config string) {
	s.t.Helper()
	id := value[string](s.t, s.db, `select id from notification.channels where name = $1`, name)
	s.tx(func(tx *sql.Tx) error {
		_, err := s.UpdateChannel(context.Background(), tx, id, ChannelInput{Name: name, Type: "post", Config: json.RawMessage(config)}, nil)
		return err
	})
}

func TestAChangedChannelIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	p.answers(away("A"))
	s.number(1)
	s.work()
	s.work()
	s.change("A", `{"to":"B"}`)
	s.work()
	equal(t, "came", p.all(), "[A: 1 B: 1]")

	// A try with the old configuration fails, or succeeds, while the new one is given.
	p.answers(func(_ context.Context, to string, m Message) error {
		if to == "B" && m.Title == "2" {
			s.change("A", `{"to":"C"}`)
			return errAway
		}
		if to == "C" && m.Title == "2" {
			s.change("A", `{"to":"D"}`)
		}
		return nil
	})
	s.say(about("shop", Critical, "2"), about("shop", Critical, "3"))
	for range 3 { // each change lets go of the channel
		s.work()
	}
	equal(t, "came", p.all()[2:], "[B: 2 C: 2 D: 3]")
	equal(t, "failing", failing(t, s.db, "A"), "")
}

func TestADisabledChannelSendsNothingUntilItIsEnabled(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.number(3)
	s.hand()
	execute(t, s.db, `update notification.channels set enabled = false, due_at = '2026-01-01'`)
	s.work()
	equal(t, "came", p.all(), "[]")
	equal(t, "due", value[string](t, s.db, `select due_at::date from notification.channels`), "2026-01-01T00:00:00Z") // nobody held it
	execute(t, s.db, `update notification.channels set enabled = true`)
	p.answers(func(context.Context, string, Message) error {
		execute(t, s.db, `update notification.channels set enabled = false`)
		return nil
	})
	s.work()
	equal(t, "came", p.all(), "[A: 1]")
	equal(t, "kept", states(t, s.db), "[1 delivered 1 2 pending 0 3 pending 0]")
}

func TestChannelsTakeTurns(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A", "B")
	s.turn, s.places = 0, make(chan struct{}, 1)
	s.number(3)
	s.hand()
	execute(t, s.db, `update notification.channels set due_at = case name when 'A' then now() - interval '1 hour' else now() end`)
	for range 6 {
		s.work()
	}
	equal(t, "came", p.all(), "[A: 1 B: 1 A: 2 B: 2 A: 3 B: 3]")
}

func TestAServerSendsThroughSixteenChannelsAtOnce(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("C", i))
	}
	s, p := sends(t, names...)
	begun, release := make(chan string, 20), make(chan struct{})
	p.answers(func(_ context.Context, to string, _ Message) error {
		begun <- to
		<-release
		return nil
	})
	s.number(1)
	var sending sync.WaitGroup
	for range 2 { // a second look takes no more
		if _, err := s.pass(t.Context(), &sending); err != nil {
			t.Fatal(err)
		}
	}
	for range 16 {
		<-begun
	}
	equal(t, "held", value[int](t, s.db, `select count(*) from notification.channels where leased_until > now()`), 16)
	close(release)
	sending.Wait()
	equal(t, "came", len(p.all()), 16)
	s.work()
	equal(t, "came", len(p.all()), 20)
	equal(t, "pending", value[int](t, s.db, `select count(*) from notification.deliveries where state = 'pending'`), 0)
}
