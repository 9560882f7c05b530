package postgres

import (
	"context"
	"database/sql/driver"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"
)

// Notifications arrive on one connection of their own, beside the pool, which is opened when somebody listens for the first
// time and is made again whenever it is lost. What arrives is put into a queue of each listener, who has a goroutine that
// calls its function; so a slow listener holds up nobody, and a queue that grows too long is replaced by the one word that
// something was missed.
//
// The connection is one of lib/pq's, made like those of the pool. It hands over notifications only while it waits for the
// answer to a statement, so it is kept waiting: the empty statement of a ping is held back on its way to the server (see
// [valve]) until there is something else to say, that is, until other channels are wanted. lib/pq's own Listener would read
// libpq's environment variables also for a private cluster, and cannot be stopped while it connects or pauses.

const mostWaiting = 1000 // payloads in the queue of a listener, which have up to 8,000 bytes each

var (
	//go:embed listen_channels.sql
	listenChannels string
	//go:embed listen.sql
	listenStatement string
)

// errChannel is what is wrong with the name of a channel.
var errChannel = errors.New("the name of a channel has 1 to 63 bytes, is valid UTF-8 and has no NUL in it")

// notices is everybody who listens, and the connection they share.
type notices struct {
	connector *connector
	log       *slog.Logger
	ctx       context.Context // ends with close
	cancel    context.CancelFunc
	changed   chan struct{}  // holds a word when other channels may be wanted
	work      sync.WaitGroup // of the connection and of all listeners

	mu     sync.Mutex
	begun  bool
	ended  bool
	away   bool                   // the last attempt to reach the server failed
	wanted map[string][]*listener // by channel
	active map[string]bool        // the channels on which the server has confirmed that it delivers
}

func newNotices(c *connector, log *slog.Logger) *notices {
	n := &notices{connector: c, log: log, changed: make(chan struct{}, 1)}
	n.wanted, n.active = map[string][]*listener{}, map[string]bool{}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Listen calls f with the payload of each notification on a channel whose transaction is committed after Listen has
// returned, in the order of the commits, one after the other. It calls f with an empty payload when some may have been
// missed: once after the connection to the database was lost and made again, and once when more than 1,000 payloads wait,
// instead of those. A panic of f is logged, and f is called again for the next payload.
//
// Listen waits until the server has confirmed. If the server cannot be reached it returns all the same, and the first call
// of f, with an empty payload, says that it has been. All listeners share one connection beside those of the pool, which is
// there while somebody listens.
//
// stop ends it, and waits for a call of f that is under way; f itself must not call it. Close ends all of them. After Close,
// Listen does nothing. The name of a channel has 1 to 63 bytes, in valid UTF-8 and without NUL; another one is a mistake in
// the program, and Listen panics.
func (d *Database) Listen(channel string, f func(payload string)) (stop func()) {
	if n := len(channel); n == 0 || n > 63 || strings.ContainsRune(channel, 0) || !utf8.ValidString(channel) {
		panic(fmt.Errorf("listening on %q: %w", channel, errChannel))
	}
	return d.notices.listen(channel, f)
}

func (n *notices) listen(channel string, f func(string)) (stop func()) {
	l := &listener{channel: channel, f: f, log: n.log, known: make(chan struct{}), done: make(chan struct{})}
	l.filled.L = &l.mu
	if !n.add(l) {
		return func() {}
	}
	select {
	case <-l.known:
	case <-n.ctx.Done():
	}
	return func() {
		n.remove(l)
		l.stop()
		<-l.done
	}
}

// add starts a listener, unless everything has ended.
func (n *notices) add(l *listener) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return false
	}
	n.wanted[l.channel] = append(n.wanted[l.channel], l)
	if n.away || n.active[l.channel] {
		l.settle()
	}
	n.work.Go(l.run)
	if !n.begun {
		n.begun = true
		n.work.Go(n.keep)
	}
	n.change()
	return true
}

func (n *notices) remove(l *listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rest := slices.DeleteFunc(n.wanted[l.channel], func(other *listener) bool { return other == l })
	if n.wanted[l.channel] = rest; len(rest) == 0 {
		delete(n.wanted, l.channel)
	}
	n.change()
}

func (n *notices) change() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// keep has a connection as long as somebody listens.
func (n *notices) keep() {
	const shortest, longest = 50 * time.Millisecond, 5 * time.Second
	pause := shortest
	for n.somebody() {
		reached, err := n.connected()
		if err == nil || n.ctx.Err() != nil {
			continue
		}
		if reached {
			pause = shortest
		}
		n.lost(err)
		rest(n.ctx, pause/2+rand.N(pause/2)) // so that not all servers come back in the same moment
		pause = min(2*pause, longest)
	}
}

// somebody waits until somebody listens, and reports false when everything has ended.
func (n *notices) somebody() bool {
	for {
		if n.ctx.Err() != nil {
			return false
		}
		if len(n.channels()) > 0 {
			return true
		}
		select {
		case <-n.changed:
		case <-n.ctx.Done():
		}
	}
}

// channels returns the channels that are wanted. Those that are not wanted any more do not count as active from here on.
func (n *notices) channels() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.active, func(channel string, _ bool) bool { return n.wanted[channel] == nil })
	return slices.Sorted(maps.Keys(n.wanted))
}

