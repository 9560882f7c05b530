package notification

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// Channels: where people are told. A configuration is written and never read again, because the address of a webhook is as good as a
// password: it is sealed for the channel that it is of, compared in the clear, and opened only to send. Who looks at a channel sees
// its destination. Who changes anything else of it leaves the configuration out.

const (
	maxChannels    = 1000
	maxConfig      = 64 << 10 // bytes
	maxDestination = 200
)

var (
	//go:embed sql/channel_insert.sql
	channelInsertSQL string
	//go:embed sql/channel_update.sql
	channelUpdateSQL string
	//go:embed sql/channel_find.sql
	channelFindSQL string
	//go:embed sql/channel_hold.sql
	channelHoldSQL string
	//go:embed sql/channel_list.sql
	channelListSQL string
	//go:embed sql/channels_named.sql
	channelsNamedSQL string
	//go:embed sql/channels_managed.sql
	channelsManagedSQL string
	//go:embed sql/channels_release.sql
	channelsReleaseSQL string
	//go:embed sql/channel_delete.sql
	channelDeleteSQL string
)

// Channel is a configured way to tell people, as the API shows it.
type Channel struct {
	ID          string    `json:"id"`   // a UUID
	Name        string    `json:"name"` // 1 to 200 characters, unique whatever their case
	Type        string    `json:"type"`
	Destination string    `json:"destination"` // what of the configuration may be shown
	Enabled     bool      `json:"enabled"`     // whether it is told what happens from now on, and sends what it was told
	ManagedBy   *string   `json:"managedBy"`   // the document that it comes from and that alone changes it; nil: people own it
	Failing     *Failing  `json:"failing"`     // nil: it works, as far as anybody knows
	Pending     int       `json:"pending"`     // messages that are still to be sent
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`

	config string // sealed
}

// Failing says why nothing gets through a channel.
type Failing struct {
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"` // in a row
	Error    string    `json:"error"`    // of the last one
}

// ChannelInput is what can be set of a channel.
type ChannelInput struct {
	Name    string          `json:"name"`
	Type    string          `json:"type"`
	Config  json.RawMessage `json:"config,omitempty"`  // absent: it stays as it is
	Enabled *bool           `json:"enabled,omitempty"` // absent: true
}

// Validate trims the name. The configuration is left to its type.
func (in *ChannelInput) Validate() (err error) {
	if in.Name, err = plugins.Name("name", in.Name); err != nil {
		return err
	}
	if in.Type == "" {
		return plugins.Invalid("type", "expected a channel type")
	}
	if bytes.Equal(in.Config, []byte("null")) {
		in.Config = nil
	}
	return nil
}

func (in *ChannelInput) enabled() bool { return in.Enabled == nil || *in.Enabled }

// keeps reports whether the configuration of a channel stays as it is.
func (in *ChannelInput) keeps(old Channel) bool { return in.Config == nil && in.Type == old.Type }

func scanChannel(row plugins.Row) (c Channel, err error) {
	var f Failing
	var since *time.Time
	var reason *string
	err = row.Scan(&c.ID, &c.Name, &c.Type, &c.Destination, &c.Enabled, &c.ManagedBy, &f.Attempts, &since, &reason, &c.Pending,
		&c.CreatedAt, &c.UpdatedAt, &c.config)
	if since != nil && reason != nil {
		f.Since, f.Error = *since, *reason
		c.Failing = &f
	}
	return c, err
}

