// Package journal keeps the runs of a satellite on its disk until the server has them.
//
// It is a folder of files that are only appended to. Each run has a position, counted from when the journal was made, and
// is on disk before anybody may send it. What is sent is a batch: up to 1,000 runs that follow each other. Where a batch
// ends is on disk too before it is sent, and its number is the position of its last run. So a number stands for the same
// runs for ever, whatever crashes in between, and numbers rise: which is what the server's promise to count every run once rests on.
//
//	positions   1   2   3 │ 4   5   6   7 │ 8   9
//	            batch 3     batch 7         not in a batch yet: it ends when somebody asks for it
//
// While the server keeps up, each write is a batch. While it does not, batches grow to their full size, so that the runs of
// weeks take few requests.
//
// What the server acknowledged is not written down at once, only along with what is written next. After a crash a batch may
// so be sent again, which the server answers as known.
//
// The hard case is a disk that fails in the middle of a write, or while it syncs: nobody knows then what of it is there. The
// file is given up; the next one says how much of it counts, and the runs are written again, to the next one. While that is
// not possible either they are kept in memory, and sent from there with numbers of a journal that is in memory too. So every
// run is sent under one number, of one journal, and no other.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

const (
	// MinSize is the least size of a journal, in bytes.
	MinSize = 1 << 20

	// MaxRun is the greatest size of a run, in bytes.
	MaxRun = 30 << 10

	maxRuns       = 1000     // in a batch
	maxBytes      = 4 << 20  // of the runs of a batch, as far as one is not larger
	maxMemory     = 10_000   // runs in memory while they cannot be written
	maxMemorySize = 16 << 20 // bytes of them
)

// Options are what a journal has beside its folder.
type Options struct {
	Size int64        // the most bytes of its files, at least MinSize; what was set aside because it is damaged comes on top
	Log  *slog.Logger // hears of everything that is lost

	// Wrap stands between the journal and its folder; nil: nothing does.
	Wrap func(Files) Files
}

// Journal is an open journal. Its methods may be called from several goroutines, but those that hand out and end batches
// ([Journal.Next], Ack, Split and SetAside) from one at a time.
type Journal struct {
	log         *slog.Logger
	files       Files
	folder      folder
	lock        *os.File
	size        int64 // see Options
	segmentSize int64
	filled      chan struct{} // holds an element when there may be more to send
	state       atomic.Pointer[State]

	mu       sync.Mutex
	id       string
	segments []*segment // the oldest first
	active   *segment   // the one that is written to, the last of segments; nil if the next write begins a new one
	newest   uint64     // the highest sequence number that was ever tried
	last     int64      // the position of the last run
	skipped  int64      // how many positions at the end of the last segment were left out
	done     int64      // everything up to here is acknowledged, or lost
	noted    int64      // the done that is on disk
	dropped  int64      // runs that were lost
	split    int64      // the batch that is sent one run at a time
	pending  int64      // runs on disk after done
	failing  string     // why the last write failed, if it did
	unsealed *segment   // the one that was given up, while it may hold a write that failed

	memory     [][]byte // runs that are not on disk yet, the oldest first
	memorySize int64
	volatile   string // the ID that goes with the numbers of runs that are sent from memory; empty until it is needed
	lifted     int64  // how many runs have such numbers
	aloft      *aloft // the batch that was handed out from memory and is not ended; nil for none
	flying     *Batch // what Next returned and is not ended
}

// segment is a file of the journal.
type segment struct {
	seq     uint64
	name    string
	journal string // the ID that goes with its numbers
	size    int64  // bytes that count
	last    int64  // the position of its last run
	batches []span // those that are not done
	open    span   // the runs at its end whose batch is not closed; only in the last segment
	loose   int64  // bytes of them
	file    File   // nil until it is needed
	damaged bool   // some of it could not be read
	givenUp bool   // there may be something beyond its size
	stuck   bool   // it is done and could not be removed
}

// State is how a journal is.
type State struct {
	Pending      int64  // runs that are neither acknowledged nor lost, those in memory included
	PendingBytes int64  // of those runs, as they are kept
	InMemory     int    // of those, how many are not on disk
	Bytes        int64  // of the files
	Dropped      int64  // runs lost since the journal was made: no room, damage, or set aside
	Failing      string // why it cannot be written; empty while it can
}

