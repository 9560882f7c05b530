package postgres

import (
	"context"
	"errors"
	"fmt"
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

// server is a running PostgreSQL server: a child of this process, or one that another process has started.
type server struct {
	pid    int
	data   string           // the cluster's folder
	exited chan struct{}    // closed when the child has ended and was reaped; nil if it is not a child
	state  *os.ProcessState // set before exited is closed
}

// launch runs a server as a child that outlives this process if this process is killed.
func launch(cmd *exec.Cmd, data string) (*server, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{pid: cmd.Process.Pid, data: data, exited: make(chan struct{})}
	go func() { // ends with the server, which may be after leave if others use it
		_ = cmd.Wait()
		s.state = cmd.ProcessState
		close(s.exited)
	}()
	return s, nil
}

// ended reports whether the server has ended. Where it is not a child, that it has removed its pid file counts: that is the
// last thing it does.
func (s *server) ended() bool {
	if s.exited == nil {
		return !runs(s.pid, s.data) || readPidFile(s.data).pid != s.pid
	}
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// wait returns nil when the server has ended, or ctx's error. It looks every so often where the server is not a child.
func (s *server) wait(ctx context.Context, often time.Duration) error {
	if s.exited != nil {
		select {
		case <-s.exited:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for !s.ended() {
		if !rest(ctx, often) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// status says how the server ended.
func (s *server) status() string {
	if s.state == nil {
		return "unknown: another process had started it"
	}
	return s.state.String()
}

// stop ends the server: in an orderly way, its clients disconnected, and if that has not worked when ctx is done, at once.
// That it has ended already is no error.
func (s *server) stop(ctx context.Context) error {
	const often = 10 * time.Millisecond
	s.signal(syscall.SIGINT)
	if s.wait(ctx, often) == nil {
		return nil
	}
	s.signal(syscall.SIGQUIT)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if s.wait(last, often) != nil {
		return fmt.Errorf("the private database server (process %d) does not stop", s.pid)
	}
	return errors.New("the private database server did not stop in time and was ended at once; it recovers when it is next started")
}

// signal sends a signal, unless the process has ended and its number may be another's.
func (s *server) signal(sig syscall.Signal) {
	if !s.ended() {
		_ = syscall.Kill(s.pid, sig)
	}
}

// runs reports whether a process is a PostgreSQL server of a cluster, by its command line: a process number alone may belong
// to another process, or to a thread, after a reboot or in a new container.
func runs(pid int, data string) bool {
	if pid <= 1 || !inUse(pid) {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil {
		return slices.Contains(strings.Split(string(line), "\x00"), data)
	}
	if _, err := os.Stat("/proc/self/cmdline"); err == nil {
		return false // there is a /proc, and the process is gone
	}
	line, err = exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), " "+data+" ")
}

// inUse reports whether there is a process, or a thread, with a number.
func inUse(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// pidFile is what a server says of itself in postmaster.pid.
type pidFile struct {
	name   string
	exists bool
	pid    int    // 0 if the file is damaged
	status string // starting, stopping, ready, standby
}

func readPidFile(data string) pidFile {
	p := pidFile{name: filepath.Join(data, "postmaster.pid")}
	content, err := os.ReadFile(p.name)
	p.exists = !errors.Is(err, fs.ErrNotExist)
	lines := strings.Split(string(content), "\n")
	p.pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	if len(lines) > 7 {
		p.status = strings.TrimSpace(lines[7])
	}
	return p
}

func (p pidFile) ready() bool { return p.status == "ready" }
