package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Finding PostgreSQL's programs: the folders of PATH first, then where Debian, Fedora and Homebrew put them. A folder counts
// if it has both initdb and postgres; what stands in PATH may be a link into it (Debian has only links to some programs
// there). The newest version wins, unless a cluster exists already: only its own major version can read its files.

const (
	oldest    = 15 // the oldest major version of PostgreSQL that works
	howToHave = "install it (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; " +
		"macOS: brew install postgresql@17), or set DATABASE_URL to a server that runs already"
)

// search says where to look for programs.
type search struct {
	path    string   // folders as in $PATH
	folders []string // patterns of filepath.Glob
}

func standardSearch() search {
	return search{
		path: os.Getenv("PATH"),
		folders: []string{
			"/usr/lib/postgresql/*/bin",            // Debian, Ubuntu
			"/usr/pgsql-*/bin",                     // postgresql.org's packages for Fedora and its kin
			"/opt/homebrew/opt/postgresql@*/bin",   // Homebrew on Apple silicon
			"/usr/local/opt/postgresql@*/bin",      // Homebrew on Intel
			"/usr/local/pgsql/bin",                 // built from source
			"/opt/homebrew/opt/postgresql/bin",     // Homebrew without a version
			"/usr/libexec/postgresql*",             // Alpine
			"/Applications/Postgres.app/*/*/*/bin", // Postgres.app
		},
	}
}

// installation is a folder with initdb and postgres.
type installation struct {
	dir   string
	major int
}

func (i installation) program(name string) string { return filepath.Join(i.dir, name) }

// find returns the newest installation, or the newest one of the wanted major version if that is not 0.
func (s search) find(ctx context.Context, want int) (installation, error) {
	var best installation
	var others []string
	for _, dir := range s.candidates() {
		major, err := majorVersion(ctx, dir)
		if err != nil {
			others = append(others, fmt.Sprintf("%s (%v)", dir, err))
			continue
		}
		if major < oldest || want != 0 && major != want {
			others = append(others, fmt.Sprintf("%s (version %d)", dir, major))
			continue
		}
		if major > best.major {
			best = installation{dir, major}
		}
	}
	if best.major != 0 {
		return best, nil
	}
	found := "none was found"
	if len(others) > 0 {
		found = "found only " + strings.Join(others, ", ")
	}
	if want != 0 {
		return best, fmt.Errorf("the data folder has a cluster of PostgreSQL %d, which only the programs of version %d can run, and %s: "+
			"install that version, or choose another folder with -data, or set DATABASE_URL", want, want, found)
	}
	return best, fmt.Errorf("PostgreSQL %d or newer is needed and %s: %s", oldest, found, howToHave)
}

// candidates returns the folders that have both programs, each once, those of PATH first.
func (s search) candidates() []string {
	var dirs []string
	add := func(dir string) bool {
		if !filepath.IsAbs(dir) || !executable(filepath.Join(dir, "initdb")) || !executable(filepath.Join(dir, "postgres")) {
			return false
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return true
	}
	for _, dir := range filepath.SplitList(s.path) {
		// The target of a link first: the server looks for its other files relative to where it really is.
		for _, program := range []string{"postgres", "initdb"} {
			if real, err := filepath.EvalSymlinks(filepath.Join(dir, program)); err == nil && add(filepath.Dir(real)) {
				break
			}
		}
	}
	for _, pattern := range s.folders {
		found, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		for _, dir := range found {
			add(dir)
		}
	}
	return dirs
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// majorVersion asks the server program of a folder, which answers "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
func majorVersion(ctx context.Context, dir string) (int, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	return parseMajor(string(out))
}

func parseMajor(version string) (int, error) {
	_, rest, ok := strings.Cut(version, "(PostgreSQL) ")
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0, errors.New("its version is not understood: " + strconv.Quote(strings.TrimSpace(version)))
	}
	return major, nil
}
