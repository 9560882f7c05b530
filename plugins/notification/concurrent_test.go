package notification

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
)

// Two servers read the same notices before either hands them on; four do all they can.
func TestNothingIsHandedOnTwiceWhenSeveralHandOn(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	world := &sky{}
	world.set("shop", "g1")
	all := make([]*server, 4)
	for i := range all {
		all[i] = still(t, db, world, &post{})
	}
	a, b := all[0].channel("A"), all[0].channel("B")
	all[0].subscribe(a, systemSpec, "shop", Info)
	all[0].subscribe(b, groupSpec, "g1", Warning)
	var met sync.WaitGroup
	met.Add(2)
	var meet sync.Map // the first look of each server
	world.fail = func(ctx context.Context, _ string) error {
		if _, before := meet.LoadOrStore(ctx.Value(serverKey{}), true); !before {
			met.Done()
			met.Wait()
		}
		return nil
	}
	all[0].say(about("shop", Critical, "first"))
	var servers sync.WaitGroup
	for i, s := range all[:2] {
		servers.Go(func() {
			if n, err := s.handOn(context.WithValue(t.Context(), serverKey{}, i)); n != 1 || err != nil {
				t.Errorf("handed on %d, %v", n, err)
			}
		})
	}
	servers.Wait()
	equal(t, "two that have read the same", handed(t, db), "[first→A first→B]")

	world.fail = nil
	want := []string{"first→A", "first→B"}
	var notices []Notice
	for i := range 700 {
		n := about("shop", []Severity{Recovered, Critical}[i%2], fmt.Sprint(i))
		notices, want = append(notices, n), append(want, n.Title+"→A", n.Title+"→B")
	}
	all[0].say(notices...)
	for _, s := range all {
		servers.Go(s.hand)
	}
	servers.Wait()
	equal(t, "four at once", handed(t, db), want)
}

type serverKey struct{}

// Whoever has read what waits takes turns with the others, and leaves out what they have handed on meanwhile.
func TestServersTakeTurnsAtHandingOn(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := newStory(t, db)
	s.tell("A sky.system shop info\n critical shop disk\n hand\n disable A\n B sky.system shop info\n recovered shop disk\n warning shop cpu")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), handOnTurnSQL); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.handOn(context.Background())
		done <- err
	}()
	waitForLock(t, db)
	if _, err := tx.ExecContext(t.Context(), `update notification.notices set handed_at = now() where handed_at is null`); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `update notification.channels set enabled = true`)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	equal(t, "handed on", handed(t, db), "[1→A]")
}

// Whoever hands on waits for who holds a channel, and sees what has become of it: it is deleted, disabled, or as it was.
func TestHandingOnWaitsForWhoChangesAChannel(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	for _, test := range []struct{ name, change, want string }{
		{"deleted", `delete from notification.channels where id = $1`, "[1→B]"},
		{"renamed and disabled", `update notification.channels set name_key = 'c', enabled = false where id = $1`, "[1→B]"},
		{"renamed", `update notification.channels set name_key = 'c', name = 'C' where id = $1`, "[1→B 1→C]"},
	} {
		s := newStory(t, db)
		s.tell("A sky.system shop info\n B sky.system shop info\n critical shop disk")
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), test.change, s.channels["A"]); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.handOn(context.Background())
			done <- err
		}()
		waitForLock(t, db)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		equal(t, test.name, handed(t, db), test.want)
	}
}

// waitForLock waits until somebody waits for a lock.
func waitForLock(t testing.TB, db *sql.DB) {
	t.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; {
		if value[bool](t, db, `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`) {
			return
		}
	}
	t.Fatal("nobody waits for a lock")
}

// Whoever subscribes to a resource at the moment it is deleted waits, and finds that it is gone.
func TestNoSubscriptionSurvivesItsResource(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	world := &sky{}
	world.set("shop")
	s := still(t, db, world, &post{})
	in := SubscriptionInput{ChannelID: s.channel("A"), Spec: "sky.system", Resource: new("shop"), MinSeverity: Info}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := s.Forget(t.Context(), tx, systemTarget, "shop"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.createSubscription(httptest.NewRequest("POST", "/", nil), in)
		done <- err
	}()
	waitForLock(t, db)
	world.mu.Lock()
	delete(world.groups, "shop")
	world.mu.Unlock()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	is(t, "subscribe", <-done, "400 Invalid input: expected the ID of a resource of the target sky.system that there is (resource)")
	equal(t, "subscriptions", value[int](t, db, `select count(*) from notification.subscriptions`), 0)
}

// A document that subscribes a channel which is being deleted waits, and so the channel is not deleted with what it owns.
func TestNobodySubscribesAChannelThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	id := s.channel("A")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if of, err := s.SubscriptionsOf(t.Context(), tx, id); len(of) != 0 || err != nil {
		t.Fatal(of, err)
	}
	done := make(chan error)
	go func() {
		done <- plugins.Tx(context.Background(), db, func(tx *sql.Tx) error {
			return err2nil(s.Subscribe(context.Background(), tx, SubscriptionInput{ChannelID: id, Spec: "sky.system"}, new("doc")))
		})
	}()
	waitForLock(t, db)
	gone, err := s.DeleteChannel(t.Context(), tx, id)
	if err := errors.Join(err, tx.Commit()); err != nil {
		t.Fatal(err)
	}
	equal(t, "gone", gone, "{1 0 0}")
	is(t, "subscribe", <-done, "400 Invalid input: expected a channel that there is (channelId)")
}

