// The way to the server: one request at a time for each part, with the token, and an error that says what to do about it.

package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	leastDelay  = time.Second      // the first step of backing off
	mostDelay   = time.Minute      // the last one
	deniedDelay = time.Minute      // between two attempts with a token that is refused
	mostWait    = time.Hour        // that a server may ask for
	maxAnswer   = 32 << 20         // bytes of an answer that are read
	sayAgain    = 10 * time.Minute // how often it is logged that the token is refused
)

// client makes requests to the server.
type client struct {
	base    string
	token   string
	agent   string
	log     *slog.Logger
	http    *http.Client
	reached atomic.Int64 // when the server last took a request, in ns since 1970; 0 for never

	mu     sync.Mutex
	denied time.Time // when it was last logged that the token is refused; zero while it is not
}

// newClient makes a client. It does not follow redirects: they would carry the token elsewhere.
func newClient(cfg Config, transport http.RoundTripper) *client {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{
		base: cfg.Server + "/api/satellite", token: cfg.Token, agent: "checkstack/" + cfg.Version, log: cfg.Log,
		http: &http.Client{Transport: transport, CheckRedirect: stay},
	}
}

// statusError is an answer that is not the one that was asked for.
type statusError struct {
	status  int
	ours    bool          // whether it has the form of Checkstack's errors; otherwise something on the way may have made it
	field   string        // which part of the request it is about, if it says so
	message string        // of the server, or where it redirects to
	after   time.Duration // what it asks to wait; 0 for nothing
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the server answers %d %s", e.status, http.StatusText(e.status))
	if !e.ours && e.status != http.StatusNotModified {
		text = fmt.Sprintf("the answer is %d %s, and not in Checkstack's form: it may be of a proxy on the way", e.status, http.StatusText(e.status))
	}
	if e.field != "" {
		return text + ": " + e.field + ": " + e.message
	} else if e.message != "" {
		return text + ": " + e.message
	}
	return text
}

// request is one request; its answer is decoded into out.
type request struct {
	method  string
	path    string // below /api/satellite
	header  http.Header
	body    []byte
	timeout time.Duration
	out     any
}

// do makes a request and returns the headers of the answer. The error is a *statusError if the server answered with another
// status than 200. No error has the token in it.
func (c *client) do(ctx context.Context, r request) (http.Header, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("no answer within %v", r.timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("User-Agent", c.agent)
	header, err := c.answer(req, r.out)
	if _, answered := errors.AsType[*statusError](err); err != nil && !answered && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	c.heard(err)
	return header, err
}

func (c *client) answer(req *http.Request, out any) (http.Header, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return res.Header, c.failure(res, body)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(body, out); err != nil { // a later version may say more than this one knows
		return nil, fmt.Errorf("the answer is not one of a Checkstack server: %w", err)
	}
	return res.Header, nil
}

// failure is the error for an answer with another status than 200.
func (c *client) failure(res *http.Response, body []byte) error {
	e := &statusError{status: res.StatusCode, after: retryAfter(res.Header.Get("Retry-After"), time.Now())}
	var said struct{ Error, Message, Field string }
	if location := res.Header.Get("Location"); location != "" {
		e.message = "it redirects to " + location
	} else if json.Unmarshal(body, &said) == nil {
		media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
		e.ours = media == "application/json" && said.Error != "" && said.Message != ""
		e.field, e.message = c.presentable(said.Field), cmp.Or(said.Message, said.Error)
	}
	e.message = c.presentable(e.message)
	return e
}

// presentable is a text of an answer as it may be logged: without the token, and not long.
func (c *client) presentable(text string) string {
	text = strings.ReplaceAll(text, c.token, "sat_…")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// retryAfter reads the header of that name (RFC 9110, section 10.2.3): seconds, or a date.
func retryAfter(s string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), mostWait)
}

// heard notes how a request ended. That the token is refused concerns all of them, so it is logged here.
func (c *client) heard(err error) {
	answered := isStatus(err, http.StatusNotModified)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil || answered:
		c.reached.Store(time.Now().UnixNano())
		if !c.denied.IsZero() {
			c.log.Info("the server accepts the token again")
		}
		c.denied = time.Time{}
	case isDenied(err) && time.Since(c.denied) >= sayAgain:
		c.denied = time.Now()
		c.log.Error("the server refuses the token; checks go on and results are kept. Restart this satellite with its new token in CHECKSTACK_SATELLITE_TOKEN",
			"error", err)
	}
}

// refused reports whether the server refuses the token.
func (c *client) refused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.denied.IsZero()
}

// silent is how long ago the server last took a request; false if it never did.
func (c *client) silent() (time.Duration, bool) {
	at := c.reached.Load()
	return time.Since(time.Unix(0, at)), at != 0
}

// isStatus reports whether err is an answer with one of these statuses.
func isStatus(err error, statuses ...int) bool {
	e, ok := errors.AsType[*statusError](err)
	if !ok {
		return false
	}
	for _, s := range statuses {
		if e.status == s {
			return true
		}
	}
	return false
}

// isDenied reports whether the server itself refuses the token. A proxy that wants another login is an outage.
func isDenied(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.ours && (e.status == http.StatusUnauthorized || e.status == http.StatusForbidden)
}

// isVerdict reports whether the server will never take the batch that it answers so: it has read the body, and says what
// is wrong with it. Anything else under the same status may be of something on the way, or about something that passes.
func isVerdict(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	if !ok || !e.ours {
		return false
	}
	switch e.status {
	case http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	case http.StatusBadRequest:
		return strings.HasPrefix(e.field, "runs") || strings.HasPrefix(e.field, "batch") || strings.HasPrefix(e.field, "journal")
	}
	return false
}

// backoff says how long to wait after a failure: a random part of 1 s, then of 2 s, up to 1 min ("full jitter"), so that many
// satellites do not come back at once. What a server asks for comes before that.
type backoff struct{ failures int }

func (b *backoff) after(err error) time.Duration {
	most := min(leastDelay<<min(b.failures, 10), mostDelay)
	b.failures++
	delay := rand.N(most)
	if isDenied(err) {
		delay = deniedDelay/2 + rand.N(deniedDelay/2)
	}
	if e, ok := errors.AsType[*statusError](err); ok {
		delay += e.after
	}
	return delay
}

func (b *backoff) reset() { b.failures = 0 }

// outage is a time in which something does not work, of which its beginning and its end are logged.
type outage struct{ since time.Time }

func (o *outage) began(log *slog.Logger, what string, err error) {
	if o.since.IsZero() {
		o.since = time.Now()
		if !isDenied(err) { // the client says that
			log.Warn(what, "error", err)
		}
	}
}

// ended reports whether there was one.
func (o *outage) ended(log *slog.Logger, what string) bool {
	if o.since.IsZero() {
		return false
	}
	log.Info(what, "after", time.Since(o.since).Round(time.Millisecond))
	o.since = time.Time{}
	return true
}

// signal puts an element into a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits for d, for an element of woken, or for the end of ctx, whichever comes first.
func pause(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}
