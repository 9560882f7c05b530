package journal

import (
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// state is what is on disk once the second file has a size: so many runs, of which so many are acknowledged.
type state struct{ made, done int }

// sample is a journal of two files on a disk, with a batch that is under way, one that is split, and runs without a batch.
func sample(t testing.TB) (d *disk, made int, states map[int64]state) {
	t.Helper()
	d = newDisk(rand.New(rand.NewPCG(1, 2)))
	j := onDisk(t, d, Options{})
	states = map[int64]state{}
	note := func() {
		if len(j.segments) == 2 {
			states[j.active.size] = state{made, int(j.noted)}
		}
	}
	add := func(n int) {
		keep(t, j, runs(made+1, made+n)...)
		made += n
		note()
	}
	add(2)
	b, _ := next(t, j)
	j.Ack(b)
	add(1)
	add(3)
	next(t, j)
	add(1)
	add(1)
	j.active = nil // the next file
	add(1)
	add(4)
	b, _ = next(t, j)
	if err := j.Split(b); err != nil {
		t.Fatal(err)
	}
	note()
	b, _ = next(t, j)
	j.Ack(b)
	add(2)
	add(3)
	if len(d.files) != 2 {
		t.Fatalf("the disk has\n%s", d)
	}
	return d, made, states
}

const first, second = "0000000000000001.journal", "0000000000000002.journal"

// with is the disk with another content of one file.
func (d *disk) with(name string, data []byte) *disk {
	changed := newDisk(rand.New(rand.NewPCG(1, 2)))
	for n, f := range d.files {
		changed.files[n] = &inode{data: slices.Clone(f.data)}
	}
	changed.files[name].data = data
	return changed
}

// deliver sends all there is in a journal.
func deliver(t testing.TB, j *Journal, s *server) {
	t.Helper()
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		s.receive(t, b)
		j.Ack(b)
	}
}

// opened is a damaged disk that is opened, and what a server gets from it.
type opened struct {
	log     *logBook
	server  *server
	dropped int
}

func reopen(t *testing.T, s *server, damaged *disk, made int) opened {
	t.Helper()
	o := opened{log: &logBook{}, server: s}
	j := onDisk(t, damaged, Options{Log: slog.New(slog.NewTextHandler(o.log, nil))})
	o.dropped = int(j.State().Dropped)
	keep(t, j, run(made+1))
	deliver(t, j, s)
	if got := s.counted[made+1]; got != 1 {
		t.Errorf("what came after it was counted %d times", got)
	}
	for i := 1; i <= made; i++ {
		if s.counted[i] > 1 {
			t.Errorf("run %d was counted %d times", i, s.counted[i])
		}
	}
	// The second time nothing is new: what was lost is counted.
	j.Close()
	if again := onDisk(t, damaged, Options{}); int(again.State().Dropped) != o.dropped {
		t.Errorf("%d were lost, and after another start %d", o.dropped, again.State().Dropped)
	}
	return o
}

func TestAWriteThatWasCutOffAtAnyByteCostsOnlyItself(t *testing.T) {
	whole, made, states := sample(t)
	data := whole.files[second].data
	for n := range len(data) {
		want := state{8, 2} // of the first file
		for size, s := range states {
			if size <= int64(n) && s.made+s.done > want.made+want.done {
				want = s
			}
		}
		o := reopen(t, newServer(), whole.with(second, slices.Clone(data[:n])), made)
		got := slices.Sorted(maps.Keys(o.server.counted))
		if got = got[:len(got)-1]; !slices.Equal(got, ints(t, runs(want.done+1, want.made))) || o.dropped != 0 {
			t.Errorf("cut at %d of %d bytes: %d are counted and %d lost, want %+v", n, len(data), got, o.dropped, want)
		}
		_, clean := states[int64(n)]
		if _, _, beginning, err := readBeginning(2, data[:n]); !clean && (err != nil || beginning != n) && !strings.Contains(o.log.String(), "level=WARN") {
			t.Errorf("cut at %d of %d bytes: nobody was told", n, len(data))
		}
		if t.Failed() {
			t.Fatalf("%s", o.log)
		}
	}
}

