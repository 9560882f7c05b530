package satellite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"checkstack/plugins"
)

// The tokens of satellites, "Authorization: Bearer sat_…" (RFC 6750, section 2.1). They are no API tokens: they open
// the three routes that a satellite needs, and nothing else. The database keeps SHA-256 of a token and never the token:
// 256 random bits need no salt and no slow hash. Nothing is cached, so what is replaced on one server ends on all of
// them.

// hash is the SHA-256 of a token.
type hash [sha256.Size]byte

const (
	tokenPrefix = "sat_"
	tokenLength = len(tokenPrefix) + 43 // 32 bytes in base64 without padding
)

// newToken makes a token of 256 random bits.
func newToken() (token string, h hash) {
	var b [32]byte
	rand.Read(b[:])
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return token, sha256.Sum256([]byte(token))
}

// bearer returns the hash of the token in a request's header; ok is false where there is not exactly one that can be
// valid.
func bearer(h http.Header) (_ hash, ok bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return hash{}, false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(token) != tokenLength || !strings.HasPrefix(token, tokenPrefix) {
		return hash{}, false
	}
	return sha256.Sum256([]byte(token)), true
}

// errToken is the answer to every token that is not valid, so that it does not tell which ones once were.
func errToken() error {
	return &plugins.Error{
		Status:  http.StatusUnauthorized,
		Message: "the Authorization header holds no valid token of a satellite; expected: Bearer sat_…",
	}
}

var (
	//go:embed sql/token_find.sql
	findTokenSQL string
	//go:embed sql/token_lock.sql
	lockTokenSQL string
)

// authenticate finds the satellite that makes a request: its ID, and the hash of the token it has shown.
func (p *Satellites) authenticate(r *http.Request) (id string, h hash, err error) {
	h, ok := bearer(r.Header)
	if !ok {
		return "", h, errToken()
	}
	err = p.host.DB.QueryRowContext(r.Context(), findTokenSQL, h[:]).Scan(&id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", h, errToken()
	case err != nil:
		return "", h, fmt.Errorf("look up the token of a satellite: %w", err)
	}
	return id, h, nil
}

// lockToken holds the satellite with a token until tx ends. Until then the token is valid.
func lockToken(ctx context.Context, tx *sql.Tx, h hash) (Satellite, error) {
	s, err := scanSatellite(tx.QueryRowContext(ctx, lockTokenSQL, h[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Satellite{}, errToken()
	case err != nil:
		return Satellite{}, fmt.Errorf("hold a satellite: %w", err)
	}
	return s, nil
}

// handler makes a handler of a function that answers by itself, unless it returns an error.
type handler func(http.ResponseWriter, *http.Request) error

func (f handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f(w, r); err != nil {
		plugins.WriteError(w, r, err)
	}
}
