package notification

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
)

// Subscriptions: what goes through a channel. One is to a spec, for one resource or for all there are. A spec about a group covers one
// about its systems, so that who subscribed to the group is told of each of them, also of those that join it later.

const maxSubscriptions = 10_000

var (
	//go:embed sql/subscription_insert.sql
	subscriptionInsertSQL string
	//go:embed sql/subscription_update.sql
	subscriptionUpdateSQL string
	//go:embed sql/subscription_find.sql
	subscriptionFindSQL string
	//go:embed sql/subscription_hold.sql
	subscriptionHoldSQL string
	//go:embed sql/subscription_same.sql
	subscriptionSameSQL string
	//go:embed sql/subscription_list.sql
	subscriptionListSQL string
	//go:embed sql/subscriptions_managed.sql
	subscriptionsManagedSQL string
	//go:embed sql/subscriptions_of.sql
	subscriptionsOfSQL string
	//go:embed sql/subscriptions_forget.sql
	subscriptionsForgetSQL string
	//go:embed sql/subscriptions_release.sql
	subscriptionsReleaseSQL string
	//go:embed sql/subscription_delete.sql
	subscriptionDeleteSQL string
	//go:embed sql/channel_hold_delete.sql
	channelHoldDeleteSQL string
	//go:embed sql/resource_turn.sql
	resourceTurnSQL string
)

// Subscription says which notices go through a channel, as the API shows it.
type Subscription struct {
	ID          string    `json:"id"` // a UUID
	ChannelID   string    `json:"channelId"`
	Channel     string    `json:"channel"` // its name
	Spec        string    `json:"spec"`
	Target      string    `json:"target"`      // the spec's
	Resource    *string   `json:"resource"`    // the ID of one; nil: of every resource of the target
	MinSeverity Severity  `json:"minSeverity"` // info, warning or critical; the end of what was told is told whatever it is
	ManagedBy   *string   `json:"managedBy"`   // the document that it comes from; nil: people own it
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

// SubscriptionInput is a subscription to be made. Of one that exists only the severity is changed.
type SubscriptionInput struct {
	ChannelID   string   `json:"channelId"`
	Spec        string   `json:"spec"`
	Resource    *string  `json:"resource,omitempty"`    // absent: all
	MinSeverity Severity `json:"minSeverity,omitempty"` // absent: info
}

// Validate checks the ranges.
func (in *SubscriptionInput) Validate() error {
	in.ChannelID = strings.ToLower(in.ChannelID)
	in.MinSeverity = cmp.Or(in.MinSeverity, Info)
	switch {
	case !plugins.IsID(in.ChannelID):
		return plugins.Invalid("channelId", "expected the ID of a channel")
	case in.Spec == "":
		return plugins.Invalid("spec", "expected the type of a subscription spec")
	case in.Resource != nil && *in.Resource == "":
		return plugins.Invalid("resource", "expected the ID of a resource, or no such field for all of them")
	}
	return severity(in.MinSeverity)
}

// severity checks the least severity of a subscription.
func severity(s Severity) error {
	if s != Info && s != Warning && s != Critical {
		return plugins.Invalid("minSeverity", "expected info, warning or critical")
	}
	return nil
}

func scanSubscription(row plugins.Row) (s Subscription, err error) {
	var resource string
	err = row.Scan(&s.ID, &s.ChannelID, &s.Channel, &s.Spec, &s.Target, &resource, &s.MinSeverity, &s.ManagedBy, &s.CreatedAt, &s.UpdatedAt)
	if resource != "" {
		s.Resource = &resource
	}
	return s, err
}

// subscription runs a statement for one subscription.
func subscription(ctx context.Context, db plugins.Queryer, statement string, args ...any) (Subscription, error) {
	s, err := scanSubscription(db.QueryRowContext(ctx, statement, args...))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, plugins.NotFound("subscription")
	case err != nil:
		return s, fmt.Errorf("read a subscription: %w", err)
	}
	return s, nil
}

// Subscribe makes a subscription in the caller's transaction, which the document owner manages, or people if that is nil. Its
// channel, its spec and its resource must exist: that is left to the caller, and how many there may be to [Notifier.Bounded]. A
// channel that has one to the same already is an error with status 409, and leaves tx usable.
func (n *Notifier) Subscribe(ctx context.Context, tx *sql.Tx, in SubscriptionInput, owner *string) (Subscription, error) {
	if err := in.Validate(); err != nil {
		return Subscription{}, err
	}
	resource := *cmp.Or(in.Resource, new(string))
	s, err := scanSubscription(tx.QueryRowContext(ctx, subscriptionInsertSQL, plugins.NewID(), in.ChannelID, in.Spec, resource,
		in.MinSeverity, owner))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, &plugins.Error{Status: http.StatusConflict, Title: "Already exists", Message: "the channel has this subscription already"}
	case plugins.SQLState(err) == "23503":
		return s, plugins.Invalid("channelId", "expected a channel that there is")
	case err != nil:
		return s, fmt.Errorf("make a subscription: %w", err)
	}
	return s, nil
}

