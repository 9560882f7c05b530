package notification

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// Sending. A channel is a queue: what is to go through it is sent one after the other, in the order in which it happened, by the one
// server that holds the channel. Who does not get through tries again later with the same message first, so nobody hears that
// something works again before they heard that it does not:
//
//	claim (for a minute) → send → note it, and hold on → … → none left, or it is the turn of others: let go
//	                         └─ failed: note it, let go, and try again in 5 s, 10 s, … 15 min; after a day it is given up
//
// A server that dies lets others have its channels when the minute is over. What it had sent and not noted is sent again: a message
// comes at least once, and says by its ID which one it is.

var (
	//go:embed sql/channels_claim.sql
	channelsClaimSQL string
	//go:embed sql/channels_due.sql
	channelsDueSQL string
	//go:embed sql/channel_let_go.sql
	channelLetGoSQL string
	//go:embed sql/delivery_next.sql
	deliveryNextSQL string
	//go:embed sql/delivery_end.sql
	deliveryEndSQL string
	//go:embed sql/delivery_failed.sql
	deliveryFailedSQL string
)

const (
	work         = "notification_work"    // announces that there may be something to hand on or to send
	maxSending   = 16                     // channels that one server sends through at once
	maxTrying    = 8                      // channels that are tried by hand at once
	sendPatience = 20 * time.Second       // for one message
	notePatience = 30 * time.Second       // to note how that went; both are over before the minute is that a channel is held
	maxTurn      = time.Minute            // for one channel while others wait
	maxIdle      = 30 * time.Second       // between two looks, should an announcement be lost
	minIdle      = 100 * time.Millisecond // between two looks at what is due and cannot be had: somebody changes it
	expireEvery  = time.Minute

	firstDelay, lastDelay = 5 * time.Second, 15 * time.Minute // between tries, of which each is twice the one before

	maxErrorText = 500
)

// announce wakes the servers when the transaction is committed.
func announce(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, announceSQL); err != nil {
		return fmt.Errorf("announce work: %w", err)
	}
	return nil
}

//go:embed sql/announce.sql
var announceSQL string

