package auth

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// boot makes the first token as a boot on db does, if there is none, and returns what it logged.
func boot(t *testing.T, db *sql.DB, dataDir, variable string) (log string, err error) {
	t.Helper()
	var buf bytes.Buffer
	host := &plugins.Host{
		ID: "auth", DB: db, Log: slog.New(slog.NewJSONHandler(&buf, nil)), DataDir: dataDir,
		Getenv: func(name string) string {
			if name != "CHECKSTACK_ADMIN_TOKEN" {
				t.Errorf("the variable %s is read", name)
			}
			return variable
		},
	}
	err = New(host).makeFirstToken(t.Context())
	return buf.String(), err
}

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, _ := postgrestest.New(t, postgres.Set{ID: "auth", Files: New(&plugins.Host{}).Plugin().Migrations})
	return db
}

// admins returns how many tokens there are, and how many of them are an admin's with one of the given texts.
func admins(t *testing.T, db *sql.DB, texts ...string) (all, known int) {
	t.Helper()
	for _, text := range texts {
		var n int
		err := db.QueryRowContext(t.Context(), "select count(*) from auth.tokens where hash = sha256($1::bytea) and role = 'admin'", []byte(text)).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		known += n
	}
	if err := db.QueryRowContext(t.Context(), "select count(*) from auth.tokens").Scan(&all); err != nil {
		t.Fatal(err)
	}
	return all, known
}

// logged returns the token attributes in a log.
func logged(t *testing.T, log string) (texts []string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var record struct{ Level, Token string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if record.Token != "" {
			texts = append(texts, record.Token)
			if record.Level != "WARN" {
				t.Errorf("the token is logged with %s", record.Level)
			}
		}
	}
	return texts
}

func TestFirstBootMakesAnAdminTokenThatIsKnown(t *testing.T) {
	db, dir := database(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin-token"), []byte("of an earlier database\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := boot(t, db, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	texts := logged(t, log)
	if len(texts) != 1 || len(texts[0]) != 46 || !strings.HasPrefix(texts[0], "cs_") {
		t.Fatalf("logged %q", log)
	}
	if all, known := admins(t, db, texts...); all != 1 || known != 1 {
		t.Errorf("%d tokens, %d of them known; want 1 and 1", all, known)
	}
	path := filepath.Join(dir, "admin-token")
	text, err := os.ReadFile(path)
	if err != nil || string(text) != texts[0]+"\n" {
		t.Errorf("the file holds %q, %v; want %q", text, err, texts[0])
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v, %v; want -rw-------", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the folder has %v, %v; want one file", files, err)
	}
	if log, err := boot(t, db, dir, ""); err != nil || log != "" {
		t.Errorf("the second boot: %v, logs %s", err, log)
	}
	if all, _ := admins(t, db); all != 1 {
		t.Errorf("%d tokens after the second boot, want 1", all)
	}
}

func TestFirstTokenIsOnlyInTheLogWithoutADataFolder(t *testing.T) {
	db := database(t)
	log, err := boot(t, db, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if all, known := admins(t, db, logged(t, log)...); all != 1 || known != 1 {
		t.Errorf("%d tokens, %d of them known; want 1 and 1: %s", all, known, log)
	}
}

func TestFirstTokenIsLoggedWhateverTheLevel(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "WARN", slog.LevelInfo: "WARN", slog.LevelWarn: "WARN", slog.LevelError: "ERROR",
	} {
		db := database(t)
		var buf bytes.Buffer
		host := &plugins.Host{
			ID: "auth", DB: db, Log: slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: level})),
			Getenv: func(string) string { return "" },
		}
		if err := New(host).makeFirstToken(t.Context()); err != nil {
			t.Fatal(err)
		}
		var record struct{ Level, Token string }
		if err := json.Unmarshal(buf.Bytes(), &record); err != nil || record.Level != want {
			t.Errorf("-log-level %v: %v, want one record with %s: %s", level, err, want, &buf)
		}
		if all, known := admins(t, db, record.Token); all != 1 || known != 1 {
			t.Errorf("-log-level %v: %d tokens, %d of them logged; want 1 and 1", level, all, known)
		}
	}
}

// TestCrashLeavesNoAdminTokenThatNobodyKnows stops the first boot at each of its steps.
func TestCrashLeavesNoAdminTokenThatNobodyKnows(t *testing.T) {
	db, dir := database(t), t.TempDir()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`create function fail() returns trigger language plpgsql as 'begin raise exception ''stopped here''; end'`)
	none := func(step string) {
		t.Helper()
		if all, _ := admins(t, db); all != 0 {
			t.Errorf("stopped at the %s: %d tokens, want none", step, all)
		}
	}

	exec(`create trigger stop before insert on auth.tokens for each row execute function fail()`)
	log, err := boot(t, db, dir, "")
	if err == nil || log != "" {
		t.Errorf("stopped at the insert: %v, logs %s", err, log)
	}
	none("insert")
	exec(`drop trigger stop on auth.tokens`)

	log, err = boot(t, db, filepath.Join(dir, "missing"), "")
	if err == nil || !strings.Contains(err.Error(), "write it to a file") || log != "" {
		t.Errorf("stopped at the file: %v, logs %s", err, log)
	}
	none("file")

	exec(`create constraint trigger stop after insert on auth.tokens deferrable initially deferred for each row execute function fail()`)
	log, err = boot(t, db, dir, "")
	if err == nil {
		t.Error("stopped at the commit: no error")
	}
	none("commit")
	text, readErr := os.ReadFile(filepath.Join(dir, "admin-token"))
	if texts := logged(t, log); readErr != nil || len(texts) != 1 || texts[0]+"\n" != string(text) {
		t.Errorf("stopped at the commit: the token was not made known before: file %q, %v, logs %s", text, readErr, log)
	}
	exec(`drop trigger stop on auth.tokens`)

	if _, err = boot(t, db, dir, ""); err != nil {
		t.Fatal(err)
	}
	later, readErr := os.ReadFile(filepath.Join(dir, "admin-token"))
	if all, known := admins(t, db, strings.TrimSpace(string(later))); all != 1 || known != 1 || readErr != nil || string(later) == string(text) {
		t.Errorf("after the next boot: %d tokens, %d of them in the file, %v; want 1 and 1", all, known, readErr)
	}
}

