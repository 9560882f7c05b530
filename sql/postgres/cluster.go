package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// The private cluster is a PostgreSQL server for whoever has no other: one folder, one socket in it, no TCP.
//
//	<data>/postgres/       the cluster, owned by the user its server runs as
//	<data>/run/            the server's socket
//	<data>/postgres.log    what the server says; initdb.log: how the cluster was made
//	<data>/use.lock        locked by every process that uses the cluster: shared, and exclusive while the last one stops it
//	<data>/start.lock      locked by the one process that looks for the server or starts it
//
// Several processes share it, and each may be killed at any time. So nobody owns the server: whoever comes finds it running or
// starts it, and whoever goes stops it if use.lock shows that nobody else is left. A hard example: A is killed with SIGKILL,
// its server lives on. B comes, reads the server's pid file, sees that the process is a server of this folder and uses it. C
// comes while B leaves: C waits for use.lock until B has stopped the server, then starts a new one.

// portNumber is part of the socket's name only.
const portNumber = 5432

// cluster is one process's share in a private cluster.
type cluster struct {
	dir      string // the data folder, absolute and free of links
	search   search
	log      *slog.Logger
	existing bool // it is never made, only found

	use   *os.File // holds the shared lock from join to leave
	start *os.File // locked while the server is looked for or started

	mu     sync.Mutex
	server *server

	stopGuard context.CancelFunc
	guarded   sync.WaitGroup
}

// join makes the cluster in a data folder if there is none, unless it must exist, starts its server if it does not run, and
// keeps it from being stopped until leave. What it started is stopped again if it returns an error.
func join(ctx context.Context, cfg Config, s search) (*cluster, error) {
	for {
		c, err := tryJoin(ctx, cfg, s)
		if !errors.Is(err, errFolderGone) || ctx.Err() != nil {
			return c, err
		}
	}
}

// errFolderGone is why joining begins anew: another process has removed the data folder that it had made in vain.
var errFolderGone = errors.New("the data folder (-data) is gone")

// tryJoin is one attempt to join. A data folder that it made and has no cluster for is removed again.
func tryJoin(ctx context.Context, cfg Config, s search) (_ *cluster, err error) {
	c := &cluster{search: s, log: cfg.Log, existing: cfg.Existing}
	made := false
	if c.existing {
		c.dir, err = existingFolder(cfg.DataDir)
	} else {
		c.dir, made, err = makeFolder(cfg.DataDir)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.closeLocks()
		}
	}()
	if c.start, err = openLock(filepath.Join(c.dir, "start.lock")); err != nil {
		if _, gone := os.Stat(c.dir); errors.Is(gone, fs.ErrNotExist) {
			return nil, errFolderGone
		}
		return nil, fmt.Errorf("opening a lock in the data folder (-data): %w", err)
	}
	if err := lock(ctx, c.start, syscall.LOCK_EX); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock(c.start)) }()
	if !inPlace(c.start) { // it was removed while this process waited for it
		return nil, errFolderGone
	}
	defer func() {
		if err != nil && made {
			c.removeFolder()
		}
	}()
	if c.use, err = openLock(filepath.Join(c.dir, "use.lock")); err != nil {
		return nil, fmt.Errorf("opening a lock in the data folder (-data): %w", err)
	}
	if err := lock(ctx, c.use, syscall.LOCK_SH); err != nil {
		return nil, err
	}
	if err := c.ensure(ctx); err != nil {
		return nil, err
	}
	guard, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stopGuard = stop
	c.guarded.Go(func() { c.guard(guard) })
	return c, nil
}

// leave ends this process's use of the cluster and stops the server if nobody else uses it. A server that has not stopped
// in an orderly way when ctx is done is stopped at once; it then recovers at its next start, and nothing committed is lost.
func (c *cluster) leave(ctx context.Context) error {
	c.stopGuard()
	c.guarded.Wait()
	defer c.closeLocks()
	// Of several that leave at once, each gives up its shared lock first, so the last of them finds the file free.
	last, err := tryLock(c.use, syscall.LOCK_EX)
	if err != nil || !last {
		return err
	}
	return c.current().stop(ctx)
}

