// Package postgres opens the database: a server that runs already, named by DATABASE_URL, or a private cluster that it makes
// and runs itself. It also migrates it.
//
// # DATABASE_URL
//
// A URL (postgres://user:password@host:5432/database?sslmode=verify-full) or key=value pairs (host=/run/postgresql
// dbname=checkstack). The environment variables of libpq (PGHOST, PGPASSWORD, PGSSLMODE …) and ~/.pgpass fill in what it does
// not state. Unless stated otherwise, connections are made with connect_timeout=5, application_name=checkstack, timezone=UTC,
// statement_timeout=30s, idle_in_transaction_session_timeout=60s, and sslmode=prefer: with TLS if the server offers it, but
// without a check of who it is, so state verify-full where the network is not trusted. A pooler between here and the server
// must keep sessions apart and let these settings through (PgBouncer: pool_mode = session, ignore_startup_parameters).
//
// # The private cluster
//
// It needs initdb and postgres, is reached through a Unix socket in the data folder only, and is shared by every process that
// uses the same folder; see cluster.go. No environment variable of libpq changes it.
package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

// Config says which database to open.
type Config struct {
	URL      string       // a connection string as in DATABASE_URL; empty: the private cluster in DataDir
	DataDir  string       // the folder of the private cluster, made if need be; not used with a URL
	Log      *slog.Logger // nil: nothing is logged
	MaxConns int          // the most connections open at once; 0: 16

	// Existing says never to make a private cluster: where there is none in DataDir, Open fails, and makes no folder or file.
	// It is for programs that have nothing to do in a new database, so that a wrong folder is an error. Not used with a URL.
	Existing bool
}

// Database is an open database.
type Database struct {
	*sql.DB
	cluster *cluster // nil with a URL
	notices *notices
	url     string
	close   sync.Once
}

//go:embed version.sql
var versionQuery string

// Open opens the database and returns when it answers. Until then it tries again, as long as ctx lives, where the server is
// away, starting or full. What will not go away by itself is returned at once: a connection string that is not understood, a
// refused password, a database or user that does not exist, a server older than PostgreSQL 15, and everything that keeps the
// private cluster from starting. No error shows the password.
func Open(ctx context.Context, cfg Config) (*Database, error) {
	return open(ctx, cfg, standardSearch())
}

func open(ctx context.Context, cfg Config, s search) (_ *Database, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Database{url: cfg.URL}
	var config pq.Config
	if cfg.URL != "" {
		config, err = parse(cfg.URL)
	} else if d.cluster, err = join(ctx, cfg, s); err == nil {
		d.url, config = d.cluster.url(), d.cluster.config()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	defer func() {
		if err != nil {
			now, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, d.Close(now))
		}
	}()
	c, err := newConnector(config)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	d.DB = sql.OpenDB(c)
	d.notices = newNotices(c, cfg.Log)
	conns := cfg.MaxConns
	if conns <= 0 {
		conns = 16
	}
	d.SetMaxOpenConns(conns)
	d.SetMaxIdleConns(conns)
	d.SetConnMaxLifetime(30 * time.Minute)
	d.SetConnMaxIdleTime(5 * time.Minute)
	if err := d.reach(ctx, cfg.Log); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return d, nil
}

// reach waits until the server answers, and checks its version.
func (d *Database) reach(ctx context.Context, log *slog.Logger) error {
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	said := ""
	for pause := shortest; ; pause = min(2*pause, longest) {
		version, err := d.version(ctx)
		if err == nil {
			return checkVersion(version)
		}
		if permanent(err) {
			return explain(err)
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			log.Warn("the database does not answer yet; trying again", "error", err)
		}
		if !rest(ctx, pause) {
			return fmt.Errorf("%w; it was tried until: %w", err, context.Cause(ctx))
		}
	}
}

// version asks the server for its version, and gives it ten seconds.
func (d *Database) version(ctx context.Context) (number int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = d.QueryRowContext(ctx, versionQuery).Scan(&number)
	return number, err
}

// checkVersion takes what a server says of its version, such as 150014 for 15.14.
func checkVersion(number int) error {
	if number >= oldest*10000 {
		return nil
	}
	version := fmt.Sprintf("%d.%d", number/10000, number%10000)
	if number < 100000 { // 90624 is 9.6.24
		version = fmt.Sprintf("%d.%d.%d", number/10000, number/100%100, number%100)
	}
	return fmt.Errorf("the server runs PostgreSQL %s, and %d or newer is needed", version, oldest)
}

// permanent reports whether trying again cannot help. The network, a server that starts or is full, and a pooler that has lost
// its server can all be well a moment later.
func permanent(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok || errors.Is(err, pq.ErrSSLNotSupported) {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	e, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return false
	}
	switch state := e.SQLState(); state[:min(2, len(state))] {
	case "28", "3D", "42", "22", "0A": // who you are, which database, permission or unknown setting, its value, not supported
		return true
	}
	return strings.Contains(e.Message, "startup parameter")
}

// explain adds to PgBouncer's word on the settings it does not know what to do about it.
func explain(err error) error {
	if e, ok := errors.AsType[*pq.Error](err); ok && strings.Contains(e.Message, "startup parameter") {
		return fmt.Errorf("%w: name it in the pooler's ignore_startup_parameters", err)
	}
	return err
}

// Private reports whether the database is the private cluster.
func (d *Database) Private() bool { return d.cluster != nil }

// URL returns the connection string by which another process on this machine reaches the database. It may have the password
// in it: it must not be logged.
func (d *Database) URL() string { return d.url }

// Close ends all who listen, closes the pool and stops the private cluster if no other process uses it: in an orderly way until ctx is done, then
// at once, which is an error. Calling it again does nothing.
func (d *Database) Close(ctx context.Context) (err error) {
	d.close.Do(func() {
		if d.DB != nil {
			err = errors.Join(d.notices.close(ctx), d.DB.Close())
		}
		if d.cluster != nil {
			err = errors.Join(err, d.cluster.leave(ctx))
		}
	})
	return err
}
