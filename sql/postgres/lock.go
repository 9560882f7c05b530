package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// openLock opens the file that a lock is taken on, and makes it if need be. The lock belongs to the open file: the kernel
// releases it when the process ends, however it ends, and two openings in one process exclude each other too.
func openLock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}

// lock takes a lock (syscall.LOCK_SH or syscall.LOCK_EX) on an open file, and waits for it until ctx is done. It asks again
// and again, because the kernel's own wait could not be ended.
func lock(ctx context.Context, f *os.File, how int) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		ok, err := tryLock(f, how)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for another process to release %s: %w", f.Name(), context.Cause(ctx))
		case <-again.C:
		}
	}
}

// tryLock takes a lock if nobody stands in the way. Where it changes a lock that the file has already, a false answer means
// that the old one is gone too.
func tryLock(f *os.File, how int) (bool, error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}

// inPlace reports whether an open file is still the one that others find by its name.
func inPlace(f *os.File) bool {
	this, err := f.Stat()
	if err != nil {
		return false
	}
	found, err := os.Stat(f.Name())
	return err == nil && os.SameFile(this, found)
}

func unlock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}