func (c *cluster) closeLocks() {
	for _, f := range []*os.File{c.use, c.start} {
		if f != nil {
			f.Close() // which releases the lock
		}
	}
}

func (c *cluster) data() string      { return filepath.Join(c.dir, "postgres") }
func (c *cluster) socketDir() string { return filepath.Join(c.dir, "run") }
func (c *cluster) socket() string    { return socket(c.dir) }

func socket(dir string) string {
	return filepath.Join(dir, "run", fmt.Sprintf(".s.PGSQL.%d", portNumber))
}

func (c *cluster) current() *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

func (c *cluster) set(s *server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = s
}

// ensure finds the cluster's server running, or starts it. It is called with start.lock held.
func (c *cluster) ensure(ctx context.Context) error {
	began := time.Now()
	for {
		p := readPidFile(c.data())
		switch {
		case !runs(p.pid, c.data()):
			// PostgreSQL makes sure itself that nothing is left of the server that wrote the file, except where the number in it
			// belongs to another process by now, which is common in containers, or where the file is damaged.
			if p.exists && (p.pid <= 0 || inUse(p.pid)) {
				c.log.Info("removing the pid file of a database server that is gone", "pid", p.pid)
				if err := os.Remove(p.name); err != nil && !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("removing the pid file of a database server that is gone: %w", err)
				}
			}
			err := c.startServer(ctx)
			// A killed server's processes need a moment to notice, and a process that was killed may just have started one.
			lives := runs(readPidFile(c.data()).pid, c.data()) || errors.Is(err, errRemains) && time.Since(began) < 5*time.Second
			if err == nil || ctx.Err() != nil || !lives {
				return err
			}
		case p.ready() && c.listening():
			c.log.Info("using the private database server that runs already", "pid", p.pid)
			c.set(&server{pid: p.pid, data: c.data()})
			return nil
		case p.ready():
			c.log.Warn("stopping a private database server that has lost its socket", "pid", p.pid)
			if err := (&server{pid: p.pid, data: c.data()}).stop(ctx); err != nil {
				return err
			}
		}
		if !rest(ctx, 20*time.Millisecond) { // it is starting or stopping
			return fmt.Errorf("waiting for the private database server (process %d, %s): %w", p.pid, p.status, context.Cause(ctx))
		}
	}
}

// listening reports whether the server has its socket. It may be too busy to answer, or frozen.
func (c *cluster) listening() bool {
	conn, err := net.DialTimeout("unix", c.socket(), time.Second)
	if err == nil {
		conn.Close()
	}
	return !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED)
}

// guard starts the server again if it ends while it is used: nothing else would. It waits longer each time, up to half a
// minute, unless the server has run for a while.
func (c *cluster) guard(ctx context.Context) {
	const shortest, longest = time.Second, 30 * time.Second
	pause := shortest
	for {
		began := time.Now()
		s := c.current()
		if s.wait(ctx, time.Second) != nil {
			return
		}
		c.log.Error("the private database server ended", "pid", s.pid, "status", s.status(), "log", tail(c.logFile("postgres"), 0))
		if time.Since(began) > 2*longest {
			pause = shortest
		}
		for {
			if !rest(ctx, pause) {
				return
			}
			pause = min(2*pause, longest)
			err := c.restart(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			c.log.Error("the private database server could not be started again", "error", err)
		}
		c.log.Info("the private database server runs again", "pid", c.current().pid)
	}
}

func (c *cluster) restart(ctx context.Context) (err error) {
	if err := lock(ctx, c.start, syscall.LOCK_EX); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock(c.start)) }()
	return c.ensure(ctx)
}

// rest waits for d and reports whether ctx is still alive.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