func TestAByteThatChangedCostsOnlyItsRecordAndIsTold(t *testing.T) {
	whole, made, _ := sample(t)
	for _, name := range []string{first, second} {
		lost, unknown := 0, 0
		for at := range whole.files[name].data {
			data := slices.Clone(whole.files[name].data)
			data[at] ^= byte(1 + at%255)
			o := reopen(t, newServer(), whole.with(name, data), made)
			missing := 0
			for i := 4; i <= made; i++ { // it may know that the first three are acknowledged
				if o.server.counted[i] == 0 {
					missing++
				}
			}
			lost += o.dropped
			// What is damaged at the very end looks like a write that was cut off.
			if missing != o.dropped && name == first {
				t.Errorf("%s, byte %d: %d runs are missing and %d lost", name, at, missing, o.dropped)
			} else if missing != o.dropped {
				unknown++
			}
			if missing > 0 && !strings.Contains(o.log.String(), "level=WARN") && !strings.Contains(o.log.String(), "level=ERROR") {
				t.Errorf("%s, byte %d: nobody was told of %d runs", name, at, missing)
			}
			if t.Failed() {
				t.Fatalf("%s", o.log)
			}
		}
		t.Logf("%s: %d lost in %d places, %d times it was not known how many", name, lost, len(whole.files[name].data), unknown)
	}
}

// The numbers that were used in what is damaged are not used again: the server would take them for known.
func TestWhatComesAfterDamageIsNewToAServerThatHadAll(t *testing.T) {
	whole, made, _ := sample(t)
	had := newServer()
	deliver(t, onDisk(t, whole, Options{}), had)
	for _, name := range []string{first, second} {
		if whole.files[name] == nil {
			continue
		}
		for at := range whole.files[name].data {
			data := slices.Clone(whole.files[name].data)
			data[at] ^= byte(1 + at%255)
			s := &server{maps.Clone(had.highest), map[string]string{}, maps.Clone(had.counted), map[int]bool{}, 0, 0}
			o := reopen(t, s, whole.with(name, data), made)
			if t.Failed() {
				t.Fatalf("%s, byte %d\n%s", name, at, o.log)
			}
		}
	}
}

func TestAFileThatIsUnreadableIsSetAsideAndTheOthersCount(t *testing.T) {
	whole, made, _ := sample(t)
	for _, test := range []struct {
		name string
		want []int // without the first three, which are acknowledged
	}{
		{first, ints(t, runs(9, made))},
		{second, ints(t, runs(3, 8))},
	} {
		garbage := []byte(strings.Repeat("garbage ", 500))
		damaged := whole.with(test.name, garbage)
		log := &logBook{}
		j := onDisk(t, damaged, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
		s := newServer()
		deliver(t, j, s)
		if got := slices.Sorted(maps.Keys(s.counted)); !slices.Equal(got, test.want) {
			t.Errorf("%s is garbage: %d are counted, want %d", test.name, got, test.want)
		}
		aside := strings.TrimSuffix(test.name, suffix) + ".damaged"
		if f := damaged.files[aside]; f == nil || string(f.data) != string(garbage) || damaged.files[test.name] != nil {
			t.Errorf("%s is garbage: the disk has\n%s", test.name, damaged)
		}
		if !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("%s is garbage, and nobody was told", test.name)
		}
	}
}

func TestOnlyTheNewestDamagedFilesAreKept(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	for i := range 20 {
		d.files[segmentName(uint64(i+1))] = &inode{data: []byte(strings.Repeat("garbage ", 500))}
	}
	j := onDisk(t, d, Options{})
	keep(t, j, run(1))
	expect(t, j, "1: 1")
	names, _ := d.Names()
	if len(names) != keptDamaged+1 || names[0] != damagedName(13) || names[keptDamaged] != segmentName(21) {
		t.Errorf("the disk has\n%s", d)
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 2)))
	for _, name := range []string{"assignments.json", "1.journal", "x.journal", "0000000000000001.journal.bak", "-000000000000001.journal"} {
		d.files[name] = &inode{data: []byte("x")}
	}
	keep(t, onDisk(t, d, Options{}), run(1))
	for name, f := range d.files {
		if name != segmentName(1) && string(f.data) != "x" {
			t.Errorf("%s has %q", name, f.data)
		}
	}
	if len(d.files) != 6 {
		t.Errorf("the disk has\n%s", d)
	}
}

