package postgres

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What makes a private cluster and starts its server. All of it runs with start.lock held.

// settings of the server, beside PostgreSQL's own defaults. The log has what the server itself does; the errors of single
// statements go to whoever sent them, so that no client can fill the disk with them.
var settings = [...]string{
	"listen_addresses=",
	"unix_socket_permissions=0700",
	"max_connections=200", // a dozen servers and test processes with pools of their own
	"timezone=UTC",
	"log_timezone=UTC",
	"log_min_messages=log",
	"log_checkpoints=off",
	"jit=off", // it costs more than it gains for statements of milliseconds
}

// errRemains is why a server does not start that would share its files with processes of the one before.
var errRemains = errors.New("processes of a server that was killed are still there")

//go:embed create_database.sql
var createDatabase string

// makeFolder makes the data folder if there is none, closed to everyone else, and returns its real path and whether it made
// it. As root, others may pass through it, because the server then runs as another user; what is in it stays closed to them.
func makeFolder(dir string) (real string, made bool, err error) {
	absolute, err := absoluteFolder(dir)
	if err != nil {
		return "", false, err
	}
	if _, err := os.Stat(absolute); errors.Is(err, fs.ErrNotExist) {
		if made, err = makeClosed(absolute); err != nil {
			return "", false, fmt.Errorf("making the data folder (-data): %w", err)
		}
	}
	real, err = realFolder(absolute)
	if errors.Is(err, fs.ErrNotExist) { // a link that leads nowhere, or another process has removed the folder meanwhile
		if info, gone := os.Lstat(absolute); errors.Is(gone, fs.ErrNotExist) || gone == nil && info.Mode()&fs.ModeSymlink == 0 {
			err = errFolderGone
		}
	}
	return real, made, err
}

// makeClosed makes a folder and those above it, and reports whether it did or another process was first.
func makeClosed(dir string) (bool, error) {
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(filepath.Dir(dir), mode); err != nil {
		return false, err
	}
	if err := os.Mkdir(dir, mode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		return false, err
	}
	return true, os.Chmod(dir, mode) // whatever the umask
}

// existingFolder returns the real path of a data folder that has a cluster.
func existingFolder(dir string) (string, error) {
	absolute, err := absoluteFolder(dir)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(versionFile(filepath.Join(absolute, "postgres")))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", noCluster(absolute)
	}
	return realFolder(absolute)
}

func noCluster(dir string) error {
	return fmt.Errorf("there is no private cluster in %s: set -data or DATABASE_URL", dir)
}

func absoluteFolder(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no folder for the private database is given: set -data, or DATABASE_URL")
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("looking for the data folder (-data): %w", err)
	}
	return absolute, checkLength(absolute)
}

func realFolder(absolute string) (string, error) {
	real, err := filepath.EvalSymlinks(absolute)
	if err != nil {
		return "", fmt.Errorf("looking at the data folder (-data): %w", err)
	}
	return real, checkLength(real)
}

// removeFolder removes the data folder if nothing is in it but what an attempt to make a cluster leaves. It is called with
// start.lock held, and removes that last: whoever has waited for it sees that it is gone, and nobody new gets past it before.
func (c *cluster) removeFolder() {
	ours := []string{"initdb.log", "run", "use.lock", "start.lock"}
	entries, err := os.ReadDir(c.dir)
	if err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !slices.Contains(ours, e.Name()) }) {
		return
	}
	for _, name := range ours {
		_ = os.Remove(filepath.Join(c.dir, name)) // what stays keeps the folder
	}
	_ = os.Remove(c.dir)
}

// checkLength reports a folder whose socket would have a longer path than an address can hold (unix(7)).
func checkLength(dir string) error {
	var address syscall.RawSockaddrUnix
	if s, longest := socket(dir), len(address.Path)-1; len(s) > longest {
		return fmt.Errorf("the path of the database's socket, %s, has %d bytes, and the system allows %d: "+
			"choose a shorter folder with -data", s, len(s), longest)
	}
	return nil
}

