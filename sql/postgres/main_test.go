package postgres_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// TestMain lets the tests start this program again as another process that uses a cluster.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CHECKSTACK_TEST_USE"); dir != "" {
		os.Exit(useCluster(dir))
	}
	var err error
	if made, err = os.MkdirTemp("", "cs"); err != nil {
		panic(err)
	}
	postgrestest.Main(m) // which does not return if a test fails
	os.RemoveAll(made)
}

// made is a folder with a cluster that was made once, to be copied, because making one takes seconds.
var (
	made     string
	makeOnce sync.Once
)

// copiedCluster returns a data folder with a new cluster in it, whose server does not run.
func copiedCluster(t *testing.T) string {
	t.Helper()
	original := made + "/data"
	makeOnce.Do(func() {
		if err := os.Chmod(made, 0o755); err != nil {
			t.Fatal(err)
		}
		db, err := postgres.Open(t.Context(), postgres.Config{DataDir: original})
		if err != nil {
			t.Fatal(err)
		}
		closeDatabase(t, db)
	})
	dir := clusterFolder(t)
	if out, err := exec.Command("cp", "-Rp", original, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// useCluster opens the cluster in dir, says the server's process number, and closes it when its standard input ends.
func useCluster(dir string) int {
	ctx := context.Background()
	db, err := postgres.Open(ctx, postgres.Config{DataDir: dir})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(db.ServerPID())
	io.Copy(io.Discard, os.Stdin)
	if err := db.Close(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// process is another process that uses a cluster.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), "CHECKSTACK_TEST_USE="+dir)
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.lines = stdin, bufio.NewScanner(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill(t)
		}
	})
	return p
}

// server waits until the process has opened the cluster, and returns the number of the server's process.
func (p *process) server(t *testing.T) int {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatal("the other process has ended:", p.cmd.Wait())
	}
	pid, err := strconv.Atoi(p.lines.Text())
	if err != nil {
		t.Fatal("the other process says:", p.lines.Text())
	}
	return pid
}

// end lets the process close the cluster and waits until it has ended.
func (p *process) end(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Fatal("the other process:", err)
	}
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Wait()
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatal("has not happened in time:", what)
		case <-look.C:
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// openCluster opens a private cluster, to be closed at the end of the test if it is not closed before.
func openCluster(t *testing.T, dir string) *postgres.Database {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDatabase(t, db) })
	return db
}

func closeDatabase(t *testing.T, db *postgres.Database) {
	t.Helper()
	if err := db.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// clusterFolder returns a path for a data folder that does not exist yet, short enough for a socket.
func clusterFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user must reach what is in it
		t.Fatal(err)
	}
	return dir + "/data"
}

// show returns what a query of one row and one column says.
func show(t testing.TB, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string, args ...any) string {
	t.Helper()
	var s string
	if err := db.QueryRowContext(context.Background(), query, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

// with adds settings to a connection string of either kind.
func with(url string, settings ...string) string {
	for _, s := range settings {
		switch {
		case !strings.HasPrefix(url, "postgres"):
			url += " " + s
		case strings.Contains(url, "?"):
			url += "&" + s
		default:
			url += "?" + s
		}
	}
	return url
}

// logged is a log that tests can wait on.
type logged struct {
	slog.Handler
	mu    sync.Mutex
	text  strings.Builder
	lines chan string
}

func newLog() *logged {
	l := &logged{lines: make(chan string, 100)}
	l.Handler = slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})
	return l
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	select {
	case l.lines <- string(p):
	default:
	}
	return len(p), nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// next waits for a record with a text in it.
func (l *logged) next(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("no log record with %q; there are:\n%s", text, l)
		}
	}
}
