package auth

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"checkstack/plugins"
)

// The first token: an admin's, made by the first server that boots on an empty database.

const (
	firstTokenVariable = "CHECKSTACK_ADMIN_TOKEN" // holds the first token, if it is not to be made at random
	firstTokenFile     = "admin-token"            // in the data folder
)

//go:embed sql/tokens_exist.sql
var tokensExist string

// makeFirstToken makes the admin's token if there is no token at all. Of several servers that boot at once one does. It
// takes the token from the environment, where it is then known; else it makes one at random and writes it to the data
// folder, if there is one, and to the log. What is written must be what is committed, also where the transaction is
// tried again, so the token is chosen before it begins.
func (a *Auth) makeFirstToken(ctx context.Context) error {
	given := a.host.Getenv(firstTokenVariable)
	if given != "" && !wellFormed(given) {
		return fmt.Errorf("the variable %s is not usable: expected %d to %d printable ASCII characters without spaces",
			firstTokenVariable, minToken, maxToken)
	}
	secret := cmp.Or(given, newToken())
	var made bool
	err := plugins.Tx(ctx, a.host.DB, func(tx *sql.Tx) error {
		made = false
		if _, err := tx.ExecContext(ctx, lockTokens); err != nil {
			return fmt.Errorf("lock the tokens: %w", err)
		}
		var exists bool
		if err := tx.QueryRowContext(ctx, tokensExist).Scan(&exists); err != nil || exists {
			return err
		}
		made = true
		if _, err := insert(ctx, tx, plugins.NewID(), secret, "first admin", plugins.Admin, nil); err != nil || given != "" {
			return err
		}
		return a.makeKnown(ctx, secret)
	})
	if err != nil {
		return fmt.Errorf("make the first admin token: %w", err)
	}
	if made && given != "" {
		a.host.Log.Info("made the first admin token, as given in the environment", "variable", firstTokenVariable)
	}
	return nil
}

// makeKnown writes the token to the data folder, if there is one, and to the log: as a warning, or as an error where
// warnings are not logged. The log may be the only place that tells it, so it must not be filtered out.
func (a *Auth) makeKnown(ctx context.Context, secret string) error {
	attrs := []any{"token", secret}
	if a.host.DataDir != "" {
		path := filepath.Join(a.host.DataDir, firstTokenFile)
		if err := writeFile(path, secret+"\n"); err != nil {
			return fmt.Errorf("write it to a file: %w", err)
		}
		attrs = append(attrs, "file", path)
	}
	level := slog.LevelWarn
	if !a.host.Log.Enabled(ctx, level) {
		level = slog.LevelError
	}
	a.host.Log.Log(ctx, level, "made the first admin token: keep it, it is not shown again", attrs...)
	return nil
}

// writeFile puts a text into a file that only its owner can read. Whenever the machine stops, the file is the old or
// the new one, and once this has returned it is the new one.
func writeFile(path, text string) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
