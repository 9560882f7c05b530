package satellite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
	"checkstack/plugins/signals"
)

// Whether a satellite is there. A heartbeat or runs put it online; a watch on every server puts it offline when neither
// came for as long as it may be silent. Each change is one transaction with what healthcheck knows of it and with the
// signal that tells of it, under the satellite's row, so it happens once, whatever the number of servers.
//
// The hard case is silence that is the servers' own: after a power cut no satellite has been heard of for an hour, and
// all of them would be reported lost, to be back within the minute. So whoever watches notes it, and a time in which
// nobody did is not silence:
//
//	last heard of ── 10 s ──┤ nobody watches, 1 h ├── 30 s ── now: silent for 40 s
//
// It is long for one last time only: of several in a row the last one counts.

var (
	//go:embed sql/seen.sql
	seenSQL string
	//go:embed sql/heartbeat.sql
	heartbeatSQL string
)

// maxBeats is how many heartbeats of one satellite are noted at once. Each holds a connection of the pool while it waits
// for the satellite's row, which a batch that is recorded holds. Such batches are as many as a quarter of the pool, so
// what waits for them is half of it at most.
const maxBeats = 2

// beats counts the heartbeats that are being noted.
type beats struct {
	mu sync.Mutex
	of map[string]int // by satellite
}

// enterBeat lets a heartbeat of a satellite in, before its body is read.
func (p *Satellites) enterBeat(r *http.Request) (leave func(), err error) {
	id, _, err := p.authenticate(r)
	if err != nil {
		return nil, err
	}
	b := &p.beats
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of[id] == maxBeats {
		return nil, &plugins.Error{Status: http.StatusTooManyRequests,
			Message: fmt.Sprintf("%d heartbeats of this satellite are being noted already", maxBeats)}
	}
	b.of[id]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.of[id]--; b.of[id] == 0 {
			delete(b.of, id)
		}
	}, nil
}

// heartbeat answers POST /heartbeat.
func (p *Satellites) heartbeat(r *http.Request, in wire.Heartbeat) (answer wire.HeartbeatAnswer, err error) {
	arrived := time.Now()
	token, ok := bearer(r.Header)
	if !ok {
		return answer, errToken()
	}
	for _, at := range []struct {
		field string
		time  time.Time
	}{{"startedAt", in.StartedAt}, {"sentAt", in.SentAt}} {
		if year := at.time.UTC().Year(); year < 1 || year > 9999 {
			return answer, plugins.Invalid(at.field, "expected a time in the years 1 to 9999, UTC")
		}
	}
	ctx := r.Context()
	var before Satellite
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
		if before, err = lockToken(ctx, tx, token); err != nil {
			return err
		}
		started := &in.StartedAt
		if in.StartedAt.IsZero() {
			started = nil
		}
		err = tx.QueryRowContext(ctx, heartbeatSQL, before.ID, time.Since(arrived).Microseconds(), in.SentAt.UTC(), in.Version, started,
			in.Checks, in.PendingRuns, in.PendingBytes, in.Dropped).Scan(&answer.ServerTime, &answer.SkewMs)
		if err != nil {
			return fmt.Errorf("note a heartbeat: %w", err)
		}
		return p.back(ctx, tx, before)
	})
	if err != nil {
		return wire.HeartbeatAnswer{}, err
	}
	p.returned(before)
	answer.ServerTime = answer.ServerTime.UTC()
	p.compare(before, in, answer)
	return answer, nil
}

// compare logs what has become wrong with a satellite since its last heartbeat, or right.
func (p *Satellites) compare(before Satellite, now wire.Heartbeat, answer wire.HeartbeatAnswer) {
	log := p.host.Log.With("satellite", before.ID, "name", before.Name)
	switch wrong := skewed(&answer.SkewMs); {
	case wrong && !before.ClockSkewed:
		log.Warn("the clock of a satellite is wrong", "ahead", time.Duration(answer.SkewMs)*time.Millisecond)
	case !wrong && before.ClockSkewed:
		log.Info("the clock of a satellite is right again")
	}
	if now.Dropped > before.Dropped {
		log.Warn("a satellite had no room for runs and dropped them", "count", now.Dropped-before.Dropped)
	}
}

// heard notes that runs came from a satellite, which the caller holds.
func (p *Satellites) heard(ctx context.Context, tx *sql.Tx, s Satellite) error {
	if _, err := tx.ExecContext(ctx, seenSQL, s.ID); err != nil {
		return fmt.Errorf("note that a satellite was heard of: %w", err)
	}
	return p.back(ctx, tx, s)
}

