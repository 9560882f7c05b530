// Runs in memory: those that the disk does not take. What of them is sent gets numbers of a journal of its own, which lives
// as long as the process, so that a repeat of it is known however late it comes. For that a batch that was handed out stays
// as it is, and in memory: on disk it would have other numbers. Only at the end of the process it is put into a file
// of its own, with its numbers, and the next process goes on with it.

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"

	"checkstack/plugins"
)

// aloftName is the file for a batch that was handed out from memory and is not ended: two or three records of a segment
// with the sequence number 0, which no segment has.
const aloftName = "handed-out"

// aloft is a batch that was handed out from memory.
type aloft struct {
	journal string
	to      int64 // the position of its last run, counted from when the process was started
	runs    [][]byte
	split   bool // its runs are sent one by one
	saved   bool // there is a file of it

	unsealed bool // some of it may be on disk as well, see [Journal.seal]
}

// lift takes a batch out of the runs in memory. It is false if there are none.
func (j *Journal) lift() bool {
	var size int64
	n := 0
	for n < min(len(j.memory), maxRuns) && size < maxBytes {
		size += int64(len(j.memory[n]))
		n++
	}
	if n == 0 {
		return false
	}
	err := j.seal()
	if err != nil { // then it is the IDs of the runs that tell, as long as the server has them
		j.log.Warn("results are sent that may be on disk too, from a write that failed", "runs", n, "error", err)
	}
	if j.volatile == "" {
		j.volatile, j.lifted = plugins.NewID(), 0
	}
	j.lifted += int64(n)
	j.aloft = &aloft{journal: j.volatile, to: j.lifted, runs: j.memory[:n:n], unsealed: err != nil}
	j.memory, j.memorySize = j.memory[n:], j.memorySize-size
	return true
}

// batch is the batch as it is handed out.
func (a *aloft) batch() *Batch {
	b := &Batch{Number: a.to, Journal: a.journal, Runs: a.runs, volatile: true, unsealed: a.unsealed}
	if a.split {
		b.Number, b.Runs, b.Single = a.to-int64(len(a.runs))+1, a.runs[:1], true
	}
	return b
}

// size is the bytes of its runs.
func (a *aloft) size() (n int64) {
	for _, run := range a.runs {
		n += int64(len(run))
	}
	return n
}

// land forgets a batch that was handed out from memory, or the part of it that b is.
func (j *Journal) land(b *Batch) {
	a := j.aloft
	if a == nil || a.journal != b.Journal || b.Number != a.batch().Number {
		return
	}
	if a.runs = a.runs[len(b.Runs):]; len(a.runs) > 0 {
		return
	}
	j.aloft = nil
	if a.saved {
		j.removed(aloftName, j.files.Remove(aloftName)) // if it stays, it is sent again and known
	}
}

// save puts a batch that was handed out from memory on disk, as it is.
func (j *Journal) save() error {
	a := j.aloft
	if a == nil {
		return nil
	}
	from := a.to - int64(len(a.runs))
	payload, _ := json.Marshal(beginning{Version: 1, Journal: a.journal}) // strings and numbers: it cannot fail
	data := record{begins, from, 0, 0, payload}.append(nil, 0)
	data = record{closes, a.to, 0, 0, bytes.Join(a.runs, []byte("\n"))}.append(data, 0)
	if a.split {
		data = record{splits, a.to, 0, 0, strconv.AppendInt(nil, a.to, 10)}.append(data, 0)
	}
	return WriteFile(j.files, aloftName, data)
}

// restore goes on with what save has written.
func (j *Journal) restore() {
	data, err := ReadFile(j.files, aloftName, maxSegment)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var c content
	if err == nil {
		c, err = parse(0, data)
	}
	if err == nil && (len(c.batches) != 1 || c.damaged) {
		err = errUnreadable
	}
	var runs [][]byte
	if err == nil {
		var ok bool
		b := c.batches[0]
		if runs, ok = b.lines(0, data[b.off:b.end]); !ok {
			err = errUnreadable
		}
	}
	if err != nil {
		j.log.Error("results that were in memory when the process before ended cannot be read, they are lost; their file is kept",
			"file", aloftName+".damaged", "error", err)
		j.removed(aloftName, j.files.Rename(aloftName, aloftName+".damaged"))
		return
	}
	j.aloft = &aloft{journal: c.Journal, to: c.last, runs: runs, split: c.split == c.last, saved: true}
}
