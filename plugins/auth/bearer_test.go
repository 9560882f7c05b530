package auth

import (
	"crypto/sha256"
	"database/sql"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// TestUseIsNotedOnceAMinute shows that neither statement alone lets more through: the one that is run for each request,
// and the one that requests run which came at the same time.
func TestUseIsNotedOnceAMinute(t *testing.T) {
	db, _ := postgrestest.New(t, postgres.Set{ID: "auth", Files: New(&plugins.Host{}).Plugin().Migrations})
	ctx, secret, id := t.Context(), newToken(), plugins.NewID()
	err := plugins.Tx(ctx, db, func(tx *sql.Tx) error {
		_, err := insert(ctx, tx, id, secret, "used", plugins.Viewer, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(secret))
	for i, ago := range []string{"", "0 s", "59 s", "61 s"} {
		if ago != "" {
			if _, err := db.ExecContext(ctx, "update auth.tokens set last_used_at = now() - $1::interval", ago); err != nil {
				t.Fatal(err)
			}
		}
		want := ago == "" || ago == "61 s"
		var name, role string
		var note bool
		if err := db.QueryRowContext(ctx, useToken, hash[:]).Scan(&id, &name, &role, &note); err != nil || note != want {
			t.Errorf("%d: used %q ago: to be noted %v, %v; want %v", i, ago, note, err, want)
		}
		result, err := db.ExecContext(ctx, tokenUsed, id)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 != want {
			t.Errorf("%d: used %q ago: %d rows noted, %v; want %v", i, ago, n, err, want)
		}
	}
}

// FuzzBearer compares the parser with a pattern for the whole header.
func FuzzBearer(f *testing.F) {
	secret := newToken()
	for _, header := range []string{"Bearer " + secret, "bEaReR  " + secret, "Bearer", "Bearer\t" + secret, "Basic " + secret, secret, "", " ", "Bearer " + strings.Repeat("x", 201)} {
		f.Add(header)
	}
	valid := regexp.MustCompile(`\A(?i:bearer) +([!-~]{32,200})\z`)
	f.Fuzz(func(t *testing.T, header string) {
		token, ok := bearer(http.Header{"Authorization": {header}})
		match := valid.FindStringSubmatch(header)
		if ok != (match != nil) || ok && token != match[1] || !ok && token != "" {
			t.Errorf("%q: %q, %v; want %q", header, token, ok, match)
		}
	})
}

func TestRequestWithoutAuthorizationIsAnonymous(t *testing.T) {
	if token, ok := bearer(http.Header{}); token != "" || !ok {
		t.Errorf("got %q, %v", token, ok)
	}
	if _, ok := bearer(http.Header{"Authorization": {}}); !ok {
		t.Error("an empty list of values is not a header")
	}
}

func TestNewTokensAreWellFormedAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token := newToken()
		if !wellFormed(token) || seen[token] || !regexp.MustCompile(`\Acs_[A-Za-z0-9_-]{43}\z`).MatchString(token) {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
	}
}
