// What the journal needs of a disk, as an interface, so that a test can put a full or failing one in its place.

package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Files is a folder.
type Files interface {
	// Names lists the files in the folder.
	Names() ([]string, error)

	// OpenFile is [os.OpenFile] in the folder.
	OpenFile(name string, flag int) (File, error)

	Rename(from, to string) error
	Remove(name string) error

	// Sync makes the names in the folder durable.
	Sync() error
}

// File is an open file, such as an [os.File].
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error // makes what was written durable
}

// folder is a real one. Nothing outside can be reached through it, also not over links.
type folder struct{ root *os.Root }

func (f folder) Names() ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

func (f folder) OpenFile(name string, flag int) (File, error) {
	file, err := f.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err // and not a nil *os.File in an interface
	}
	return file, nil
}

func (f folder) Rename(from, to string) error { return f.root.Rename(from, to) }
func (f folder) Remove(name string) error     { return f.root.Remove(name) }

func (f folder) Sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// openFolder makes the folder if need be and takes it for this process: the kernel gives the lock back when the process
// ends, however it ends.
func openFolder(dir string) (folder, *os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return folder{}, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return folder{}, nil, err
	}
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("another process uses the folder %s", dir)
	} else if err != nil {
		err = &os.PathError{Op: "flock", Path: lock.Name(), Err: err}
	}
	if err != nil {
		lock.Close()
		return folder{}, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		lock.Close()
		return folder{}, nil, err
	}
	return folder{root}, lock, nil
}

// WriteFile replaces a file whole: after a crash there is the old content or the new one. The folder is not one that
// others write to at the same time.
func WriteFile(files Files, name string, data []byte) error {
	part := name + ".part"
	f, err := files.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := files.Rename(part, name); err != nil {
		return err
	}
	return files.Sync()
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(files Files, name string, limit int64) ([]byte, error) {
	f, err := files.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d it may have", name, info.Size(), limit)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if err == io.EOF {
		err = nil
	}
	return data[:n], err
}
