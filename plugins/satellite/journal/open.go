// Opening a journal: every file is read and checked, whatever became of it while nobody looked.

package journal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"checkstack/plugins"
)

const (
	maxSegment  = 16 << 20 // bytes of a file that is read; those written are at most half of it
	keptDamaged = 8        // damaged files that are kept for somebody to look at
	suffix      = ".journal"
)

// Open opens the journal in a folder, and makes both if need be. It is an error if another process has it open.
func Open(dir string, o Options) (*Journal, error) {
	if o.Size < MinSize {
		return nil, fmt.Errorf("open journal: expected a size of at least %d bytes, not %d", MinSize, o.Size)
	}
	folder, lock, err := openFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{
		log: o.Log, files: folder, folder: folder, lock: lock, size: o.Size, filled: make(chan struct{}, 1),
		segmentSize: min(o.Size/16, maxSegment/2),
	}
	if o.Wrap != nil {
		j.files = o.Wrap(folder)
	}
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), folder.root.Close(), lock.Close())
	}
	j.restore()
	j.publish()
	if j.pending > 0 || j.aloft != nil {
		signal(j.filled)
	}
	return j, nil
}

// found is a file of a journal that is opened.
type found struct {
	*segment
	content
	whole  int64 // its bytes
	limit  int64 // those that count, as the next segment says; -1 if it does not
	marked bool  // it is damaged, and that is counted already
	ended  bool  // nothing is added to it
}

// gap is a range of positions whose runs are not in any file.
type gap struct {
	from, to int64
	news     bool // whether it was not seen and counted before
}

// load reads all segments.
func (j *Journal) load() error {
	files, err := j.list()
	if err != nil {
		return err
	}
	var gaps []gap
	var before *found
	holes := false // whether a file was set aside since before
	for _, f := range files {
		data, err := ReadFile(j.files, f.name, maxSegment)
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		if err == nil {
			if f.limit >= 0 {
				data = data[:min(f.whole, f.limit)]
			}
			f.content, err = parse(f.seq, data)
		}
		if err == nil && f.first < j.last {
			err = errors.New("its numbers are those of the file before it")
		}
		if err != nil {
			j.reject(f, data, err)
			holes = holes || !unborn(f, data)
			continue
		}
		if from := j.last + f.Skipped; from < f.first && (before != nil || holes) {
			gaps = append(gaps, gap{from, f.first, holes || before.segment.damaged && !before.marked})
		}
		for _, g := range f.gaps {
			gaps = append(gaps, gap{g.from, g.to, !f.marked})
		}
		j.take(f)
		before, holes = f, false
	}
	return j.settle(before, gaps)
}

// list finds the segments, in their order, and how much of each counts.
func (j *Journal) list() ([]*found, error) {
	names, err := j.files.Names()
	if err != nil {
		return nil, err
	}
	var files []*found
	for _, name := range names {
		number, _, _ := strings.Cut(name, ".")
		seq, err := strconv.ParseUint(number, 10, 63)
		marked, ended := name == markedName(seq), name == endedName(seq)
		if err != nil || !marked && !ended && name != segmentName(seq) && name != damagedName(seq) {
			continue
		}
		j.newest = max(j.newest, seq)
		if name != damagedName(seq) {
			files = append(files, &found{segment: &segment{seq: seq, name: name, damaged: marked}, limit: -1, marked: marked, ended: ended})
		}
	}
	slices.SortFunc(files, func(a, b *found) int { return cmp.Compare(a.seq, b.seq) })
	for i, f := range files {
		head, err := j.head(f)
		if err != nil {
			return nil, err
		}
		_, b, _, err := readBeginning(f.seq, head)
		if err != nil || b.Previous == 0 {
			continue
		}
		if k := slices.IndexFunc(files[:i], func(p *found) bool { return p.seq == b.Previous }); k >= 0 {
			files[k].limit = b.Size
		}
	}
	return files, nil
}

