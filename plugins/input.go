package plugins

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxName is the greatest length of a name, in characters.
const MaxName = 200

// Name trims a name and checks it: 1 to [MaxName] characters of valid UTF-8, none of them a control character.
func Name(field, s string) (string, error) {
	s = strings.TrimSpace(s)
	switch n := utf8.RuneCountInString(s); {
	case !utf8.ValidString(s):
		return "", Invalid(field, "expected a text in UTF-8")
	case n == 0:
		return "", Invalid(field, "expected a text of 1 to %d characters, not an empty one", MaxName)
	case n > MaxName:
		return "", Invalid(field, "expected a text of 1 to %d characters, not %d", MaxName, n)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", Invalid(field, "expected a text without control characters")
	}
	return s, nil
}

// Text checks a longer text: at most max characters, and none that the database cannot hold.
func Text(field, s string, max int) error {
	if n := utf8.RuneCountInString(s); n > max {
		return Invalid(field, "expected a text of at most %d characters, not %d", max, n)
	}
	if !utf8.ValidString(s) {
		return Invalid(field, "expected a text in UTF-8")
	}
	if strings.ContainsRune(s, 0) {
		return Invalid(field, "expected a text without the character U+0000")
	}
	return nil
}

// Page is the part of a list that a request asks for.
type Page struct{ Limit, Offset int }

// PageOf reads the query parameters limit, 1 to 500, by default 100, and offset, 0 to 1,000,000, by default 0.
func PageOf(r *http.Request) (Page, error) {
	q := r.URL.Query()
	limit, err := Number(q, "limit", 100, 1, 500)
	if err != nil {
		return Page{}, err
	}
	offset, err := Number(q, "offset", 0, 0, 1_000_000)
	return Page{limit, offset}, err
}

// Number reads a whole number from a query, with a default for an absent one and the range it must be in.
func Number(q url.Values, name string, def, low, high int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, Invalid(name, "expected a whole number from %d to %d", low, high)
	}
	return n, nil
}

// NewID makes a random UUID (RFC 9562, version 4).
func NewID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	const hex = "0123456789abcdef"
	s := make([]byte, 0, 36)
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			s = append(s, '-')
		}
		s = append(s, hex[c>>4], hex[c&15])
	}
	return string(s)
}

// IsID reports whether s is a UUID in its canonical form: 36 characters, hexadecimal digits in lower case.
func IsID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}

// PathID returns a path value that must be a UUID; for anything else the thing named does not exist.
func PathID(r *http.Request, name, what string) (string, error) {
	id := strings.ToLower(r.PathValue(name))
	if !IsID(id) {
		return "", NotFound(what)
	}
	return id, nil
}

// Tx runs f in a transaction and commits it. Where the database gave up the transaction because of others (SQLSTATE
// 40001 or 40P01), so that nothing of it was kept, f runs again, up to 5 times in all; f must therefore have no effect
// outside tx. After any other error of the commit its outcome is unknown: look for what was written by its key.
func Tx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	for try := 1; ; try++ {
		err := transact(ctx, db, f)
		if state := SQLState(err); try == 5 || state != "40001" && state != "40P01" {
			return err
		}
		select {
		case <-time.After(time.Duration(try*try) * 5 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func transact(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