// back tells everybody that a satellite is online, if it was not until now.
func (p *Satellites) back(ctx context.Context, tx *sql.Tx, s Satellite) error {
	if !s.Offline {
		return nil
	}
	return p.tell(ctx, tx, s, nil)
}

// returned logs that a satellite is online, if it was not until its sign of life was noted.
func (p *Satellites) returned(before Satellite) {
	log := p.host.Log.With("satellite", before.ID, "name", before.Name)
	switch {
	case !before.Offline:
	case before.LastSeenAt == nil:
		log.Info("satellite is online for the first time")
	default:
		log.Info("satellite is online again", "away", time.Since(*before.LastSeenAt).Round(time.Second))
	}
}

// subject is what all signals of a satellite tell of it.
type subject struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Region string `json:"region"`
}

// change is the data of the signals satellite.offline and satellite.online.
type change struct {
	subject
	Since *time.Time `json:"offlineSince"` // when it was last heard of; null where it is online
}

// tell tells everybody that a satellite is offline since a time, or online for nil.
func (p *Satellites) tell(ctx context.Context, tx *sql.Tx, s Satellite, since *time.Time) error {
	if err := p.checks.SetSourceOffline(ctx, tx, s.ID, since); err != nil {
		return fmt.Errorf("set a source offline or online: %w", err)
	}
	name := "satellite.online"
	if since != nil {
		name = "satellite.offline"
	}
	return p.publish(ctx, tx, name, change{subject{s.ID, s.Name, s.Region}, since})
}

// publish tells callers with a token what has become of a satellite, once tx is committed.
func (p *Satellites) publish(ctx context.Context, tx *sql.Tx, name string, data any) error {
	if err := p.events.Publish(ctx, tx, signals.Event{Name: name, Data: data}); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

//go:embed sql/offline_count.sql
var offlineCountSQL string

// probe says how many satellites are lost. Everybody may read its message, so it names none of them.
func (p *Satellites) probe() plugins.Probe {
	return plugins.Probe{
		Name:     "satellite.online",
		Optional: true, // this server works without them
		Check: func(ctx context.Context) (plugins.Result, error) {
			var offline, all int
			if err := p.host.DB.QueryRowContext(ctx, offlineCountSQL).Scan(&offline, &all); err != nil {
				return plugins.Result{}, errors.New("the satellites cannot be counted")
			}
			are := "are"
			switch offline {
			case 0:
				return plugins.Result{OK: true}, nil
			case 1:
				are = "is"
			}
			return plugins.Result{Message: fmt.Sprintf("%d of %d satellites %s offline", offline, all, are)}, nil
		},
	}
}

const (
	watchEvery   = time.Second      // between two looks
	watchTimeout = 10 * time.Second // for one of them
	maxOverdue   = 100              // satellites that one transaction takes, as overdue.sql says
)

// watch looks for satellites that are overdue until ctx ends.
func (p *Satellites) watch(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		err := p.look(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			p.host.Log.Warn("satellites cannot be watched", "error", err)
		case err == nil && failing:
			p.host.Log.Info("satellites can be watched again")
		}
		failing = err != nil
		pause(ctx, watchEvery)
	}
}

var (
	//go:embed sql/watch.sql
	watchSQL string
	//go:embed sql/overdue.sql
	overdueSQL string
)

// look puts all satellites offline that are overdue.
func (p *Satellites) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	if _, err := p.host.DB.ExecContext(ctx, watchSQL); err != nil {
		return fmt.Errorf("note that satellites are watched: %w", err)
	}
	for {
		var lost []Satellite
		err := plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
			lost, err = plugins.Rows(ctx, tx, func(row plugins.Row) (s Satellite, err error) {
				err = row.Scan(&s.ID, &s.Name, &s.Region, &s.OfflineSince)
				return s, err
			}, overdueSQL)
			if err != nil {
				return fmt.Errorf("find satellites that are overdue: %w", err)
			}
			slices.SortFunc(lost, func(a, b Satellite) int { return strings.Compare(a.ID, b.ID) }) // the order of all who lock sources
			for _, s := range lost {
				if err := p.tell(ctx, tx, s, s.OfflineSince); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, s := range lost {
			p.host.Log.Warn("satellite is offline", "satellite", s.ID, "name", s.Name, "lastSeen", *s.OfflineSince)
		}
		if len(lost) < maxOverdue {
			return nil
		}
	}
}
