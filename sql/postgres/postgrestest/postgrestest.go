// Package postgrestest gives each test a database of its own on a real PostgreSQL server, migrated and empty.
//
//	func TestMain(m *testing.M) { postgrestest.Main(m) }
//
//	func TestRecord(t *testing.T) {
//		db, url := postgrestest.New(t, postgres.Set{ID: "incident", Files: migrations})
//		…
//	}
//
// The server is the one of DATABASE_URL, as a user who may create databases, or else a private cluster in the folder for
// temporary files, which is made once and shared by all test processes of the user. Its server runs while any of them uses
// it; Main keeps it running from one test of a package to the next, which saves a start each time.
//
// Migrating takes much longer than copying: each combination of migrations is applied once, to a template that tests clone.
package postgrestest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"checkstack/sql/postgres"

	"github.com/lib/pq"
)

var (
	//go:embed lock_exclusive.sql
	lockExclusive string
	//go:embed lock_shared.sql
	lockShared string
	//go:embed unlock.sql
	unlock string
	//go:embed template_state.sql
	templateState string
	//go:embed template_used.sql
	templateUsed string
	//go:embed template_finish.sql
	templateFinish string
	//go:embed outdated.sql
	outdated string
	//go:embed create.sql
	create string
	//go:embed clone.sql
	clone string
	//go:embed drop.sql
	drop string
)

// patience is how long anything here may take: the first run makes a cluster.
const patience = 2 * time.Minute

// Main runs the tests of a package and keeps the server running until they are done. It is what TestMain calls. It returns if
// all has gone well, else it ends the process.
func Main(m *testing.M) {
	if code := run(m); code != 0 {
		os.Exit(code)
	}
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := open(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "postgrestest:", err)
		return 1
	}
	code := m.Run()
	ctx, cancel = context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "postgrestest:", err)
		return cmp.Or(code, 1)
	}
	return code
}

// open opens the server's own database, from where the others are made.
func open(ctx context.Context) (*postgres.Database, error) {
	server, err := postgres.Open(ctx, postgres.Config{
		URL:      os.Getenv("DATABASE_URL"),
		DataDir:  filepath.Join(os.TempDir(), fmt.Sprintf("checkstack-test-%d", os.Geteuid())),
		MaxConns: 2,
	})
	if err != nil {
		return nil, err
	}
	server.SetMaxIdleConns(0) // tests that run for long leave the connections to others
	return server, nil
}

