package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the user that a cluster belongs to and its server runs as. PostgreSQL refuses to run as root, so root lends the
// cluster to another user; everyone else runs it as themselves, which is the nil account.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32
}

// clusterAccount returns the owner of a cluster, or for a new one the user it is to belong to.
func clusterAccount(data string) (*account, error) {
	owner, err := ownerOf(data)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking at the data folder (-data): %w", err)
	}
	self := uint32(os.Geteuid())
	switch {
	case self != 0 && exists && owner != self:
		return nil, fmt.Errorf("the database in %s belongs to the user with the number %d: "+
			"start as that user, or choose another folder with -data", data, owner)
	case self != 0:
		return nil, nil
	case exists && owner != 0:
		u, err := user.LookupId(strconv.Itoa(int(owner)))
		if err != nil {
			return &account{name: strconv.Itoa(int(owner)), uid: owner, gid: owner}, nil
		}
		return newAccount(u)
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return newAccount(u)
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody that it could run as: " +
		"start as another user, or set DATABASE_URL")
}

func newAccount(u *user.User) (*account, error) {
	a := &account{name: u.Username}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("reading the groups of the user %s: %w", u.Username, err)
	}
	if a.uid, err = parseID(u.Uid); err != nil {
		return nil, err
	}
	if a.gid, err = parseID(u.Gid); err != nil {
		return nil, err
	}
	for _, id := range ids {
		group, err := parseID(id)
		if err != nil {
			return nil, err
		}
		a.groups = append(a.groups, group)
	}
	return a, nil
}

func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err
}

func ownerOf(name string) (uint32, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Uid, nil
}

// own makes a folder, if need be, that only the account can use.
func (a *account) own(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if a == nil {
		return nil
	}
	return os.Chown(dir, int(a.uid), int(a.gid))
}

// prepare makes cmd run as the account, in a folder that it must be able to reach, in a session of its own, so that Ctrl-C at
// the terminal does not reach it, and with nothing of this process's environment that could change what it does or that it
// has no business to know.
func (a *account) prepare(cmd *exec.Cmd, dir string) {
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
	}
}

// explain adds to an error of starting a command as whom it was to run, and what stands in the way if that is a folder.
func (a *account) explain(err error, dir string) error {
	if a == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for up := dir; ; up = filepath.Dir(up) {
		info, statErr := os.Stat(up)
		if statErr == nil && !a.reaches(info) {
			return fmt.Errorf("PostgreSQL runs as the user %s, because it refuses to run as root, and that user cannot reach %s, "+
				"because %s has the mode %04o: choose another folder with -data, or set DATABASE_URL: %w",
				a.name, dir, up, info.Mode().Perm(), err)
		}
		if up == filepath.Dir(up) {
			return fmt.Errorf("as the user %s, because PostgreSQL refuses to run as root: %w", a.name, err)
		}
	}
}

// reaches reports whether the mode of a folder lets the account go through it.
func (a *account) reaches(info fs.FileInfo) bool {
	stat, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
	switch {
	case stat.Uid == a.uid:
		return mode&0o100 != 0
	case stat.Gid == a.gid || slices.Contains(a.groups, stat.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
