// Package servertest lets a plugin's tests talk to the real server: the binary, built once in a test process, started
// on a port of its own with a database of its own.
//
//	func TestMain(m *testing.M) { postgrestest.Main(m) }
//
//	func TestSystems(t *testing.T) {
//		s := servertest.Start(t, servertest.Config{})
//		s.Do(t, "GET", "/api/catalog/systems", "", nil).Is(t, 200, `{"items":[],"total":0}`)
//	}
//
// A server that does not stop cleanly fails its test, and so does one that logs an error: what a handler got wrong
// shows even where the test looks elsewhere. Nothing here waits by sleeping; the server's log says when it listens and
// when it is ready.
package servertest

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"checkstack/sql/postgres/postgrestest"
)

// patience is how long a server may take to start or to stop, on a busy machine and under the race detector.
const patience = time.Minute

// Admin is the administrator's token of a server that is not configured otherwise.
const Admin = "cs_the-first-token-of-a-server-under-test"

// Config says how a server is started. The zero value is a server on an empty database of its own, without example
// data.
type Config struct {
	Database string            // connection string of a database to use instead
	Data     string            // run a private cluster in this folder instead
	Env      map[string]string // variables to set; an empty value unsets one
	Args     []string          // further flags
}

// Server is a running server.
type Server struct {
	URL      string  // http://127.0.0.1:<port>
	DB       *sql.DB // its database, unless that was configured
	Database string  // the connection string of its database; empty with a private cluster

	process *exec.Cmd
	log     *logbook
	done    chan struct{} // closed once the process has ended
	stopped bool

	mu     sync.Mutex
	tokens map[string]string // by role
}

// Start starts a server and waits until it is ready. It is stopped when the test ends.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s := launch(t, cfg)
	for _, event := range []chan string{s.log.listening, s.log.ready} {
		select {
		case addr := <-event:
			s.URL = cmp.Or(s.URL, "http://"+addr)
		case <-s.done:
			s.stopped = true
			t.Fatalf("the server ended while it booted: %v\n%s", s.process.ProcessState, s.log)
		case <-time.After(patience):
			t.Fatalf("the server is not ready after %v\n%s", patience, s.log)
		}
	}
	return s
}

// Refused starts a server that must not come up, waits until it has ended with exit code 1, and returns its log.
func Refused(t testing.TB, cfg Config) string {
	t.Helper()
	s := launch(t, cfg)
	s.stopped = true
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("the server has not ended after %v\n%s", patience, s.log)
	}
	if code := s.process.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the server ended with %d, want 1\n%s", code, s.log)
	}
	return s.log.String()
}

// launch starts the process.
func launch(t testing.TB, cfg Config) *Server {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Database: cfg.Database, log: newLogbook(), done: make(chan struct{}), tokens: map[string]string{"admin": Admin}}
	if cfg.Database == "" && cfg.Data == "" {
		s.DB, s.Database = postgrestest.New(t)
	}
	env := map[string]string{"CHECKSTACK_ADMIN_TOKEN": Admin, "DATABASE_URL": s.Database}
	maps.Copy(env, cfg.Env)
	args := []string{"-listen=127.0.0.1:0", "-drain=0s", "-log-format=json", "-demo=false"}
	if cfg.Data != "" {
		args = append(args, "-data="+cfg.Data)
	}
	s.process = exec.Command(binary, append(args, cfg.Args...)...)
	s.process.Dir = t.TempDir()
	s.process.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CHECKSTACK_") || strings.HasPrefix(v, "DATABASE_URL=")
	})
	for name, value := range env {
		if value != "" {
			s.process.Env = append(s.process.Env, name+"="+value)
		}
	}
	s.process.Stdout, s.process.Stderr = s.log, s.log
	if err := s.process.Start(); err != nil {
		t.Fatalf("start the server: %v", err)
	}
	go func() {
		s.process.Wait() // the state says how it ended
		close(s.done)
	}()
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Stop asks the server to end, as an orchestrator does, waits for it, and fails the test if it did not end cleanly or
// has logged an error. A server that has been stopped is left alone.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stopped {
		<-s.done
		return
	}
	s.stopped = true
	s.process.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-s.done:
	case <-time.After(patience):
		s.process.Process.Kill()
		<-s.done
		t.Errorf("the server has not stopped after %v\n%s", patience, s.log)
		return
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 || strings.Contains(s.log.String(), `"level":"ERROR"`) {
		t.Errorf("the server ended with %v, or has logged errors\n%s", s.process.ProcessState, s.log)
	}
}

// Kill ends the server as a lost machine does, without a word, and waits until it is gone.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.stopped = true
	if err := s.process.Process.Kill(); err != nil {
		t.Errorf("kill the server: %v", err)
	}
	<-s.done
}

// PID is the process that the server is.
func (s *Server) PID() int { return s.process.Process.Pid }

// Log returns what the server has written so far.
func (s *Server) Log() string { return s.log.String() }

// logbook keeps what a server writes and tells when it says that it listens, and that it is ready.
type logbook struct {
	listening chan string // the address
	ready     chan string

	mu   sync.Mutex
	text bytes.Buffer
	line []byte // the last one, as far as it has come
}

func newLogbook() *logbook {
	return &logbook{listening: make(chan string, 1), ready: make(chan string, 1)}
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	l.line = append(l.line, p...)
	for {
		i := bytes.IndexByte(l.line, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.note(l.line[:i])
		l.line = l.line[i+1:]
	}
}

func (l *logbook) note(line []byte) {
	var record struct{ Msg, Addr, Plugin string }
	if json.Unmarshal(line, &record) != nil || record.Plugin != "" {
		return
	}
	events := map[string]chan string{"listening": l.listening, "ready": l.ready}
	if event, ok := events[record.Msg]; ok {
		select {
		case event <- record.Addr:
		default: // once is enough
		}
	}
}

// String returns all of the log.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
