package satellite

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
)

// What administrators do with satellites. Whatever changes one is one transaction with what healthcheck knows of it as
// a source of runs, so the two never differ.

// Satellite is a place where checks are made, as the API shows it.
type Satellite struct {
	ID                  string     `json:"id"`        // a UUID; the source of its runs
	Name                string     `json:"name"`      // 1 to 200 characters, unique whatever their case
	Region              string     `json:"region"`    // where it is, in words; at most 200 characters
	ManagedBy           *string    `json:"managedBy"` // the document that it comes from and that alone changes it; nil: people own it
	Offline             bool       `json:"offline"`
	OfflineSince        *time.Time `json:"offlineSince"` // when it was last heard of, or made; null while it is online
	OfflineAfterSeconds int        `json:"offlineAfterSeconds"`
	LastSeenAt          *time.Time `json:"lastSeenAt"` // its last heartbeat or runs; null before the first
	CreatedAt           time.Time  `json:"createdAt"`
	TokenCreatedAt      time.Time  `json:"tokenCreatedAt"`

	// What its last heartbeat said.
	Version      string     `json:"version"`      // empty before the first
	StartedAt    *time.Time `json:"startedAt"`    // by its own clock; null before the first heartbeat
	SkewMs       *int64     `json:"skewMs"`       // how far its clock is ahead of the server's; null before the first
	ClockSkewed  bool       `json:"clockSkewed"`  // that is more than 30 s, either way
	Checks       int64      `json:"checks"`       // how many it runs at intervals
	PendingRuns  int64      `json:"pendingRuns"`  // that were not acknowledged
	PendingBytes int64      `json:"pendingBytes"` // of these
	Dropped      int64      `json:"dropped"`      // runs that it had no room for, since its journal was made
}

// DefaultSilence is how long a satellite may be silent before it is offline, in seconds, where nothing else is said.
const DefaultSilence = 45

const (
	maxSatellites = 1000
	maxRegion     = plugins.MaxName

	// How long a satellite may be silent before it is offline, in seconds. It sends a heartbeat every 15 s.
	minSilence, maxSilence = 30, 24 * 60 * 60

	maxSkew = 30 * time.Second // of a clock, before it is shown as wrong
)

// skewed reports whether a difference of two clocks, in milliseconds, is too great.
func skewed(ms *int64) bool {
	return ms != nil && (*ms > maxSkew.Milliseconds() || *ms < -maxSkew.Milliseconds())
}

func scanSatellite(row plugins.Row) (s Satellite, err error) {
	err = row.Scan(&s.ID, &s.Name, &s.Region, &s.CreatedAt, &s.TokenCreatedAt, &s.LastSeenAt, &s.OfflineSince, &s.OfflineAfterSeconds,
		&s.Version, &s.StartedAt, &s.SkewMs, &s.Checks, &s.PendingRuns, &s.PendingBytes, &s.Dropped, &s.ManagedBy)
	s.Offline, s.ClockSkewed = s.OfflineSince != nil, skewed(s.SkewMs)
	return s, err
}

// registration is the body of a request that registers a satellite, or replaces what can be changed of it.
type registration struct {
	Name                string `json:"name"`
	Region              string `json:"region"`              // absent: not known
	OfflineAfterSeconds *int   `json:"offlineAfterSeconds"` // 30 to 86,400; absent or null: 45
}

// Validate checks every field, and fills in what is absent.
func (in *registration) Validate() (err error) {
	in.OfflineAfterSeconds = cmp.Or(in.OfflineAfterSeconds, new(DefaultSilence))
	if in.Name, err = plugins.Name("name", in.Name); err != nil {
		return err
	}
	if in.Region, err = region(in.Region); err != nil {
		return err
	}
	return silence(*in.OfflineAfterSeconds)
}

// edition is the body of a request that changes the fields that are given.
type edition struct {
	Name                *string `json:"name"`
	Region              *string `json:"region"`
	OfflineAfterSeconds *int    `json:"offlineAfterSeconds"`
}

// of is a satellite with the changes.
func (in edition) of(s Satellite) (registration, error) {
	whole := registration{
		Name:                *cmp.Or(in.Name, &s.Name),
		Region:              *cmp.Or(in.Region, &s.Region),
		OfflineAfterSeconds: cmp.Or(in.OfflineAfterSeconds, &s.OfflineAfterSeconds),
	}
	return whole, whole.Validate()
}

