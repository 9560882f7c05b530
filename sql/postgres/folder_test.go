package postgres_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"checkstack/sql/postgres"
)

// What stays in the data folder, and what does not: where no cluster may be made, where none could be, and the logs.

// names returns what is in a folder, or nil if there is no folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestClusterThatMustExistIsNotMade(t *testing.T) {
	t.Parallel()
	missing, vacant, file := clusterFolder(t), clusterFolder(t), clusterFolder(t)
	if err := os.Mkdir(vacant, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"no folder": missing, "no folders": missing + "/deeper", "an empty folder": vacant, "a file": file} {
		_, err := postgres.Open(t.Context(), postgres.Config{DataDir: dir, Existing: true})
		if want := "opening the database: there is no private cluster in " + dir + ": set -data or DATABASE_URL"; err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", name, err, want)
		}
	}
	if got := names(t, missing); got != nil {
		t.Error("the folder was made, with", got)
	}
	if got := names(t, vacant); len(got) > 0 {
		t.Error("the folder now has", got)
	}
}

func TestClusterThatMustExistIsOpened(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{DataDir: copiedCluster(t), Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDatabase(t, db)
	if got := show(t, db, "SELECT current_database()"); got != "checkstack" {
		t.Error(got)
	}
}

// failing returns a search for programs of which initdb fails, after a line of shell.
func failing(t *testing.T, line string) postgres.Search {
	t.Helper()
	dir := install(t, clusterFolder(t), "15.14")
	if err := os.WriteFile(filepath.Join(dir, "initdb"), []byte("#!/bin/sh\n"+line+"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return postgres.NewSearch(dir)
}

const initdbFailed = "opening the database: making a private database cluster with initdb: exit status 1"

func TestFailedInitdbLeavesNoFolderThatWasMadeForIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line  string // of initdb
		there bool   // the folder was there before
		want  string
		left  []string
	}{
		"without a word":             {"", false, initdbFailed, nil},
		"with one":                   {"echo no space left", false, initdbFailed + "; it said:\nno space left", nil},
		"in a folder that was there": {"", true, initdbFailed, []string{"initdb.log", "run", "start.lock", "use.lock"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := clusterFolder(t)
			if c.there {
				if err := os.Mkdir(dir, 0o711); err != nil {
					t.Fatal(err)
				}
			}
			_, err := postgres.OpenWith(t.Context(), postgres.Config{DataDir: dir}, failing(t, c.line))
			if err == nil || err.Error() != c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if got := names(t, dir); !slices.Equal(got, c.left) {
				t.Errorf("left behind: %q, want %q", got, c.left)
			}
		})
	}
}

func TestFolderWithSomethingElseInItIsKept(t *testing.T) {
	t.Parallel()
	dir, seen := clusterFolder(t), clusterFolder(t)
	search := failing(t, "while [ ! -e "+seen+" ]; do sleep 0.01; done")
	opened := make(chan error)
	go func() {
		_, err := postgres.OpenWith(t.Context(), postgres.Config{DataDir: dir}, search)
		opened <- err
	}()
	eventually(t, "initdb runs", func() bool { return slices.Contains(names(t, dir), "initdb.log") })
	for _, name := range []string{filepath.Join(dir, "mine"), seen} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-opened; err == nil || err.Error() != initdbFailed {
		t.Error(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"initdb.log", "mine", "run", "start.lock", "use.lock"}) {
		t.Errorf("the folder has %q", got)
	}
}

// Those that fail remove the folder while others wait for its lock: each of these must begin anew, and none may take the lock
// of a folder that is gone for that of the folder that took its place.
func TestFoldersThatAreRemovedAreNoObstacleToOthers(t *testing.T) {
	t.Parallel()
	dir, search, slow := clusterFolder(t), failing(t, ""), failing(t, "sleep 0.3")
	var users sync.WaitGroup
	fail := func() {
		for range 10 {
			db, err := postgres.OpenWith(t.Context(), postgres.Config{DataDir: dir}, search)
			if err == nil {
				closeDatabase(t, db) // it has found the server of the one that can
			} else if err.Error() != initdbFailed {
				t.Error(err)
			}
		}
	}
	users.Go(func() {
		_, err := postgres.OpenWith(t.Context(), postgres.Config{DataDir: dir}, slow)
		if err == nil || err.Error() != initdbFailed {
			t.Error(err)
		}
	})
	eventually(t, "initdb runs", func() bool { return slices.Contains(names(t, dir), "initdb.log") })
	for range 4 { // each waits for the lock, and then there is no folder
		users.Go(fail)
	}
	users.Wait()
	if got := names(t, dir); got != nil {
		t.Fatalf("left behind: %q", got)
	}
	for range 3 {
		users.Go(fail)
	}
	db := openCluster(t, dir)
	users.Wait()
	if got := show(t, db, "SELECT current_database()"); got != "checkstack" {
		t.Error(got)
	}
}

func TestALinkThatLeadsNowhereIsNoFolder(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink(link+" of nobody", link); err != nil {
		t.Fatal(err)
	}
	_, err := postgres.OpenWith(t.Context(), postgres.Config{DataDir: link}, failing(t, ""))
	if err == nil || !strings.Contains(err.Error(), "looking at the data folder (-data): lstat "+link+" of nobody: no such file or directory") {
		t.Error(err)
	}
}

func TestLongLogIsSetAsideWhenTheNextOneBegins(t *testing.T) {
	t.Parallel()
	const long = 8<<20 + 1
	for name, open := range map[string]func(dir string){
		"postgres.log": func(dir string) { closeDatabase(t, openCluster(t, dir)) },
		"initdb.log": func(dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "postgres")); err != nil {
				t.Fatal(err)
			}
			_, err := postgres.OpenWith(t.Context(), postgres.Config{DataDir: dir}, failing(t, "echo no"))
			if err == nil || err.Error() != initdbFailed+"; it said:\nno" {
				t.Error(err)
			}
		},
	} {
		dir := copiedCluster(t)
		log := filepath.Join(dir, name)
		for range 2 { // the second one takes the place of the first
			if err := os.Truncate(log, long); err != nil {
				t.Fatal(err)
			}
			open(dir)
			old, err := os.Stat(log + ".1")
			if err != nil || old.Size() != long {
				t.Errorf("%s.1: %v, %v", name, old, err)
			}
			if now, err := os.Stat(log); err != nil || now.Size() == 0 || now.Size() > 1<<20 {
				t.Errorf("%s: %v, %v", name, now, err)
			}
		}
	}
}