// channel runs a statement for one channel.
func channel(ctx context.Context, db plugins.Queryer, statement, id string) (Channel, error) {
	c, err := scanChannel(db.QueryRowContext(ctx, statement, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return c, plugins.NotFound("channel")
	case err != nil:
		return c, fmt.Errorf("read a channel: %w", err)
	}
	return c, nil
}

// understand has the type of a channel look at its configuration, and returns that in one form.
func (n *Notifier) understand(ctx context.Context, in ChannelInput) (config json.RawMessage, destination string, err error) {
	t, ok := n.types.find(in.Type)
	if !ok {
		return nil, "", plugins.Invalid("type", "expected a channel type: %s", cmp.Or(strings.Join(n.typeNames(), ", "), "this server has none"))
	}
	switch {
	case len(in.Config) == 0:
		return nil, "", plugins.Invalid("config", "expected this field, an object")
	case in.Config[0] != '{':
		return nil, "", plugins.Invalid("config", "expected an object")
	case len(in.Config) > maxConfig:
		return nil, "", plugins.Invalid("config", "expected at most %d bytes, not %d", maxConfig, len(in.Config))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, in.Config); err != nil {
		return nil, "", plugins.Invalid("config", "expected valid JSON")
	}
	s, err := t.open(ctx, compact.Bytes())
	if err != nil {
		if e, ok := errors.AsType[*plugins.Error](err); ok {
			inner := *e
			inner.Field = strings.TrimSuffix("config."+e.Field, ".")
			err = &inner
		}
		return nil, "", err
	}
	if err := plugins.Protect(func() error { destination = s.Destination(); return nil }); err != nil {
		return nil, "", fmt.Errorf("ask channel type %s for a destination: %w", in.Type, err)
	}
	return compact.Bytes(), cut(destination, maxDestination), nil
}

func channelTaken() error {
	return &plugins.Error{Status: http.StatusConflict, Title: "Already exists", Message: "there is a channel of this name already", Field: "name"}
}

// CreateChannel makes a channel in the caller's transaction, which the document owner manages, or people if that is nil.
// What is wrong with in is told as by the API, and leaves tx usable. How many there may be is for [Notifier.Bounded] to say.
func (n *Notifier) CreateChannel(ctx context.Context, tx *sql.Tx, in ChannelInput, owner *string) (Channel, error) {
	if err := in.Validate(); err != nil {
		return Channel{}, err
	}
	config, destination, err := n.understand(ctx, in)
	if err != nil {
		return Channel{}, err
	}
	id := plugins.NewID()
	sealed, err := n.host.Secrets.Seal(configContext(id), string(config))
	if err != nil {
		return Channel{}, err
	}
	c, err := scanChannel(tx.QueryRowContext(ctx, channelInsertSQL, id, in.Name, plugins.Fold(in.Name), in.Type, sealed, destination,
		in.enabled(), owner))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Channel{}, channelTaken()
	case err != nil:
		return Channel{}, fmt.Errorf("make a channel: %w", err)
	}
	return c, nil
}

// changes says what differs between a channel and what is to be of it.
func (n *Notifier) changes(old Channel, in ChannelInput) (fields []string) {
	kept, err := n.openConfig(old.ID, old.config)
	lost := err != nil // the key is: it is given anew
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"name", in.Name != old.Name}, {"type", in.Type != old.Type}, {"enabled", in.enabled() != old.Enabled},
		{"config", !in.keeps(old) && (lost || !plugins.SameJSON(in.Config, kept))},
	} {
		if f.differs {
			fields = append(fields, f.name)
		}
	}
	return fields
}

// ChannelChanges says which fields of a channel [Notifier.UpdateChannel] would change, none if it would change nothing.
func (n *Notifier) ChannelChanges(ctx context.Context, tx *sql.Tx, id string, in ChannelInput) ([]string, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	old, err := channel(ctx, tx, channelFindSQL, id)
	if err != nil {
		return nil, err
	}
	if in.keeps(old) {
		return n.changes(old, in), nil
	}
	_, _, err = n.understand(ctx, in)
	return n.changes(old, in), err
}

// UpdateChannel replaces what can be set of a channel and who manages it, whoever does so before; [plugins.NotFound] if there
// is none. A configuration that is absent stays as it is. After the error for a name that is taken, with status 409, tx is of no more use.
func (n *Notifier) UpdateChannel(ctx context.Context, tx *sql.Tx, id string, in ChannelInput, owner *string) (Channel, error) {
	if err := in.Validate(); err != nil {
		return Channel{}, err
	}
	old, err := channel(ctx, tx, channelHoldSQL, id)
	if err != nil {
		return Channel{}, err
	}
	return n.writeChannel(ctx, tx, old, in, owner)
}

