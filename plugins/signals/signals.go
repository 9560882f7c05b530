// Package signals tells browsers and programs what happens, as it happens: GET /api/signals/events streams events. It is a
// plugin that requires no other. A plugin publishes an event in the transaction that makes it true:
//
//	err := signals.Publish(ctx, tx, signals.Event{Name: "satellite.offline", Data: map[string]any{"id": id}})
//
// Every server that shares the database tells every event, in one order, and whoever comes back with the ID of the last
// event he has heard of misses none and hears none twice. The hard part is that order: transactions are committed in
// another one than they insert in, so what a sequence numbers is not visible in the order of its numbers, and whoever has
// read up to 7 would miss a 6 that is committed later:
//
//	transaction A:  insert (6)  ………………………………………………………  commit
//	transaction B:               insert (7)   commit
//	reader:                                           reads 7           never asks for 6 again
//
// Therefore an event is published without a position. After the commit, the first server to notice gives it one, while it
// holds the log (see log.go); the next server to hold the log sees all positions that were given before. So positions
// become visible in their order, and a position is all that a listener needs to remember.
package signals

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"checkstack/plugins"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Signals is the plugin's service.
type Signals struct {
	host    *plugins.Host
	window  *window
	clients *clients
	wake    chan struct{} // holds a word when there may be new events
}

// New builds the plugin.
func New(host *plugins.Host) *Signals {
	return &Signals{host: host, window: newWindow(), wake: make(chan struct{}, 1), clients: newClients()}
}

// Plugin returns the plugin's hooks.
func (s *Signals) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: s.init, AfterPluginsReady: s.afterPluginsReady}
}

func (s *Signals) init(ctx context.Context) error {
	newest, _, err := s.state(ctx)
	if err != nil {
		return err
	}
	s.window.begin(newest)
	return s.host.Routes.Handle("GET /events", plugins.Public, http.HandlerFunc(s.stream))
}

func (s *Signals) afterPluginsReady(context.Context) error {
	s.host.Listen("signals_published", func(string) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	})
	s.host.Go(s.follow)
	return nil
}

// Event is something that has happened.
type Event struct {
	Name   string // such as "satellite.offline": lower case letters, digits and -, in parts with a dot between; see Publish
	Public bool   // whether anonymous callers may hear of it
	Data   any    // what encoding/json makes of it is sent; nil: null
}

const (
	longestName = 100      // bytes
	mostData    = 16 << 10 // bytes of JSON
)

var errReserved = errors.New(`names that begin with "signals." are the plugin's own`)

// Publish tells everybody who listens, on every server, of an event, as soon as tx is committed, and nobody if it is rolled
// back. Events of one transaction are told in the order in which they were published, and after those of transactions that
// had been committed when it published them.
//
// The name has at most 100 bytes and begins with the ID of the plugin, as in "satellite.offline"; the data has at most 16 KiB
// as JSON. Another event is an error, and so is what the database says.
func (s *Signals) Publish(ctx context.Context, tx *sql.Tx, e Event) error {
	data, err := json.Marshal(e.Data)
	switch {
	case err != nil:
	case !wellFormed(e.Name):
		err = fmt.Errorf("the name must be like satellite.offline, of at most %d bytes", longestName)
	case strings.HasPrefix(e.Name, "signals."):
		err = errReserved
	case len(data) > mostData:
		err = fmt.Errorf("the data has %d bytes, and %d are allowed", len(data), mostData)
	default:
		err = s.insert(ctx, tx, e, data)
	}
	if err != nil {
		return fmt.Errorf("publish the event %q: %w", e.Name, err)
	}
	return nil
}

// wellFormed reports whether an event can have this name.
func wellFormed(name string) bool {
	if len(name) > longestName || !strings.Contains(name, ".") || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
