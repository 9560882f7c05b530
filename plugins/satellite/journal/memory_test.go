package journal

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestOnAFullDiskRunsAreSentFromMemoryWithNumbersOfTheirOwn(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{})
	keep(t, j, run(1))
	d.limit = d.used()
	for i := 2; i <= 1600; i++ {
		j.Append(run(i))
	}
	b, s := next(t, j)
	if s != "1: 1" {
		t.Errorf("first came %s", s)
	}
	disk := b.Journal
	j.Ack(b)
	b, _ = next(t, j)
	volatile := b.Journal
	if got := ints(t, b.Runs); b.Number != 1000 || volatile == disk || !slices.Equal(got, ints(t, runs(2, 1001))) {
		t.Errorf("batch %d of %s has %d runs", b.Number, b.Journal, len(got))
	}
	if s := j.State(); s.Pending != 1599 || s.InMemory != 1599 || s.PendingBytes < 1599*8 || s.PendingBytes > 1599*10 {
		t.Errorf("under way the state is %+v", s)
	}
	j.Ack(b)
	next(t, j) // not acknowledged
	d.limit = 0
	keep(t, j, run(1601)) // and there is room, but its number is another
	b, _ = next(t, j)
	if got := ints(t, b.Runs); b.Number != 1599 || b.Journal != volatile || !slices.Equal(got, ints(t, runs(1002, 1600))) {
		t.Errorf("batch %d has %d runs", b.Number, len(got))
	}
	j.Ack(b)
	b, s = next(t, j)
	if b.Journal == volatile || !strings.HasSuffix(s, ": 1601") {
		t.Errorf("then came %s of %s", s, b.Journal)
	}
	j.Ack(b)
	if s := j.State(); s.Pending != 0 || s.PendingBytes != 0 || s.InMemory != 0 || s.Dropped != 0 {
		t.Errorf("at the end the state is %+v", s)
	}
}

// What was handed out from memory keeps its number over a stop, run by run too.
func TestABatchFromMemoryIsTheSameAfterAStop(t *testing.T) {
	for _, split := range []bool{false, true} {
		d := newDisk(rand.New(rand.NewPCG(1, 2)))
		j := onDisk(t, d, Options{})
		d.limit = 1
		j.Append(runs(1, 3)...)
		b, s := next(t, j)
		if s != "3: 1 2 3" {
			t.Fatalf("from memory came %s", s)
		}
		volatile := b.Journal
		if split {
			if err := j.Split(b); err != nil {
				t.Fatal(err)
			}
			b, s = next(t, j)
			if s != "1: 1" || !b.Single {
				t.Fatalf("first came %s", s)
			}
			j.Ack(b)
		}
		d.limit = 0
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = onDisk(t, d, Options{})
		keep(t, j, run(4))
		var got []string
		for b, s := next(t, j); b != nil; b, s = next(t, j) {
			if from := b.Journal == volatile; from != (s != "1: 4") {
				t.Errorf("batch %s is of the journal %s", s, b.Journal)
			}
			got = append(got, s)
			j.Ack(b)
		}
		want := []string{"3: 1 2 3", "1: 4"}
		if split {
			want = []string{"2: 2", "3: 3", "1: 4"}
		}
		if !slices.Equal(got, want) || d.files[aloftName] != nil {
			t.Errorf("after the stop came %q, want %q\n%s", got, want, d)
		}
	}
}

// The server can be reached, so nothing that is on disk may wait for room on it; and a batch that was closed without room is the
// same after a crash.
func TestWhatIsOnAFullDiskIsSentAllTheSame(t *testing.T) {
	for _, restart := range []string{"", "killed", "power"} {
		log := &logBook{}
		d := newDisk(rand.New(rand.NewPCG(1, 2)))
		j := onDisk(t, d, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
		keep(t, j, run(1))
		keep(t, j, run(2), run(3)) // an open batch
		b, _ := next(t, j)
		j.Ack(b)
		d.limit = d.used()
		j.Append(run(4))
		b, s := next(t, j)
		if s != "3: 2 3" {
			t.Fatalf("from a full disk came %s", s)
		}
		id := b.Journal
		switch restart {
		case "power":
			limit := d.limit
			d = d.crash()
			d.limit = limit
			fallthrough
		case "killed":
			j = onDisk(t, d, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
			if b, s := next(t, j); b.Journal != id || s != "3: 2 3" && s != "1: 1" {
				t.Fatalf("after the restart came %s", s)
			} else if s == "1: 1" {
				j.Ack(b)
			}
			d.limit = 0
			keep(t, j, run(4))
			if b, s = next(t, j); b.Journal != id || s != "3: 2 3" {
				t.Fatalf("%s: after the restart came %s\n%s", restart, s, log)
			}
		}
		j.Ack(b)
		if _, s = next(t, j); !strings.HasSuffix(s, ": 4") {
			t.Errorf("%s: then came %s", restart, s)
		}
	}
}

// A small volume must not stay full of what is done.
func TestAFullDiskIsClearedOfWhatIsDone(t *testing.T) {
	log := &logBook{}
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	keep(t, j, runs(1, 1000)...)
	b, _ := next(t, j)
	id := b.Journal
	d.limit = d.used()
	if err := j.Append(runs(1001, 1100)...); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("there is room: %v", err)
	}
	j.Ack(b)
	keep(t, j, run(1101)) // which takes the room of the batch that is done
	if s := j.State(); s.InMemory != 0 || s.Pending != 101 || s.Failing != "" || s.Bytes > 5000 {
		t.Errorf("the state is %+v\n%s", s, log)
	}
	d = d.crash()
	j = onDisk(t, d, Options{})
	b, _ = next(t, j)
	if got := ints(t, b.Runs); b.Journal == id || !slices.Equal(got, ints(t, runs(1001, 1101))) {
		t.Errorf("batch %d of %s has %d runs", b.Number, b.Journal, len(got))
	}
}
