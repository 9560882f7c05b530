package servertest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// build returns the path of the server's binary. It is built once in a test process, with the race detector if the test
// has it, and kept in the user's cache, so that the next test process only asks the go command whether it is still
// right. A lock file makes processes take turns.
var build = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if err := declareInputs(root); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache: %w", err)
	}
	args, sum := []string{"build"}, sha256.Sum256([]byte(root))
	dir := filepath.Join(cache, "checkstack", fmt.Sprintf("servertest-%x", sum[:6]))
	if race {
		args, dir = append(args, "-race"), dir+"-race"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	binary := filepath.Join(dir, "checkstack")
	cmd := exec.Command("go", append(args, "-o", binary, ".")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return binary, nil
})

// moduleRoot returns the folder of go.mod above the package under test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no go.mod above the package under test")
		}
		dir = parent
	}
}

// declareInputs looks at every file that the server is built from. The go command takes a passed test from its cache as
// long as the files that the test has looked at are as they were; what the go command itself reads in a build is not
// among them.
func declareInputs(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name()[0] == '.' || d.Name() == "testdata"):
			return filepath.SkipDir
		case slices.Contains([]string{".go", ".sql", ".json", ".mod", ".sum"}, filepath.Ext(path)):
			_, err = os.Stat(path)
		}
		return err
	})
}

// Command prepares another command of the binary, such as "rollup", with nothing of the server's environment but what is
// given as NAME=value.
func Command(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CHECKSTACK_") || strings.HasPrefix(v, "DATABASE_URL=")
	}), env...)
	return cmd
}
