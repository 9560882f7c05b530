// The history under faults: processes killed, databases stopped, replies lost. What was acknowledged is counted once,
// and what was not, once it is sent again.

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
)

// sender records batches as whoever collects results elsewhere does: each has a number, which moves in the transaction
// that records, so that a batch whose outcome is not known can be sent again.
type sender struct {
	*history
	name         string
	sent         []plugins.Run // acknowledged
	number       int
	again, known int // attempts after a failure; those that found that the batch had been applied
}

func newSender(l *ledger, h *history, name string) *sender {
	l.exec(`create table if not exists public.sender (name text primary key, number bigint not null)`)
	l.exec(`insert into public.sender values ($1, 0)`, name)
	return &sender{history: h, name: name}
}

// send sends one batch until it is acknowledged, or ctx ends.
func (s *sender) send(ctx context.Context, runs []plugins.Run) error {
	s.number++
	for ; ; s.again++ {
		known, err := s.try(ctx, runs)
		if known {
			s.known++
		}
		if err == nil || ctx.Err() != nil {
			if err == nil {
				s.sent = append(s.sent, runs...)
			}
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond): // as a satellite waits, though for longer
		case <-ctx.Done():
		}
	}
}

func (s *sender) try(ctx context.Context, runs []plugins.Run) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = plugins.Tx(ctx, s.db, func(tx *sql.Tx) error {
		var applied int
		if err := tx.QueryRowContext(ctx, `select number from public.sender where name = $1 for update`, s.name).Scan(&applied); err != nil {
			return err
		}
		if known = applied >= s.number; known {
			return nil
		}
		done, err := s.RecordOnce(ctx, tx, runs)
		if err != nil {
			return err
		}
		if len(done.Refused) > 0 {
			return fmt.Errorf("refused: %v", done.Refused)
		}
		_, err = tx.ExecContext(ctx, `update public.sender set number = $2 where name = $1`, s.name, s.number)
		return err
	})
	return known, err
}

