package auth

import (
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

// From the Authorization header to a principal (RFC 6750, section 2.1).

// The bounds of a token's length in bytes. Those made here have 46; others come from the environment.
const (
	minToken = 32
	maxToken = 200
)

// newToken makes a token of 256 random bits.
func newToken() string {
	var b [32]byte
	rand.Read(b[:])
	return "cs_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// wellFormed reports whether s can be a token: 32 to 200 printable ASCII characters without spaces.
func wellFormed(s string) bool {
	return len(s) >= minToken && len(s) <= maxToken &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// bearer returns the token of a request. It has none without an Authorization header; with one that does not hold
// exactly one token that can be valid, ok is false.
func bearer(h http.Header) (token string, ok bool) {
	values := h["Authorization"]
	if len(values) == 0 {
		return "", true
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || !wellFormed(token) {
		return "", false
	}
	return token, true
}

// roleNamed returns the role with a name; ok is false if there is none.
func roleNamed(name string) (role plugins.Access, ok bool) {
	for _, role := range []plugins.Access{plugins.Admin, plugins.Editor, plugins.Viewer} {
		if role.String() == name {
			return role, true
		}
	}
	return plugins.Admin, false
}

// errToken is the answer to every token that is not valid, so that it does not tell which ones once were.
func errToken() error {
	return &plugins.Error{
		Status:  http.StatusUnauthorized,
		Message: "the Authorization header holds no valid token; expected: Bearer <token>",
	}
}

var (
	//go:embed sql/token_use.sql
	useToken string
	//go:embed sql/token_used.sql
	tokenUsed string
)

// identify finds who makes a request; nobody without a token.
func (a *Auth) identify(r *http.Request) (*plugins.Principal, error) {
	token, ok := bearer(r.Header)
	switch {
	case !ok:
		return nil, errToken()
	case token == "":
		return nil, nil
	}
	var (
		p    plugins.Principal
		role string
		note bool
		hash = sha256.Sum256([]byte(token))
	)
	err := a.host.DB.QueryRowContext(r.Context(), useToken, hash[:]).Scan(&p.ID, &p.Name, &role, &note)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errToken()
	case err != nil:
		return nil, fmt.Errorf("look up a token: %w", err)
	}
	if p.Role, ok = roleNamed(role); !ok {
		return nil, fmt.Errorf("token %s has the unknown role %q", p.ID, role)
	}
	if note { // at most once a minute and token; a request does not fail for it
		if _, err := a.host.DB.ExecContext(r.Context(), tokenUsed, p.ID); err != nil {
			a.host.Log.Warn("the use of a token was not noted", "id", p.ID, "error", err)
		}
	}
	return &p, nil
}
