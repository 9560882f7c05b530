// Reading: batches are handed out one at a time, the oldest first, and the files they were in go once all of them are done.

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
)

// Batch is what is sent at once.
type Batch struct {
	// Number is 1 at least. It rises from batch to batch of one journal and stands for the same runs for ever.
	Number  int64
	Journal string   // the ID that goes with the number; runs that are in memory only have one of their own
	Runs    [][]byte // at most 1,000
	Single  bool     // whether it is one run of a batch that was split

	volatile bool // handed out from memory
	unsealed bool // and perhaps on disk as well
	dropped  bool // counted as lost while it was under way
}

// Next returns the oldest batch, the same one until it is ended by Ack, Split or SetAside; nil if there is none. An error says
// that there may be one, but that the disk does not let it be sent.
func (j *Journal) Next() (*Batch, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.publish()
	j.flying = nil
	for j.aloft == nil {
		s, batch, err := j.oldest()
		if s == nil { // what is in memory could not be written, or somebody would have found it on disk
			if !j.lift() {
				return nil, err
			}
			break
		}
		runs, err := j.read(s, batch)
		if err != nil && s.damaged {
			continue // it is lost
		} else if err != nil {
			return nil, err
		}
		b := &Batch{Number: batch.to, Journal: s.journal}
		if runs = runs[max(j.done-batch.from, 0):]; batch.to == j.split {
			runs, b.Number, b.Single = runs[:1], max(j.done, batch.from)+1, true
		}
		b.Runs = runs
		j.flying = b
		return b, nil
	}
	j.flying = j.aloft.batch()
	return j.flying, nil
}

// oldest finds the oldest batch on disk. It closes the one that is not closed if there is no other; where that fails, and
// where there are no runs on disk, it returns nil.
func (j *Journal) oldest() (*segment, span, error) {
	for i, s := range j.segments {
		if len(s.batches) > 0 {
			return s, s.batches[0], nil
		}
		if i < len(j.segments)-1 || s.open.to == s.open.from {
			continue
		}
		var err error
		if j.active != nil {
			err = j.write(closes, nil)
		} else {
			err = j.rotate()
		}
		if j.failed(err); err != nil {
			if e := j.closeInPlace(s); e != nil {
				return nil, span{}, errors.Join(err, e)
			}
		}
		return j.oldest()
	}
	return nil, span{}, nil
}

// read reads the runs of a batch. After an error the batch may be lost; then the segment is damaged.
func (j *Journal) read(s *segment, batch span) ([][]byte, error) {
	if s.file == nil {
		f, err := j.files.OpenFile(s.name, os.O_RDWR)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open a file of the journal: %w", err)
		} else if err != nil {
			j.damage(s, batch, err)
			return nil, err
		}
		s.file = f
	}
	data := make([]byte, batch.end-batch.off)
	_, err := s.file.ReadAt(data, batch.off)
	if err == nil {
		runs, ok := batch.lines(s.seq, data)
		if ok {
			return runs, nil
		}
		err = errors.New("a record does not check")
	}
	j.damage(s, batch, err)
	return nil, err
}

// damage gives up a batch that cannot be read.
func (j *Journal) damage(s *segment, batch span, err error) {
	lost := batch.to - max(batch.from, j.done)
	j.done = batch.to
	j.pending -= lost
	j.log.Error("a batch of the journal cannot be read; its file will be kept as "+damagedName(s.seq), "file", s.name, "batch", batch.to, "error", err)
	j.lose(lost, "they cannot be read from the journal")
	j.mark(s)
	j.clear()
}

// Ack ends a batch that the server has.
func (j *Journal) Ack(b *Batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.publish()
	if b.dropped { // it is not lost after all
		j.dropped -= int64(len(b.Runs))
		j.log.Info("a batch that had to be dropped was delivered", "batch", b.Number, "runs", len(b.Runs), "total", j.dropped)
	}
	j.end(b)
}

// end forgets a batch.
func (j *Journal) end(b *Batch) {
	j.flying = nil
	if b.volatile {
		j.land(b)
	} else if b.Number > j.done {
		j.pending -= int64(len(b.Runs))
		j.done = b.Number
		j.clear()
	}
}

// clear removes what is done: batches, and files but for the last one, which says how far the numbers are. No file goes before
// those older than it, because it says how much of the one before it counts.
func (j *Journal) clear() {
	for _, s := range j.segments {
		for len(s.batches) > 0 && s.batches[0].to <= j.done {
			s.batches = s.batches[1:]
		}
		if len(s.batches) > 0 {
			break
		}
	}
	for len(j.segments) > 0 {
		s := j.segments[0]
		if len(s.batches) > 0 || len(j.segments) == 1 || s.open.to > max(s.open.from, j.done) {
			return
		}
		err := errors.Join(s.close(), j.discard(s))
		if err == nil && s.givenUp {
			err = j.files.Sync()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			if !s.stuck {
				j.log.Warn("a file of the journal cannot be removed yet", "file", s.name, "error", err)
			}
			s.stuck = true
			return
		}
		j.segments = j.segments[1:]
	}
}

// Split has the runs of a batch sent one by one: the server refuses the whole, and nothing of it was recorded. Each has
// its own number then, its position. This is on disk before the first of them is handed out.
func (j *Journal) Split(b *Batch) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.publish()
	j.flying = nil
	if b.dropped {
		return nil
	}
	if b.volatile {
		if j.aloft != nil && j.aloft.journal == b.Journal {
			j.aloft.split = true
		}
		return nil
	}
	err := j.write(splits, strconv.AppendInt(nil, b.Number, 10))
	if err == nil {
		j.split = b.Number
	}
	j.failed(err)
	return err
}

// Renew gives the journal a new ID, for the batches to come: the numbers that go with the old one turned out not to be
// its own, because the folder is a copy or an old state of another.
func (j *Journal) Renew() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.id, j.active, j.volatile = plugins.NewID(), nil, ""
}

// asideName is where runs are kept that the server will never take; a second file has those before them.
const asideName, asideSize = "refused.jsonl", 4 << 20

// SetAside ends a batch that the server will never take. Its runs are added to the file refused.jsonl, with the reason,
// and count as lost.
func (j *Journal) SetAside(b *Batch, reason string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.publish()
	var lines strings.Builder
	for _, run := range b.Runs {
		why, _ := json.Marshal(reason) // a string: it cannot fail
		fmt.Fprintf(&lines, `{"at":%q,"reason":%s,"run":%s}`+"\n", time.Now().UTC().Format(time.RFC3339), why, run)
	}
	if err := j.aside([]byte(lines.String())); err != nil {
		j.log.Error("runs that the server refuses cannot be kept aside either", "error", err)
	}
	if !b.dropped {
		j.dropped += int64(len(b.Runs))
	}
	j.end(b)
	j.log.Error("the server refuses results for good; they are in "+asideName, "runs", len(b.Runs), "reason", reason, "total", j.dropped)
}

// aside appends to the file of what was refused.
func (j *Journal) aside(data []byte) error {
	f, err := j.files.OpenFile(asideName, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	at := info.Size()
	if at > asideSize {
		f.Close()
		if err := j.files.Rename(asideName, asideName+".1"); err != nil {
			return err
		}
		return j.aside(data)
	}
	_, err = f.WriteAt(data, at)
	return errors.Join(err, f.Sync(), f.Close())
}
