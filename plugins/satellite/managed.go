package satellite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// What configuration as code does with satellites. A document of it manages those that come from it: by hand nobody
// changes or deletes them then, but whoever may do so still rotates their tokens, which are in no document. All of this is
// done in the caller's transaction, so nothing is announced, and no token is of use, before that is committed.

// CreateSatellite registers a satellite: its name, region, time of silence (0: 45 s) and who manages it are taken from s
// and checked, the rest is assigned. The token is shown this once. The error for a name that is taken, and for one
// satellite too many, has status 409 and leaves tx usable.
func (p *Satellites) CreateSatellite(ctx context.Context, tx *sql.Tx, s Satellite) (made Satellite, token string, err error) {
	in, err := described(s)
	if err != nil {
		return Satellite{}, "", err
	}
	token, h := newToken()
	made, err = p.insert(ctx, tx, in, s.ManagedBy, h)
	if err != nil {
		return Satellite{}, "", err
	}
	return made, token, nil
}

// described is a satellite as a request would say it.
func described(s Satellite) (registration, error) {
	in := registration{Name: s.Name, Region: s.Region}
	if s.OfflineAfterSeconds != 0 {
		in.OfflineAfterSeconds = &s.OfflineAfterSeconds
	}
	return in, in.Validate()
}

// UpdateSatellite replaces the name, the region, the time of silence (0: 45 s) and who manages it of the satellite with the
// ID of s, whoever manages it before; [plugins.NotFound] if there is none. The error for a name that is taken has status
// 409, and tx is of no more use after it.
func (p *Satellites) UpdateSatellite(ctx context.Context, tx *sql.Tx, s Satellite) (Satellite, error) {
	in, err := described(s)
	if err != nil {
		return Satellite{}, err
	}
	if !plugins.IsID(s.ID) {
		return Satellite{}, plugins.NotFound("satellite")
	}
	before, err := one(tx.QueryRowContext(ctx, lockSQL, s.ID))
	if err != nil {
		return Satellite{}, err
	}
	return p.write(ctx, tx, before, in, s.ManagedBy)
}

// DeleteSatellite ends a satellite and its assignments, whoever manages it, as its route does.
func (p *Satellites) DeleteSatellite(ctx context.Context, tx *sql.Tx, id string) error {
	if !plugins.IsID(id) {
		return plugins.NotFound("satellite")
	}
	gone := subject{ID: id}
	err := tx.QueryRowContext(ctx, deleteSQL, id).Scan(&gone.Name, &gone.Region)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return plugins.NotFound("satellite")
	case err != nil:
		return fmt.Errorf("delete a satellite: %w", err)
	}
	if err := p.checks.RemoveSource(ctx, tx, id); err != nil {
		return fmt.Errorf("remove a source: %w", err)
	}
	if err := p.publish(ctx, tx, "satellite.deleted", gone); err != nil {
		return err
	}
	return announce(ctx, tx, id)
}

var (
	//go:embed sql/satellites_named.sql
	namedSQL string
	//go:embed sql/satellites_managed.sql
	managedSQL string
	//go:embed sql/satellites_release.sql
	releaseSQL string
)

// SatellitesNamed returns the satellites with names, whatever their case, by [plugins.Fold] of their names. It holds them,
// so that nobody else changes or deletes them until tx ends. A name that no satellite has is left out.
func (p *Satellites) SatellitesNamed(ctx context.Context, tx *sql.Tx, names []string) (map[string]Satellite, error) {
	folded := make([]string, len(names))
	for i, name := range names {
		folded[i] = plugins.Fold(name)
	}
	found, err := plugins.Rows(ctx, tx, scanSatellite, namedSQL, pq.Array(folded))
	if err != nil {
		return nil, fmt.Errorf("find satellites by name: %w", err)
	}
	byName := make(map[string]Satellite, len(found))
	for _, s := range found {
		byName[plugins.Fold(s.Name)] = s
	}
	return byName, nil
}

// ManagedSatellites returns the satellites that a document manages, by name.
func (p *Satellites) ManagedSatellites(ctx context.Context, db plugins.Queryer, owner string) ([]Satellite, error) {
	found, err := plugins.Rows(ctx, db, scanSatellite, managedSQL, owner)
	if err != nil {
		return nil, fmt.Errorf("find the satellites of a document: %w", err)
	}
	return found, nil
}

// ReleaseSatellites gives the satellites that a document manages to people: the one with an ID, or all of them if that is
// empty. What the document does not manage stays as it is.
func (p *Satellites) ReleaseSatellites(ctx context.Context, tx *sql.Tx, owner, id string) error {
	one := sql.NullString{String: id, Valid: id != ""}
	if one.Valid && !plugins.IsID(id) {
		return nil
	}
	if _, err := tx.ExecContext(ctx, releaseSQL, owner, one); err != nil {
		return fmt.Errorf("release the satellites of a document: %w", err)
	}
	return nil
}
