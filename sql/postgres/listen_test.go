package postgres_test

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// heard is what a listener was called with.
type heard chan string

func listen(db *postgres.Database, channel string) (heard, func()) {
	h := make(heard, 10_000)
	return h, db.Listen(channel, func(payload string) { h <- payload })
}

// expect waits for payloads, and finds those that are not wanted in between.
func (h heard) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := h.next(t); got != w {
			t.Fatalf("heard %q, want %q", got, w)
		}
	}
}

func (h heard) next(t *testing.T) string {
	t.Helper()
	select {
	case got := <-h:
		return got
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is heard")
		return ""
	}
}

// announce announces payloads on a channel in one transaction.
func announce(t *testing.T, db *sql.DB, channel string, payloads ...string) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, p := range payloads {
		if _, err := tx.Exec("SELECT pg_notify($1, $2)", channel, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// listeners is how many of those there are.
func listeners(t *testing.T, db *sql.DB, name string) string {
	return show(t, db, "SELECT count(*) "+those, name)
}

// held is something to wait for, and what ends the wait, also when called again.
func held() (wait chan struct{}, let func()) {
	wait = make(chan struct{})
	return wait, sync.OnceFunc(func() { close(wait) })
}

// Connections under a name that listen, whatever they do at the moment: those of the pool have only asked for the version.
const those = "FROM pg_stat_activity WHERE application_name = $1 AND query NOT LIKE '%server_version_num%'"

// cut ends those connections. They are chosen before the function is called.
const cut = "WITH them AS MATERIALIZED (SELECT pid " + those + ") SELECT count(pg_terminate_backend(pid)) FROM them"

// hangUp ends the connection of whoever listens under a name.
func hangUp(t *testing.T, db *sql.DB, name string) {
	t.Helper()
	if got := show(t, db, cut, name); got != "1" {
		t.Fatal("connections that listened:", got)
	}
}

func openNamed(t *testing.T, url, name string) *postgres.Database {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: with(url, "application_name="+name)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDatabase(t, db) })
	return db
}

func TestCommittedNotificationsAreHeardInTheOrderOfTheirCommits(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	here, there := openNamed(t, url, "here"), openNamed(t, url, "there")
	h, _ := listen(here, "weather")
	other, _ := listen(there, "weather")
	var want []string
	for i := range 200 {
		first, second := fmt.Sprint(i, "a"), fmt.Sprint(i, "b")
		announce(t, admin, "weather", first, second)
		want = append(want, first, second)
	}
	// An earlier statement in a transaction that is committed later comes later, one that is rolled back does not come.
	late, err := admin.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Exec("SELECT pg_notify('weather', 'late')"); err != nil {
		t.Fatal(err)
	}
	never, err := admin.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := never.Exec("SELECT pg_notify('weather', 'never')"); err != nil {
		t.Fatal(err)
	}
	announce(t, admin, "weather", "early")
	announce(t, admin, "climate", "elsewhere")
	if err := errors.Join(never.Rollback(), late.Commit()); err != nil {
		t.Fatal(err)
	}
	announce(t, admin, "weather", "end")
	want = append(want, "early", "late", "end")
	h.expect(t, want...)
	other.expect(t, want...)
}

func TestListenersOfOneChannelDoNotDependOnEachOther(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	db := openNamed(t, url, "listeners")
	stuck := make(chan string)
	release, let := held()
	defer let()
	stopStuck := db.Listen("c", func(payload string) {
		stuck <- payload
		<-release
	})
	first, stopFirst := listen(db, "c")
	second, _ := listen(db, "c")
	announce(t, admin, "c", "1", "2")
	first.expect(t, "1", "2")
	second.expect(t, "1", "2")
	if got := <-stuck; got != "1" {
		t.Error(got)
	}
	stopFirst()
	stopFirst() // does nothing
	announce(t, admin, "c", "3")
	second.expect(t, "3")
	if len(first) != 0 {
		t.Error("heard after stop:", <-first)
	}

	stopped := make(chan struct{})
	go func() {
		stopStuck()
		close(stopped)
	}()
	announce(t, admin, "c", "4")
	second.expect(t, "4")
	select {
	case <-stopped:
		t.Fatal("stop does not wait for a call that is under way")
	default:
	}
	let()
	<-stopped
	announce(t, admin, "c", "5")
	second.expect(t, "5")
	select {
	case got := <-stuck:
		t.Error("called after stop:", got)
	default:
	}
}

