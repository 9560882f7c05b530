package notification

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

func TestTheWaitDoublesWithEachFailureUpToAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{0: 5 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 7: 640 * time.Second,
		8: 15 * time.Minute, 9: 15 * time.Minute, 63: 15 * time.Minute, 1 << 40: 15 * time.Minute} {
		different := map[time.Duration]bool{}
		for range 1000 {
			d := backoff(failures)
			if d > want || d <= want*4/5 {
				t.Fatalf("after %d failures it is %v, want at most a fifth less than %v", failures, d, want)
			}
			different[d] = true
		}
		if len(different) < 900 {
			t.Errorf("after %d failures there are %d different waits of 1000", failures, len(different))
		}
	}
}

func TestWhatIsRefusedIsLeftOutAndTheRestIsSent(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.number(3)
	p.answers(away("A"))
	s.work()
	p.answers(func(_ context.Context, _ string, m Message) error {
		if m.Title == "1" {
			return fmt.Errorf("post: %w", &Refused{"it is not understood"})
		}
		return nil
	})
	s.due()
	s.work()
	equal(t, "came", p.all(), "[A: 1 A: 1 A: 2 A: 3]")
	equal(t, "kept", states(t, s.db), "[1 refused 2 it is not understood 2 delivered 1 3 delivered 1]")
	equal(t, "failing", failing(t, s.db, "A"), "")
}

func TestWhatThisServerCannotOpenRestsNoLongerThanAfterAFirstFailure(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.number(1)
	var asked []int
	s.delay = func(failures int) time.Duration {
		asked = append(asked, failures)
		return time.Hour
	}
	p.answers(away("A"))
	for range 2 {
		s.work()
		s.due()
	}
	before := s.host.Secrets
	s.host.Secrets = keys(t, "b", "")
	s.work()
	s.due()
	equal(t, "waits of failures", asked, "[0 1 0]")
	if got := failing(t, s.db, "A"); !strings.HasPrefix(got, "3 open a secret: ") {
		t.Errorf("failing: %s", got)
	}
	s.host.Secrets = before // as another server, which has the key
	p.answers(nil)
	s.work()
	equal(t, "failing then", failing(t, s.db, "A"), "")
	equal(t, "came", p.all(), "[A: 1 A: 1 A: 1]")
}

func TestWhatCouldNotBeSentForADayIsGivenUp(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	p.answers(away("A"))
	s.number(3)
	s.work()
	execute(t, s.db, `update notification.deliveries set created_at = now() - interval '1 day' + interval '1 minute'`)
	s.giveUp(t.Context())
	equal(t, "before a day is over", states(t, s.db), "[1 pending 1 nobody is in 2 pending 0 3 pending 0]")
	execute(t, s.db, `update notification.deliveries set created_at = now() - interval '1 day 1 minute' where id <= (select min(id) + 1 from notification.deliveries)`)
	s.giveUp(t.Context())
	s.giveUp(t.Context())
	equal(t, "log", strings.Count(s.log.String(), "messages=2"), 1)
	p.answers(nil)
	s.due()
	s.work()
	equal(t, "came", p.all(), "[A: 1 A: 3]")
	equal(t, "kept", states(t, s.db), "[1 expired 1 nobody is in 2 expired 0 3 delivered 1]")
}

func TestWhatIsGivenUpWhileItIsSentHasComeAllTheSame(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	p.answers(func(context.Context, string, Message) error {
		execute(t, s.db, `update notification.deliveries set created_at = now() - interval '2 days'`)
		s.giveUp(t.Context())
		return nil
	})
	s.number(1)
	s.work()
	equal(t, "kept", states(t, s.db), "[1 delivered 1]")
}

func TestAMessageHasSoLong(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.limit = 10 * time.Millisecond
	p.answers(func(ctx context.Context, _ string, _ Message) error {
		<-ctx.Done()
		return fmt.Errorf("post: %w", ctx.Err())
	})
	s.number(1)
	s.work()
	equal(t, "failing", failing(t, s.db, "A"), "1 it took longer than 10ms")
}

func TestWhatAnErrorSaysIsKeptAsFarAsItCanBeShown(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"long", errors.New(strings.Repeat("é", 600)), strings.Repeat("é", 500)},
		{"not for a database", errors.New("a\x00b\xffc"), "a\uFFFDb\uFFFDc"},
		{"of a field", plugins.Invalid("url", "expected another one"), "url: expected another one"},
		{"of none", &plugins.Error{Status: 500, Message: "it is late"}, "it is late"},
		{"refused, and not for a database", &Refused{"a\x00b"}, "a\uFFFDb"},
	} {
		p.answers(func(context.Context, string, Message) error { return test.err })
		s.say(about("shop", Critical, test.name))
		s.work()
		equal(t, test.name, value[string](t, s.db, `select error from notification.deliveries`), test.want)
		execute(t, s.db, `truncate notification.deliveries`)
		s.due()
	}
}

func TestAPanicIsAFailureAndNobodySeesItsText(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	p.answers(func(context.Context, string, Message) error { panic("the password is hunter2") })
	s.number(1)
	s.work()
	equal(t, "failing", failing(t, s.db, "A"), "1 the channel type has a bug")
	equal(t, "kept", states(t, s.db), "[1 pending 1 the channel type has a bug]")
	if log := s.log.String(); strings.Contains(log, "hunter2") || !strings.Contains(log, "TestAPanicIsAFailure") || !strings.Contains(log, "type=post") {
		t.Errorf("the log shows the text, or not where it was:\n%s", log)
	}
	p.answers(nil)
	s.due()
	s.work()
	equal(t, "kept", states(t, s.db), "[1 delivered 2]")
}

func TestAConfigurationThatIsNotUnderstoodAnyMoreIsAFailure(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	s.number(1)
	id := value[string](t, s.db, `select id from notification.channels`)
	sealed, err := s.host.Secrets.Seal(configContext(id), `{}`)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, s.db, `update notification.channels set config = $1`, sealed)
	s.work()
	equal(t, "failing", failing(t, s.db, "A"), "1 to: expected somebody")
	execute(t, s.db, `update notification.channels set config = 'v1.00000000.AAAA'`)
	s.due()
	s.work()
	if got := failing(t, s.db, "A"); !strings.HasPrefix(got, "2 open a secret: it was sealed with a key that this server does not have") {
		t.Errorf("failing: %s", got)
	}
	equal(t, "came", p.all(), "[]")
}

// What is sent and cannot be noted comes again, but not over and over.
func TestWhatCannotBeNotedIsLeftForAMinute(t *testing.T) {
	t.Parallel()
	s, p := sends(t, "A")
	execute(t, s.db, `create function refuse() returns trigger language plpgsql as $$ begin raise 'the disk is full'; end $$`)
	execute(t, s.db, `create trigger refuse before update on notification.deliveries for each row execute function refuse()`)
	s.number(1)
	s.work()
	s.work()
	equal(t, "came", p.all(), "[A: 1]")
	left := value[float64](t, s.db, `select extract(epoch from leased_until - now())::float8 from notification.channels`)
	if log := s.log.String(); left < 50 || !strings.Contains(log, "a channel is left for a minute") || !strings.Contains(log, "the disk is full") {
		t.Errorf("it is left for %v s\n%s", left, log)
	}
	execute(t, s.db, `drop trigger refuse on notification.deliveries`)
	execute(t, s.db, `update notification.channels set leased_until = now()`)
	s.work()
	equal(t, "came", p.all(), "[A: 1 A: 1]")
	equal(t, "kept", states(t, s.db), "[1 delivered 1]")
	equal(t, "the same message", p.ids[0], p.ids[1])
}