// New returns a database that has the migrations of the sets and nothing else, opened as [postgres.Open] opens it, and the
// connection string by which another process on this machine reaches it, as in DATABASE_URL. At the end of the test the
// database is removed, whoever may still be connected to it. What goes wrong ends the test.
func New(t testing.TB, sets ...postgres.Set) (db *sql.DB, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := open(ctx)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	cleanup := func(what string, f func(context.Context) error) {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := f(ctx); err != nil {
				t.Errorf("test database: %s: %v", what, err)
			}
		})
	}
	cleanup("leaving the server", server.Close)
	name := fmt.Sprintf("checkstack_test_%d_%s", time.Now().Unix(), hex.EncodeToString(random(6)))
	cleanup("removing it", func(ctx context.Context) error { return exec(ctx, server.DB, drop, "name", name) })
	if err := cloned(ctx, server, name, sets); err != nil {
		t.Fatalf("test database: %v", err)
	}
	url, err = withDatabase(server.URL(), name)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	d, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	cleanup("closing it", d.Close)
	return d.DB, url
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// cloned makes the database name from the template of the sets, and first the template if there is none.
func cloned(ctx context.Context, server *postgres.Database, name string, sets []postgres.Set) error {
	sum, err := fingerprint(sets)
	if err != nil {
		return err
	}
	template := "checkstack_template_" + sum
	session, err := server.Conn(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	defer func() { _, _ = session.ExecContext(context.WithoutCancel(ctx), unlock) }()
	for {
		if _, err := session.ExecContext(ctx, lockShared); err != nil {
			return err
		}
		var exists, fresh bool
		err := session.QueryRowContext(ctx, templateState, template).Scan(&exists, &fresh)
		if err == nil {
			if err := exec(ctx, session, clone, "name", name, "template", template); err != nil || fresh {
				return err
			}
			return used(ctx, session, template)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := session.ExecContext(ctx, unlock); err != nil {
			return err
		}
		if err := build(ctx, server, session, template, sets); err != nil {
			return err
		}
	}
}

// build makes a template, and removes what is outdated, while nobody else clones or builds.
func build(ctx context.Context, server *postgres.Database, session *sql.Conn, template string, sets []postgres.Set) error {
	if _, err := session.ExecContext(ctx, lockExclusive); err != nil {
		return err
	}
	defer func() { _, _ = session.ExecContext(context.WithoutCancel(ctx), unlock) }()
	var exists, fresh bool
	if err := session.QueryRowContext(ctx, templateState, template).Scan(&exists, &fresh); !errors.Is(err, sql.ErrNoRows) {
		return err // somebody else has made it
	}
	if err := clean(ctx, session); err != nil {
		return fmt.Errorf("removing outdated databases: %w", err)
	}
	building := template + "_build"
	if err := exec(ctx, session, drop, "name", building); err != nil { // a build that was killed
		return err
	}
	if err := exec(ctx, session, create, "name", building); err != nil {
		return err
	}
	if err := migrate(ctx, server, building, sets); err != nil {
		return err
	}
	if err := used(ctx, session, building); err != nil {
		return err
	}
	return exec(ctx, session, templateFinish, "build", building, "name", template)
}

func migrate(ctx context.Context, server *postgres.Database, name string, sets []postgres.Set) error {
	url, err := withDatabase(server.URL(), name)
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		return err
	}
	return errors.Join(postgres.Migrate(ctx, db.DB, nil, sets...), db.Close(ctx))
}

func clean(ctx context.Context, session *sql.Conn) error {
	rows, err := session.QueryContext(ctx, outdated)
	if err != nil {
		return err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, name := range names {
		if err := exec(ctx, session, drop, "name", name); err != nil {
			return err
		}
	}
	return nil
}

func used(ctx context.Context, session *sql.Conn, name string) error {
	return exec(ctx, session, templateUsed, "name", name, "now", time.Now().UTC().Format(time.RFC3339))
}

// exec runs a statement that takes names where parameters cannot stand: pairs of a placeholder and what it stands for.
func exec(ctx context.Context, on interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statement string, pairs ...string) error {
	var replace []string
	for i := 0; i < len(pairs); i += 2 {
		replace = append(replace, `:"`+pairs[i]+`"`, pq.QuoteIdentifier(pairs[i+1]), `:'`+pairs[i]+`'`, pq.QuoteLiteral(pairs[i+1]))
	}
	_, err := on.ExecContext(ctx, strings.NewReplacer(replace...).Replace(statement))
	return err
}

// fingerprint tells sets apart by their IDs, the names of their files and what is in them.
func fingerprint(sets []postgres.Set) (string, error) {
	h := sha256.New()
	for _, set := range sets {
		fmt.Fprintf(h, "set %q %q\n", set.ID, set.PreviousIDs)
		if set.Files == nil {
			continue
		}
		names, err := fs.Glob(set.Files, "*.sql")
		if err != nil {
			return "", err
		}
		for _, name := range names {
			text, err := fs.ReadFile(set.Files, name)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "file %q %d\n%s\n", name, len(text), text)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// withDatabase returns a connection string for another database of the same server.
func withDatabase(s, name string) (string, error) {
	if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
		return s + " dbname=" + name, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.New("DATABASE_URL is not a valid URL")
	}
	u.Path, u.RawPath = "/"+name, ""
	return u.String(), nil
}
