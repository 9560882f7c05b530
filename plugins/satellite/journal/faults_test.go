package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// server is what a server does with batches: it applies one if its number is above the highest of the journal.
type server struct {
	highest map[string]int64
	content map[string]string // of each number that was seen
	counted map[int]int       // how often each run was counted
	raw     map[int]bool      // those it has to tell by themselves, because the disk may have them as well
	memory  int               // runs that came from memory
	repeats int               // batches that were known
}

func newServer() *server {
	return &server{map[string]int64{}, map[string]string{}, map[int]int{}, map[int]bool{}, 0, 0}
}

// receive applies a batch.
func (s *server) receive(t testing.TB, b *Batch) {
	t.Helper()
	all := ints(t, b.Runs)
	if b.Number < 1 {
		t.Fatalf("batch %d of %s has no number", b.Number, b.Journal)
	}
	key, text := fmt.Sprint(b.Journal, b.Number), fmt.Sprint(all)
	if seen, ok := s.content[key]; ok && seen != text && !b.Single { // one is known, if the whole is
		t.Fatalf("batch %d was %s and is %s", b.Number, seen, text)
	}
	s.content[key] = text
	if b.Number <= s.highest[b.Journal] {
		s.repeats++
		return
	}
	s.highest[b.Journal] = b.Number
	if b.volatile {
		s.memory += len(all)
	}
	for _, i := range all {
		if !s.raw[i] || s.counted[i] == 0 {
			s.counted[i]++
		}
		if b.unsealed {
			s.raw[i] = true
		}
	}
}

// Whatever the disk does, what Append has taken is counted once, and nothing is counted twice.
func TestEveryRunIsCountedOnceWhateverTheDiskDoes(t *testing.T) {
	seeds := uint64(400)
	if *long {
		seeds = 20_000
	}
	repeats, memory, doubtful, crashes, dir := 0, 0, 0, 0, t.TempDir()
	for seed := range seeds {
		w := &world{random: rand.New(rand.NewPCG(seed, 7)), server: newServer(), log: &logBook{}, dir: dir}
		w.disk = newDisk(w.random)
		w.disk.fail = w.fail
		w.start(t)
		for range 60 {
			w.step(t)
		}
		w.finish(t)
		w.end()
		for i := 1; i <= w.made; i++ {
			n := w.server.counted[i]
			if n > 1 || n == 0 && !w.maybe[i] {
				t.Fatalf("seed %d: run %d of %d was counted %d times\n%s\n%s", seed, i, w.made, n, strings.Join(w.disk.trace, "\n"), w.log)
			}
		}
		if lost := w.journal.State().Dropped; lost > 0 {
			t.Fatalf("seed %d: %d runs are said to be lost\n%s", seed, lost, w.log)
		}
		repeats += w.server.repeats
		memory += w.server.memory
		doubtful += len(w.server.raw)
		crashes += w.crashes
	}
	t.Logf("%d crashes, %d repeated batches, %d runs sent from memory, of which %d may be on disk", crashes, repeats, memory, doubtful)
	if doubtful > memory/2 {
		t.Error("too many runs are sent that may be on disk")
	}
	if repeats < int(seeds) || memory < int(seeds) || crashes < int(seeds) {
		t.Error("the test does not see enough")
	}
}

// world is a journal, the disk below it and the server above it.
type world struct {
	random  *rand.Rand
	dir     string // for the lock only
	disk    *disk
	journal *Journal
	server  *server
	log     *logBook
	made    int
	memory  []int        // runs that may be in memory only
	maybe   map[int]bool // runs that were in memory only when the process ended
	crashes int
	failing int // operations on the disk that fail from now on
	chance  int // one in so many operations fails by itself; 0 for none
}

func (w *world) fail(operation, name string) error {
	if operation == "open" || operation == "read" { // a test of their own
		return nil
	}
	if w.failing > 0 {
		w.failing--
		return errDisk
	}
	if w.chance > 0 && w.random.IntN(w.chance) == 0 {
		return errDisk
	}
	return nil
}

func (w *world) start(t *testing.T) {
	t.Helper()
	if w.maybe == nil {
		w.maybe = map[int]bool{}
	}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	if w.journal, err = Open(w.dir, Options{Size: MinSize, Log: log, Wrap: func(Files) Files { return w.disk }}); err != nil {
		t.Fatal(err)
	}
}

// end lets go of the folder, as the end of a process does.
func (w *world) end() {
	w.journal.folder.root.Close()
	w.journal.lock.Close()
}

