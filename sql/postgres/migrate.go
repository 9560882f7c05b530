package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"
)

// Migrations are applied in one transaction under one lock, so however many servers start at once and wherever they are
// killed, the database is either as it was or migrated. A hard example: version 2 runs beside version 1 during a rolling
// deployment. Version 2 has applied a file that version 1 does not know; when version 1 restarts, it finds its own files
// applied and unchanged, and ignores the other. Only where it also has a file that is new, and that the unknown one may be
// under another name, it stops.

// Set is the migrations of one plugin, or of the core.
type Set struct {
	ID    string // the schema, which exists when the files are applied: [a-z][a-z0-9_]*, not pg_…
	Files fs.FS  // *.sql at its root, named 0001_what_it_does.sql and so on; nil: none

	// PreviousIDs are the IDs of a plugin that was renamed, newest first. The schema of the first that exists is renamed, if
	// there is none with the ID yet, and what was recorded of it moves along.
	PreviousIDs []string
}

// MigrationError is a migration that cannot be applied. Nothing of the whole run is kept then.
type MigrationError struct {
	ID   string // the set's
	File string // empty: the set as a whole
	Line int    // of the file, where PostgreSQL says so; else 0
	Err  error
}

func (e *MigrationError) Error() string {
	where := e.ID
	if e.File != "" {
		where += "/" + e.File
	}
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	return "migration " + where + ": " + e.Err.Error()
}

func (e *MigrationError) Unwrap() error { return e.Err }

var (
	//go:embed migrate_begin.sql
	migrateBegin string
	//go:embed migrate_try_lock.sql
	migrateTryLock string
	//go:embed migrate_lock.sql
	migrateLock string
	//go:embed migrate_table.sql
	migrateTable string
	//go:embed migrate_state.sql
	migrateState string
	//go:embed migrate_record.sql
	migrateRecord string
	//go:embed migrate_rename.sql
	migrateRename string
	//go:embed migrate_rename_records.sql
	migrateRenameRecords string
	//go:embed migrate_schema.sql
	migrateSchema string
)

// Migrate applies the files of each set that were not applied yet, in the order of the sets and of the names. Each file runs
// once in the life of a database, in a transaction with all others; it names its schema, has nothing that must run outside a
// transaction, and never changes once it was released: its checksum is recorded, and one that differs is an error. It may run
// in several processes at once: one migrates, the others wait and then find nothing to do. Where another transaction's lock
// keeps a file waiting for more than five seconds, everything is undone and tried again a little later, four times in all.
func Migrate(ctx context.Context, db *sql.DB, log *slog.Logger, sets ...Set) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	plans, err := plan(sets)
	if err != nil {
		return err
	}
	for pause := time.Second; ; pause *= 2 {
		err := migrate(ctx, db, log, plans)
		if !busy(err) || pause > 4*time.Second {
			return err
		}
		log.Warn("others hold what the migrations need; trying again", "error", err, "pause", pause)
		if !rest(ctx, pause) {
			return err
		}
	}
}

// busy reports whether other transactions were in the way: a lock not available, a deadlock.
func busy(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && (e.SQLState() == "55P03" || e.SQLState() == "40P01")
}

// planned is a set with its files read and checked.
type planned struct {
	Set
	files []file
}

type file struct{ name, text, checksum string }