// connected opens the connection and uses it until it is lost, which is an error, or until nobody listens any more. It also
// reports whether the server could be reached.
func (n *notices) connected() (reached bool, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
	defer cancel()
	c, err := n.connector.open(ctx, &dialer{hold: true})
	if err != nil {
		return false, err
	}
	defer c.Close()
	defer context.AfterFunc(n.ctx, func() { c.socket.Close() })()
	pq.SetNotificationHandler(c.pqConn, n.deliver)
	for {
		channels := n.channels()
		if len(channels) == 0 {
			n.forget()
			return true, nil
		}
		if err := n.choose(c, channels); err != nil {
			return reached, err
		}
		reached = true
		n.confirm(channels)
		if err := n.await(c); err != nil {
			return true, err
		}
	}
}

// choose makes the server deliver what is announced on the channels, and nothing else.
func (n *notices) choose(c *conn, channels []string) error {
	names, err := json.Marshal(channels)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
	defer cancel()
	if _, err := c.ExecContext(ctx, listenChannels, []driver.NamedValue{{Ordinal: 1, Value: string(names)}}); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, listenStatement, nil)
	return err
}

// confirm tells those who wait for their channel that it is active, and all others on new channels that they may have missed
// something.
func (n *notices) confirm(channels []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		n.log.Info("listening to the database again", "channels", len(channels))
	}
	n.away = false
	for _, channel := range channels {
		for _, l := range n.wanted[channel] {
			if !l.settle() && !n.active[channel] {
				l.miss()
			}
		}
		n.active[channel] = true
	}
}

// await lets the connection hand over notifications until other channels may be wanted or it is lost.
func (n *notices) await(c *conn) error {
	socket := c.socket.(*valve)
	socket.hold()
	lost := make(chan error, 1)
	go func() { lost <- c.Ping(context.Background()) }()
	select {
	case <-n.changed:
	case err := <-lost:
		return fmt.Errorf("the connection was lost: %w", err)
	}
	err := errors.Join(socket.SetReadDeadline(time.Now().Add(10*time.Second)), socket.release())
	if err != nil {
		socket.Close()
	}
	return errors.Join(err, <-lost, socket.SetReadDeadline(time.Time{}))
}

// deliver gives a notification to everybody who listens on its channel.
func (n *notices) deliver(p *pq.Notification) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.wanted[p.Channel] {
		l.put(p.Extra)
	}
}

// lost makes a note of it that the connection is gone, or could not be made. Nobody waits for it from here on.
func (n *notices) lost(err error) {
	n.forget()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.away {
		n.log.Warn("cannot listen to the database; trying again", "error", err)
	}
	n.away = true
	for _, ls := range n.wanted {
		for _, l := range ls {
			l.settle()
		}
	}
}

// forget makes a note of it that the server delivers nothing.
func (n *notices) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.active)
}

// close ends everything and waits for it, until ctx is done.
func (n *notices) close(ctx context.Context) error {
	n.mu.Lock()
	n.ended = true
	for _, ls := range n.wanted {
		for _, l := range ls {
			l.stop()
		}
	}
	n.mu.Unlock()
	n.cancel()
	done := make(chan struct{})
	go func() {
		n.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for those who listen to the database: %w", context.Cause(ctx))
	}
}

// listener is one who listens.
type listener struct {
	channel string
	f       func(string)
	log     *slog.Logger
	known   chan struct{} // closed when it is known whether the server delivers; guarded by the mutex of notices
	done    chan struct{} // closed when f will not be called again

	mu      sync.Mutex
	filled  sync.Cond // there is something to do
	waiting []string
	missed  bool // f is to be told that it missed something; until it is, what arrives is missed too
	stopped bool
}

// settle lets Listen return, and reports whether it did not before.
func (l *listener) settle() bool {
	select {
	case <-l.known:
		return false
	default:
		close(l.known)
		return true
	}
}

// put adds a payload to the queue.
func (l *listener) put(payload string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.missed:
	case len(l.waiting) >= mostWaiting:
		l.waiting, l.missed = nil, true
	default:
		l.waiting = append(l.waiting, payload)
	}
	l.filled.Signal()
}

// miss replaces the queue by the word that something was missed.
func (l *listener) miss() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting, l.missed = nil, true
	l.filled.Signal()
}

func (l *listener) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.filled.Signal()
}

// run calls f until the listener is stopped.
func (l *listener) run() {
	defer close(l.done)
	for {
		payload, ok := l.next()
		if !ok {
			return
		}
		l.call(payload)
	}
}

// next waits for a payload.
func (l *listener) next() (payload string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.stopped && !l.missed && len(l.waiting) == 0 {
		l.filled.Wait()
	}
	switch {
	case l.stopped:
		return "", false
	case l.missed:
		l.missed = false
		return "", true
	}
	payload, l.waiting = l.waiting[0], l.waiting[1:]
	return payload, true
}

// call calls f and outlives its panic.
func (l *listener) call(payload string) {
	defer func() {
		if v := recover(); v != nil {
			l.log.Error("a listener panicked", "channel", l.channel, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	l.f(payload)
}

// valve is a socket that can keep what is written to it until it is released, in its order, so that encryption does not mind.
type valve struct {
	net.Conn
	mu   sync.Mutex
	held bool
	kept []byte
}

// Write sends p, or keeps it.
func (v *valve) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.held {
		v.kept = append(v.kept, p...)
		return len(p), nil
	}
	return v.Conn.Write(p)
}

func (v *valve) hold() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = true
}

func (v *valve) release() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = false
	_, err := v.Conn.Write(v.kept)
	v.kept = nil
	return err
}