// Resubscribe replaces the least severity of a subscription and who manages it, whoever does so before.
func (n *Notifier) Resubscribe(ctx context.Context, tx *sql.Tx, id string, least Severity, owner *string) (Subscription, error) {
	if err := severity(least); err != nil {
		return Subscription{}, err
	}
	return subscription(ctx, tx, subscriptionUpdateSQL, id, least, owner)
}

// Unsubscribe ends a subscription, whoever manages it.
func (n *Notifier) Unsubscribe(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, subscriptionDeleteSQL, id); err != nil {
		return fmt.Errorf("end a subscription: %w", err)
	}
	return nil
}

// SubscriptionTo returns the subscription of a channel to a spec for a resource, nil being all, if there is one, and holds it.
func (n *Notifier) SubscriptionTo(ctx context.Context, tx *sql.Tx, channelID, spec string, resource *string) (s Subscription, ok bool, err error) {
	s, err = scanSubscription(tx.QueryRowContext(ctx, subscriptionSameSQL, channelID, spec, *cmp.Or(resource, new(string))))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, false, nil
	case err != nil:
		return s, false, fmt.Errorf("read a subscription: %w", err)
	}
	return s, true, nil
}

// SubscriptionsOf returns the subscriptions of a channel that is about to be deleted, and holds them and the channel, so that nobody
// else subscribes it until tx ends.
func (n *Notifier) SubscriptionsOf(ctx context.Context, tx *sql.Tx, channelID string) ([]Subscription, error) {
	if _, err := tx.ExecContext(ctx, channelHoldDeleteSQL, channelID); err != nil {
		return nil, fmt.Errorf("hold a channel: %w", err)
	}
	return subscriptions(ctx, tx, subscriptionsOfSQL, channelID, "", "")
}

// SubscriptionsAbout returns the subscriptions to one resource, and holds them. Whoever subscribes to it by the API waits until tx ends.
func (n *Notifier) SubscriptionsAbout(ctx context.Context, tx *sql.Tx, t Target, resource string) ([]Subscription, error) {
	if err := takeTurn(ctx, tx, t.Type, resource); err != nil {
		return nil, err
	}
	return subscriptions(ctx, tx, subscriptionsOfSQL, nil, t.Type, resource)
}

// ManagedSubscriptions returns the subscriptions that a document manages, in the order of the names of their channels.
func (n *Notifier) ManagedSubscriptions(ctx context.Context, db plugins.Queryer, owner string) ([]Subscription, error) {
	return subscriptions(ctx, db, subscriptionsManagedSQL, owner)
}

func subscriptions(ctx context.Context, db plugins.Queryer, statement string, args ...any) ([]Subscription, error) {
	all, err := plugins.Rows(ctx, db, scanSubscription, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	return all, nil
}

// ReleaseSubscriptions gives the subscriptions that a document manages to people: the one with an ID, or all of them if that is empty.
func (n *Notifier) ReleaseSubscriptions(ctx context.Context, tx *sql.Tx, owner, id string) error {
	one := sql.NullString{String: id, Valid: id != ""}
	if _, err := tx.ExecContext(ctx, subscriptionsReleaseSQL, owner, one, nil); err != nil {
		return fmt.Errorf("release the subscriptions of a document: %w", err)
	}
	return nil
}

// unmanaged is an error if a document manages one of these subscriptions, which a person is about to end with something else.
func unmanaged(all []Subscription) error {
	for _, s := range all {
		if s.ManagedBy != nil {
			e := plugins.Managed(*s.ManagedBy)
			e.Message = fmt.Sprintf("the document %q has a subscription of the channel %q that would end: take it out there, or release it first",
				*s.ManagedBy, s.Channel)
			return e
		}
	}
	return nil
}

// Forget ends what people have subscribed to of a resource that is about to be deleted. It is for the owner of the target, in the
// transaction that deletes the resource. A subscription that a document manages is a [plugins.Managed].
func (n *Notifier) Forget(ctx context.Context, tx *sql.Tx, t Target, resource string) error {
	about, err := n.SubscriptionsAbout(ctx, tx, t, resource)
	if err != nil {
		return err
	}
	if err := unmanaged(about); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, subscriptionsForgetSQL, t.Type, resource); err != nil {
		return fmt.Errorf("end the subscriptions to a resource: %w", err)
	}
	return nil
}

// takeTurn waits for whoever subscribes to a resource or deletes it.
func takeTurn(ctx context.Context, tx *sql.Tx, target, resource string) error {
	if _, err := tx.ExecContext(ctx, resourceTurnSQL, target, resource); err != nil {
		return fmt.Errorf("take turns at a resource: %w", err)
	}
	return nil
}