// writeChannel replaces a channel that is held.
func (n *Notifier) writeChannel(ctx context.Context, tx *sql.Tx, old Channel, in ChannelInput, owner *string) (Channel, error) {
	sealed, destination := old.config, old.Destination
	if !in.keeps(old) { // what stays need not be understood, nor be one that this server could open
		config, shown, err := n.understand(ctx, in)
		if err != nil {
			return Channel{}, err
		}
		if sealed, err = n.host.Secrets.Seal(configContext(old.ID), string(config)); err != nil {
			return Channel{}, err
		}
		destination = shown
	}
	c, err := scanChannel(tx.QueryRowContext(ctx, channelUpdateSQL, old.ID, in.Name, plugins.Fold(in.Name), in.Type, sealed, destination,
		in.enabled(), owner))
	switch {
	case plugins.SQLState(err) == "23505":
		return Channel{}, channelTaken()
	case err != nil:
		return Channel{}, fmt.Errorf("replace a channel: %w", err)
	}
	return c, announce(ctx, tx)
}

//go:embed sql/bounds.sql
var boundsSQL string

// Bounded is an error with status 409 if tx has made more channels or subscriptions than there may be. It is for the end of a
// transaction, which may have ended some as well. Of several that make the last one at once all may succeed.
func (n *Notifier) Bounded(ctx context.Context, tx *sql.Tx) error {
	var channels, subscriptions int
	if err := tx.QueryRowContext(ctx, boundsSQL).Scan(&channels, &subscriptions); err != nil {
		return fmt.Errorf("count channels and subscriptions: %w", err)
	}
	switch {
	case channels > maxChannels:
		return tooMany("there are at most %d channels", maxChannels)
	case subscriptions > maxSubscriptions:
		return tooMany("there are at most %d subscriptions", maxSubscriptions)
	}
	return nil
}

func tooMany(format string, most int) error {
	return &plugins.Error{Status: http.StatusConflict, Title: "Too many", Message: fmt.Sprintf(format, most)}
}

// DeletedChannel is what went with a channel.
type DeletedChannel struct {
	Channels      int `json:"channels"`
	Subscriptions int `json:"subscriptions"`
	Pending       int `json:"pending"` // messages that were still to be sent
}

// DeleteChannel ends a channel, whoever manages it, with its subscriptions and what is still to be sent; [plugins.NotFound] if
// there is none.
func (n *Notifier) DeleteChannel(ctx context.Context, tx *sql.Tx, id string) (DeletedChannel, error) {
	gone := DeletedChannel{Channels: 1}
	err := tx.QueryRowContext(ctx, channelDeleteSQL, id).Scan(&gone.Subscriptions, &gone.Pending)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return gone, plugins.NotFound("channel")
	case err != nil:
		return gone, fmt.Errorf("delete a channel: %w", err)
	}
	return gone, nil
}

// ChannelsNamed returns the channels with names, whatever their case, by [plugins.Fold] of their names. It does not hold them, since
// nothing could be sent through them then. A name that no channel has is left out.
func (n *Notifier) ChannelsNamed(ctx context.Context, tx *sql.Tx, names []string) (map[string]Channel, error) {
	folded := make([]string, len(names))
	for i, name := range names {
		folded[i] = plugins.Fold(name)
	}
	found, err := plugins.Rows(ctx, tx, scanChannel, channelsNamedSQL, pq.Array(folded))
	if err != nil {
		return nil, fmt.Errorf("find channels by name: %w", err)
	}
	byName := make(map[string]Channel, len(found))
	for _, c := range found {
		byName[plugins.Fold(c.Name)] = c
	}
	return byName, nil
}

// ManagedChannels returns the channels that a document manages, by name.
func (n *Notifier) ManagedChannels(ctx context.Context, db plugins.Queryer, owner string) ([]Channel, error) {
	found, err := plugins.Rows(ctx, db, scanChannel, channelsManagedSQL, owner)
	if err != nil {
		return nil, fmt.Errorf("find the channels of a document: %w", err)
	}
	return found, nil
}

// ReleaseChannels gives the channels that a document manages to people, with their subscriptions: the one with an ID, or all of them
// if that is empty. What the document does not manage stays as it is.
func (n *Notifier) ReleaseChannels(ctx context.Context, tx *sql.Tx, owner, id string) error {
	one := sql.NullString{String: id, Valid: id != ""}
	if _, err := tx.ExecContext(ctx, channelsReleaseSQL, owner, one); err != nil {
		return fmt.Errorf("release the channels of a document: %w", err)
	}
	if _, err := tx.ExecContext(ctx, subscriptionsReleaseSQL, owner, nil, one); err != nil {
		return fmt.Errorf("release the subscriptions of a document: %w", err)
	}
	return nil
}
