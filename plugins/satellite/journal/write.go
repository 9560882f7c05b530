// Writing: what is in memory goes to the end of the last segment, in records that are synced one by one. A segment that is
// full is followed by a new one, and where that would take more room than the journal has the oldest ones go.

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// flush writes what is in memory. Where that fails, and nothing that is on disk is needed any more, its room is used. The
// caller holds mu.
func (j *Journal) flush() error {
	err := j.drain()
	if err == nil || j.pending > 0 || len(j.segments) == 0 {
		return err
	}
	if e := j.vacate(); e != nil {
		return errors.Join(err, e)
	}
	return j.drain()
}

// drain writes what is in memory, as long as there is room.
func (j *Journal) drain() error {
	for len(j.memory) > 0 {
		kind, n, size := j.chunk()
		if err := j.write(kind, bytes.Join(j.memory[:n], []byte("\n"))); err != nil {
			return err
		}
		j.memory = j.memory[n:]
		j.memorySize -= size
	}
	j.memory = nil
	return nil
}

// chunk says how many of the runs in memory come into the next record, and whether it closes their batch: it does if the
// batch is full, or if nothing else waits to be sent.
func (j *Journal) chunk() (kind byte, runs int, size int64) {
	idle := j.pending == 0 && j.flying == nil
	room, roomSize := int64(maxRuns), min(maxBytes, j.segmentSize/2)
	if s := j.active; s != nil {
		room -= s.open.to - s.open.from
		roomSize -= s.loose
	}
	for _, run := range j.memory {
		if int64(runs) == room || size+int64(len(run)) > roomSize {
			return closes, runs, size
		}
		runs++
		size += int64(len(run))
	}
	if idle || int64(runs) == room {
		return closes, runs, size
	}
	return keeps, runs, size
}

// write makes one record durable. The payload is not empty, or the record changes nothing but marks.
func (j *Journal) write(kind byte, payload []byte) error {
	r := record{kind: kind, payload: payload}
	if size := int64(headerSize + len(payload)); j.active == nil || j.active.size+size > j.segmentSize {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	s, runs := j.active, r.runs()
	r.number, r.done, r.dropped = j.last+runs, j.done, j.dropped
	data := r.append(nil, s.seq)
	_, err := s.file.WriteAt(data, s.size)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		j.giveUp()
		return fmt.Errorf("write to the journal: %w", err)
	}
	s.size += int64(len(data))
	s.last, j.last, j.noted = r.number, r.number, r.done
	j.pending += runs
	s.open.to, s.open.end, s.loose = s.last, s.size, s.loose+int64(len(payload))
	if kind == closes {
		s.closeBatch()
	}
	return nil
}

// closeBatch ends the batch at the end of the segment, if there is one.
func (s *segment) closeBatch() {
	if s.open.to > s.open.from {
		s.batches = append(s.batches, s.open)
	}
	s.open, s.loose = span{s.last, s.last, s.size, s.size}, 0
}

// giveUp ends the writing to a segment of which nobody knows what is on disk beyond its size. The next one says that
// nothing there counts; cutting it off as well is for a process that starts before there is a next one.
func (j *Journal) giveUp() {
	j.active.givenUp = true
	j.unsealed, j.active = j.active, nil
	if err := j.seal(); err != nil {
		j.log.Warn("a write to the journal that failed is still in its file", "file", j.unsealed.name, "error", err)
	}
}

// rotate begins a new segment. The last one ends where it is, and so does its last batch.
func (j *Journal) rotate() error {
	j.active = nil // from here on the new file may be there, and say so
	gone, done, dropped := j.overdue()
	s := &segment{seq: j.newest + 1, journal: j.id, last: j.last + j.skipped}
	s.name = segmentName(s.seq)
	j.newest = s.seq
	b := beginning{Version: 1, Journal: j.id, Skipped: j.skipped}
	if len(j.segments) > 0 {
		before := j.segments[len(j.segments)-1]
		b.Previous, b.Size = before.seq, before.size
	}
	payload, _ := json.Marshal(b) // strings and numbers: it cannot fail
	data := record{begins, s.last, done, dropped, payload}.append(nil, s.seq)
	if err := j.create(s, data); err != nil {
		return fmt.Errorf("begin a file of the journal: %w", err)
	}
	if len(j.segments) > 0 {
		j.segments[len(j.segments)-1].closeBatch()
	}
	s.size = int64(len(data))
	s.closeBatch()
	j.segments, j.active = append(j.segments, s), s
	j.last, j.skipped, j.noted, j.unsealed = s.last, 0, done, nil
	if gone > 0 {
		j.drop(gone, done, dropped)
	}
	return nil
}

// create makes a file durable, first what is in it and then its name. Where that fails it takes the file away again.
func (j *Journal) create(s *segment, data []byte) error {
	f, err := j.files.OpenFile(s.name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		if err = f.Sync(); err == nil {
			err = j.files.Sync()
		}
	}
	if err != nil {
		f.Close()
		j.files.Remove(s.name) // if it stays, it says nothing that is not so
		return err
	}
	s.file = f
	return nil
}

// overdue says how many of the oldest segments must go to make room for a new one, and what done and dropped are then.
func (j *Journal) overdue() (n int, done, dropped int64) {
	total := j.segmentSize
	for _, s := range j.segments {
		total += s.size
	}
	done, dropped = j.done, j.dropped
	for n < len(j.segments) && total > j.size {
		s := j.segments[n]
		total -= s.size
		for _, b := range append(s.batches[:len(s.batches):len(s.batches)], s.open) {
			dropped += max(b.to-max(b.from, done), 0)
		}
		done = max(done, s.last)
		n++
	}
	return n, done, dropped
}

// drop removes the oldest segments. That they are gone is on disk already.
func (j *Journal) drop(n int, done, dropped int64) {
	lost := dropped - j.dropped
	j.done = done
	j.pending -= lost
	if j.flying != nil && !j.flying.volatile && j.flying.Number <= done {
		j.flying.dropped = true
	}
	if lost > 0 {
		j.lose(lost, "the journal is full")
	}
	j.clear()
}
