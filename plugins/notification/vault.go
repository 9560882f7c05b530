package notification

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"checkstack/plugins"
)

// The configurations of channels as they are stored: sealed as a whole, each for its channel, so that none opens in the place of another.

var (
	//go:embed sql/channels_sealed.sql
	channelsSealedSQL string
	//go:embed sql/channel_reseal.sql
	channelResealSQL string
)

// configContext is what a configuration is sealed for.
func configContext(id string) string { return "notification/channel/" + id }

// openConfig returns the configuration of a channel.
func (n *Notifier) openConfig(id, sealed string) (json.RawMessage, error) {
	plain, err := n.host.Secrets.Open(configContext(id), sealed)
	return json.RawMessage(plain), err
}

// reseal seals with the present key what was sealed with the previous one, and says how many channels cannot be opened.
func (n *Notifier) reseal(ctx context.Context) (lost int, err error) {
	type sealed struct{ id, config string }
	all, err := plugins.Rows(ctx, n.host.DB, func(row plugins.Row) (s sealed, err error) {
		err = row.Scan(&s.id, &s.config)
		return s, err
	}, channelsSealedSQL)
	if err != nil {
		return 0, fmt.Errorf("read the configurations of channels: %w", err)
	}
	for _, s := range all {
		plain, err := n.openConfig(s.id, s.config)
		if err != nil {
			lost++
			continue
		}
		if !n.host.Secrets.Stale(s.config) {
			continue
		}
		anew, err := n.host.Secrets.Seal(configContext(s.id), string(plain))
		if err != nil {
			return lost, err
		}
		if _, err := n.host.DB.ExecContext(ctx, channelResealSQL, s.id, s.config, anew); err != nil {
			return lost, fmt.Errorf("seal the configuration of a channel anew: %w", err)
		}
	}
	return lost, nil
}
