package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"checkstack/plugins"
)

// Systems and groups have the same fields, and are made, found, listed and replaced in the same way; only their tables
// differ. So all of that is written once, for [entries] of either type.

// System is something that is watched.
type System struct {
	ID          string    `json:"id"`          // a UUID
	Name        string    `json:"name"`        // 1 to 200 characters, unique whatever their case
	Description string    `json:"description"` // at most 2,000 characters
	Metadata    Metadata  `json:"metadata"`
	ManagedBy   *string   `json:"managedBy"` // the document that it comes from and that alone changes it; nil: people own it
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

// Group is a set of systems; its fields are bounded as those of a [System] are.
type Group struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Metadata    Metadata  `json:"metadata"`
	ManagedBy   *string   `json:"managedBy"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

// maxDescription is the greatest length of a description, in characters.
const maxDescription = 2000

// creation is the body of a request that makes an entry.
type creation struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Metadata    Metadata `json:"metadata"`
}

// replacement is the body of a request that replaces an entry: all fields must be there.
type replacement struct {
	Name        *string   `json:"name"`
	Description *string   `json:"description"`
	Metadata    *Metadata `json:"metadata"`
}

// Validate reports the first field that is missing. What is in them is checked where it is stored.
func (r *replacement) Validate() error {
	switch {
	case r.Name == nil:
		return plugins.Invalid("name", "expected a text of 1 to %d characters, but it is missing", plugins.MaxName)
	case r.Description == nil:
		return plugins.Invalid("description", "expected a text of at most %d characters, but it is missing", maxDescription)
	case r.Metadata == nil:
		return plugins.Invalid("metadata", "expected an object, but it is missing")
	}
	return nil
}

// entries are the systems or the groups: their table's statements, the words for them, and their routes.
type entries[T System | Group] struct {
	db         *sql.DB
	what, path string // "system", and where one is found: the path and its ID

	insertSQL, updateSQL, findSQL, listSQL, holdSQL string
	namedSQL, managedSQL, releaseSQL                string

	changed hooks[func(context.Context, *sql.Tx, T) error] // of updates
}

// scan reads a row of the columns that every statement of a kind returns.
func (s *entries[T]) scan(row plugins.Row) (T, error) {
	var e System
	var metadata []byte
	if err := row.Scan(&e.ID, &e.Name, &e.Description, &metadata, &e.ManagedBy, &e.CreatedAt, &e.UpdatedAt); err != nil {
		return T{}, err
	}
	if err := json.Unmarshal(metadata, &e.Metadata); err != nil {
		return T{}, fmt.Errorf("read the metadata of %s %s: %w", s.what, e.ID, err)
	}
	return T(e), nil
}

// values checks what can be set of an entry and returns it in the order of the statements.
func (s *entries[T]) values(of T) ([]any, error) {
	e := System(of)
	name, err := plugins.Name("name", e.Name)
	if err != nil {
		return nil, err
	}
	if err := plugins.Text("description", e.Description, maxDescription); err != nil {
		return nil, err
	}
	text, err := e.Metadata.encode()
	if err != nil {
		return nil, err
	}
	return []any{name, plugins.Fold(name), e.Description, text, e.ManagedBy}, nil
}

func (s *entries[T]) taken() error {
	return &plugins.Error{
		Status:  http.StatusConflict,
		Title:   "Already exists",
		Message: "there is a " + s.what + " of this name already",
		Field:   "name",
	}
}

// insert makes an entry with an ID of its own.
func (s *entries[T]) insert(ctx context.Context, tx *sql.Tx, e T) (T, error) {
	values, err := s.values(e)
	if err != nil {
		return T{}, err
	}
	e, err = s.scan(tx.QueryRowContext(ctx, s.insertSQL, append([]any{plugins.NewID()}, values...)...))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return T{}, s.taken()
	case err != nil:
		return T{}, fmt.Errorf("make a %s: %w", s.what, err)
	}
	return e, nil
}

// update replaces what can be set of an entry, which has its ID.
func (s *entries[T]) update(ctx context.Context, tx *sql.Tx, e T) (T, error) {
	values, err := s.values(e)
	if err != nil {
		return T{}, err
	}
	e, err = s.scan(tx.QueryRowContext(ctx, s.updateSQL, append([]any{System(e).ID}, values...)...))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return T{}, plugins.NotFound(s.what)
	case plugins.SQLState(err) == "23505":
		return T{}, s.taken()
	case err != nil:
		return T{}, fmt.Errorf("replace a %s: %w", s.what, err)
	}
	for f := range s.changed.all() {
		if err := f(ctx, tx, e); err != nil {
			return T{}, fmt.Errorf("update what refers to a %s: %w", s.what, err)
		}
	}
	return e, nil
}

// read returns the entry with an ID, which must be a UUID.
func (s *entries[T]) read(ctx context.Context, db plugins.Queryer, id string) (T, error) {
	e, err := s.scan(db.QueryRowContext(ctx, s.findSQL, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return T{}, plugins.NotFound(s.what)
	case err != nil:
		return T{}, fmt.Errorf("read a %s: %w", s.what, err)
	}
	return e, nil
}

func (s *entries[T]) list(r *http.Request, _ plugins.None) (plugins.List[T], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[T]{}, err
	}
	contains := r.URL.Query().Get("q")
	if err := plugins.Text("q", contains, plugins.MaxName); err != nil {
		return plugins.List[T]{}, err
	}
	return plugins.ListRows(r.Context(), s.db, page, s.scan, s.listSQL, plugins.Fold(contains))
}

func (s *entries[T]) create(r *http.Request, in creation) (plugins.Created[T], error) {
	var e T
	err := plugins.Tx(r.Context(), s.db, func(tx *sql.Tx) (err error) {
		e, err = s.insert(r.Context(), tx, T(System{Name: in.Name, Description: in.Description, Metadata: in.Metadata}))
		return err
	})
	return plugins.Created[T]{Location: s.path + System(e).ID, Value: e}, err
}

func (s *entries[T]) find(r *http.Request, _ plugins.None) (T, error) {
	id, err := plugins.PathID(r, "id", s.what)
	if err != nil {
		return T{}, err
	}
	return s.read(r.Context(), s.db, id)
}

func (s *entries[T]) replace(r *http.Request, in replacement) (T, error) {
	id, err := plugins.PathID(r, "id", s.what)
	if err != nil {
		return T{}, err
	}
	e := T(System{ID: id, Name: *in.Name, Description: *in.Description, Metadata: *in.Metadata})
	if _, err := s.values(e); err != nil {
		return T{}, err
	}
	err = plugins.Tx(r.Context(), s.db, func(tx *sql.Tx) (err error) {
		if err := byHand(r.Context(), tx, s.what, s.holdSQL, id); err != nil {
			return err
		}
		e, err = s.update(r.Context(), tx, e)
		return err
	})
	return e, err
}
