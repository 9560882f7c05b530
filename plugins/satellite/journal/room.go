// A disk without room: what is on it must not be stuck there until there is some. So a batch can be closed without a byte,
// and where everything on disk is acknowledged the files go, so that their room is there for what comes.

package journal

import (
	"errors"
	"fmt"
	"io/fs"

	"checkstack/plugins"
)

// seal makes sure that a write that failed is not on disk after all, at the end of the file that was given up for it: its
// runs are still in memory. The next file would say so as well, but needs room.
func (j *Journal) seal() error {
	s := j.unsealed
	if s == nil {
		return nil
	}
	var err error
	if s.file == nil { // it was removed, if only that is durable
		err = j.files.Sync()
	} else if err = s.file.Truncate(s.size); err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("take back a write to the journal that failed: %w", err)
	}
	j.unsealed = nil
	return nil
}

// closeInPlace closes the batch at the end of the last segment where nothing can be written. The name of the file says
// then that nothing is ever added to it, so its end is that of the batch.
func (j *Journal) closeInPlace(s *segment) error {
	if err := j.seal(); err != nil {
		return err
	}
	if name := endedName(s.seq); s.name == segmentName(s.seq) {
		if err := j.files.Rename(s.name, name); err != nil {
			return fmt.Errorf("end a file of the journal: %w", err)
		}
		s.name = name
	}
	if err := j.files.Sync(); err != nil {
		return fmt.Errorf("end a file of the journal: %w", err)
	}
	s.closeBatch()
	return nil
}

// vacate removes all files, of which every run is done, to make room. What they say of the numbers goes with them, so the
// journal takes a new ID.
func (j *Journal) vacate() error {
	j.active = nil
	for len(j.segments) > 0 {
		s := j.segments[0]
		s.close()
		if err := j.discard(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a file of the journal: %w", err)
		}
		j.segments = j.segments[1:]
		j.id, j.skipped, j.split = plugins.NewID(), 0, 0
	}
	if err := j.files.Sync(); err != nil {
		return fmt.Errorf("remove the files of the journal: %w", err)
	}
	j.done, j.unsealed = j.last, nil
	return nil
}

func endedName(seq uint64) string { return fmt.Sprintf("%016d.ended%s", seq, suffix) }
