// A segment is one file of the journal: records, one after the other, of which the first says what the file is. Nothing in it
// is ever changed. A record is
//
//	crc      uint32  CRC-32C of the segment's sequence number and of all that follows
//	length   uint32  of the payload
//	number   uint64  the position of its last run, counted from when the journal was made
//	done     uint64  the position up to which everything was acknowledged or given up when it was written
//	dropped  uint64  how many runs were lost by then
//	kind     byte
//	payload          runs, one in a line
//
// all little endian. The sequence number is in the checksum, so that what a disk gives back of a deleted segment after a
// loss of power does not pass for a record of this one.
//
// What does not check is either the end of a write that was cut off, or damage. It is damage if something that checks
// comes after it: writes are made one at a time, each synced before the next, so a cut can only be at the end. Damage costs
// the records it hit and no others, and their positions tell how many runs that were.

package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math"
	"strconv"

	"checkstack/plugins"
)

// The kinds of records.
const (
	begins = 'J' // the first of a segment; the payload is a beginning
	keeps  = 'r' // runs that will be in the same batch as those after them
	closes = 'b' // runs, or none, that are the last of their batch
	splits = 's' // the batch whose number is the payload is sent one run at a time
)

const (
	headerSize = 33
	maxPayload = 8 << 20
)

// record is the unit of writing.
type record struct {
	kind    byte
	number  int64
	done    int64
	dropped int64
	payload []byte
}

// beginning is what the first record of a segment says. The end of the segment before it is fixed by it: what was written
// there beyond Size never happened.
type beginning struct {
	Version  int    `json:"version"`
	Journal  string `json:"journal"`  // the ID that goes with the numbers
	Previous uint64 `json:"previous"` // the segment before it; 0 for none
	Size     int64  `json:"size"`     // of that one
	Skipped  int64  `json:"skipped"`  // positions left out after that one, because they may have been used
}

// runs is how many runs are in the record.
func (r record) runs() int64 {
	if len(r.payload) == 0 || r.kind != keeps && r.kind != closes {
		return 0
	}
	return int64(bytes.Count(r.payload, []byte("\n"))) + 1
}

// append adds the record as it is on disk.
func (r record) append(b []byte, segment uint64) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.payload)))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.number))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.done))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.dropped))
	b = append(b, r.kind)
	b = append(b, r.payload...)
	binary.LittleEndian.PutUint32(b[at:], checksum(segment, b[at+4:]))
	return b
}

func checksum(segment uint64, data []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once, by the package
	var salt [8]byte
	binary.LittleEndian.PutUint64(salt[:], segment)
	return crc32.Update(crc32.Checksum(salt[:], table), table, data)
}

// decode reads the record at the start of data, whose runs come after the position at. The payload is a part of data.
func decode(segment uint64, data []byte, at int64) (r record, size int, ok bool) {
	if len(data) < headerSize {
		return r, 0, false
	}
	length, number := binary.LittleEndian.Uint32(data[4:]), binary.LittleEndian.Uint64(data[8:])
	done, dropped := binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:])
	size = headerSize + int(length)
	if length > maxPayload || size > len(data) || number > math.MaxInt64 || done > number || dropped > math.MaxInt64 {
		return r, 0, false
	}
	r = record{data[32], int64(number), int64(done), int64(dropped), data[headerSize:size]}
	switch r.kind {
	case begins, keeps, closes, splits:
	default:
		return r, 0, false
	}
	if r.number-r.runs() < at || binary.LittleEndian.Uint32(data) != checksum(segment, data[4:size]) {
		return r, 0, false
	}
	return r, size, true
}

// span is a batch, or a part of one: runs that follow each other, and where they are in the file.
type span struct {
	from, to int64 // positions: the runs after from up to to
	off, end int64 // the records that hold them
}

// content is what a segment holds.
type content struct {
	beginning
	first   int64 // the position before its first run
	last    int64 // the position of its last run
	good    int64 // bytes up to the end of its last record
	batches []span
	open    span // the runs at its end whose batch is not closed; from equals to where there are none
	done    int64
	dropped int64
	split   int64 // the batch that is sent one run at a time; 0 for none
	damaged bool
	gaps    []gap // what was hit by damage, but for what comes after the last record
}

var errUnreadable = errors.New("its first record does not check")

// readBeginning reads the first record of a segment.
func readBeginning(segment uint64, data []byte) (r record, b beginning, size int, err error) {
	r, size, ok := decode(segment, data, 0)
	if !ok || r.kind != begins || json.Unmarshal(r.payload, &b) != nil {
		return r, b, 0, errUnreadable
	}
	if b.Version != 1 || !plugins.IsID(b.Journal) || b.Size < 0 || b.Skipped < 0 || b.Skipped > r.number {
		return r, b, 0, errUnreadable
	}
	return r, b, size, nil
}

// parse reads a segment. The error is errUnreadable.
func parse(segment uint64, data []byte) (content, error) {
	r, b, size, err := readBeginning(segment, data)
	if err != nil {
		return content{}, err
	}
	c := content{beginning: b, first: r.number, last: r.number, good: int64(size), done: r.done, dropped: r.dropped}
	c.open = span{c.last, c.last, c.good, c.good}
	for off := size; off < len(data); {
		r, size, ok := decode(segment, data[off:], c.last)
		if start := r.number - r.runs(); !ok || start != c.last || r.kind == begins {
			if off, start = resume(segment, data, off, c.last); off < 0 {
				break
			}
			c.close()
			c.damaged = true
			c.gaps = append(c.gaps, gap{from: c.last, to: start})
			c.last, c.open = start, span{start, start, int64(off), int64(off)}
			continue
		}
		off += size
		c.add(r, int64(off))
	}
	return c, nil
}

// resume finds the first record at or after off that checks, and the position before its runs; -1 where none does.
func resume(segment uint64, data []byte, off int, at int64) (int, int64) {
	for ; off+headerSize <= len(data); off++ {
		r, _, ok := decode(segment, data[off:], at)
		// Each run that is missing took a byte at least, so a greater gap is not of this segment.
		if start := r.number - r.runs(); ok && r.kind != begins && start-at <= int64(off) {
			return off, start
		}
	}
	return -1, 0
}

// add takes up a record that ends at the offset end.
func (c *content) add(r record, end int64) {
	c.good, c.last = end, r.number
	c.done, c.dropped = max(c.done, r.done), max(c.dropped, r.dropped)
	switch r.kind {
	case keeps:
		c.extend(end)
	case closes:
		c.extend(end)
		c.close()
	case splits:
		c.split, _ = strconv.ParseInt(string(r.payload), 10, 64)
		c.extend(end)
	}
}

// extend lets the open batch go on to the last record.
func (c *content) extend(end int64) { c.open.to, c.open.end = c.last, end }

// close ends the open batch, if there is one.
func (c *content) close() {
	if c.open.to > c.open.from {
		c.batches = append(c.batches, c.open)
	}
	c.open = span{c.last, c.last, c.good, c.good}
}

// lines reads the runs of a span from the records that hold it. It reports whether all of them check.
func (s span) lines(segment uint64, data []byte) ([][]byte, bool) {
	var runs [][]byte
	at := s.from
	for len(data) > 0 {
		r, size, ok := decode(segment, data, at)
		if !ok || r.number-r.runs() != at {
			return nil, false
		}
		if r.runs() > 0 {
			runs = append(runs, bytes.Split(r.payload, []byte("\n"))...)
		}
		at, data = r.number, data[size:]
	}
	return runs, at == s.to
}
