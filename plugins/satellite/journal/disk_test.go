package journal

// A disk that can do what disks do: run full, fail, and lose what was not synced when the power goes.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// disk is a folder in memory. Its zero value is empty, healthy and unlimited.
type disk struct {
	mu      sync.Mutex
	files   map[string]*inode
	durable map[string]*inode         // the names as they were when the folder was last synced
	renames []func(map[string]*inode) // what happened to them since
	random  *rand.Rand
	trace   []string
	limit   int64                              // bytes there is room for; 0 for no limit
	fail    func(operation, name string) error // asked before each operation
}

// inode is a file: what a process sees of it, and what is left of it without power.
type inode struct {
	data, synced []byte
	unsynced     []func([]byte) []byte
}

func newDisk(random *rand.Rand) *disk {
	return &disk{files: map[string]*inode{}, durable: map[string]*inode{}, random: random}
}

// crash is the disk after a loss of power: of what was not synced, the changes of names up to a random one are there, and of
// each file some of the writes, some of them in part.
func (d *disk) crash() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newDisk(d.random)
	names := maps.Clone(d.durable)
	for _, change := range d.renames[:d.random.IntN(len(d.renames)+1)] {
		change(names)
	}
	for name, file := range names {
		file.lose(d.random)
		data := slices.Clone(file.synced)
		after.files[name] = &inode{data: data, synced: slices.Clone(data)}
		after.durable[name] = after.files[name]
	}
	return after
}

// lose ends what was written and not synced: each write is there or not.
func (f *inode) lose(random *rand.Rand) {
	for _, write := range f.unsynced {
		if random.IntN(2) == 0 {
			f.synced = write(f.synced)
		}
	}
	f.unsynced = nil
}

func (d *disk) operation(name, file string) error {
	d.trace = append(d.trace, name+" "+file)
	if d.fail != nil {
		return d.fail(name, file)
	}
	return nil
}

func (d *disk) used() (n int64) {
	for _, f := range d.files {
		n += int64(len(f.data))
	}
	return n
}

func (d *disk) Names() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.files)), nil
}

func (d *disk) OpenFile(name string, flag int) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.operation("open", name); err != nil {
		return nil, err
	}
	f, ok := d.files[name]
	switch {
	case ok && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case !ok && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case !ok:
		f = &inode{}
		d.name(func(names map[string]*inode) { names[name] = f })
	case flag&os.O_TRUNC != 0:
		f.data = nil
		f.unsynced = append(f.unsynced, func([]byte) []byte { return nil })
	}
	return &handle{d, f, name}, nil
}

// name changes the names, for now.
func (d *disk) name(change func(map[string]*inode)) {
	change(d.files)
	d.renames = append(d.renames, change)
}

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.operation("rename", from); err != nil {
		return err
	}
	if d.files[from] == nil {
		return fs.ErrNotExist
	}
	d.name(func(names map[string]*inode) {
		names[to] = names[from]
		delete(names, from)
	})
	return nil
}

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.operation("remove", name); err != nil {
		return err
	}
	if d.files[name] == nil {
		return fs.ErrNotExist
	}
	d.name(func(names map[string]*inode) { delete(names, name) })
	return nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.operation("sync", "."); err != nil {
		return err
	}
	d.durable, d.renames = maps.Clone(d.files), nil
	return nil
}

// handle is an open file of a disk.
type handle struct {
	disk  *disk
	inode *inode
	name  string
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.operation("read", h.name); err != nil {
		return 0, err
	}
	if off >= int64(len(h.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.inode.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes a part where it cannot write all.
func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	d := h.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if err = d.operation("write", h.name); err != nil {
		p = p[:d.random.IntN(len(p)+1)]
	}
	if room := d.limit - d.used(); d.limit > 0 && max(off+int64(len(p))-int64(len(h.inode.data)), 0) > room {
		p = p[:max(min(int64(len(h.inode.data))-off+room, int64(len(p))), 0)]
		err = syscall.ENOSPC
	}
	p = slices.Clone(p)
	part := d.random.IntN(len(p) + 1)
	if d.random.IntN(2) == 0 {
		part = len(p)
	}
	h.inode.data = writeAt(h.inode.data, p, off)
	h.inode.unsynced = append(h.inode.unsynced, func(data []byte) []byte { return writeAt(data, p[:part], off) })
	if err != nil {
		return len(p), err
	}
	return len(p), nil
}

func writeAt(data, p []byte, off int64) []byte {
	if missing := off + int64(len(p)) - int64(len(data)); missing > 0 {
		data = append(data, make([]byte, missing)...)
	}
	copy(data[off:], p)
	return data
}

func (h *handle) Truncate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.operation("truncate", h.name); err != nil {
		return err
	}
	cut := func(data []byte) []byte { return data[:min(size, int64(len(data)))] }
	h.inode.data = cut(h.inode.data)
	h.inode.unsynced = append(h.inode.unsynced, cut)
	return nil
}

// Sync that fails leaves it open what is on disk, and the next one has nothing to do any more, as on Linux.
func (h *handle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.operation("sync", h.name); err != nil {
		h.inode.lose(h.disk.random)
		return err
	}
	h.inode.synced, h.inode.unsynced = slices.Clone(h.inode.data), nil
	return nil
}

func (h *handle) Close() error { return nil }

func (h *handle) Stat() (fs.FileInfo, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return size(len(h.inode.data)), nil
}

// size is the only thing that is known of a file.
type size int64

func (s size) Name() string       { return "" }
func (s size) Size() int64        { return int64(s) }
func (s size) Mode() fs.FileMode  { return 0o600 }
func (s size) ModTime() time.Time { return time.Time{} }
func (s size) IsDir() bool        { return false }
func (s size) Sys() any           { return nil }

var errDisk = errors.New("the disk failed")

func (d *disk) String() string {
	s := ""
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		s += fmt.Sprintf("%s %d\n", name, len(d.files[name].data))
	}
	return s
}
