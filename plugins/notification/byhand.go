package notification

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"checkstack/plugins"
)

// What people do with channels by hand. What a document manages they only look at, and try.

func (n *Notifier) createChannel(r *http.Request, in ChannelInput) (plugins.Created[Channel], error) {
	var made plugins.Created[Channel]
	err := plugins.Tx(r.Context(), n.host.DB, func(tx *sql.Tx) (err error) {
		if made.Value, err = n.CreateChannel(r.Context(), tx, in, nil); err != nil {
			return err
		}
		return n.Bounded(r.Context(), tx)
	})
	made.Location = "/api/" + n.host.ID + "/channels/" + made.Value.ID
	return made, err
}

func (n *Notifier) listChannels(r *http.Request, _ plugins.None) (plugins.List[Channel], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Channel]{}, err
	}
	return plugins.ListRows(r.Context(), n.host.DB, page, scanChannel, channelListSQL)
}

func (n *Notifier) findChannel(r *http.Request, _ plugins.None) (Channel, error) {
	id, err := plugins.PathID(r, "id", "channel")
	if err != nil {
		return Channel{}, err
	}
	return channel(r.Context(), n.host.DB, channelFindSQL, id)
}

// holdByHand holds a channel for a change that a person asks for.
func holdByHand(ctx context.Context, tx *sql.Tx, id string) (Channel, error) {
	c, err := channel(ctx, tx, channelHoldSQL, id)
	if err == nil && c.ManagedBy != nil {
		return c, plugins.Managed(*c.ManagedBy)
	}
	return c, err
}

func (n *Notifier) replaceChannel(r *http.Request, in ChannelInput) (c Channel, err error) {
	id, err := plugins.PathID(r, "id", "channel")
	if err != nil {
		return c, err
	}
	err = plugins.Tx(r.Context(), n.host.DB, func(tx *sql.Tx) error {
		old, err := holdByHand(r.Context(), tx, id)
		if err != nil {
			return err
		}
		c, err = n.writeChannel(r.Context(), tx, old, in, nil)
		return err
	})
	return c, err
}

func (n *Notifier) removeChannel(r *http.Request, _ plugins.None) (gone DeletedChannel, err error) {
	id, err := plugins.PathID(r, "id", "channel")
	if err != nil {
		return gone, err
	}
	err = plugins.Tx(r.Context(), n.host.DB, func(tx *sql.Tx) error {
		if _, err := holdByHand(r.Context(), tx, id); err != nil {
			return err
		}
		of, err := n.SubscriptionsOf(r.Context(), tx, id)
		if err != nil {
			return err
		}
		if err := unmanaged(of); err != nil {
			return err
		}
		gone, err = n.DeleteChannel(r.Context(), tx, id)
		return err
	})
	return gone, err
}

// Tried is how a message that somebody sends to try a channel has fared.
type Tried struct {
	Delivered  bool   `json:"delivered"`
	Error      string `json:"error,omitempty"`
	DurationMs int64  `json:"durationMs"`
}

// tryChannel sends a message through a channel, at once and whether or not it is enabled. It changes nothing.
func (n *Notifier) tryChannel(r *http.Request, _ plugins.None) (Tried, error) {
	id, err := plugins.PathID(r, "id", "channel")
	if err != nil {
		return Tried{}, err
	}
	select {
	case n.trying <- struct{}{}:
		defer func() { <-n.trying }()
	default:
		return Tried{}, &plugins.Error{Status: http.StatusTooManyRequests, Title: "Busy",
			Message: fmt.Sprintf("%d channels are being tried, which is as many as may be; try again", cap(n.trying))}
	}
	c, err := channel(r.Context(), n.host.DB, channelFindSQL, id)
	if err != nil {
		return Tried{}, err
	}
	start := time.Now()
	err = n.send(r.Context(), c.Type, c.ID, c.config, Message{
		ID: plugins.NewID(), Spec: "notification.test", Severity: Info, Title: "Test of the channel " + c.Name,
		Message: "Somebody has Checkstack try this channel. Nothing has happened.", Data: json.RawMessage("null"), CreatedAt: start.UTC(),
	})
	done := Tried{Delivered: err == nil, DurationMs: time.Since(start).Milliseconds()}
	if err != nil {
		done.Error = errorText(err)
	}
	return done, nil
}