// Everything that holds channels, subscriptions or deliveries at once: nothing fails, and what is left fits together.
func TestAllThatIsDoneAtOnceGoesWell(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	world, p := &sky{}, &post{}
	world.set("shop", "g1")
	world.set("blog", "g1")
	s := still(t, db, world, p)
	s.delay = func(int) time.Duration { return time.Millisecond }
	var failed sync.Map
	p.answers(func(_ context.Context, _ string, m Message) error {
		if _, before := failed.LoadOrStore(m.ID, true); !before && strings.HasSuffix(m.Title, "3") {
			return errAway
		}
		return nil
	})
	names := []string{"A", "B", "C", "D", "E"}
	s.subscribe(s.channel("F"), systemSpec, "", Info) // which nobody touches
	var all sync.WaitGroup
	const rounds = 25
	run := func(f func(i int, tx *sql.Tx) error) {
		all.Go(func() {
			for i := range rounds {
				err := plugins.Tx(context.Background(), db, func(tx *sql.Tx) error { return f(i, tx) })
				if e, ok := errors.AsType[*plugins.Error](err); err != nil && (!ok || e.Status != 404 && e.Status != 409 && e.Field != "channelId") {
					t.Error(err)
				}
			}
		})
	}
	ctx := context.Background()
	named := func(tx *sql.Tx, name string) (string, error) {
		found, err := s.ChannelsNamed(ctx, tx, []string{name})
		return cmp.Or(found[plugins.Fold(name)].ID, plugins.NewID()), err
	}
	run(func(i int, tx *sql.Tx) error {
		return err2nil(s.CreateChannel(ctx, tx, input(names[i%5], `{"to":"A"}`), nil))
	})
	run(func(i int, tx *sql.Tx) error {
		id, err := named(tx, names[(3*i)%5])
		if err != nil {
			return err
		}
		return err2nil(s.UpdateChannel(ctx, tx, id, input(names[(2*i+1)%5], `{"to":"B"}`), nil))
	})
	run(func(i int, tx *sql.Tx) error {
		id, err := named(tx, names[(7*i)%5])
		if err != nil || i%3 != 0 {
			return err
		}
		if _, err := s.SubscriptionsOf(ctx, tx, id); err != nil {
			return err
		}
		return err2nil(s.DeleteChannel(ctx, tx, id))
	})
	for _, spec := range []Spec{systemSpec, groupSpec} {
		run(func(i int, tx *sql.Tx) error {
			id, err := named(tx, names[i%5])
			if err != nil {
				return err
			}
			return err2nil(s.Subscribe(ctx, tx, SubscriptionInput{ChannelID: id, Spec: spec.Type, Resource: new([]string{"shop", "g1"}[i%2])}, nil))
		})
	}
	run(func(i int, tx *sql.Tx) error {
		if i%4 != 0 {
			return nil
		}
		return errors.Join(s.Forget(ctx, tx, systemTarget, "shop"), s.Forget(ctx, tx, groupTarget, "g1"))
	})
	for k := range 2 {
		run(func(i int, tx *sql.Tx) error {
			return s.Post(ctx, tx, []Notice{about("shop", Critical, fmt.Sprint(k, i)), about("blog", Recovered, fmt.Sprint("r", k, i))})
		})
		run(func(int, *sql.Tx) error {
			s.work()
			s.giveUp(ctx)
			return nil
		})
	}
	all.Wait()
	const pending = `select count(*) from notification.deliveries where state = 'pending'`
	for start := time.Now(); time.Since(start) < time.Minute; {
		if s.work(); value[int](t, db, pending) == 0 {
			break
		}
	}
	for _, query := range []string{
		pending,
		`select count(*) from notification.notices where handed_at is null`,
		`select count(*) from notification.channels where leased_until > now() or failures > 0`,
		`select count(*) from notification.subscriptions where channel_id not in (select id from notification.channels)`,
	} {
		equal(t, query, value[int](t, db, query), 0)
	}
	came := map[string]int{}
	for _, line := range p.all() {
		if strings.HasPrefix(line, "F: ") {
			came[strings.TrimPrefix(line, "F: ")]++
		}
	}
	for title, n := range came {
		if want := 1 + strings.Count(title[len(title)-1:], "3"); n != want {
			t.Errorf("%s has come to F %d times, want %d", title, n, want)
		}
	}
	equal(t, "notices that came to F", len(came), 2*rounds)
	if log := s.log.String(); slices.ContainsFunc([]string{"level=ERROR", "nobody is notified", "left for a minute", "not given up"}, func(bad string) bool { return strings.Contains(log, bad) }) {
		t.Errorf("the log has\n%s", log)
	}
}
