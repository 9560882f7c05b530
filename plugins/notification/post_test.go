package notification

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
)

func TestNoticesAreNumberedInTheOrderGiven(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	var notices []Notice
	var want []string
	for i := range 50 { // whose events have another order
		want = append(want, fmt.Sprint((i*37+11)%50))
		notices = append(notices, about("shop", Critical, want[i]))
	}
	s.say(notices[:20]...)
	s.say(notices[10:]...) // of which some were told already
	equal(t, "titles", texts(t, db, `select title from notification.notices order by id`), want)
}

func TestAnEventIsToldOnceAndOnlyIfItHappened(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	first, again, other := about("shop", Critical, "1"), about("shop", Recovered, "1"), about("shop", Info, "1")
	other.Spec = newsSpec.Type
	s.say(first, again, other)
	s.say(again)
	undone := errors.New("undone")
	err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
		return errors.Join(s.Post(t.Context(), tx, []Notice{about("shop", Info, "2")}), s.Post(t.Context(), tx, nil), undone)
	})
	if !errors.Is(err, undone) {
		t.Error(err)
	}
	equal(t, "notices", texts(t, db, `select event || ' ' || severity from notification.notices order by id`),
		"[sky.system/1 critical sky.news/1 info]")
}

// Two transactions that write the same events, in orders that cross, wait for each other and do not deadlock.
func TestThoseWhoPostTheSameEventsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	const rounds, posters, events = 10, 6, 200
	for round := range rounds {
		var all sync.WaitGroup
		begin := make(chan struct{})
		for p := range posters {
			var notices []Notice
			for i := range events {
				notices = append(notices, about("shop", Critical, fmt.Sprintf("%d-%03d", round, i)))
			}
			if p%2 == 1 {
				slices.Reverse(notices)
			}
			all.Go(func() {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer tx.Rollback()
				<-begin
				if err := errors.Join(s.Post(t.Context(), tx, notices), tx.Commit()); err != nil {
					t.Error(err)
				}
			})
		}
		close(begin)
		all.Wait()
	}
	equal(t, "notices", value[int](t, db, `select count(*) from notification.notices`), rounds*events)
}

func TestWhatIsTooLongOrNotForADatabaseIsCutAndKeepsNothingFromHappening(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	long := about(strings.Repeat("r", 200), Critical, strings.Repeat("é", 600))
	long.Key, long.Message = "long", strings.Repeat("é", 5000)
	for i := range 1000 { // as little as possible of it is the same
		long.Thread += string(rune(0x10000 + i*37))
	}
	odd := about("shop", Critical, "a\x00b\xffc")
	odd.Key, odd.Message, odd.Thread = "odd", "\xff", "\x00"
	s.say(long, odd)
	equal(t, "kept", texts(t, db, `select concat_ws(' ', char_length(title), char_length(message), char_length(thread)) from notification.notices order by id`),
		"[500 4000 200 5 1 1]")
	equal(t, "odd", texts(t, db, `select title || message || thread from notification.notices where event like '%odd'`), "[a\uFFFDb\uFFFDc\uFFFD\uFFFD]")
}
