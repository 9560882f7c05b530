package signals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"checkstack/plugins"
)

const (
	mostClients   = 1000             // at once, on one server
	mostAnonymous = 900              // of these, so that a crowd does not keep out those who run the thing
	mostNames     = 50               // that a client can ask for
	piece         = 100              // events that are written at once
	heartbeat     = 15 * time.Second // between two words, so that nobody on the way takes the connection for dead
	patience      = 30 * time.Second // for a client that takes nothing
	farewell      = time.Second      // for the same at the end of its stream
	longest       = 10 * time.Minute // a stream; who comes back is asked again who he is
)

// clients is who listens on this server.
type clients struct {
	mu        sync.Mutex
	all       int
	anonymous int
	watched   bool            // the server tells when it stops
	serving   context.Context // ends then
	stop      func()
}

func newClients() *clients {
	c := &clients{}
	c.serving, c.stop = context.WithCancel(context.Background())
	return c
}

// enter counts a client, unless there are too many.
func (c *clients) enter(anonymous bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= mostClients || anonymous && c.anonymous >= mostAnonymous {
		return false
	}
	c.all++
	if anonymous {
		c.anonymous++
	}
	return true
}

func (c *clients) leave(anonymous bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if anonymous {
		c.anonymous--
	}
}

// watch sees to it that streams end when their server begins to stop. It would wait for them otherwise.
func (c *clients) watch(r *http.Request) {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok && !c.watched {
		c.watched = true
		server.RegisterOnShutdown(c.stop)
	}
}

// client is a stream of events to one caller.
type client struct {
	*Signals
	ctx       context.Context
	w         http.ResponseWriter
	control   *http.ResponseController
	anonymous bool
	names     []string      // that the client wants; empty: all
	now       chan struct{} // closed
	position  int64         // up to which it was told everything
	said      int64         // the last position it knows of
}

// stream handles GET /api/signals/events.
func (s *Signals) stream(w http.ResponseWriter, r *http.Request) {
	c := &client{Signals: s, ctx: r.Context(), w: w, control: http.NewResponseController(w), now: make(chan struct{})}
	c.anonymous = plugins.PrincipalOf(c.ctx) == nil
	close(c.now)
	if err := c.ask(r); err != nil {
		plugins.WriteError(w, r, err)
		return
	}
	if !s.clients.enter(c.anonymous) {
		w.Header().Set("Retry-After", "10")
		plugins.WriteError(w, r, &plugins.Error{Status: http.StatusServiceUnavailable, Message: "too many listen already"})
		return
	}
	defer s.clients.leave(c.anonymous)
	s.clients.watch(r)
	known, err := c.find(r)
	if err != nil {
		plugins.WriteError(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx
	if r.Method == http.MethodHead {
		return
	}
	hurry := func() { c.control.SetWriteDeadline(time.Now().Add(farewell)) }
	defer hurry() // net/http has something to write yet, and lifts it then
	defer context.AfterFunc(c.clients.serving, hurry)()
	c.run(known)
}

// ask reads what the client wants to hear of.
func (c *client) ask(r *http.Request) error {
	c.names = r.URL.Query()["name"]
	if len(c.names) > mostNames {
		return plugins.Invalid("name", "expected at most %d names", mostNames)
	}
	for _, name := range c.names {
		if !wellFormed(name) {
			return plugins.Invalid("name", "expected the name of an event, such as satellite.offline")
		}
	}
	return nil
}

// find sets the position where the stream begins. known is false if the client names one from which it cannot go on.
func (c *client) find(r *http.Request) (known bool, err error) {
	c.position = c.window.end()
	last := strings.TrimSpace(r.Header.Get("Last-Event-ID"))
	if last == "" {
		last = r.URL.Query().Get("after")
	}
	if last == "" {
		return true, nil
	}
	position, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return false, nil
	}
	if !c.window.has(position) {
		newest, trimmed, err := c.state(c.ctx)
		if err != nil || position < trimmed || position > newest {
			return false, err
		}
	}
	c.position = position
	return true, nil
}

// run writes the stream until the client goes, the server stops, or it is time to ask again who the client is.
func (c *client) run(known bool) {
	text := fmt.Sprintf("retry: %d\n", 2000+rand.IntN(2000)) // so that not all come back at once
	if known {
		text += c.mark() + "\n"
	} else {
		text += c.reset()
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	end := time.NewTimer(longest - rand.N(longest/10))
	defer end.Stop()
	for {
		if err := c.write(text); err != nil {
			return
		}
		more, changed, err := c.next()
		if err != nil {
			if c.ctx.Err() == nil {
				c.host.Log.Warn("a stream of events is cut off", "error", err)
			}
			return
		}
		text = more
		select {
		case <-changed:
		case <-beat.C:
			text += c.beat()
		case <-end.C:
			return
		case <-c.clients.serving.Done():
			return
		case <-c.ctx.Done():
			return
		}
	}
}

// next returns what is to be written, and a channel that is closed when there is more than that, or is so already.
func (c *client) next() (text string, changed <-chan struct{}, err error) {
	for {
		events, changed, ok := c.window.after(c.position, piece)
		if !ok {
			events, err = c.older()
		}
		switch {
		case err != nil:
			return "", nil, err
		case len(events) == 0 && ok:
			return "", changed, nil
		case len(events) == 0:
			text = c.reset()
		default:
			text = c.tell(events)
		}
		if text != "" {
			return text, c.now, nil
		}
	}
}

// older reads events from before the window. There are none if some of them are gone.
func (c *client) older() ([]event, error) {
	events, err := c.after(c.ctx, c.position, piece)
	if err != nil {
		return nil, err
	}
	if _, trimmed, err := c.state(c.ctx); err != nil || trimmed > c.position { // not before they were read
		return nil, err
	}
	return events, nil
}

// tell writes those events that the client may and wants to hear of.
func (c *client) tell(events []event) string {
	var b strings.Builder
	for _, e := range events {
		if (e.public || !c.anonymous) && (len(c.names) == 0 || slices.Contains(c.names, e.name)) {
			b.WriteString(e.text)
			c.said = e.position
		}
	}
	c.position = events[len(events)-1].position
	return b.String()
}

// reset tells the client that it missed events that are gone. The stream goes on with what is new.
func (c *client) reset() string {
	c.position = c.window.end()
	c.said = c.position
	return format(c.position, "signals.reset", "{}")
}

// mark makes the client remember a position without an event.
func (c *client) mark() string {
	c.said = c.position
	return "id: " + strconv.FormatInt(c.position, 10) + "\n"
}

// beat is a comment, and how far the client has come if it was not told of the last events.
func (c *client) beat() string {
	if c.said == c.position {
		return ":\n\n"
	}
	return ":\n" + c.mark() + "\n"
}

// write sends a text at once.
func (c *client) write(text string) error {
	if text == "" {
		return nil
	}
	c.control.SetWriteDeadline(time.Now().Add(patience))
	if err := c.clients.serving.Err(); err != nil { // looked at after that, so that it does not outlast what stopping sets
		return err
	}
	if _, err := c.w.Write([]byte(text)); err != nil {
		return err
	}
	return c.control.Flush()
}