func TestFirstTokenFromTheEnvironment(t *testing.T) {
	db, dir := database(t), t.TempDir()
	for name, bad := range map[string]string{
		"too short": strings.Repeat("x", 31), "too long": strings.Repeat("x", 201), "a space": strings.Repeat("x", 40) + " y",
		"a line break": strings.Repeat("x", 40) + "\n", "not ASCII": strings.Repeat("é", 40), "a control character": strings.Repeat("x", 40) + "\x7f",
	} {
		log, err := boot(t, db, dir, bad)
		const want = "the variable CHECKSTACK_ADMIN_TOKEN is not usable: expected 32 to 200 printable ASCII characters without spaces"
		if err == nil || err.Error() != want || log != "" {
			t.Errorf("%s: %v, logs %s", name, err, log)
		}
	}
	if all, _ := admins(t, db); all != 0 {
		t.Errorf("%d tokens were made from variables that are not usable", all)
	}
	for _, good := range []string{strings.Repeat("!", 32), strings.Repeat("~", 200)} {
		db := database(t)
		log, err := boot(t, db, dir, good)
		if err != nil || strings.Contains(log, good) || log == "" {
			t.Errorf("%.5s…: %v, logs %s", good, err, log)
		}
		if all, known := admins(t, db, good); all != 1 || known != 1 {
			t.Errorf("%d tokens, %d of them the one given; want 1 and 1", all, known)
		}
		if _, err := boot(t, db, dir, strings.Repeat("other", 10)); err != nil {
			t.Error(err)
		}
		if all, known := admins(t, db, good); all != 1 || known != 1 {
			t.Errorf("after another boot %d tokens, %d of them the one given; want 1 and 1", all, known)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("the folder has %v, %v; want nothing", files, err)
	}
}

func TestMakingTheFirstTokenEndsWithItsContext(t *testing.T) {
	db := database(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	host := &plugins.Host{ID: "auth", DB: db, Log: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" }}
	if err := New(host).makeFirstToken(ctx); err == nil {
		t.Error("it ignores its context")
	}
	if all, _ := admins(t, db); all != 0 {
		t.Errorf("%d tokens", all)
	}
}

func TestServerRefusesAMalformedTokenInTheEnvironment(t *testing.T) {
	t.Parallel()
	const secret = "too-short-for-a-token"
	log := servertest.Refused(t, servertest.Config{Env: map[string]string{"CHECKSTACK_ADMIN_TOKEN": secret}})
	if !strings.Contains(log, "CHECKSTACK_ADMIN_TOKEN") || strings.Contains(log, secret) {
		t.Errorf("the log must name the variable and not its value:\n%s", log)
	}
}

func TestManyFirstBootsAtOnceMakeOneAdminToken(t *testing.T) {
	db, dir := database(t), t.TempDir()
	var logs [8]string
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() {
			var err error
			if logs[i], err = boot(t, db, dir, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	texts := logged(t, strings.Join(logs[:], ""))
	if all, known := admins(t, db, texts...); all != 1 || known != 1 || len(texts) != 1 {
		t.Errorf("%d tokens, %d of them known, %d logged; want one", all, known, len(texts))
	}
}

func TestThreeServersAtOnceMakeOneAdminToken(t *testing.T) {
	t.Parallel()
	db, url := postgrestest.New(t)
	var servers [3]*servertest.Server
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() {
			servers[i] = servertest.Start(t, servertest.Config{Database: url, Env: map[string]string{"CHECKSTACK_ADMIN_TOKEN": ""}})
		})
	}
	wg.Wait()
	var texts []string
	for _, s := range servers {
		texts = append(texts, logged(t, s.Log())...)
	}
	if all, known := admins(t, db, texts...); all != 1 || known != 1 || len(texts) != 1 {
		t.Fatalf("%d tokens, %d of them known, %d logged; want one", all, known, len(texts))
	}
	for _, s := range servers {
		s.Do(t, "GET", "/api/auth/me", texts[0], nil).Has(t, 200)
	}
}

func TestPrivateClusterComesWithTheFirstTokenInAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} { // as root, the database runs as another user, who must reach it
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	s := servertest.Start(t, servertest.Config{Data: dir, Env: map[string]string{"CHECKSTACK_ADMIN_TOKEN": ""}})
	text, err := os.ReadFile(filepath.Join(dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	s.Do(t, "GET", "/api/auth/tokens", strings.TrimSpace(string(text)), nil).Has(t, 200)
}
