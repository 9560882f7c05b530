package plugins_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
)

func TestTheMasterKeyOfAFolderIsMadeOnceAndForItsOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	key, made, err := plugins.MasterKey(dir)
	if err != nil || !made || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(key) {
		t.Fatalf("%d characters, made %t, %v", len(key), made, err)
	}
	if again, made, err := plugins.MasterKey(dir); again != key || made || err != nil {
		t.Errorf("another key the second time: made %t, %v", made, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "master-key" {
		t.Fatalf("the folder has %v, %v", entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if other, _, err := plugins.MasterKey(t.TempDir()); other == key || err != nil {
		t.Errorf("two folders have the same key, or %v", err)
	}
	if s, err := plugins.NewSecrets(key, ""); err != nil || !s.Ready() {
		t.Error(err)
	}
}

func TestServersThatStartAtOnceOnAFolderAgreeOnItsMasterKey(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var all sync.WaitGroup
		var mu sync.Mutex
		keys, makers := make(map[string]bool), 0
		begin := make(chan struct{})
		for range 8 {
			all.Go(func() {
				<-begin
				key, made, err := plugins.MasterKey(dir)
				mu.Lock()
				defer mu.Unlock()
				keys[key] = true
				if made {
					makers++
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		close(begin)
		all.Wait()
		entries, err := os.ReadDir(dir)
		if len(keys) != 1 || makers != 1 || len(entries) != 1 || err != nil {
			t.Fatalf("%d keys by %d makers; the folder has %v, %v", len(keys), makers, entries, err)
		}
	}
}

func TestAMasterKeyFileThatCannotBeUsedIsAnErrorAndStaysAsItIs(t *testing.T) {
	const (
		notAKey = "the master key of the data folder (-data): the file master-key is not usable: expected 32 bytes as 64 hexadecimal digits or in base64, as from openssl rand -hex 32"
		ofMode  = "the master key of the data folder (-data): the file master-key has the mode "
		alone   = ": expected one that its owner alone can read, as after chmod 600"
	)
	for _, test := range []struct {
		text string
		mode fs.FileMode
		want string // the key, or the error
	}{
		{keyUp + "\n", 0o600, keyUp},
		{keyUp, 0o400, keyUp},
		{" " + keyDownBase64 + "\r\n", 0o600, keyDownBase64},
		{"", 0o600, notAKey},
		{"\n", 0o600, notAKey},
		{keyUp[:40], 0o600, notAKey},
		{keyUp + "\n" + keyDown + "\n", 0o600, notAKey},
		{strings.Repeat(" ", 5000) + keyUp, 0o600, notAKey},
		{keyUp + "\n", 0o640, ofMode + "-rw-r-----" + alone},
		{keyUp + "\n", 0o604, ofMode + "-rw----r--" + alone},
		{keyUp + "\n", 0o620, ofMode + "-rw--w----" + alone},
		{"", 0o644, ofMode + "-rw-r--r--" + alone},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, "master-key")
		if err := os.WriteFile(name, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, test.mode); err != nil {
			t.Fatal(err)
		}
		got, made, err := plugins.MasterKey(dir)
		if err != nil {
			got += err.Error()
		}
		if got != test.want || made {
			t.Errorf("%q, %v: got %s, made %t, want %s", test.text, test.mode, got, made, test.want)
		}
		if text, err := os.ReadFile(name); string(text) != test.text || err != nil {
			t.Errorf("%q has become %q, %v", test.text, text, err)
		}
	}
}

func TestAMasterKeyThatCannotBeMadeIsAnError(t *testing.T) {
	if key, made, err := plugins.MasterKey(filepath.Join(t.TempDir(), "gone")); key != "" || made || err == nil {
		t.Errorf("made %t, %v", made, err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "master-key"), 0o700); err != nil {
		t.Fatal(err)
	}
	const want = "the master key of the data folder (-data): the file master-key has the mode drwx------: expected one that its owner alone can read, as after chmod 600"
	if key, made, err := plugins.MasterKey(folder); key != "" || made || err == nil || err.Error() != want {
		t.Errorf("made %t, %v", made, err)
	}
	lost := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(lost, "master-key")); err != nil { // of a volume that is not mounted
		t.Fatal(err)
	}
	if key, made, err := plugins.MasterKey(lost); key != "" || made || err == nil {
		t.Errorf("made %t, %v", made, err)
	}
	if entries, err := os.ReadDir(lost); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