func (w *world) step(t *testing.T) {
	switch n := w.random.IntN(100); {
	case n < 45:
		var batch [][]byte
		for range 1 + w.random.IntN(40)*w.random.IntN(2)*w.random.IntN(10) {
			w.made++
			batch = append(batch, run(w.made))
			w.memory = append(w.memory, w.made)
		}
		err := w.journal.Append(batch...)
		if w.journal.State().InMemory == 0 {
			w.memory = nil
		}
		w.note("made up to %d: %v", w.made, err)
	case n < 75:
		b, err := w.journal.Next()
		if err != nil || b == nil {
			return
		}
		w.note("send %d: %s … %s", b.Number, b.Runs[0], b.Runs[len(b.Runs)-1])
		for range 1 + w.random.IntN(2) {
			w.server.receive(t, b)
		}
		if w.random.IntN(3) > 0 { // otherwise the answer is lost
			w.note("acknowledge %d", b.Number)
			w.journal.Ack(b)
		}
	case n < 80:
		if b, err := w.journal.Next(); err == nil && b != nil && b.Number > 0 && !b.Single {
			if s := w.server; b.Number > s.highest[b.Journal] { // it refuses the whole
				w.note("split %d: %v", b.Number, w.journal.Split(b))
			}
		}
	case n < 88:
		w.failing = w.random.IntN(6)
	case n < 92:
		w.chance = w.random.IntN(20)
	case n < 95:
		w.disk.limit = w.disk.used() + int64(w.random.IntN(5000))
	case n < 97:
		w.disk.limit, w.failing, w.chance = 0, 0, 0
	case n < 98:
		w.stop(t)
	default:
		w.crash(t)
	}
}

// stop ends the process as it should end, and starts another one.
func (w *world) stop(t *testing.T) {
	err := w.journal.Close()
	w.note("the process ends: %v", err)
	if err != nil {
		for _, i := range w.memory {
			w.maybe[i] = true
		}
	}
	w.memory = nil
	limit := w.disk.limit
	w.disk.limit, w.failing, w.chance = 0, 0, 0
	w.start(t)
	w.disk.limit = limit
}

// crash ends the process, with the power or without it, and starts another one.
func (w *world) crash(t *testing.T) {
	w.crashes++
	w.end()
	for _, i := range w.memory {
		w.maybe[i] = true
	}
	w.memory = nil
	limit := w.disk.limit
	w.disk.limit, w.failing, w.chance = 0, 0, 0
	if w.random.IntN(2) == 0 {
		trace := w.disk.trace
		w.disk = w.disk.crash()
		w.disk.trace, w.disk.fail = trace, w.fail
		w.note("the power goes")
	} else {
		w.note("the process is killed")
	}
	w.start(t)
	w.disk.limit = limit
}

// finish heals the disk and delivers what is left.
func (w *world) finish(t *testing.T) {
	w.disk.limit, w.failing, w.chance = 0, 0, 0
	if err := w.journal.Append(); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := w.journal.Next()
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return
		}
		w.note("send %d: %s … %s", b.Number, b.Runs[0], b.Runs[len(b.Runs)-1])
		w.server.receive(t, b)
		w.journal.Ack(b)
	}
}

// note writes into the trace of the disk what was done with it.
func (w *world) note(format string, args ...any) {
	w.disk.trace = append(w.disk.trace, "— "+fmt.Sprintf(format, args...)+" —")
}

func TestAFullDiskCostsNothingAsLongAsThereIsMemory(t *testing.T) {
	log := &logBook{}
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	keep(t, j, run(1), run(2))
	d.limit = d.used() + 20 // so that a part of what comes is written
	for i := 3; i <= 5000; i++ {
		if err := j.Append(run(i)); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("run %d: %v", i, err)
		}
	}
	if s := j.State(); s.InMemory != 4998 || s.Pending != 5000 || s.Dropped != 0 || !strings.Contains(s.Failing, "no space left") {
		t.Errorf("the state is %+v", s)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors are logged\n%s", n, log)
	}
	d.limit = 0
	keep(t, j)
	if s := j.State(); s.InMemory != 0 || s.Pending != 5000 || s.Failing != "" {
		t.Errorf("the state is %+v", s)
	}
	var got []int
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		got = append(got, ints(t, b.Runs)...)
		j.Ack(b)
	}
	if !slices.Equal(got, ints(t, runs(1, 5000))) {
		t.Errorf("%d runs came out", len(got))
	}
}

func TestOnAFullDiskTheOldestRunsInMemoryAreLostAndCounted(t *testing.T) {
	log := &logBook{}
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	d.limit = 1
	const made = maxMemory + 1234
	for i := 1; i <= made; i += 2 {
		j.Append(run(i), run(i+1))
	}
	if s := j.State(); s.InMemory != maxMemory || s.Dropped != 1234 || !strings.Contains(log.String(), "total=1234") {
		t.Errorf("the state is %+v", s)
	}
	d.limit = 0
	keep(t, j)
	var got []int
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		got = append(got, ints(t, b.Runs)...)
		j.Ack(b)
	}
	if !slices.Equal(got, ints(t, runs(1235, made))) {
		t.Errorf("%d runs came out, from %d to %d", len(got), got[0], got[len(got)-1])
	}
	j.Close()
	if s := onDisk(t, d, Options{}).State(); s.Dropped != 1234 {
		t.Errorf("after a restart the state is %+v", s)
	}
}