// startServer makes the cluster if there is none, starts its server and waits until it takes connections.
func (c *cluster) startServer(ctx context.Context) error {
	began := time.Now()
	owner, err := clusterAccount(c.data())
	if err != nil {
		return err
	}
	major, err := clusterVersion(c.data())
	if err != nil {
		return err
	}
	if major == 0 && c.existing {
		return noCluster(c.dir)
	}
	programs, err := c.search.find(ctx, major)
	if err != nil {
		return err
	}
	if err := owner.own(c.socketDir()); err != nil {
		return fmt.Errorf("making the folder of the database's socket: %w", err)
	}
	if major == 0 {
		if err := c.initialise(ctx, programs, owner); err != nil {
			return err
		}
	}
	log, start, err := openLog(c.logFile("postgres"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(programs.program("postgres"), "-D", c.data(), "-p", strconv.Itoa(portNumber), "-k", c.socketDir())
	for _, s := range settings {
		cmd.Args = append(cmd.Args, "-c", s)
	}
	cmd.Stdout, cmd.Stderr = log, log
	owner.prepare(cmd, c.socketDir())
	s, err := launch(cmd, c.data())
	if err != nil {
		return fmt.Errorf("starting the private database server: %w", owner.explain(err, c.dir))
	}
	if err := s.ready(ctx); err != nil {
		if ctx.Err() != nil {
			now, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, s.stop(now))
		}
		said := tail(log.Name(), start)
		if strings.Contains(said, "pre-existing shared memory block") {
			err = fmt.Errorf("%w: %w", errRemains, err)
		}
		if said != "" {
			err = fmt.Errorf("%w; the end of %s:\n%s", err, log.Name(), said)
		}
		return fmt.Errorf("starting the private database server: %w", err)
	}
	c.set(s)
	c.log.Info("started the private database server", "pid", s.pid, "version", programs.major, "data", c.dir,
		"took", time.Since(began).Round(time.Millisecond))
	return nil
}

// ready waits until the server says in its pid file that it takes connections.
func (s *server) ready(ctx context.Context) error {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		if p := readPidFile(s.data); p.pid == s.pid && p.ready() {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended: %s", s.state)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
	}
}

func versionFile(data string) string { return filepath.Join(data, "PG_VERSION") }

// clusterVersion returns the major version that a cluster was made by, or 0 if there is no cluster.
func clusterVersion(data string) (int, error) {
	content, err := os.ReadFile(versionFile(data))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the version of the cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("reading the version of the cluster: %w", err)
	}
	return major, nil
}

// initialise makes a cluster with its database beside where it belongs and then moves it there, so that a cluster is either
// whole or not there. What earlier attempts that were killed have left is removed.
func (c *cluster) initialise(ctx context.Context, programs installation, owner *account) error {
	const prefix = "postgres.new-"
	left, err := filepath.Glob(filepath.Join(c.dir, prefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		_ = os.RemoveAll(dir) // its initdb may still be writing; then the next time
	}
	dir, err := os.MkdirTemp(c.dir, prefix)
	if err != nil {
		return fmt.Errorf("making a folder for the cluster: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := owner.own(dir); err != nil {
		return fmt.Errorf("making a folder for the cluster: %w", err)
	}
	name := c.logFile("initdb")
	log, start, err := openLog(name)
	if err != nil {
		return err
	}
	defer log.Close()
	c.log.Info("making a private database cluster", "version", programs.major, "data", c.dir)
	steps := []*exec.Cmd{
		exec.CommandContext(ctx, programs.program("initdb"), "-D", dir, "-U", superuser, "-E", "UTF8", "--locale=C",
			"--data-checksums", "--auth-local=trust", "--auth-host=reject", "--no-instructions"),
		exec.CommandContext(ctx, programs.program("postgres"), "--single", "-j", "-D", dir, "-c", "exit_on_error=on", "postgres"),
	}
	steps[1].Stdin = strings.NewReader(createDatabase)
	for _, cmd := range steps {
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
		cmd.WaitDelay = 10 * time.Second
		owner.prepare(cmd, dir)
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			err = owner.explain(err, c.dir)
			if said := tail(name, start); said != "" { // the log itself goes with a data folder that was made in vain
				err = fmt.Errorf("%w; it said:\n%s", err, said)
			}
			return fmt.Errorf("making a private database cluster with %s: %w", filepath.Base(cmd.Path), err)
		}
	}
	if err := os.Rename(dir, c.data()); err != nil {
		return fmt.Errorf("putting the new cluster in its place: %w", err)
	}
	parent, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync() // so that the move outlives a loss of power
}

func (c *cluster) logFile(program string) string { return filepath.Join(c.dir, program+".log") }

// openLog opens a log to be appended to, and returns its length. One that has grown past 8 MiB is set aside first, in the
// place of the one that was set aside before.
func openLog(name string) (*os.File, int64, error) {
	const longest = 8 << 20
	if info, err := os.Stat(name); err == nil && info.Size() > longest {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, 0, fmt.Errorf("setting the old log aside: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("opening a log in the data folder (-data): %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// tail returns the last lines of a log that were written after it was start bytes long.
func tail(name string, start int64) string {
	const lines, size = 10, 4 << 10
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(start, info.Size()-size), size))
	if err != nil {
		return ""
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
