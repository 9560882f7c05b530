package plugins

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// A body comes as fast as its sender likes, and a read that waits for it hears of nothing else: neither that its request
// is over, nor that the server stops. What ends it is the connection's read deadline, so that is set for each of these:
//
//	a minute after the request came
//	3 s after the server began to stop
//	when the request's context ends
//
// A body that did not come whole says nothing about what was to come, so it is no invalid input: the answer is 408 or
// 503, which mean that the same request may be made again.

const (
	bodyTime  = time.Minute     // for a whole body
	bodyGrace = 3 * time.Second // from when nobody wants to wait for it any more
)

// Bodies bounds how long the server waits for the bodies of requests. The zero value is ready to use.
type Bodies struct {
	once    sync.Once
	stopped context.Context // ends a little after the server began to stop
	end     context.CancelFunc
}

// Receive returns the request with a body that ends in time. Where it does not come whole, reading it is an [Error] with
// status 408 or 503, and the connection is closed after the answer. done ends the wait, and is to be called when the
// request is answered. A body that was read to its end leaves no deadline, so the handler may take its time.
func (b *Bodies) Receive(w http.ResponseWriter, r *http.Request) (_ *http.Request, done func()) {
	b.once.Do(func() {
		b.stopped, b.end = context.WithCancel(context.Background())
		if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
			server.RegisterOnShutdown(func() { time.AfterFunc(bodyGrace, b.end) })
		}
	})
	if r.ContentLength == 0 {
		return r, func() {}
	}
	// Not http.Server.ReadTimeout: that one ends the context of a handler that takes longer, with or without a body.
	in := &body{ReadCloser: r.Body, w: w, conn: http.NewResponseController(w)}
	in.conn.SetReadDeadline(time.Now().Add(bodyTime)) // fails where it is not needed
	forget, release := context.AfterFunc(b.stopped, in.hurry), context.AfterFunc(r.Context(), in.hurry)
	r = r.WithContext(r.Context()) // the server looks at the body of its own request
	r.Body = in
	return r, func() {
		forget()
		release()
		in.leave()
	}
}

// body is the body of a request on its way in.
type body struct {
	io.ReadCloser
	w    http.ResponseWriter
	conn *http.ResponseController

	mu   sync.Mutex
	over bool // it has come whole, or nobody waits for it
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		b.finish(time.Time{}) // what follows may take its time
	case errors.Is(err, http.ErrBodyReadAfterClose):
	default:
		b.w.Header().Set("Connection", "close")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, &Error{Status: http.StatusRequestTimeout, Message: "the body did not arrive in time; try again"}
		}
		return n, &Error{Status: http.StatusServiceUnavailable, Title: "Incomplete body",
			Message: "the connection failed before the body had arrived; try again"}
	}
	return n, err
}

// hurry ends a read that waits for more of a body.
func (b *body) hurry() { b.finish(time.Now()) }

// leave gives what has not been read a little time: the server takes some of it, so that the client sees the answer.
func (b *body) leave() { b.finish(time.Now().Add(bodyGrace)) }

// finish sets the last deadline of a body.
func (b *body) finish(deadline time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.over = true
		b.conn.SetReadDeadline(deadline)
	}
}