func (n *Notifier) createSubscription(r *http.Request, in SubscriptionInput) (made plugins.Created[Subscription], err error) {
	ctx := r.Context()
	spec, ok := n.specs.find(in.Spec)
	if !ok {
		return made, plugins.Invalid("spec", "expected the type of a subscription spec that this server has")
	}
	if in.Resource != nil {
		found, err := n.subscribableResource(ctx, spec.Target.Type, *in.Resource)
		if err != nil {
			return made, err
		}
		in.Resource = &found.ID // as its owner writes it
	}
	err = plugins.Tx(ctx, n.host.DB, func(tx *sql.Tx) (err error) {
		if in.Resource != nil {
			if err := takeTurn(ctx, tx, spec.Target.Type, *in.Resource); err != nil {
				return err
			}
		}
		if made.Value, err = n.Subscribe(ctx, tx, in, nil); err != nil {
			return err
		}
		return n.Bounded(ctx, tx)
	})
	made.Location = "/api/" + n.host.ID + "/subscriptions/" + made.Value.ID
	if err != nil || in.Resource == nil {
		return made, err
	}
	// Its owner has no part in the transaction, and may have deleted it before it was our turn.
	if _, gone := n.subscribableResource(ctx, spec.Target.Type, *in.Resource); isStatus(gone, http.StatusBadRequest) {
		return made, cmp.Or(plugins.Tx(ctx, n.host.DB, func(tx *sql.Tx) error { return n.Unsubscribe(ctx, tx, made.Value.ID) }), gone)
	}
	return made, nil
}

// subscribableResource is [Notifier.Resource] for the field of an input.
func (n *Notifier) subscribableResource(ctx context.Context, target, id string) (Resource, error) {
	found, err := n.Resource(ctx, target, id)
	if isStatus(err, http.StatusNotFound) {
		err = plugins.Invalid("resource", "expected the ID of a resource of the target %s that there is", target)
	}
	return found, err
}

// isStatus reports whether an error is one that callers are told with a status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*plugins.Error](err)
	return ok && e.Status == status
}

func (n *Notifier) listSubscriptions(r *http.Request, _ plugins.None) (plugins.List[Subscription], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Subscription]{}, err
	}
	of, err := channelOf(r)
	if err != nil {
		return plugins.List[Subscription]{}, err
	}
	return plugins.ListRows(r.Context(), n.host.DB, page, scanSubscription, subscriptionListSQL, of)
}

// channelOf reads the query parameter that narrows a list down to a channel.
func channelOf(r *http.Request) (id sql.NullString, err error) {
	id.String = strings.ToLower(r.URL.Query().Get("channelId"))
	id.Valid = id.String != ""
	if id.Valid && !plugins.IsID(id.String) {
		return id, plugins.Invalid("channelId", "expected the ID of a channel")
	}
	return id, nil
}

func (n *Notifier) findSubscription(r *http.Request, _ plugins.None) (Subscription, error) {
	id, err := plugins.PathID(r, "id", "subscription")
	if err != nil {
		return Subscription{}, err
	}
	return subscription(r.Context(), n.host.DB, subscriptionFindSQL, id)
}

// leastSeverity is the body of a request that changes a subscription.
type leastSeverity struct {
	MinSeverity Severity `json:"minSeverity"`
}

func (n *Notifier) replaceSubscription(r *http.Request, in leastSeverity) (s Subscription, err error) {
	id, err := plugins.PathID(r, "id", "subscription")
	if err != nil {
		return s, err
	}
	err = n.subscriptionByHand(r.Context(), id, func(tx *sql.Tx) (err error) {
		s, err = n.Resubscribe(r.Context(), tx, id, in.MinSeverity, nil)
		return err
	})
	return s, err
}

func (n *Notifier) removeSubscription(r *http.Request, _ plugins.None) (none plugins.None, err error) {
	id, err := plugins.PathID(r, "id", "subscription")
	if err != nil {
		return none, err
	}
	return none, n.subscriptionByHand(r.Context(), id, func(tx *sql.Tx) error { return n.Unsubscribe(r.Context(), tx, id) })
}

// subscriptionByHand runs f in a transaction that holds a subscription which no document manages.
func (n *Notifier) subscriptionByHand(ctx context.Context, id string, f func(*sql.Tx) error) error {
	return plugins.Tx(ctx, n.host.DB, func(tx *sql.Tx) error {
		s, err := subscription(ctx, tx, subscriptionHoldSQL, id)
		if err != nil {
			return err
		}
		if s.ManagedBy != nil {
			return plugins.Managed(*s.ManagedBy)
		}
		return f(tx)
	})
}