// plan reads all files before anything is done, and returns the first thing that is wrong with them.
func plan(sets []Set) ([]planned, error) {
	id := regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	name := regexp.MustCompile(`^[0-9]{4}_[a-z0-9_]+\.sql$`)
	seen := map[string]bool{}
	var plans []planned
	for _, set := range sets {
		p := planned{Set: set}
		for _, s := range append([]string{set.ID}, set.PreviousIDs...) {
			if !id.MatchString(s) || strings.HasPrefix(s, "pg_") {
				return nil, &MigrationError{ID: set.ID, Err: fmt.Errorf("%q cannot be a schema's name here", s)}
			}
		}
		if seen[set.ID] {
			return nil, &MigrationError{ID: set.ID, Err: errors.New("there are two sets with this ID")}
		}
		seen[set.ID] = true
		if set.Files == nil {
			plans = append(plans, p)
			continue
		}
		entries, err := fs.ReadDir(set.Files, ".")
		if err != nil {
			return nil, &MigrationError{ID: set.ID, Err: err}
		}
		for _, e := range entries { // sorted by name
			if e.IsDir() || !strings.HasSuffix(e.Name(), ".sql") {
				continue
			}
			if !name.MatchString(e.Name()) {
				return nil, &MigrationError{ID: set.ID, File: e.Name(), Err: errors.New("the name must be like 0001_what_it_does.sql")}
			}
			text, err := fs.ReadFile(set.Files, e.Name())
			if err != nil {
				return nil, &MigrationError{ID: set.ID, File: e.Name(), Err: err}
			}
			if !utf8.Valid(text) {
				return nil, &MigrationError{ID: set.ID, File: e.Name(), Err: errors.New("the file is not UTF-8 text")}
			}
			sum := sha256.Sum256(text)
			p.files = append(p.files, file{e.Name(), string(text), hex.EncodeToString(sum[:])})
		}
		if len(p.files) == 0 {
			return nil, &MigrationError{ID: set.ID,
				Err: errors.New("there are no .sql files at the root of its files (fs.Sub of an embedded folder?)")}
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// migrate is one attempt: a transaction.
func migrate(ctx context.Context, db *sql.DB, log *slog.Logger, plans []planned) (err error) {
	began := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning to migrate: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	if err := takeLock(ctx, tx, log); err != nil {
		return fmt.Errorf("waiting for other servers to migrate: %w", err)
	}
	if _, err := tx.ExecContext(ctx, migrateTable); err != nil {
		return fmt.Errorf("preparing the table of migrations: %w", err)
	}
	s, err := readState(ctx, tx)
	if err != nil {
		return fmt.Errorf("reading the applied migrations: %w", err)
	}
	n := 0
	for _, p := range plans {
		applied, err := s.apply(ctx, tx, log, p)
		if err != nil {
			return err
		}
		n += applied
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("ending the migrations: %w", err)
	}
	log.Debug("the database is migrated", "applied", n, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

func takeLock(ctx context.Context, tx *sql.Tx, log *slog.Logger) error {
	if _, err := tx.ExecContext(ctx, migrateBegin); err != nil {
		return err
	}
	var first bool
	if err := tx.QueryRowContext(ctx, migrateTryLock).Scan(&first); err != nil || first {
		return err
	}
	log.Info("another server migrates the database; waiting for it")
	_, err := tx.ExecContext(ctx, migrateLock)
	return err
}

// state is what the database has.
type state struct {
	schemas map[string]bool
	applied map[string]map[string]string // set, file, checksum
}

func readState(ctx context.Context, tx *sql.Tx) (*state, error) {
	rows, err := tx.QueryContext(ctx, migrateState)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	s := &state{map[string]bool{}, map[string]map[string]string{}}
	for rows.Next() {
		var id, file, checksum string
		if err := rows.Scan(&id, &file, &checksum); err != nil {
			return nil, err
		}
		if file == "" {
			s.schemas[id] = true
			continue
		}
		if s.applied[id] == nil {
			s.applied[id] = map[string]string{}
		}
		s.applied[id][file] = checksum
	}
	return s, rows.Err()
}

// apply brings one set up to date and returns how many files it applied.
func (s *state) apply(ctx context.Context, tx *sql.Tx, log *slog.Logger, p planned) (int, error) {
	if err := s.makeSchema(ctx, tx, log, p); err != nil {
		return 0, &MigrationError{ID: p.ID, Err: err}
	}
	applied, n, last := s.applied[p.ID], 0, ""
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(applied)) {
		last = name
		if !slices.ContainsFunc(p.files, func(f file) bool { return f.name == name }) {
			log.Debug("a migration that this version does not know was applied", "plugin", p.ID, "file", name)
			unknown = append(unknown, name)
		}
	}
	for _, f := range p.files {
		if _, ok := applied[f.name]; ok {
			continue
		}
		if err := renamed(f, unknown, applied, last); err != nil {
			return 0, &MigrationError{ID: p.ID, File: f.name, Err: err}
		}
	}
	for _, f := range p.files {
		if sum, ok := applied[f.name]; ok {
			if sum != f.checksum {
				return n, &MigrationError{ID: p.ID, File: f.name, Err: errors.New("it was applied before and has changed since: " +
					"restore it as it was, and put the change in a new file")}
			}
			continue
		}
		if f.name < last {
			log.Warn(f.name+" is new but sorts before "+last+", which was applied already", "plugin", p.ID)
		}
		if len(unknown) > 0 {
			log.Warn(f.name+" is new, and "+unknown[len(unknown)-1]+", which was applied already, is not known to this version",
				"plugin", p.ID)
		}
		began := time.Now()
		if _, err := tx.ExecContext(ctx, f.text); err != nil {
			return n, &MigrationError{ID: p.ID, File: f.name, Line: line(err, f.text), Err: err}
		}
		if _, err := tx.ExecContext(ctx, migrateRecord, p.ID, f.name, f.checksum); err != nil {
			return n, &MigrationError{ID: p.ID, File: f.name, Err: fmt.Errorf("recording it: %w", err)}
		}
		log.Info("applied a migration", "plugin", p.ID, "file", f.name, "took", time.Since(began).Round(time.Millisecond))
		n++
	}
	return n, nil
}

// renamed returns an error where a new file may be one that was applied under another name: some applied files are unknown,
// which is well by itself, and one of them has the new file's text or number, or the new file does not come after all that
// was applied. A new file with a higher number is applied: whoever removes old files may still add to the rest.
func renamed(f file, unknown []string, applied map[string]string, last string) error {
	number := func(name string) string {
		n, _, _ := strings.Cut(name, "_")
		return n
	}
	sameNumber := func(name string) bool { return number(name) == number(f.name) }
	text := slices.IndexFunc(unknown, func(name string) bool { return applied[name] == f.checksum })
	same := slices.IndexFunc(unknown, sameNumber)
	const was = "it is new, but %s with the same %s was applied and is no longer there: was it renamed? Restore its name"
	switch {
	case text >= 0 && !sameNumber(unknown[text]):
		return fmt.Errorf(was, unknown[text], "text")
	case text >= 0:
		return fmt.Errorf(was, unknown[text], "number")
	case same >= 0:
		return fmt.Errorf(was, unknown[same], "number")
	case len(unknown) > 0 && number(f.name) <= number(last):
		return fmt.Errorf("it is new, but %s was applied and is no longer there: was it renamed? Restore its name, "+
			"or give the new file a number above %s", unknown[len(unknown)-1], number(last))
	}
	return nil
}

// makeSchema makes the set's schema, or renames that of a previous ID.
func (s *state) makeSchema(ctx context.Context, tx *sql.Tx, log *slog.Logger, p planned) error {
	if s.schemas[p.ID] {
		return nil
	}
	for _, old := range p.PreviousIDs {
		if !s.schemas[old] {
			continue
		}
		log.Info("renaming a schema", "from", old, "to", p.ID)
		rename := strings.NewReplacer(`:"old"`, pq.QuoteIdentifier(old), `:"new"`, pq.QuoteIdentifier(p.ID)).Replace(migrateRename)
		if _, err := tx.ExecContext(ctx, rename); err != nil {
			return fmt.Errorf("renaming the schema %s: %w", old, err)
		}
		if _, err := tx.ExecContext(ctx, migrateRenameRecords, old, p.ID); err != nil {
			return fmt.Errorf("renaming the schema %s: %w", old, err)
		}
		s.schemas[p.ID], s.applied[p.ID] = true, s.applied[old]
		delete(s.schemas, old)
		delete(s.applied, old)
		return nil
	}
	if len(s.applied[p.ID]) > 0 {
		return errors.New("its schema is gone, but its migrations are recorded as applied: " +
			"restore it, or delete its rows from checkstack.migrations")
	}
	if _, err := tx.ExecContext(ctx, strings.ReplaceAll(migrateSchema, `:"new"`, pq.QuoteIdentifier(p.ID))); err != nil {
		return fmt.Errorf("making the schema: %w", err)
	}
	s.schemas[p.ID] = true
	return nil
}

// line returns the line of a text that an error points at: PostgreSQL counts characters from 1.
func line(err error, text string) int {
	e, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return 0
	}
	position, _ := strconv.Atoi(e.Position)
	n := 1
	for _, r := range text {
		if position--; position <= 0 {
			break
		}
		if r == '\n' {
			n++
		}
	}
	if e.Position == "" {
		return 0
	}
	return n
}
