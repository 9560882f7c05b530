package auth

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"time"

	"checkstack/plugins"
)

// The routes that make, show and revoke tokens.

// token is a token as the API shows it.
type token struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Role       string     `json:"role"`
	CreatedAt  time.Time  `json:"createdAt"`
	LastUsedAt *time.Time `json:"lastUsedAt"` // to the minute; null before the first use
	ExpiresAt  *time.Time `json:"expiresAt"`  // null: never
	RevokedAt  *time.Time `json:"revokedAt"`  // null: not revoked
}

// newTokenView is the answer to the request that made a token, the only one that shows it.
type newTokenView struct {
	token
	Secret string `json:"token"`
}

// creation is the body of a request that makes a token.
type creation struct {
	Name      string  `json:"name"`
	Role      string  `json:"role"`
	ExpiresAt *string `json:"expiresAt"` // RFC 3339, in the future and in UTC before the year 10000; absent or null: never

	expires *time.Time
}

// Validate checks every field and reads the time.
func (c *creation) Validate() (err error) {
	if c.Name, err = plugins.Name("name", c.Name); err != nil {
		return err
	}
	if _, ok := roleNamed(c.Role); !ok {
		return plugins.Invalid("role", "expected admin, editor or viewer")
	}
	if c.ExpiresAt == nil {
		return nil
	}
	at, err := time.Parse(time.RFC3339, *c.ExpiresAt)
	at = at.UTC().Truncate(time.Microsecond) // as the database keeps it, which would round it up
	switch {
	case err != nil || !at.After(time.Now()):
		return plugins.Invalid("expiresAt", "expected a time in the future such as 2031-12-31T23:59:59Z (RFC 3339)")
	case at.Year() > 9999: // an offset has made it later than any time that RFC 3339 can show
		return plugins.Invalid("expiresAt", "expected a time that is before the year 10000 in UTC")
	}
	c.expires = &at
	return nil
}

func scanToken(row plugins.Row) (t token, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Role, &t.CreatedAt, &t.LastUsedAt, &t.ExpiresAt, &t.RevokedAt)
	return t, err
}

//go:embed sql/token_insert.sql
var insertToken string

// insert keeps the hash of a secret as a new token.
func insert(ctx context.Context, tx *sql.Tx, id, secret, name string, role plugins.Access, expires *time.Time) (token, error) {
	hash := sha256.Sum256([]byte(secret))
	t, err := scanToken(tx.QueryRowContext(ctx, insertToken, id, hash[:], name, role.String(), expires))
	if err != nil {
		return token{}, fmt.Errorf("keep a token: %w", err)
	}
	return t, nil
}

func (a *Auth) createToken(r *http.Request, in creation) (plugins.Created[newTokenView], error) {
	ctx := r.Context()
	role, _ := roleNamed(in.Role) // Validate has checked it
	made := newTokenView{Secret: newToken()}
	err := plugins.Tx(ctx, a.host.DB, func(tx *sql.Tx) (err error) {
		made.token, err = insert(ctx, tx, plugins.NewID(), made.Secret, in.Name, role, in.expires)
		return err
	})
	if err != nil {
		return plugins.Created[newTokenView]{}, err
	}
	a.host.Log.Info("token made", "id", made.ID, "role", made.Role, "by", plugins.PrincipalOf(ctx).ID)
	return plugins.Created[newTokenView]{Location: "/api/" + a.host.ID + "/tokens/" + made.ID, Value: made}, nil
}

//go:embed sql/token_list.sql
var listTokens string

func (a *Auth) listTokens(r *http.Request, _ plugins.None) (plugins.List[token], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[token]{}, err
	}
	return plugins.ListRows(r.Context(), a.host.DB, page, scanToken, listTokens)
}

//go:embed sql/token_find.sql
var findToken string

func (a *Auth) findToken(r *http.Request, _ plugins.None) (token, error) {
	id, err := plugins.PathID(r, "id", "token")
	if err != nil {
		return token{}, err
	}
	return read(r.Context(), a.host.DB, id)
}

func read(ctx context.Context, db plugins.Queryer, id string) (token, error) {
	t, err := scanToken(db.QueryRowContext(ctx, findToken, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return token{}, plugins.NotFound("token")
	case err != nil:
		return token{}, fmt.Errorf("read a token: %w", err)
	}
	return t, nil
}

var (
	//go:embed sql/token_lock.sql
	lockTokens string
	//go:embed sql/token_revoke.sql
	revokeToken string
)

func (a *Auth) revokeToken(r *http.Request, _ plugins.None) (plugins.None, error) {
	ctx := r.Context()
	id, err := plugins.PathID(r, "id", "token")
	if err != nil {
		return plugins.None{}, err
	}
	err = plugins.Tx(ctx, a.host.DB, func(tx *sql.Tx) error { return revoke(ctx, tx, id) })
	if err == nil {
		a.host.Log.Info("token revoked", "id", id, "by", plugins.PrincipalOf(ctx).ID)
	}
	return plugins.None{}, err
}

// revoke ends a token. One that is revoked already stays as it is, and the last admin's cannot be.
func revoke(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, lockTokens); err != nil {
		return fmt.Errorf("lock the tokens: %w", err)
	}
	result, err := tx.ExecContext(ctx, revokeToken, id)
	if err != nil {
		return fmt.Errorf("revoke a token: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	t, err := read(ctx, tx, id)
	if err != nil || t.RevokedAt != nil {
		return err
	}
	return &plugins.Error{
		Status:  http.StatusConflict,
		Title:   "Last admin",
		Message: "this is the last admin token that never expires; make another one first",
	}
}

// caller is who makes a request, as the API shows it.
type caller struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
}

func (a *Auth) me(r *http.Request, _ plugins.None) (caller, error) {
	p := plugins.PrincipalOf(r.Context()) // not nil: the route is not public
	return caller{p.ID, p.Name, p.Role.String()}, nil
}