func TestLargeRunsInMemoryAreBoundedByTheirBytes(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{})
	d.limit = 1
	large := []byte(strings.Repeat("1", MaxRun))
	for range 1000 {
		j.Append(large)
	}
	if s := j.State(); s.InMemory != maxMemorySize/MaxRun || s.InMemory+int(s.Dropped) != 1000 {
		t.Errorf("the state is %+v", s)
	}
}

// Nobody may send what is not on disk, and a file whose name is not durable is not there.
func TestAFileIsSyncedBeforeItsNameAndBothBeforeAnybodySends(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{})
	d.trace = nil
	keep(t, j, run(1))
	keep(t, j, run(2))
	next(t, j) // the batch with the first is closed already
	b, _ := next(t, j)
	j.Ack(b)
	next(t, j) // that with the second is not
	const name = "0000000000000001.journal"
	want := []string{
		"open " + name, "write " + name, "sync " + name, "sync .",
		"write " + name, "sync " + name,
		"write " + name, "sync " + name,
		"read " + name, "read " + name,
		"write " + name, "sync " + name, "read " + name,
	}
	if !slices.Equal(d.trace, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(d.trace, "\n"), strings.Join(want, "\n"))
	}
}

// A process that was killed may have left what it wrote without having synced it. It must not be sent, or built upon, while
// a loss of power can still undo it.
func TestWhatIsReadAtAStartIsMadeDurable(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	keep(t, onDisk(t, d, Options{}), run(1))
	f, err := d.OpenFile(segmentName(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(record{closes, 2, 0, 0, run(2)}.append(nil, 1), info.Size()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenFile("another", os.O_CREATE); err != nil {
		t.Fatal(err)
	}
	j := onDisk(t, d, Options{})
	if file := d.files[segmentName(1)]; !slices.Equal(file.data, file.synced) || len(d.renames) > 0 {
		t.Errorf("of %d bytes %d are durable, and %d names are not", len(file.data), len(file.synced), len(d.renames))
	}
	expect(t, j, "1: 1", "2: 2")
	d.fail = func(operation, _ string) error {
		if operation == "sync" {
			return errDisk
		}
		return nil
	}
	if _, err := Open(t.TempDir(), Options{Size: MinSize, Log: slog.New(slog.DiscardHandler), Wrap: func(Files) Files { return d }}); !errors.Is(err, errDisk) {
		t.Errorf("on a disk that cannot sync: %v", err)
	}
}

// What a file says of the end of the one before it must not be gone before that one is.
func TestAFileThatWasGivenUpIsGoneForGoodBeforeTheNext(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{})
	keep(t, j, run(1))
	fail := true
	d.fail = func(operation, _ string) error {
		if fail && (operation == "sync" || operation == "truncate") {
			return errDisk
		}
		return nil
	}
	if err := j.Append(run(2)); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	fail = false
	keep(t, j) // to a second file
	j.active = nil
	keep(t, j, run(3)) // and a third
	d.trace = nil
	expect(t, j, "1: 1", "2: 2", "3: 3")
	d.trace = slices.DeleteFunc(d.trace, func(s string) bool { return !strings.HasPrefix(s, "remove") && s != "sync ." })
	want := []string{"remove " + segmentName(1), "sync .", "remove " + segmentName(2)}
	if !slices.Equal(d.trace, want) {
		t.Errorf("got %q, want %q", d.trace, want)
	}
}

func TestABatchThatCannotBeReadIsLostWithACountAndTheOthersAreNot(t *testing.T) {
	log := &logBook{}
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	for i := 0; i < 5; i++ {
		keep(t, j, runs(1000*i+1, 1000*i+1000)...)
	}
	var names []string
	d.fail = func(operation, name string) error {
		if operation == "read" && len(names) == 0 {
			names = append(names, name)
			return errDisk
		}
		return nil
	}
	var got []int
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		got = append(got, ints(t, b.Runs)...)
		j.Ack(b)
	}
	if s := j.State(); !slices.Equal(got, ints(t, runs(1001, 5000))) || s.Dropped != 1000 || s.Pending != 0 || strings.Count(log.String(), "level=ERROR") != 1 {
		t.Errorf("%d runs came out, and the state is %+v\n%s", len(got), s, log)
	}
	keep(t, j, run(5001))
	expect(t, j, "5001: 5001")
	if d.files[damagedName(1)] == nil {
		t.Errorf("the file is not kept:\n%s", d)
	}
}