// region trims and checks the place of a satellite, which may be empty.
func region(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", nil
	}
	return plugins.Name("region", s)
}

func silence(seconds int) error {
	if seconds < minSilence || seconds > maxSilence {
		return plugins.Invalid("offlineAfterSeconds", "expected a whole number of seconds from %d to %d, not %d",
			minSilence, maxSilence, seconds)
	}
	return nil
}

// withToken is the answer to the requests that make a token, the only ones that show it.
type withToken struct {
	Satellite Satellite `json:"satellite"`
	Token     string    `json:"token"`
}

var (
	//go:embed sql/satellite_turn.sql
	turnSQL string
	//go:embed sql/satellite_count.sql
	countSQL string
	//go:embed sql/satellite_insert.sql
	insertSQL string
)

func (p *Satellites) register(r *http.Request, in registration) (plugins.Created[withToken], error) {
	ctx := r.Context()
	token, h := newToken()
	made := withToken{Token: token}
	err := plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
		made.Satellite, err = p.insert(ctx, tx, in, nil, h)
		return err
	})
	if err != nil {
		return plugins.Created[withToken]{}, err
	}
	p.host.Log.Info("satellite registered", "id", made.Satellite.ID, "name", made.Satellite.Name, "by", plugins.PrincipalOf(ctx).ID)
	return plugins.Created[withToken]{Location: "/api/" + p.host.ID + "/satellites/" + made.Satellite.ID, Value: made}, nil
}

// insert makes a satellite, and the source of its runs. It is offline until it is heard of.
func (p *Satellites) insert(ctx context.Context, tx *sql.Tx, in registration, owner *string, h hash) (Satellite, error) {
	if _, err := tx.ExecContext(ctx, turnSQL); err != nil {
		return Satellite{}, fmt.Errorf("lock the satellites: %w", err)
	}
	var others int
	if err := tx.QueryRowContext(ctx, countSQL).Scan(&others); err != nil {
		return Satellite{}, fmt.Errorf("count the satellites: %w", err)
	}
	if others >= maxSatellites {
		return Satellite{}, &plugins.Error{Status: http.StatusConflict, Title: "Limit reached",
			Message: fmt.Sprintf("there may be at most %d satellites", maxSatellites)}
	}
	s, err := scanSatellite(tx.QueryRowContext(ctx, insertSQL,
		plugins.NewID(), in.Name, plugins.Fold(in.Name), in.Region, *in.OfflineAfterSeconds, h[:], owner))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Satellite{}, errTaken()
	case err != nil:
		return Satellite{}, fmt.Errorf("make a satellite: %w", err)
	}
	if err := p.checks.AddSource(ctx, tx, healthcheck.Source{ID: s.ID, Name: s.Name}); err != nil {
		return Satellite{}, fmt.Errorf("make a satellite a source: %w", err)
	}
	if err := p.checks.SetSourceOffline(ctx, tx, s.ID, s.OfflineSince); err != nil {
		return Satellite{}, fmt.Errorf("set a source offline: %w", err)
	}
	return s, nil
}

func errTaken() error {
	return &plugins.Error{Status: http.StatusConflict, Title: "Already exists",
		Message: "there is a satellite of this name already", Field: "name"}
}

//go:embed sql/satellite_list.sql
var listSQL string

func (p *Satellites) list(r *http.Request, _ plugins.None) (plugins.List[Satellite], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Satellite]{}, err
	}
	return plugins.ListRows(r.Context(), p.host.DB, page, scanSatellite, listSQL)
}

//go:embed sql/satellite_find.sql
var findSQL string

func (p *Satellites) find(r *http.Request, _ plugins.None) (Satellite, error) {
	id, err := plugins.PathID(r, "id", "satellite")
	if err != nil {
		return Satellite{}, err
	}
	return one(p.host.DB.QueryRowContext(r.Context(), findSQL, id))
}

// one reads the row of a satellite that may not exist.
func one(row plugins.Row) (Satellite, error) {
	s, err := scanSatellite(row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Satellite{}, plugins.NotFound("satellite")
	case err != nil:
		return Satellite{}, fmt.Errorf("read a satellite: %w", err)
	}
	return s, nil
}

