package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"checkstack/sql/postgres"
)

func TestPrivateClusterIsMadeKeptAndStopped(t *testing.T) {
	t.Parallel()
	dir := clusterFolder(t)
	db := openCluster(t, dir)
	if !db.Private() {
		t.Error("it is not said to be private")
	}
	for query, want := range map[string]string{
		"SELECT current_user":                           "checkstack",
		"SELECT current_database()":                     "checkstack",
		"SHOW data_checksums":                           "on",
		"SHOW server_encoding":                          "UTF8",
		"SHOW lc_collate":                               "C",
		"SHOW listen_addresses":                         "",
		"SHOW unix_socket_permissions":                  "0700",
		"SHOW fsync":                                    "on",
		"SHOW timezone":                                 "UTC",
		"SHOW statement_timeout":                        "30s",
		"SHOW lock_timeout":                             "0",
		"SHOW idle_in_transaction_session_timeout":      "1min",
		"SHOW application_name":                         "checkstack",
		"SELECT coalesce(inet_client_addr()::text, '')": "",
	} {
		if got := show(t, db, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	modes := map[string]os.FileMode{"": 0o700, "postgres": 0o700, "run": 0o700, "run/.s.PGSQL.5432": 0o700,
		"postgres.log": 0o600, "initdb.log": 0o600, "use.lock": 0o600, "start.lock": 0o600}
	if os.Geteuid() == 0 {
		modes[""] = 0o711
	}
	for name, want := range modes {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has the mode %o, want %o", name, got, want)
		}
	}
	pid := db.ServerPID()
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the server is in the process group %d, not in its own (%v)", group, err)
	}
	if _, err := db.Exec("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)"); err != nil {
		t.Fatal(err)
	}
	closeDatabase(t, db)
	if alive(pid) {
		t.Error("the server still runs after the only user has left")
	}
	closeDatabase(t, db) // a second time does nothing

	db = openCluster(t, dir)
	if got := show(t, db, "SELECT n FROM kept"); got != "42" {
		t.Errorf("the table has %s", got)
	}
}

func TestKilledProcessLeavesItsServerToTheNext(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	first := startProcess(t, dir)
	pid := first.server(t)
	first.kill(t)
	if !alive(pid) {
		t.Fatal("the server died with the process that started it")
	}
	db := openCluster(t, dir)
	if got := db.ServerPID(); got != pid {
		t.Errorf("another server was started: %d instead of %d", got, pid)
	}
	closeDatabase(t, db)
	eventually(t, "the server has ended", func() bool { return !alive(pid) })
}

func TestTwoProcessesShareAServerThatTheLastOneStops(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	a := startProcess(t, dir)
	pid := a.server(t)
	b := startProcess(t, dir)
	if got := b.server(t); got != pid {
		t.Fatalf("the second process has the server %d, the first %d", got, pid)
	}
	db := openCluster(t, dir)
	a.end(t) // who started it leaves first
	b.end(t)
	if got := show(t, db, "SELECT 'yes'"); got != "yes" {
		t.Error(got)
	}
	closeDatabase(t, db)
	eventually(t, "the server has ended", func() bool { return !alive(pid) })
}

