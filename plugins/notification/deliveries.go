package notification

import (
	"context"
	_ "embed"
	"net/http"
	"slices"
	"time"

	"checkstack/plugins"
)

// Deliveries: what goes, or went, through channels, for whoever asks why nobody was told. They are kept as long as their notices are.

var (
	//go:embed sql/deliveries_expire.sql
	deliveriesExpireSQL string
	//go:embed sql/delivery_list.sql
	deliveryListSQL string
)

// Delivery is a message that goes, or went, through a channel.
type Delivery struct {
	ID        string     `json:"id"` // a UUID, which the message has too
	ChannelID string     `json:"channelId"`
	Channel   string     `json:"channel"` // its name
	NoticeID  int64      `json:"noticeId"`
	Spec      string     `json:"spec"`
	Resource  Subject    `json:"resource"`
	Severity  Severity   `json:"severity"`
	Title     string     `json:"title"`
	State     string     `json:"state"` // pending, delivered, refused or expired
	Attempts  int        `json:"attempts"`
	Error     *string    `json:"error"` // of the last try, if that failed
	CreatedAt time.Time  `json:"createdAt"`
	EndedAt   *time.Time `json:"endedAt"` // nil: it is pending
}

// listDeliveries answers with the deliveries, the newest first; channelId and state narrow it down.
func (n *Notifier) listDeliveries(r *http.Request, _ plugins.None) (plugins.List[Delivery], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Delivery]{}, err
	}
	of, err := channelOf(r)
	if err != nil {
		return plugins.List[Delivery]{}, err
	}
	state := r.URL.Query().Get("state")
	if !slices.Contains([]string{"", "pending", "delivered", "refused", "expired"}, state) {
		return plugins.List[Delivery]{}, plugins.Invalid("state", "expected pending, delivered, refused or expired")
	}
	return plugins.ListRows(r.Context(), n.host.DB, page, func(row plugins.Row) (d Delivery, err error) {
		err = row.Scan(&d.ID, &d.ChannelID, &d.Channel, &d.NoticeID, &d.Spec, &d.Resource.Type, &d.Resource.ID, &d.Resource.Name, &d.Severity,
			&d.Title, &d.State, &d.Attempts, &d.Error, &d.CreatedAt, &d.EndedAt)
		return d, err
	}, deliveryListSQL, of, state)
}

// giveUp ends what could not be sent for a day.
func (n *Notifier) giveUp(ctx context.Context) {
	result, err := n.host.DB.ExecContext(ctx, deliveriesExpireSQL)
	if err != nil {
		if ctx.Err() == nil {
			n.host.Log.Warn("old messages are not given up", "error", err)
		}
		return
	}
	if gone, err := result.RowsAffected(); err == nil && gone > 0 {
		n.host.Log.Error("messages could not be sent for a day, and are given up", "messages", gone)
	}
}