func TestChannelsMayHaveAnyName(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	db := openNamed(t, url, "names")
	names := []string{"a", "A", " a", "a b", `"`, `""`, `'`, `\`, "$$", "$1", "%I %s", "a;b", "--", "/*", "select", "*", "<&>", "Ä", "☂\u2028\u00a0",
		"\t\r\n", "\x01\x7f", strings.Repeat("x", 63), strings.Repeat("x", 62), strings.Repeat("ü", 31)}
	var all []heard
	for _, name := range names {
		h, _ := listen(db, name)
		all = append(all, h)
	}
	for _, name := range names {
		announce(t, admin, name, "to "+name)
	}
	for _, name := range names {
		announce(t, admin, name, "end")
	}
	for i, name := range names {
		all[i].expect(t, "to "+name, "end")
	}
	for _, name := range []string{"", strings.Repeat("x", 64), strings.Repeat("ü", 32), "a\x00b", "\xff"} {
		func() {
			defer func() {
				if err, _ := recover().(error); err == nil || !strings.Contains(err.Error(), "1 to 63 bytes, is valid UTF-8 and has no NUL") {
					t.Errorf("%q: %v", name, err)
				}
			}()
			db.Listen(name, func(string) {})
		}()
	}
}

func TestLostConnectionIsMadeAgainAndSaidSo(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	log := newLog()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: with(url, "application_name=lossy"), Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDatabase(t, db)
	a, _ := listen(db, "a")
	b, _ := listen(db, "b")
	for i := range 5 {
		before := fmt.Sprint("before ", i)
		announce(t, admin, "a", before)
		announce(t, admin, "b", before)
		a.expect(t, before)
		b.expect(t, before)
		hangUp(t, admin, "lossy")
		a.expect(t, "")
		b.expect(t, "")
		late, stop := listen(db, fmt.Sprint("late ", i))
		announce(t, admin, fmt.Sprint("late ", i), "x")
		late.expect(t, "x")
		stop()
	}
	announce(t, admin, "b", "end")
	announce(t, admin, "a", "end")
	b.expect(t, "end")
	a.expect(t, "end")
	if text := log.String(); strings.Count(text, "cannot listen to the database") != 5 || strings.Count(text, "listening to the database again") != 5 {
		t.Error(text)
	}
}

func TestServerThatIsAwayHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	private := openCluster(t, dir)
	log := newLog()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: private.URL(), Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDatabase(t, db)
	before, _ := listen(db, "c")
	closeDatabase(t, private)
	log.next(t, "cannot listen to the database")
	begun := time.Now()
	after, _ := listen(db, "c")
	other, _ := listen(db, "other")
	if took := time.Since(begun); took > 5*time.Second {
		t.Error("waited", took)
	}
	again := openCluster(t, dir)
	for _, h := range []heard{before, after, other} {
		h.expect(t, "")
	}
	announce(t, again.DB, "c", "back")
	announce(t, again.DB, "other", "back")
	for _, h := range []heard{before, after, other} {
		h.expect(t, "back")
	}
	if n := strings.Count(log.String(), "cannot listen"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}

	closeDatabase(t, again)
	begun = time.Now()
	closeDatabase(t, db) // while it tries to reach the server
	if took := time.Since(begun); took > 5*time.Second {
		t.Error("closing took", took)
	}
}

func TestSlowListenerIsToldOnceThatItMissedSomething(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	db := openNamed(t, url, "slow")
	calls := make(heard, 10_000)
	release, let := held()
	defer let()
	db.Listen("c", func(payload string) {
		calls <- payload
		<-release
	})
	fence, _ := listen(db, "fence")
	announce(t, admin, "c", "first")
	calls.expect(t, "first")
	if got := show(t, admin, "SELECT count(pg_notify('c', repeat('x', 1000) || i)) FROM generate_series(1, 100000) i"); got != "100000" {
		t.Fatal(got)
	}
	announce(t, admin, "fence", "all have arrived")
	fence.expect(t, "all have arrived")
	let()
	calls.expect(t, "")
	announce(t, admin, "c", "last")
	calls.expect(t, "last")

	// Just as many as may wait are not too many.
	slow := make(heard, 10_000)
	hold, letThem := held()
	defer letThem()
	db.Listen("d", func(payload string) {
		slow <- payload
		<-hold
	})
	announce(t, admin, "d", "first")
	slow.expect(t, "first")
	var want []string
	for i := range 1000 {
		want = append(want, strconv.Itoa(i))
	}
	announce(t, admin, "d", want...)
	announce(t, admin, "fence", "again")
	fence.expect(t, "again")
	letThem()
	slow.expect(t, want...)
}

func TestPanicOfAListenerIsLoggedAndTheNextPayloadIsHeard(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	log := newLog()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDatabase(t, db)
	h := make(heard, 10)
	db.Listen("c", func(payload string) {
		if payload == "bad" {
			panic("cannot bear it")
		}
		h <- payload
	})
	announce(t, admin, "c", "good", "bad", "better")
	h.expect(t, "good", "better")
	for _, want := range []string{"level=ERROR", "channel=c", "cannot bear it", "listen_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
}

// TestWhatIsAnnouncedAfterListenHasReturnedIsHeard comes and goes on few channels from many goroutines, while others do the
// same and the connection is lost now and then. What counts as heard is the payload or an empty one after it was announced.
func TestWhatIsAnnouncedAfterListenHasReturnedIsHeard(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	db := openNamed(t, url, "restless")
	var listening sync.WaitGroup
	for worker := range 8 {
		listening.Go(func() {
			for i := range 40 {
				channel := fmt.Sprint("channel ", (worker+i)%3)
				payload := fmt.Sprint(worker, " ", i)
				announced, ok := make(chan struct{}), make(chan struct{})
				var once sync.Once
				stop := db.Listen(channel, func(got string) {
					if got == "" {
						select {
						case <-announced: // else it may be from before
						case <-t.Context().Done():
						}
					}
					if got == payload || got == "" {
						once.Do(func() { close(ok) })
					}
				})
				if _, err := admin.Exec("SELECT pg_notify($1, $2)", channel, payload); err != nil {
					t.Error(err)
					return
				}
				close(announced)
				select {
				case <-ok:
				case <-time.After(30 * time.Second):
					t.Errorf("%q was not heard on %q", payload, channel)
				}
				stop()
			}
		})
	}
	cutting, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(cutting)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				show(t, admin, cut, "restless")
			}
		}
	}()
	listening.Wait()
	close(stop)
	<-cutting
}