// silent is a history of its own on a database, as another server has one.
func silent(db *sql.DB) *history {
	return newHistory(db, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// ofLastDays makes runs of the days before now.
func (l *ledger) ofLastDays(n, days int) []plugins.Run {
	return l.random(n, time.Now().Add(-time.Duration(days)*day), time.Duration(days)*day)
}

// shortOr is the size of a test: the full one with -long.
func shortOr(short, full int) int {
	if *long {
		return full
	}
	return short
}

func TestARollupKilledAtAnyMomentLosesAndDoublesNothing(t *testing.T) {
	l := newLedger(t)
	binary := filepath.Join(t.TempDir(), "checkstack")
	goCommand(t, ".", "build", "-o", binary, ".")
	s := newSender(l, l.history, "late")
	const due = `select count(*) from checkstack.health_check_aggregates
		where bucket_size = 'hourly' and bucket_start < date_trunc('day', now() - interval '30 days', 'UTC')`
	kills, halfway := shortOr(50, 500), 0
	for killed, finished := 0, 0; killed < kills; {
		for chunk := range slices.Chunk(l.ofLastDays(2000, 90), 1000) {
			if err := s.send(t.Context(), chunk); err != nil {
				t.Fatal(err)
			}
		}
		before := l.count(due)
		// Most of a roll-up is over after these, so that every part of it is hit.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond+rand.N(200*time.Millisecond))
		cmd := exec.CommandContext(ctx, binary, "rollup")
		cmd.Env = append(os.Environ(), "DATABASE_URL="+l.url)
		out, err := cmd.CombinedOutput()
		cancel()
		switch {
		case err == nil:
			finished++
		case ctx.Err() != nil:
			killed++
			if left := l.count(due); left > 0 && left < before {
				halfway++
			}
		default:
			t.Fatalf("%v\n%s", err, out)
		}
		if finished > 10*kills {
			t.Fatalf("only %d of %d roll-ups could be killed", killed, killed+finished)
		}
	}
	t.Logf("%d killed, %d of them with a part of the work done", kills, halfway)
	l.all = s.sent
	l.verify()
	for l.roll(time.Now()).Skipped { // the last one that was killed may still hold its turn
	}
	l.verify()
	if n := l.count(due); n != 0 {
		t.Errorf("%d hours are left that were due", n)
	}
}

// forgetful is a proxy to a database that now and then delivers what a client says, but not the answer.
type forgetful struct {
	link
	dropped atomic.Int64
	off     atomic.Bool
}

func (f *forgetful) carry() {
	for {
		client, err := f.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(f.network, f.database)
		if err != nil {
			client.Close()
			continue
		}
		go func() {
			defer server.Close()
			io.Copy(server, client)
		}()
		go func() {
			defer client.Close()
			defer server.Close()
			for packet := make([]byte, 64<<10); ; {
				n, err := server.Read(packet)
				if err != nil {
					return
				}
				if rand.IntN(40) == 0 && !f.off.Load() {
					f.dropped.Add(1)
					return // the client sees the end of the connection instead of the answer
				}
				if _, err := client.Write(packet[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func TestARunWhoseAnswerIsLostOnTheWayIsCountedOnce(t *testing.T) {
	l := newLedger(t)
	inner, dsn := newLink(t, l.url)
	f := &forgetful{link: *inner}
	go f.carry()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	h := silent(db.DB)
	drops := int64(shortOr(80, 400))
	senders := make([]*sender, 4)
	recorded := make([][]plugins.Run, 2) // by the key of each run alone, without a number
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for i := range senders {
		senders[i] = newSender(l, h, fmt.Sprint("late ", i))
		runs := l.ofLastDays(20_000, 60)
		work.Go(func() {
			for chunk := range slices.Chunk(runs, 20) {
				if senders[i].send(ctx, chunk) != nil || f.dropped.Load() >= drops && senders[i].known > 0 {
					return
				}
			}
		})
	}
	for i := range recorded {
		runs := l.ofLastDays(20_000, 6)
		work.Go(func() {
			for chunk := range slices.Chunk(runs, 20) {
				for {
					err := plugins.Tx(ctx, h.db, func(tx *sql.Tx) error {
						_, err := h.Record(ctx, tx, chunk)
						return err
					})
					if ctx.Err() != nil {
						return
					}
					if err == nil {
						break
					}
				}
				recorded[i] = append(recorded[i], chunk...)
				if f.dropped.Load() >= drops {
					return
				}
			}
		})
	}
	rolled := make(chan struct{})
	go func() {
		defer close(rolled)
		for ctx.Err() == nil {
			h.Rollup(ctx, time.Now()) // fails most of the time
		}
	}()
	work.Wait()
	cancel()
	<-rolled
	f.off.Store(true)
	again, known := 0, 0
	for _, s := range senders {
		l.all = append(l.all, s.sent...)
		again, known = again+s.again, known+s.known
	}
	l.all = append(l.all, slices.Concat(recorded...)...)
	t.Logf("%d answers lost, %d batches sent again, %d of them had been applied", f.dropped.Load(), again, known)
	if known == 0 {
		t.Error("no batch was applied whose answer was lost: this proves nothing")
	}
	l.verify()
	l.roll(time.Now())
	l.verify()
}

func TestADatabaseStoppedAtOnceUnderLoadKeepsWhatWasAcknowledged(t *testing.T) {
	data := filepath.Join(reachable(t), "d")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := postgres.Open(t.Context(), postgres.Config{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	if err := postgres.Migrate(t.Context(), db.DB, log, postgres.Set{ID: "checkstack", Files: coreMigrations()}); err != nil {
		t.Fatal(err)
	}
	l := &ledger{history: newHistory(db.DB, log), t: t, url: db.URL(), rand: rand.New(rand.NewPCG(1, 2))}
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var left atomic.Int64
	var batches atomic.Int64
	left.Store(int64(shortOr(2, 10)))
	senders := make([]*sender, 4)
	for i := range senders {
		senders[i] = newSender(l, l.history, fmt.Sprint("late ", i))
	}
	for _, s := range senders {
		runs := l.ofLastDays(200_000, 60)
		work.Go(func() {
			for chunk := range slices.Chunk(runs, 50) {
				if err := s.send(t.Context(), chunk); err != nil {
					t.Error(err)
					return
				}
				batches.Add(1)
				if left.Load() == 0 {
					return
				}
			}
			t.Error("the load ended before the last stop")
		})
	}
	work.Go(func() {
		for left.Load() > 0 {
			l.Rollup(t.Context(), time.Now())
		}
	})
	for left.Load() > 0 {
		pids := serverProcesses(t, data)
		signalAll(t, pids[:1], syscall.SIGQUIT)                     // "immediate": no checkpoint, the backends are told to quit
		for before := batches.Load(); batches.Load() < before+40; { // it is back, and under load
			var one int
			db.QueryRowContext(t.Context(), `select 1`).Scan(&one)
		}
		left.Add(-1)
	}
	work.Wait()
	again, known := 0, 0
	for _, s := range senders {
		l.all = append(l.all, s.sent...)
		again, known = again+s.again, known+s.known
	}
	t.Logf("%d batches, %d sent again, %d of them had been applied", batches.Load(), again, known)
	l.verify()
	l.roll(time.Now())
	l.verify()
}

// reachable is a folder that a database server, which may run as another user, can reach.
func reachable(t *testing.T) string {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestThreeRollupsOfTwoServersAmongWritersOfLateRunsCountEachRunOnce(t *testing.T) {
	lasts := time.Duration(shortOr(3, 30)) * time.Second
	l := newLedger(t)
	other, err := postgres.Open(t.Context(), postgres.Config{URL: l.url})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.WithoutCancel(t.Context()))
	servers := []*history{l.history, silent(other.DB)}
	done := make(chan struct{})
	over := time.AfterFunc(lasts, func() { close(done) })
	defer over.Stop()
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	var work sync.WaitGroup
	senders := make([]*sender, 4)
	for i := range senders {
		senders[i] = newSender(l, servers[i%2], fmt.Sprint("late ", i))
	}
	for i, s := range senders {
		random := ledger{rand: rand.New(rand.NewPCG(uint64(i), 7))}
		work.Go(func() {
			for !ended() {
				if err := s.send(t.Context(), random.ofLastDays(200, 90)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var moved, merged, rollups atomic.Int64
	for i := range 3 {
		work.Go(func() {
			for !ended() {
				sum, err := servers[i%2].Rollup(t.Context(), time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				if !sum.Skipped {
					rollups.Add(1)
				}
				moved.Add(sum.HourlyRowsMoved)
				merged.Add(sum.DailyRowsMerged)
			}
		})
	}
	work.Wait()
	for _, s := range senders {
		l.all = append(l.all, s.sent...)
		if s.again > 0 {
			t.Errorf("%s: %d batches failed", s.name, s.again)
		}
	}
	t.Logf("%d runs, %d roll-ups, %d hours moved, %d days added to", len(l.all), rollups.Load(), moved.Load(), merged.Load())
	l.verify()
	l.roll(time.Now())
	l.verify()
}