// head reads the size of a file, and of its content enough for the first record.
func (j *Journal) head(f *found) ([]byte, error) {
	file, err := j.files.OpenFile(f.name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f.whole = info.Size()
	data := make([]byte, 1<<10)
	n, _ := file.ReadAt(data, 0) // what cannot be read does not check
	return data[:n], nil
}

// take adds a segment that could be read to the journal.
func (j *Journal) take(f *found) {
	s := f.segment
	s.journal, s.size, s.last = f.Journal, f.good, f.content.last
	s.damaged, s.givenUp = s.damaged || f.content.damaged || f.limit > f.good, f.whole > f.good
	if n := len(j.segments); n > 0 {
		j.segments[n-1].closeBatch()
	}
	s.batches, s.open, s.loose = f.content.batches, f.content.open, f.content.open.end-f.content.open.off
	if f.ended {
		s.closeBatch()
	}
	j.segments = append(j.segments, s)
	j.id, j.last, j.skipped = s.journal, s.last, 0
	j.noted, j.done = f.done, max(j.done, f.done)
	j.dropped = max(j.dropped, f.dropped)
	if f.split > 0 {
		j.split = f.split
	}
	if torn := f.whole - f.good; f.limit < 0 && torn > 0 {
		j.skipped = torn // as many numbers as may have been used there
		j.log.Warn("the last write to the journal was cut off", "file", s.name, "bytes", torn)
	}
}

// settle draws the conclusions once all files are read; newest is the last one that could be read, if one could.
func (j *Journal) settle(newest *found, gaps []gap) error {
	if newest == nil {
		j.id, j.skipped = plugins.NewID(), 0
	} else if err := j.resume(newest); err != nil {
		return err
	}
	for _, s := range j.segments {
		for _, b := range append(s.batches[:len(s.batches):len(s.batches)], s.open) {
			j.pending += max(b.to-max(b.from, j.done), 0)
		}
	}
	for _, g := range gaps {
		lost := g.to - max(g.from, j.done)
		if g.news && lost > 0 {
			j.lose(lost, "the journal is damaged")
		}
	}
	for _, s := range j.segments {
		if s.damaged && s.name != markedName(s.seq) {
			j.log.Error("a file of the journal is damaged; it will be kept as "+damagedName(s.seq), "file", s.name)
			j.mark(s)
		}
	}
	j.clear()
	return nil
}

// resume goes on with the last segment, if nothing is wrong with it; otherwise the next write begins a new one. What was read of
// it may never have been synced, because the process before was killed just then, and neither may the removal of a file
// that said how much of it counts. Nothing may be sent, or come after it, that the loss of power could still undo.
func (j *Journal) resume(s *found) error {
	f, err := j.files.OpenFile(s.name, os.O_RDWR)
	if err != nil {
		return err
	}
	s.file = f
	if err := f.Sync(); err != nil {
		return err
	}
	if j.skipped == 0 && s.limit < 0 && !s.segment.damaged && !s.ended {
		j.active = s.segment
	}
	return j.files.Sync()
}

// reject puts a file aside that cannot be read at all.
func (j *Journal) reject(f *found, data []byte, why error) {
	level, told := slog.LevelError, "a file of the journal is unreadable"
	if unborn(f, data) {
		level, told = slog.LevelWarn, "a file of the journal was never finished"
	}
	j.log.Log(context.Background(), level, told+"; it is kept as "+damagedName(f.seq), "file", f.name, "bytes", f.whole, "error", why)
	j.skipped += f.whole // as many numbers as may have been used in it
	f.segment.damaged = true
	j.removed(f.name, j.discard(f.segment))
}

// unborn reports whether a file ends within its first record, so that nothing else was ever in it. No other file refers to
// it then.
func unborn(f *found, data []byte) bool {
	if f.limit >= 0 || len(data) >= 1<<10 || f.whole > int64(len(data)) {
		return false
	}
	if len(data) < headerSize || len(bytes.Trim(data, "\x00")) == 0 {
		return true
	}
	length := binary.LittleEndian.Uint32(data[4:])
	return data[32] == begins && length < 1<<10 && headerSize+int(length) > len(data)
}

// removed logs that a file could not be removed or renamed. One that is there again after a restart says nothing new.
func (j *Journal) removed(name string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.log.Warn("a file of the journal cannot be removed", "file", name, "error", err)
	}
}

// mark remembers in its name that a segment is damaged, and that what it lost is counted. Nothing is added to it any more.
func (j *Journal) mark(s *segment) {
	if j.active == s {
		j.active = nil
	}
	s.damaged = true
	name := markedName(s.seq)
	if s.name == name {
		return
	}
	if err := j.files.Rename(s.name, name); err != nil {
		j.log.Warn("a file of the journal cannot be renamed", "file", s.name, "error", err)
		return
	}
	s.name = name
}

// discard takes a segment out of the journal: it is removed, or kept for somebody to look at if it is damaged.
func (j *Journal) discard(s *segment) error {
	if !s.damaged {
		return j.files.Remove(s.name)
	}
	if err := j.files.Rename(s.name, damagedName(s.seq)); err != nil {
		return err
	}
	names, err := j.files.Names()
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".damaged") })
	slices.Sort(names)
	for len(names) > keptDamaged {
		j.log.Warn("a damaged file of the journal is removed, there are newer ones", "file", names[0])
		if err := j.files.Remove(names[0]); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}

func segmentName(seq uint64) string { return fmt.Sprintf("%016d%s", seq, suffix) }
func markedName(seq uint64) string  { return fmt.Sprintf("%016d.damaged%s", seq, suffix) }
func damagedName(seq uint64) string { return fmt.Sprintf("%016d.damaged", seq) }