func TestComingAndGoingAtOnceNeverFails(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	var users sync.WaitGroup
	for range 3 { // few enough that the server is stopped and started again and again
		users.Go(func() {
			for range 12 {
				db, err := postgres.Open(t.Context(), postgres.Config{DataDir: dir})
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if err := db.QueryRow("SELECT 1").Scan(&n); err != nil {
					t.Error(err)
				}
				if err := db.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	if _, err := os.Stat(filepath.Join(dir, "postgres", "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a server is left:", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), "lock file") {
		t.Errorf("two servers were started at once:\n%s", log)
	}
}

func TestKillInTheMiddleOfInitdbLeavesNoHalfCluster(t *testing.T) {
	t.Parallel()
	dir := clusterFolder(t)
	p := startProcess(t, dir)
	var half []string
	eventually(t, "initdb has begun to write", func() bool {
		half, _ = filepath.Glob(filepath.Join(dir, "postgres.new-*", "base"))
		return len(half) > 0
	})
	p.kill(t)
	if _, err := os.Stat(filepath.Join(dir, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("there is a cluster already:", err)
	}
	eventually(t, "the orphaned initdb has ended", func() bool {
		processes, err := exec.Command("ps", "-A", "-ww", "-o", "command=").Output()
		return err == nil && !strings.Contains(string(processes), filepath.Dir(half[0]))
	})
	db := openCluster(t, dir)
	if got := show(t, db, "SELECT current_database()"); got != "checkstack" {
		t.Error(got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "postgres.new-*")); len(left) > 0 {
		t.Error("the killed attempt is still there:", left)
	}
}

func TestServerThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, string){
		"its own":      func(*testing.T, string) {},
		"one it found": func(t *testing.T, dir string) { p := startProcess(t, dir); p.server(t); p.kill(t) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, log := copiedCluster(t), newLog()
			open(t, dir)
			db, err := postgres.Open(t.Context(), postgres.Config{DataDir: dir, Log: slog.New(log)})
			if err != nil {
				t.Fatal(err)
			}
			defer closeDatabase(t, db)
			pid := db.ServerPID()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			log.next(t, "the private database server ended")
			log.next(t, "the private database server runs again")
			if db.ServerPID() == pid {
				t.Error("the server is the same")
			}
			if got := show(t, db, "SELECT 'yes'"); got != "yes" {
				t.Error(got)
			}
		})
	}
}

func TestPidFileOfADeadServerIsNoObstacle(t *testing.T) {
	t.Parallel()
	another := openCluster(t, copiedCluster(t)).ServerPID() // of the same user, so that PostgreSQL takes it for its own
	for name, content := range map[string]string{
		"of a killed server":                 "", // what it wrote itself
		"with the number of another process": fmt.Sprintf("%d\n/elsewhere\n", another),
		"empty":                              "\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := copiedCluster(t)
			p := startProcess(t, dir)
			pid := p.server(t)
			p.kill(t)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the server has ended", func() bool { return !alive(pid) })
			if content != "" {
				if err := os.WriteFile(filepath.Join(dir, "postgres", "postmaster.pid"), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			db := openCluster(t, dir)
			if got := show(t, db, "SELECT 'yes'"); got != "yes" {
				t.Error(got)
			}
		})
	}
}

func TestServerIsNotStartedBesideRemainsOfTheOneBefore(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	p := startProcess(t, dir)
	pid := p.server(t)
	db := openOne(t, "host="+filepath.Join(dir, "run")+" user=checkstack dbname=checkstack")
	backend, err := strconv.Atoi(show(t, db, "SELECT pg_backend_pid()"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil { // it does not notice that its server is gone
		t.Fatal(err)
	}
	p.kill(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server has ended", func() bool { return !alive(pid) })
	if err := os.Remove(filepath.Join(dir, "postgres", "postmaster.pid")); err != nil { // PostgreSQL finds out without it
		t.Fatal(err)
	}
	_, err = postgres.Open(t.Context(), postgres.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "processes of a server that was killed are still there") {
		t.Fatal(err)
	}
	if err := syscall.Kill(backend, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := show(t, openCluster(t, dir), "SELECT 'yes'"); got != "yes" {
		t.Error(got)
	}
}

func TestServerThatLostItsSocketIsReplaced(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	p := startProcess(t, dir)
	pid := p.server(t)
	p.kill(t)
	if err := os.Remove(filepath.Join(dir, "run", ".s.PGSQL.5432")); err != nil {
		t.Fatal(err)
	}
	db := openCluster(t, dir)
	if db.ServerPID() == pid {
		t.Error("the server is the same")
	}
	if got := show(t, db, "SELECT 'yes'"); got != "yes" {
		t.Error(got)
	}
}

func TestServerThatDoesNotStartIsAnErrorWithItsLog(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	closeDatabase(t, openCluster(t, dir))
	conf, err := os.OpenFile(filepath.Join(dir, "postgres", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.WriteString("nonsense = 1\n"); err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = postgres.Open(t.Context(), postgres.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "nonsense"`) || !strings.Contains(err.Error(), "postgres.log") {
		t.Error(err)
	}
}

func TestDataFolderThatCannotWorkIsAnErrorThatNamesTheFlag(t *testing.T) {
	t.Parallel()
	closed := clusterFolder(t)
	if err := os.Chmod(filepath.Dir(closed), 0o700); err != nil {
		t.Fatal(err)
	}
	file := clusterFolder(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := clusterFolder(t)
	if err := os.MkdirAll(filepath.Join(foreign, "postgres"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(foreign, "postgres", "PG_VERSION"), []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		dir  string
		want []string
	}{
		"too long":        {clusterFolder(t) + strings.Repeat("/long-name", 9), []string{"-data", "bytes"}},
		"a file":          {file, []string{"-data", "not a directory"}},
		"none":            {"", []string{"-data", "DATABASE_URL"}},
		"another version": {foreign, []string{"-data", "PostgreSQL 99", "install that version"}},
	}
	if os.Geteuid() == 0 { // only root lends its cluster to another user
		cases["closed"] = struct {
			dir  string
			want []string
		}{closed, []string{"-data", "cannot reach", filepath.Dir(closed) + " has the mode 0700", "DATABASE_URL"}}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := postgres.Open(t.Context(), postgres.Config{DataDir: c.dir})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
	if _, err := os.Stat(cases["too long"].dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the folder that is too long was made")
	}
}

func TestEnvironmentDoesNotReachThePrivateCluster(t *testing.T) {
	for name, value := range map[string]string{
		"PGHOST": "nowhere.invalid", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "nothing", "PGPASSWORD": "x",
		"PGOPTIONS": "-c timezone=Asia/Tokyo", "PGTZ": "Asia/Tokyo", "PGSSLMODE": "verify-full", "PGAPPNAME": "other",
		"PGREQUIREAUTH": "scram-sha-256", "PGDATA": "/nowhere", "PGSERVICE": "none", "TZ": "Asia/Tokyo",
	} {
		t.Setenv(name, value)
	}
	db := openCluster(t, clusterFolder(t))
	for query, want := range map[string]string{
		"SHOW timezone": "UTC", "SHOW log_timezone": "UTC", "SHOW application_name": "checkstack", "SELECT current_user": "checkstack",
	} {
		if got := show(t, db, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestEndedContextStopsWhatWasBegun(t *testing.T) {
	t.Parallel()
	dir := clusterFolder(t)
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error)
	go func() {
		_, err := postgres.Open(ctx, postgres.Config{DataDir: dir})
		opened <- err
	}()
	eventually(t, "initdb has begun to write", func() bool {
		half, _ := filepath.Glob(filepath.Join(dir, "postgres.new-*", "base"))
		return len(half) > 0
	})
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "postgres*[!g]")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

func TestServerThatDoesNotStopInTimeIsEndedAtOnce(t *testing.T) {
	t.Parallel()
	dir := copiedCluster(t)
	db := openCluster(t, dir)
	pid := db.ServerPID()
	backend, err := strconv.Atoi(show(t, db, "SELECT pg_backend_pid()"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil { // so that an orderly stop waits for it
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := db.Close(ctx); err == nil || !strings.Contains(err.Error(), "did not stop in time") {
		t.Error(err)
	}
	eventually(t, "the server has ended", func() bool { return !alive(pid) })
	db = openCluster(t, dir)
	if got := show(t, db, "SELECT 'yes'"); got != "yes" {
		t.Error(got)
	}
}
