package plugins

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A server with a private cluster needs no configuration, so it makes its master key itself, and keeps it in the data folder,
// beside what it seals and outside of the database, so that a dump does not hold it.
//
// The hard case is two servers that start at once on a new folder. Each would make a key, and what one seals the other
// could never open. So a key gets its name by link(2), which fails where there is one already: the first has made the key, and
// the other reads it. The name stands for the whole key from the first moment, whenever the machine stops.

const masterKeyFile = "master-key"

// MasterKey returns the master key in the file master-key of a data folder, as [NewSecrets] takes it, and makes it if there
// is none; made reports that. A file that is not a key, or that others than its owner may read, is an error: another key in
// its place could open nothing, and one that others have read is to be replaced.
func MasterKey(dir string) (key string, made bool, err error) {
	name := filepath.Join(dir, masterKeyFile)
	key, err = readMasterKey(name)
	if errors.Is(err, fs.ErrNotExist) {
		if made, err = makeMasterKey(name); err == nil {
			key, err = readMasterKey(name)
		}
	}
	if err == nil {
		// Not only by the one that made it: what the other one seals may be on the disk before the name is.
		err = syncFolder(dir)
	}
	if err != nil {
		return "", false, fmt.Errorf("the master key of the data folder (-data): %w", err)
	}
	return key, made, nil
}

func readMasterKey(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return "", fmt.Errorf("the file %s has the mode %v: expected one that its owner alone can read, as after chmod 600", masterKeyFile, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1000))
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(text))
	if _, err := parseKey(key); err != nil {
		return "", fmt.Errorf("the file %s is not usable: %w", masterKeyFile, err)
	}
	return key, nil
}

// makeMasterKey puts a new key into a file. It reports whether it did: another may have been faster.
func makeMasterKey(name string) (made bool, err error) {
	key := make([]byte, keySize)
	rand.Read(key) // it never fails

	f, err := os.CreateTemp(filepath.Dir(name), "."+masterKeyFile+"-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return false, err
	}
	if err = os.Link(f.Name(), name); errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return cmp.Or(d.Sync(), d.Close())
}
