package notification

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestConfigurationsAreSealedAnewWithANewKey(t *testing.T) {
	t.Parallel()
	a, p := sends(t, "A", "B")
	stored := func() []string { return texts(t, a.db, `select config from notification.channels order by name`) }
	before := stored()
	execute(t, a.db, `update notification.channels set config = 'v1.00000000.AAAA' where name = 'B'`)
	boot := func(current, previous string, lost int) {
		t.Helper()
		a.host.Secrets = keys(t, current, previous)
		if n, err := a.reseal(t.Context()); n != lost || err != nil {
			t.Errorf("%d configurations are lost, %v; want %d", n, err, lost)
		}
	}
	boot("a", "", 1)
	equal(t, "with the same key", stored()[0], before[0])
	boot("b", "a", 1)
	now := stored()
	if now[0] == before[0] || now[1] != "v1.00000000.AAAA" {
		t.Errorf("with a new key they are %v, and were %v", now, before)
	}
	boot("b", "", 1)
	equal(t, "once more", stored(), now)
	a.number(1)
	a.work()
	equal(t, "came", p.all(), "[A: 1]")
	boot("c", "", 2)
	equal(t, "with another key", stored(), now)
}

// What was changed while it was sealed anew stays changed.
func TestSealingAnewOverwritesNothing(t *testing.T) {
	t.Parallel()
	a, _ := sends(t, "A")
	id := value[string](t, a.db, `select id from notification.channels`)
	execute(t, a.db, channelResealSQL, id, "another", "old")
	if got := value[string](t, a.db, `select config from notification.channels`); !strings.HasPrefix(got, "v1.") {
		t.Errorf("the configuration is %s", got)
	}
}

// A server that boots says what it cannot send, and gives up what is too old before it sends anything.
func TestAServerThatBootsSaysWhatItCannotSend(t *testing.T) {
	t.Parallel()
	db, url := database(t)
	world, p := &sky{}, &post{}
	world.set("shop")
	first := still(t, db, world, p)
	for _, name := range []string{"A", "B"} {
		first.subscribe(first.channel(name), systemSpec, "", Info)
	}
	first.number(2)
	first.hand()
	execute(t, db, `update notification.deliveries set created_at = now() - interval '2 days' where notice_id = (select min(id) from notification.notices)`)
	execute(t, db, `update notification.channels set config = 'v1.00000000.AAAA' where name = 'B'`)
	came := make(chan string, 10)
	p.answers(func(_ context.Context, _ string, m Message) error {
		came <- m.Title
		return nil
	})
	booted := live(t, url, world, p)
	select {
	case title := <-came:
		equal(t, "came", title, "2")
	case <-time.After(time.Minute):
		t.Fatal("nothing has come")
	}
	booted.stop()
	log := booted.log.String()
	for _, want := range []string{"the configurations of channels cannot be opened", "channels=1", "messages could not be sent for a day, and are given up", "messages=2"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}

func TestTroubleIsLoggedOnceUntilItIsOver(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	world, p := &sky{}, &post{}
	world.set("shop")
	s := live(t, url, world, p)
	s.subscribe(s.channel("A"), systemSpec, "", Info)
	asked, came := make(chan struct{}, 100), make(chan struct{}, 100)
	world.mu.Lock()
	world.fail = func(context.Context, string) error {
		asked <- struct{}{}
		return errors.New("broken")
	}
	world.mu.Unlock()
	p.answers(func(context.Context, string, Message) error {
		came <- struct{}{}
		return nil
	})
	for i := range 3 {
		s.say(about("shop", Critical, fmt.Sprint(i)))
		<-asked
	}
	world.mu.Lock()
	world.fail = nil
	world.mu.Unlock()
	s.wake()
	for range 3 {
		<-came
	}
	s.stop()
	equal(t, "log", strings.Count(s.log.String(), "nobody is notified of anything for now"), 1)
}
