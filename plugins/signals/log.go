package signals

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"checkstack/plugins"
)

// The log is the order of the events, in the database. Every server follows it: it gives positions to what was published,
// unless another server was faster, reads what is new into its window, and now and then takes away what is too old.

const (
	kept     = 24 * time.Hour // how long events can be read again
	mostKept = 10_000         // how many
	batch    = 1000           // how many are given a position, read or taken away in one transaction
)

// event is an event as it is sent.
type event struct {
	position int64
	name     string
	public   bool
	text     string // as in the stream
}

var (
	//go:embed sql/publish.sql
	publishEvent string
	//go:embed sql/state.sql
	readState string
	//go:embed sql/waiting.sql
	countWaiting string
	//go:embed sql/hold.sql
	holdLog string
	//go:embed sql/place.sql
	placeEvents string
	//go:embed sql/events.sql
	readEvents string
	//go:embed sql/hold_or_leave.sql
	holdLogOrLeave string
	//go:embed sql/trim.sql
	trimEvents string
)

func (s *Signals) insert(ctx context.Context, tx *sql.Tx, e Event, data []byte) error {
	_, err := tx.ExecContext(ctx, publishEvent, e.Name, e.Public, string(data))
	return err
}

// state returns the greatest position that was given, and the one up to which events are gone.
func (s *Signals) state(ctx context.Context) (newest, trimmed int64, err error) {
	if err := s.host.DB.QueryRowContext(ctx, readState).Scan(&newest, &trimmed); err != nil {
		return 0, 0, fmt.Errorf("read how far the events are: %w", err)
	}
	return newest, trimmed, nil
}

// follow keeps the window up to date until ctx ends. It is woken by notifications; every minute it looks by itself.
func (s *Signals) follow(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	due, away := batch, false // events until the next trim: one at once, for those from before
	for {
		n, err := s.catchUp(ctx)
		if due += n; err == nil && due >= batch {
			if err = s.trim(ctx); err == nil {
				due = 0
			}
		}
		if err == nil {
			away = false
			select {
			case <-s.wake:
			case <-minute.C:
				due = batch
			case <-ctx.Done():
				return
			}
			continue
		}
		if !away && ctx.Err() == nil {
			s.host.Log.Warn("events cannot be told; trying again", "error", err)
		}
		away = true
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// catchUp gives positions to all that waits for one, and reads all that is new. It returns how many events were new.
func (s *Signals) catchUp(ctx context.Context) (n int, err error) {
	for {
		var waiting int
		if err := s.host.DB.QueryRowContext(ctx, countWaiting, batch+1).Scan(&waiting); err != nil {
			return n, fmt.Errorf("look for new events: %w", err)
		}
		if waiting > 0 {
			if err := s.place(ctx); err != nil {
				return n, fmt.Errorf("put new events in order: %w", err)
			}
		}
		end := s.window.end()
		events, err := s.after(ctx, end, batch)
		if err != nil {
			return n, err
		}
		_, trimmed, err := s.state(ctx) // only now: what is gone by now may have been gone when the events were read
		if err != nil {
			return n, err
		}
		if trimmed > end { // this server was away for so long that it has missed some
			s.window.begin(trimmed)
			continue
		}
		s.window.add(events)
		n += len(events)
		if waiting <= batch && len(events) < batch {
			return n, nil
		}
	}
}

// place gives positions to up to a batch of events. Another server may be faster: then there is nothing left to do.
func (s *Signals) place(ctx context.Context) error {
	return plugins.Tx(ctx, s.host.DB, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, holdLog); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, placeEvents)
		return err
	})
}

// after reads the first events after a position.
func (s *Signals) after(ctx context.Context, position int64, most int) ([]event, error) {
	events, err := plugins.Rows(ctx, s.host.DB, scanEvent, readEvents, position, most)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

func scanEvent(row plugins.Row) (event, error) {
	var e event
	var data string
	if err := row.Scan(&e.position, &e.name, &e.public, &data); err != nil {
		return event{}, err
	}
	e.text = format(e.position, e.name, data)
	return e, nil
}

// format writes an event as it is sent (HTML Living Standard, 9.2 Server-sent events).
func format(position int64, name, data string) string {
	return "id: " + strconv.FormatInt(position, 10) + "\nevent: " + name + "\ndata: " + data + "\n\n"
}

// trim takes away what is too old or too much, unless another server is at it.
func (s *Signals) trim(ctx context.Context) error {
	for {
		gone := 0
		err := plugins.Tx(ctx, s.host.DB, func(tx *sql.Tx) error {
			var held bool
			if err := tx.QueryRowContext(ctx, holdLogOrLeave).Scan(&held); err != nil {
				return err
			}
			return tx.QueryRowContext(ctx, trimEvents, kept.Microseconds(), mostKept).Scan(&gone)
		})
		switch {
		case errors.Is(err, sql.ErrNoRows): // somebody else holds the log, or there is nothing to take away
			return nil
		case err != nil:
			return fmt.Errorf("take away old events: %w", err)
		case gone < batch:
			return nil
		}
	}
}