// records is an oracle: it tries every byte of a file as the start of a record, and returns the runs of those that check.
func records(segment uint64, data []byte) map[string]bool {
	found := map[string]bool{}
	for at := range data {
		rest := data[at:]
		if len(rest) < 33 {
			break
		}
		n := int(binary.LittleEndian.Uint32(rest[4:]))
		if n > len(rest)-33 || rest[32] != 'r' && rest[32] != 'b' {
			continue
		}
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		sum.Write(binary.LittleEndian.AppendUint64(nil, segment))
		sum.Write(rest[4 : 33+n])
		if sum.Sum32() != binary.LittleEndian.Uint32(rest) {
			continue
		}
		for line := range strings.SplitSeq(string(rest[33:33+n]), "\n") {
			found[line] = true
		}
	}
	return found
}

// Whatever is in a file, reading it does not panic, and gives no run that nobody wrote, and no number twice.
func FuzzReader(f *testing.F) {
	whole, _, _ := sample(f)
	data := whole.files[first].data
	for _, seed := range [][]byte{nil, {0}, data, data[:len(data)-1], append(slices.Clone(data), 0), append(slices.Clone(data), data...), make([]byte, 2000)} {
		f.Add(seed, uint16(0), byte(0))
	}
	for at := range 40 {
		f.Add(data, uint16(at*len(data)/40), byte(1<<(at%8)))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte) {
		if len(data) > 16<<10 {
			return
		}
		if int(at) < len(data) {
			data[at] ^= change
		}
		d := newDisk(rand.New(rand.NewPCG(1, 2)))
		d.files[first] = &inode{data: slices.Clone(data)}
		j := onDisk(t, d, Options{})
		written := records(1, data)
		keep(t, j, []byte("new"))
		written["new"] = true
		last, news := int64(0), 0
		for {
			b, err := j.Next()
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				break
			}
			if b.Number <= last || int64(len(b.Runs)) > b.Number-last || len(b.Runs) == 0 {
				t.Fatalf("batch %d has %d runs and follows %d", b.Number, len(b.Runs), last)
			}
			last = b.Number
			for _, r := range b.Runs {
				if !written[string(r)] {
					t.Fatalf("%q was never written", r)
				}
				if string(r) == "new" {
					news++
				}
			}
			j.Ack(b)
		}
		if news != 1 && !strings.Contains(string(data), "new") {
			t.Fatalf("a new run came out %d times", news)
		}
	})
}

// The same for one segment alone, many times faster: every batch that is found can be read, has runs that somebody wrote, and
// none of the positions of another.
func FuzzSegment(f *testing.F) {
	whole, _, _ := sample(f)
	for _, name := range []string{first, second} {
		data := whole.files[name].data
		for at := range 20 {
			f.Add(data, uint16(at*len(data)/20), byte(1<<(at%8)))
		}
		f.Add(append(slices.Clone(data), data...), uint16(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte) {
		if len(data) > 16<<10 {
			return
		}
		if data = slices.Clone(data); int(at) < len(data) {
			data[at] ^= change
		}
		for segment := range uint64(3) {
			c, err := parse(segment, data)
			if err != nil {
				continue
			}
			written, last := records(segment, data), c.first
			for _, s := range append(c.batches, c.open) {
				if s.from < last || s.to < s.from || s.to > c.last || s.off > s.end || s.end > int64(len(data)) {
					t.Fatalf("a batch %+v follows %d", s, last)
				}
				last = s.to
				runs, ok := s.lines(segment, data[s.off:s.end])
				if !ok || int64(len(runs)) != s.to-s.from {
					t.Fatalf("the batch %+v has %d runs, %t", s, len(runs), ok)
				}
				for _, r := range runs {
					if !written[string(r)] {
						t.Fatalf("%q was never written", r)
					}
				}
			}
			if c.good > int64(len(data)) || c.done > c.last {
				t.Fatalf("%d bytes of %d are good, and %d of %d done", c.good, len(data), c.done, c.last)
			}
		}
	})
}
