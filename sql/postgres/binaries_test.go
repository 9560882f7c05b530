package postgres_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"checkstack/sql/postgres"
)

// install puts an initdb and a postgres that says a version into a folder.
func install(t *testing.T, dir, version string, programs ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if len(programs) == 0 {
		programs = []string{"initdb", "postgres"}
	}
	for _, name := range programs {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNewestInstallationFrom15OnIsFound(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	install(t, at("lib/13/bin"), "13.9")
	install(t, at("lib/15/bin"), "15.14 (Debian 15.14-0+deb12u1)")
	install(t, at("lib/17/bin"), "17beta1")
	install(t, at("lib/18/bin"), "18.0", "postgres") // no initdb
	install(t, at("elsewhere"), "16.1")
	if err := os.MkdirAll(at("path"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.Symlink(at("lib/15/bin/"+name), at("path/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		search postgres.Search
		want   int
		dir    string
		major  int
	}{
		"newest of the usual folders": {postgres.NewSearch("", at("lib/*/bin")), 0, at("lib/17/bin"), 17},
		"links in PATH":               {postgres.NewSearch(at("path")), 0, at("lib/15/bin"), 15},
		"newer than in PATH":          {postgres.NewSearch(at("path"), at("lib/*/bin")), 0, at("lib/17/bin"), 17},
		"PATH with what is not there": {postgres.NewSearch("::relative:" + at("nothing") + ":" + at("elsewhere")), 0, at("elsewhere"), 16},
		"the version of the cluster":  {postgres.NewSearch(at("path"), at("lib/*/bin"), at("elsewhere")), 16, at("elsewhere"), 16},
		"the only one, found twice":   {postgres.NewSearch(at("path")+":"+at("lib/15/bin"), at("lib/15/*")), 15, at("lib/15/bin"), 15},
	} {
		t.Run(name, func(t *testing.T) {
			dir, major, err := c.search.Find(t.Context(), c.want)
			if err != nil || dir != c.dir || major != c.major {
				t.Errorf("%s, %d, %v; want %s, %d", dir, major, err, c.dir, c.major)
			}
		})
	}
}

func TestMissingInstallationIsAnErrorThatSaysWhatToDo(t *testing.T) {
	root := t.TempDir()
	old := install(t, filepath.Join(root, "old"), "14.3")
	broken := install(t, filepath.Join(root, "broken"), "unknown")
	what := []string{"apt-get install postgresql", "dnf install postgresql-server", "brew install postgresql@17", "DATABASE_URL"}
	for name, c := range map[string]struct {
		search postgres.Search
		major  int
		want   []string
	}{
		"nothing":     {postgres.NewSearch(""), 0, append(what, "none was found")},
		"too old":     {postgres.NewSearch(old), 0, append(what, old, "version 14")},
		"broken":      {postgres.NewSearch(broken), 0, append(what, broken, "not understood")},
		"another one": {postgres.NewSearch("", old), 16, []string{"only the programs of version 16", old, "-data", "DATABASE_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.search.Find(t.Context(), c.major)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
	_, err := postgres.OpenWith(context.Background(), postgres.Config{DataDir: clusterFolder(t)}, postgres.NewSearch(""))
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Error(err)
	}
}

func TestVersionOfTheServerProgram(t *testing.T) {
	for s, want := range map[string]int{
		"postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18beta1\n":                        18,
		"postgres (PostgreSQL) 9.6.24":                           9,
		"postgres (PostgreSQL) devel":                            0,
		"postgres (EnterpriseDB) 16.1":                           0,
		"":                                                       0,
	} {
		if got, err := postgres.ParseMajor(s); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
}
