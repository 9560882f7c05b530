package main

// Where the key comes from that seals the plugins' secrets.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/sql/postgres/postgrestest"
)

const (
	newKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	oldKey = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0"
)

// lent returns a table with one plugin, and where the secrets are that it is lent. Once it has them it calls then.
func lent(then func()) ([]plugins.Entry, <-chan *plugins.Secrets) {
	secrets := make(chan *plugins.Secrets, 1)
	return hooked(func(p *recorder, _ context.Context, phase string) error {
		if phase == "Init" {
			secrets <- p.host.Secrets
			then()
		}
		return nil
	}), secrets
}

// secretsWith boots a server in an environment of "NAME=value" as far as its plugin, and returns what that is lent.
func secretsWith(t *testing.T, environment ...string) *plugins.Secrets {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	table, secrets := lent(stop)
	var log bytes.Buffer
	p := plugins.Process{Stdout: io.Discard, Stderr: &log, Getenv: func(name string) string {
		for _, v := range environment {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}}
	code := run(ctx, []string{"-listen=127.0.0.1:0", "-drain=0s"}, table, p)
	if code != 0 || strings.Contains(log.String(), newKey) || strings.Contains(log.String(), oldKey) {
		t.Errorf("exit code %d\n%s", code, &log)
	}
	return <-secrets
}

func TestTheMasterKeyIsThatOfTheEnvironmentAndThereIsNoneWithAnotherDatabase(t *testing.T) {
	_, url := postgrestest.New(t)
	database := "DATABASE_URL=" + url

	none := secretsWith(t, database)
	if _, err := none.Seal("x", "hunter2"); none.Ready() || !strings.Contains(err.Error(), "set CHECKSTACK_MASTER_KEY") {
		t.Errorf("ready %t, %v", none.Ready(), err)
	}
	sealed, err := secretsWith(t, database, "CHECKSTACK_MASTER_KEY="+oldKey).Seal("x", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	during := secretsWith(t, database, "CHECKSTACK_MASTER_KEY="+newKey, "CHECKSTACK_MASTER_KEY_PREVIOUS="+oldKey)
	if plain, err := during.Open("x", sealed); plain != "hunter2" || err != nil || !during.Stale(sealed) {
		t.Errorf("%q, %v, stale %t", plain, err, during.Stale(sealed))
	}
	if _, err := secretsWith(t, database, "CHECKSTACK_MASTER_KEY="+newKey).Open("x", sealed); !errors.Is(err, plugins.ErrNoKey) {
		t.Error(err)
	}

	var out bytes.Buffer
	alone := map[string]string{"DATABASE_URL": url, "CHECKSTACK_MASTER_KEY_PREVIOUS": oldKey}
	p := plugins.Process{Getenv: func(name string) string { return alone[name] }, Stdout: &out, Stderr: &out}
	const want = "checkstack: expected a CHECKSTACK_MASTER_KEY for the CHECKSTACK_MASTER_KEY_PREVIOUS; see checkstack serve -h\n"
	if code := run(t.Context(), nil, nil, p); code != 2 || out.String() != want {
		t.Errorf("exit code %d, %s", code, &out)
	}
}

func TestTheMasterKeyOfAPrivateClusterIsMadeInItsFolderByTheFirstOfTheServersOnIt(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Dir(dir), 0o755)
	data := filepath.Join(dir, "d")
	file := filepath.Join(data, "master-key")
	var servers []*instance
	var both []*plugins.Secrets
	var lends []<-chan *plugins.Secrets
	for range 2 {
		table, secrets := lent(func() {})
		servers, lends = append(servers, boot(t, table, "", "-data="+data)), append(lends, secrets)
	}
	made := 0
	for i, in := range servers {
		in.log.wait(t, "ready")
		both = append(both, <-lends[i])
		made += strings.Count(in.log.String(), "made the master key")
	}
	sealed, err := both[0].Seal("x", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := both[1].Open("x", sealed); plain != "hunter2" || err != nil || made != 1 {
		t.Errorf("%q, %v; made %d times", plain, err, made)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(text))
	for _, in := range servers {
		in.stop()
		if code := in.exit(); code != 0 || strings.Contains(in.log.String(), key) {
			t.Errorf("exit code %d\n%s", code, in.log)
		}
	}

	// The key of the file becomes the previous one, and the file stays as it is.
	during := secretsWith(t, "CHECKSTACK_DATA="+data, "CHECKSTACK_MASTER_KEY="+newKey, "CHECKSTACK_MASTER_KEY_PREVIOUS="+key)
	if plain, err := during.Open("x", sealed); plain != "hunter2" || err != nil || !during.Stale(sealed) {
		t.Errorf("%q, %v, stale %t", plain, err, during.Stale(sealed))
	}

	// A file that is not as it must be ends the boot.
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	in := boot(t, hooked(nil), "", "-data="+data)
	failed := in.log.wait(t, "boot failed")
	if code := in.exit(); code != 1 || failed["phase"] != "secrets" || !strings.Contains(failed["error"].(string), "the file master-key has the mode -rw-r--r--: expected one that its owner alone can read") {
		t.Errorf("exit code %d, %v", code, failed)
	}
	if again, err := os.ReadFile(file); !bytes.Equal(again, text) || err != nil {
		t.Errorf("the file has changed, or %v", err)
	}
}