// wake has this server look for work.
func (n *Notifier) wake() {
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// loop hands notices on and sends them until ctx ends.
func (n *Notifier) loop(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	var expired time.Time
	troubled := false
	for {
		if time.Since(expired) >= expireEvery {
			expired = time.Now()
			n.giveUp(ctx)
		}
		wait, err := n.pass(ctx, &sending)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !troubled {
			n.host.Log.Warn("nobody is notified of anything for now", "error", err)
		}
		troubled = err != nil
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-n.woken:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// pass does what can be done now, and returns how long there is nothing to do unless somebody says so.
func (n *Notifier) pass(ctx context.Context, sending *sync.WaitGroup) (wait time.Duration, err error) {
	var failed error // what could not be handed on keeps nothing else from being sent
	for more := 1; more > 0 && failed == nil; {
		more, failed = n.handOn(ctx)
	}
	types := n.typeNames()
	for free := cap(n.places) - len(n.places); free > 0; free = cap(n.places) - len(n.places) {
		claimed, err := plugins.Rows(ctx, n.host.DB, func(row plugins.Row) (c claim, err error) {
			err = row.Scan(&c.id, &c.name, &c.kind, &c.config, &c.failures, &c.until, &c.updated)
			return c, err
		}, channelsClaimSQL, pq.Array(types), free)
		if err != nil {
			return n.idle, fmt.Errorf("claim channels: %w", err)
		}
		if len(claimed) == 0 {
			break
		}
		for _, c := range claimed {
			n.places <- struct{}{} // there is one: nobody else takes places
			sending.Go(func() {
				defer n.wake()
				defer func() { <-n.places }()
				n.drain(ctx, c)
			})
		}
	}
	if len(n.places) == cap(n.places) {
		return n.idle, failed
	}
	var seconds *float64
	if err := n.host.DB.QueryRowContext(ctx, channelsDueSQL, pq.Array(types)).Scan(&seconds); err != nil || seconds == nil {
		return n.idle, cmp.Or(err, failed)
	}
	return min(n.idle, max(time.Duration(*seconds*float64(time.Second)), minIdle)), failed
}

// claim is a channel that this server holds.
type claim struct {
	id, name, kind, config string
	failures               int
	until, updated         time.Time
}

// parcel is a delivery on its way.
type parcel struct {
	id       int64
	attempts int
	Message
}

// drain sends what is to go through a channel until there is nothing, a try fails, it is another's turn, or the channel is somebody
// else's.
func (n *Notifier) drain(ctx context.Context, c claim) {
	turn := time.Now().Add(n.turn)
	for {
		p, err := n.next(ctx, c)
		if err == nil {
			err = n.deliver(ctx, &c, p)
		}
		switch {
		case err == nil && time.Now().Before(turn):
			continue
		case errors.Is(err, errLetGo):
			return
		case err != nil && !errors.Is(err, sql.ErrNoRows) && !errors.Is(err, errTypeGone) && ctx.Err() == nil:
			n.host.Log.Warn("a channel is left for a minute", "channel", c.name, "error", err)
			return // the minute ends by itself: what was sent and cannot be noted is not sent over and over
		}
		// Also when the server stops; if it does not work, the minute ends by itself.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_, _ = n.host.DB.ExecContext(ctx, channelLetGoSQL, c.id, c.until)
		return
	}
}

// errLetGo says that the channel is not held any more.
var errLetGo = errors.New("the channel is not held")

func (n *Notifier) next(ctx context.Context, c claim) (p parcel, err error) {
	m := &p.Message
	err = n.host.DB.QueryRowContext(ctx, deliveryNextSQL, c.id, c.until, c.updated).Scan(&p.id, &m.ID, &p.attempts, &m.Spec, &m.Severity, &m.Title,
		&m.Message, &m.Resource.Type, &m.Resource.ID, &m.Resource.Name, (*[]byte)(&m.Data), &m.CreatedAt)
	m.CreatedAt = m.CreatedAt.UTC()
	if m.Data == nil {
		m.Data = json.RawMessage("null")
	}
	return p, err
}

// deliver sends one message and notes how that ended.
func (n *Notifier) deliver(ctx context.Context, c *claim, p parcel) error {
	err := n.send(ctx, c.kind, c.id, c.config, p.Message)
	if err != nil && (ctx.Err() != nil || errors.Is(err, errTypeGone)) {
		return err // that is no failure of the channel
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notePatience) // what was sent is noted, also when the server stops
	defer cancel()
	state, reason := "delivered", (*string)(nil)
	refused, isRefused := errors.AsType[*Refused](err)
	switch {
	case isRefused:
		state, reason = "refused", new(cut(refused.Reason, maxErrorText))
		n.host.Log.Warn("a channel refuses a message", "channel", c.name, "message", p.ID, "error", *reason)
	case err != nil:
		before := c.failures
		if _, here := errors.AsType[*unopenable](err); here {
			before = 0
		}
		return n.failed(ctx, c, p, errorText(err), n.delay(before))
	}
	if c.failures > 0 {
		n.host.Log.Info("a channel works again", "channel", c.name, "attempts", c.failures)
	}
	c.failures = 0
	err = n.host.DB.QueryRowContext(ctx, deliveryEndSQL, p.id, p.attempts+1, state, reason, c.id, c.until).Scan(&c.until)
	if errors.Is(err, sql.ErrNoRows) {
		return errLetGo
	}
	return err
}

// failed notes a try that failed, and lets go of the channel until the next one.
func (n *Notifier) failed(ctx context.Context, c *claim, p parcel, reason string, delay time.Duration) error {
	if c.failures == 0 {
		n.host.Log.Warn("nothing gets through a channel", "channel", c.name, "error", reason)
	}
	_, err := n.host.DB.ExecContext(ctx, deliveryFailedSQL, p.id, p.attempts+1, reason, c.id, c.until, c.failures+1, delay.Milliseconds(), c.updated)
	if err != nil {
		return err
	}
	return errLetGo
}

// backoff is how long a channel rests after failures in a row: twice as long each time, less up to a fifth, so that channels
// which failed together are not tried together.
func backoff(failures int) time.Duration {
	d := lastDelay
	if failures < 8 {
		d = min(firstDelay<<failures, lastDelay)
	}
	return d - rand.N(d/5)
}

// unopenable is why a configuration cannot be used on this server, where a variable or the key may be missing that another has. So the
// channel rests no longer than after a first failure, for another server to try.
type unopenable struct{ error }

func (e *unopenable) Unwrap() error { return e.error }

// send has one message sent through a channel.
func (n *Notifier) send(ctx context.Context, kind, id, sealed string, m Message) error {
	t, ok := n.types.find(kind)
	if !ok {
		return errTypeGone
	}
	config, err := n.openConfig(id, sealed)
	if err != nil {
		return &unopenable{err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.limit, errors.New("it took longer than "+n.limit.String()))
	defer cancel()
	err = t.do(ctx, func(ctx context.Context) error {
		s, err := t.Open(config)
		if err != nil {
			return &unopenable{fmt.Errorf("the configuration is not understood any more: %w", err)}
		}
		return s.Send(ctx, m)
	})
	if e, ok := errors.AsType[*plugins.PanicError](err); ok {
		n.host.Log.Error("channel type panicked", "type", kind, "stack", string(e.Stack)) // without its text, which may be a secret
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// errorText is what may be shown of an error of a channel.
func errorText(err error) string {
	if _, is := errors.AsType[*plugins.PanicError](err); is {
		return "the channel type has a bug"
	}
	if e, ok := errors.AsType[*plugins.Error](err); ok {
		return cut(strings.TrimPrefix(e.Field+": "+e.Message, ": "), maxErrorText)
	}
	return cut(err.Error(), maxErrorText)
}
