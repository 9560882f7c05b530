// One request and its answer, on a connection of its own. HTTP/1.1 is written and read here, in the goroutine of the run: what
// net/http's Transport has beyond that, two goroutines for each connection that might be used again, is of no use to
// a connection that never is, and costs a third more processor time and five times the memory. HTTP/2 is spoken by
// net/http, on a connection that was made here.
//
//	dial ── proxy ── TLS ──┬── HTTP/1.1: write, read the header
//	                       └── HTTP/2:   http.ClientConn           ──► redirect, or read the body
//
// The hard case is a server that answers without having read the request, as one that refuses a large body does. So what may
// not fit into the buffers of the connection is written beside the reading, and an error of writing counts for nothing if
// there is an answer.

package checks

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"checkstack/plugins/healthcheck/engine"
)

const (
	maxHTTPBody    = 1 << 20   // bytes that a run reads of an answer, after decompression
	maxHTTPHeader  = 256 << 10 // bytes of the header of an answer, with those of the answers before it (1xx)
	maxHTTPAtOnce  = 16 << 10  // bytes of a request that are written before its answer is looked for
	httpReadBuffer = 4 << 10
)

// httpWire is what all runs share.
type httpWire struct {
	h2       *http.Transport // makes an [http.ClientConn] of a connection that is given to it, see httpConnKey
	readers  sync.Pool       // of *bufio.Reader
	bodies   sync.Pool       // of *bytes.Buffer
	inflates sync.Pool       // of *gzip.Reader
}

type httpConnKey struct{}

func newHTTPWire() *httpWire {
	given := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return ctx.Value(httpConnKey{}).(net.Conn), nil
	}
	w := &httpWire{h2: &http.Transport{
		DialContext:            given,
		DialTLSContext:         given,
		Protocols:              new(http.Protocols),
		DisableKeepAlives:      true,
		DisableCompression:     true, // it is undone here, for both versions in the same way
		MaxResponseHeaderBytes: maxHTTPHeader,
	}}
	w.h2.Protocols.SetHTTP2(true)
	w.h2.Protocols.SetUnencryptedHTTP2(true)
	w.readers.New = func() any { return bufio.NewReaderSize(nil, httpReadBuffer) }
	w.bodies.New = func() any { return new(bytes.Buffer) }
	w.inflates.New = func() any { return new(gzip.Reader) }
	return w
}

// exchange makes a request. It returns the next one if the answer is a redirect, and otherwise has read the body.
func (r *httpRun) exchange(ctx context.Context, hop *httpHop) (next *httpHop, err error) {
	to, literal := hop.address, hop.literal
	if r.proxy != nil {
		to, literal = r.proxy.address, r.proxy.literal
		if err := r.policy.AllowedHost(hop.req.URL.Hostname()); err != nil {
			return nil, err // an address is not allowed because a proxy goes there instead
		}
	}
	conn, err := r.dial(ctx, to, literal)
	if err != nil {
		return nil, r.proxy.failed(err)
	}
	raw := conn
	r.conn = raw
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	defer raw.Close()
	if r.proxy != nil {
		start := time.Now()
		if conn, err = r.proxy.connect(conn, hop); err != nil {
			return nil, r.proxy.failed(err)
		}
		r.connect += time.Since(start)
	}
	second := r.Version == "2"
	if hop.tls != nil {
		start := time.Now()
		secure := tls.Client(conn, hop.tls)
		if err := secure.Handshake(); err != nil { // it ends with ctx, as all that the connection does
			return nil, httpWithoutHTTP2(err)
		}
		r.tls = time.Since(start)
		state := secure.ConnectionState()
		r.measured.MeasureTLS(state)
		if second && state.NegotiatedProtocol != "h2" {
			return nil, errNoHTTP2
		}
		second = state.NegotiatedProtocol == "h2"
		conn = secure
	}
	if second {
		return r.speak2(ctx, conn, hop)
	}
	return r.speak1(ctx, conn, hop)
}

var errNoHTTP2 = &engine.PlainError{Text: "the server does not speak HTTP/2"}

// httpWithoutHTTP2 says so where a handshake that offered nothing but HTTP/2 was refused for that. crypto/tls has no name for the alert.
func httpWithoutHTTP2(err error) error {
	if strings.HasSuffix(err.Error(), "remote error: tls: no application protocol") {
		return &engine.PlainError{Text: errNoHTTP2.Text, Err: err}
	}
	return err
}

