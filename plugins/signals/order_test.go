package signals_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"checkstack/plugins/internal/servertest"
)

// TestALateCommitIsNotMissed is the case that a number from a sequence gets wrong: see the package comment.
func TestALateCommitIsNotMissed(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	a, err := s.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Rollback()
	if err := publisher().Publish(t.Context(), a, public("a.n", "6")); err != nil {
		t.Fatal(err)
	}
	events, last := listen(t, s, "", "", "", 1, func() { publish(t, s.DB, public("a.n", "7")) })
	is(t, events, `a.n "7"`)
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	events, _ = listen(t, s, "", "", last, 1, nil)
	is(t, events, `a.n "6"`)
}

// TestEveryClientHearsEveryCommittedEventOnceAndInOneOrder publishes from many transactions at once, which are committed in
// another order than they publish in, or rolled back. Meanwhile clients hear a few events at a time and then come back to
// any server; one of the servers is killed and another one comes instead. The oracle is what the publishers know to be
// committed, and the log.
func TestEveryClientHearsEveryCommittedEventOnceAndInOneOrder(t *testing.T) {
	const publishers, transactions, listeners = 8, 60, 6
	stays := servertest.Start(t, servertest.Config{})
	dies := servertest.Start(t, servertest.Config{Database: stays.Database})
	var servers atomic.Pointer[[]*servertest.Server]
	servers.Store(&[]*servertest.Server{stays, dies})
	_, start := listen(t, stays, "", "", "", 0, nil)

	var (
		mu        sync.Mutex
		committed []string              // what is to be heard, in any order
		causes    = map[string]string{} // what is to be heard before an event
		half      = make(chan struct{})
		done      atomic.Int64
		work      sync.WaitGroup
	)
	for p := range publishers {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(p), 1))
			before := ""
			for n := range transactions {
				tx, err := stays.DB.BeginTx(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				names := make([]string, 1+random.IntN(4))
				for i := range names {
					names[i] = fmt.Sprintf("p%d.n%d.e%d", p, n, i)
					if err := publisher().Publish(t.Context(), tx, public(names[i], nil)); err != nil {
						t.Error(err)
					}
				}
				if _, err := tx.Exec("select pg_sleep($1)", random.Float64()*0.03); err != nil {
					t.Error(err)
				}
				if random.IntN(5) == 0 {
					err = tx.Rollback()
				} else if err = tx.Commit(); err == nil {
					mu.Lock()
					for _, name := range names {
						causes[name] = before
						before = name
					}
					committed = append(committed, names...)
					mu.Unlock()
				}
				if err != nil {
					t.Error(err)
				}
				if done.Add(1) == publishers*transactions/2 {
					close(half)
				}
			}
		})
	}
	work.Go(func() {
		<-half
		dies.Kill(t)
		replaced := servertest.Start(t, servertest.Config{Database: stays.Database})
		servers.Store(&[]*servertest.Server{stays, replaced})
	})

	heard := make([][]string, listeners)
	var ears sync.WaitGroup
	for l := range listeners {
		ears.Go(func() {
			random := rand.New(rand.NewPCG(uint64(l), 2))
			for last := start; ; {
				some := *servers.Load()
				got, next, over := earful(t.Context(), some[random.IntN(len(some))], last, random.IntN(40))
				heard[l], last = append(heard[l], got...), next
				if over {
					return
				}
			}
		})
	}
	work.Wait()
	publish(t, stays.DB, public("the.end", nil))
	ears.Wait()

	var log []string
	rows, err := stays.DB.QueryContext(t.Context(), "select name from signals.events order by position")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		log = append(log, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(slices.Values(log)); !slices.Equal(got, slices.Sorted(slices.Values(append(committed, "the.end")))) {
		t.Fatalf("the log has %d events, and %d were committed", len(log), len(committed)+1)
	}
	for l := range heard {
		if !slices.Equal(heard[l], log) {
			t.Errorf("listener %d has heard %d events, and not the %d of the log in their order", l, len(heard[l]), len(log))
		}
	}
	if strings.Contains(stays.Log(), "cannot be told") {
		t.Error(stays.Log())
	}
	place := map[string]int{"": -1}
	for i, name := range log {
		place[name] = i
	}
	for name, cause := range causes {
		if place[cause] >= place[name] {
			t.Errorf("%s comes after %s", cause, name)
		}
	}
	if len(log) < 700 {
		t.Errorf("only %d events", len(log))
	}
}

// earful hears up to n events after an ID, from a server that may be away. over says that the last one has been heard.
func earful(ctx context.Context, s *servertest.Server, after string, n int) (names []string, last string, over bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := open(ctx, s, "", "", after)
	if err != nil {
		return nil, after, false
	}
	defer st.res.Body.Close()
	for range n {
		e, err := st.next()
		if err != nil {
			break
		}
		names = append(names, e.name)
		if e.name == "the.end" {
			return names, st.last, true
		}
	}
	return names, st.last, false
}