// Append keeps runs, each a line of at most [MaxRun] bytes without a line break. An error says that they could not be
// written, and are in memory until a later call writes them; if there are too many the oldest ones are lost. One that is
// not such a line is lost as well. Append without runs writes what is in memory.
func (j *Journal) Append(runs ...[]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.publish()
	for _, run := range runs {
		if !isLine(run) {
			j.lose(1, "a run that is no line of text, or too long")
			continue
		}
		j.memory = append(j.memory, run)
		j.memorySize += int64(len(run))
	}
	err := j.flush()
	j.failed(err)
	j.trim()
	if len(j.memory) > 0 || j.pending > 0 || j.aloft != nil {
		signal(j.filled)
	}
	return err
}

// Filled has an element when there may be something new for [Journal.Next].
func (j *Journal) Filled() <-chan struct{} { return j.filled }

// State says how the journal is. It does not wait for the disk.
func (j *Journal) State() State { return *j.state.Load() }

// Files is the journal's folder, where a satellite keeps other things as well. Their names do not end in .journal.
func (j *Journal) Files() Files { return j.files }

// Close writes what is in memory and closes the files. The error says how many runs are lost.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.publish()
	err := j.flush()
	lost := len(j.memory)
	if e := j.save(); e != nil {
		err = errors.Join(err, e)
		lost += len(j.aloft.runs)
	}
	if lost > 0 {
		err = fmt.Errorf("%d runs are lost: %w", lost, err)
	} else if err == nil && j.noted < j.done && len(j.segments) > 0 {
		err = j.write(keeps, nil) // so that nothing is sent again
	}
	for _, s := range j.segments {
		err = errors.Join(err, s.close())
	}
	return errors.Join(err, j.folder.root.Close(), j.lock.Close())
}

// publish makes what changed visible. The caller holds mu.
func (j *Journal) publish() {
	s := &State{
		Pending: j.pending + int64(len(j.memory)), PendingBytes: j.memorySize, InMemory: len(j.memory), Dropped: j.dropped, Failing: j.failing,
	}
	if a := j.aloft; a != nil {
		s.Pending += int64(len(a.runs))
		s.PendingBytes += a.size()
		s.InMemory += len(a.runs)
	}
	for _, f := range j.segments {
		s.Bytes += f.size
		if j.pending > 0 {
			s.PendingBytes += f.pending()
		}
	}
	j.state.Store(s)
}

// pending is the bytes of the batches that are not done, the open one included.
func (s *segment) pending() int64 {
	first := s.open
	if len(s.batches) > 0 {
		first = s.batches[0]
	}
	last := s.open.end
	if s.open.to == s.open.from {
		if len(s.batches) == 0 {
			return 0
		}
		last = s.batches[len(s.batches)-1].end
	}
	return last - first.off
}

// failed remembers how a write ended, and logs it when that changes.
func (j *Journal) failed(err error) {
	was := j.failing
	j.failing = ""
	if err != nil {
		j.failing = err.Error()
	}
	switch {
	case err != nil && was == "":
		j.log.Error("the journal cannot be written; results are kept in memory", "error", err)
	case err == nil && was != "":
		j.log.Info("the journal can be written again")
	}
}

// lose counts runs that are gone for good. The caller holds mu.
func (j *Journal) lose(runs int64, why string) {
	j.dropped += runs
	j.log.Warn("results are lost: "+why, "runs", runs, "total", j.dropped)
}

// trim loses the oldest runs in memory beyond what may be there.
func (j *Journal) trim() {
	over := 0
	for len(j.memory)-over > maxMemory || j.memorySize > maxMemorySize {
		j.memorySize -= int64(len(j.memory[over]))
		over++
	}
	if over > 0 {
		j.memory = append([][]byte(nil), j.memory[over:]...)
		j.lose(int64(over), "the journal cannot be written and there are too many to keep in memory")
	}
}

func isLine(run []byte) bool {
	if len(run) == 0 || len(run) > MaxRun {
		return false
	}
	for _, c := range run {
		if c == '\n' {
			return false
		}
	}
	return true
}

// signal puts an element into a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *segment) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