func (p *Satellites) replace(r *http.Request, in registration) (Satellite, error) {
	return p.update(r, func(Satellite) (registration, error) { return in, nil })
}

func (p *Satellites) edit(r *http.Request, in edition) (Satellite, error) {
	return p.update(r, in.of)
}

var (
	//go:embed sql/satellite_lock.sql
	lockSQL string
	//go:embed sql/satellite_update.sql
	updateSQL string
)

// update replaces what can be changed of a satellite by what change makes of it.
func (p *Satellites) update(r *http.Request, change func(Satellite) (registration, error)) (s Satellite, err error) {
	id, err := plugins.PathID(r, "id", "satellite")
	if err != nil {
		return Satellite{}, err
	}
	ctx := r.Context()
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) error {
		before, err := one(tx.QueryRowContext(ctx, lockSQL, id))
		if err != nil {
			return err
		}
		if before.ManagedBy != nil {
			return plugins.Managed(*before.ManagedBy)
		}
		in, err := change(before)
		if err != nil {
			return err
		}
		s, err = p.write(ctx, tx, before, in, nil)
		return err
	})
	return s, err
}

// write replaces what can be changed of a satellite, and who manages it. The caller holds it.
func (p *Satellites) write(ctx context.Context, tx *sql.Tx, before Satellite, in registration, owner *string) (Satellite, error) {
	s, err := one(tx.QueryRowContext(ctx, updateSQL, before.ID, in.Name, plugins.Fold(in.Name), in.Region, *in.OfflineAfterSeconds, owner))
	switch {
	case plugins.SQLState(err) == "23505":
		return Satellite{}, errTaken()
	case err != nil || s.Name == before.Name:
		return s, err
	}
	if err := p.checks.AddSource(ctx, tx, healthcheck.Source{ID: s.ID, Name: s.Name}); err != nil {
		return Satellite{}, fmt.Errorf("rename a source: %w", err)
	}
	return s, nil
}

var (
	//go:embed sql/satellite_rotate.sql
	rotateSQL string
	//go:embed sql/satellite_announce.sql
	announceSQL string
)

// rotate gives a satellite another token. The one it had ends at once, also for the requests that are under way.
func (p *Satellites) rotate(r *http.Request, _ plugins.None) (withToken, error) {
	id, err := plugins.PathID(r, "id", "satellite")
	if err != nil {
		return withToken{}, err
	}
	ctx := r.Context()
	token, h := newToken()
	made := withToken{Token: token}
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
		if made.Satellite, err = one(tx.QueryRowContext(ctx, rotateSQL, id, h[:])); err != nil {
			return err
		}
		return announce(ctx, tx, id)
	})
	if err != nil {
		return withToken{}, err
	}
	p.host.Log.Info("satellite's token rotated", "id", id, "by", plugins.PrincipalOf(ctx).ID)
	return made, nil
}

var (
	//go:embed sql/satellite_lock_delete.sql
	lockDeleteSQL string
	//go:embed sql/satellite_delete.sql
	deleteSQL string
)

// remove ends a satellite and its assignments. What it found stays in the history.
func (p *Satellites) remove(r *http.Request, _ plugins.None) (plugins.None, error) {
	id, err := plugins.PathID(r, "id", "satellite")
	if err != nil {
		return plugins.None{}, err
	}
	ctx := r.Context()
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) error {
		var owner *string
		switch err := tx.QueryRowContext(ctx, lockDeleteSQL, id).Scan(&owner); {
		case errors.Is(err, sql.ErrNoRows):
			return plugins.NotFound("satellite")
		case err != nil:
			return fmt.Errorf("lock a satellite: %w", err)
		case owner != nil:
			return plugins.Managed(*owner)
		}
		return p.DeleteSatellite(ctx, tx, id)
	})
	if err == nil {
		p.host.Log.Info("satellite deleted", "id", id, "by", plugins.PrincipalOf(ctx).ID)
	}
	return plugins.None{}, err
}

// announce has the polls of a satellite ask again for its token, on every server.
func announce(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, announceSQL, id); err != nil {
		return fmt.Errorf("announce a change of a satellite: %w", err)
	}
	return nil
}