// speak1 makes a request in HTTP/1.1.
func (r *httpRun) speak1(ctx context.Context, conn net.Conn, hop *httpHop) (*httpHop, error) {
	start := time.Now()
	var sent chan struct{}
	if len(hop.wire) <= maxHTTPAtOnce {
		conn.Write(hop.wire) // an error shows when there is no answer
	} else {
		sent = make(chan struct{})
		go func() {
			defer close(sent)
			conn.Write(hop.wire)
		}()
	}
	limited := &httpLimited{conn, maxHTTPHeader}
	br := r.wire.readers.Get().(*bufio.Reader)
	br.Reset(limited)
	defer func() {
		if sent != nil {
			r.conn.Close()
			<-sent
		} else if ctx.Err() == nil {
			conn.Close() // and so says goodbye, where there is TLS
		}
		br.Reset(nil)
		r.wire.readers.Put(br)
	}()
	if _, err := br.Peek(1); err != nil {
		return nil, httpInvalid(err)
	}
	r.firstByte = time.Since(start)
	resp, err := http.ReadResponse(br, hop.req)
	for err == nil && resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(br, hop.req) // that one was only a notice, such as 100 Continue
	}
	if err == nil && resp.StatusCode < 100 {
		err = errors.New("a status code of less than 100")
	}
	if err != nil {
		return nil, httpInvalid(err)
	}
	limited.left = math.MaxInt64
	return r.receive(resp, hop)
}

// httpLimited reads from a connection until there was too much.
type httpLimited struct {
	conn net.Conn
	left int64
}

func (l *httpLimited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, &engine.PlainError{Text: "the header of the answer is longer than 256 KiB"}
	}
	n, err := l.conn.Read(p)
	l.left -= int64(n)
	return n, err
}

// speak2 makes a request in HTTP/2.
func (r *httpRun) speak2(ctx context.Context, conn net.Conn, hop *httpHop) (*httpHop, error) {
	start := time.Now()
	cc, err := r.wire.h2.NewClientConn(context.WithValue(ctx, httpConnKey{}, conn), hop.req.URL.Scheme, hop.address)
	if err != nil {
		return nil, httpInvalid(err)
	}
	defer cc.Close()
	req := hop.req.WithContext(ctx)
	if hop.body != "" {
		req.Body = io.NopCloser(strings.NewReader(hop.body))
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		return nil, httpInvalid(err)
	}
	r.firstByte = time.Since(start)
	return r.receive(resp, hop)
}

// receive looks where an answer leads, or reads its body. The body is never closed, which would read the rest of it; the
// connection is.
func (r *httpRun) receive(resp *http.Response, hop *httpHop) (*httpHop, error) {
	r.answered(resp)
	next, err := r.redirect(hop, resp)
	if next != nil || err != nil {
		return next, err
	}
	source := &httpSource{r: resp.Body}
	var body io.Reader = source
	if hop.gzip && resp.ContentLength != 0 && strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		z := r.wire.inflates.Get().(*gzip.Reader)
		defer func() {
			z.Reset(strings.NewReader("")) // forgets the connection
			r.wire.inflates.Put(z)
		}()
		switch err := z.Reset(source); {
		case err == io.EOF: // nothing, which is not compressed
			r.body = []byte{}
			return nil, nil
		case err != nil:
			return nil, source.explain(err)
		}
		body = z
	}
	buf := r.wire.bodies.Get().(*bytes.Buffer)
	defer r.wire.bodies.Put(buf)
	buf.Reset()
	_, err = buf.ReadFrom(io.LimitReader(body, maxHTTPBody))
	r.body = bytes.Clone(buf.Bytes())
	if err != nil {
		r.measured.Set("size", len(r.body))
		return nil, source.explain(err)
	}
	return nil, nil
}

// httpSource reads a body as it came, and remembers how it ended, so that compressed data which ends too early in a body that is
// complete can be told from a connection that was cut.
type httpSource struct {
	r   io.Reader
	err error
}

func (s *httpSource) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *httpSource) explain(err error) error {
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	if corrupt || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || err == io.ErrUnexpectedEOF && s.err == io.EOF {
		return &engine.PlainError{Text: "the body of the answer is not the compressed data that it is said to be", Err: err}
	}
	return httpInvalid(err)
}

// httpInvalid is an error of reading an answer. What neither the network nor TLS said is about HTTP.
func httpInvalid(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return &engine.PlainError{Text: "the TLS connection was broken", Err: err} // crypto/tls reports alerts so
	}
	_, network := errors.AsType[net.Error](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, plain := errors.AsType[*engine.PlainError](err)
	if network || alert || plain || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return &engine.PlainError{Text: "there was no valid HTTP answer", Err: err}
}
