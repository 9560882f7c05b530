// The check type http asks a web server for a page and compares what comes with what is expected.
//
// The latency of a run is the time from its start to the end of the body: name lookup, connection, TLS, redirects and the
// answer, because that is what a visitor waits for. Every run therefore makes a connection of its own, one for each request. A
// run without a complete answer has no latency, so that refused connections do not make a broken system look fast.
//
// Messages are shown to everybody, so they hold neither addresses nor anything the other side sent: what the network said
// goes into the result, which only those who may see runs can read.
//
// The hard case is a redirect. It may lead to a network that checks may not reach, to another host, which must not get what was
// configured for the first, or in a circle:
//
//	POST https://a/login ── 302 https://b/ ──► GET https://b/   without the body, the headers, the credentials, and the
//	                                                            client certificate that are for a

package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// HTTP is the check type http.
func HTTP(p *engine.Policy) engine.Type {
	wire := newHTTPWire()
	return engine.New("http", httpPaths(), func() engine.Config {
		return &httpCheck{Method: http.MethodGet, ExpectStatus: httpStatuses{{200, 299}}, FollowRedirects: true, MaxRedirects: 10,
			TLSVerify: true, policy: p, wire: wire}
	})
}

func httpPaths() []engine.Path {
	return slices.Concat([]engine.Path{
		{Name: "status", Kind: engine.Number, Doc: "the status code of the last answer"},
		{Name: "body", Kind: engine.Text, Doc: "the body of the last answer, decompressed, at most the first 1 MiB of it"},
		{Name: "json.*", Kind: engine.Any, Doc: "a value in a body that is JSON: json.$.a.b"},
		{Name: "header.*", Kind: engine.Text, Doc: "a header of the last answer: header.content-type"},
		{Name: "size", Kind: engine.Number, Doc: "how many bytes of the body were read, after decompression; at most 1 MiB"},
		{Name: "redirects", Kind: engine.Number, Doc: "how many redirects were followed"},
		{Name: "httpVersion", Kind: engine.Text, Doc: `the version of the last answer: "1.0", "1.1" or "2"`},
		{Name: "address", Kind: engine.Text, Doc: "the address and port that the last request went to, of the proxy if there is one"},
		{Name: "phases.dnsMs", Kind: engine.Number, Doc: "milliseconds of the last request for the name lookup; 0 if the host is an address"},
		{Name: "phases.connectMs", Kind: engine.Number, Doc: "milliseconds of the last request until the connection stood, through the proxy if there is one"},
		{Name: "phases.tlsMs", Kind: engine.Number, Doc: "milliseconds of the last request for the TLS handshake; 0 without TLS"},
		{Name: "phases.firstByteMs", Kind: engine.Number, Doc: "milliseconds of the last request from then to the beginning of the answer"},
		{Name: "phases.totalMs", Kind: engine.Number, Doc: "milliseconds of the whole run, with all redirects and the body"},
	}, engine.TLSPaths())
}

// httpRun is one run.
type httpRun struct {
	*httpCheck
	measured  engine.Measured
	redirects int
	conn      net.Conn // of the current request, without TLS

	// Of the last request; what has not been reached is 0.
	dns, connect, tls, firstByte time.Duration
	status                       int
	body                         []byte
}

// Run makes one request, and those that redirects ask for.
func (c *httpCheck) Run(ctx context.Context) engine.Outcome {
	r := httpRun{httpCheck: c}
	start := time.Now()
	err := r.fetch(ctx)
	latency := time.Since(start)
	if r.redirects > 0 || err == nil {
		r.measured.Set("redirects", r.redirects)
	}
	r.phase("phases.dnsMs", r.dns, err)
	r.phase("phases.connectMs", r.connect, err)
	r.phase("phases.tlsMs", r.tls, err)
	r.phase("phases.firstByteMs", r.firstByte, err)
	if err != nil {
		return httpFailed(ctx, err, r.measured)
	}
	r.measured.Set("phases.totalMs", httpMilliseconds(latency))
	r.measured.Set("size", len(r.body))
	r.measured.Body = r.body
	out := engine.Outcome{Status: plugins.Healthy, Latency: &latency, Measured: r.measured}
	switch {
	case !c.ExpectStatus.has(r.status):
		out.Status = plugins.Unhealthy
		out.Message = fmt.Sprintf("expected status %s, got %d", c.ExpectStatus, r.status)
	case !bytes.Contains(r.body, c.expectBody):
		out.Status = plugins.Unhealthy
		out.Message = fmt.Sprintf("status %d, but the expected text is not in the body of %d bytes", r.status, len(r.body))
		if len(r.body) == maxHTTPBody {
			out.Message = fmt.Sprintf("status %d, but the expected text is not in the first 1 MiB of the body", r.status)
		}
	default:
		out.Message = fmt.Sprintf("status %d", r.status)
	}
	return out
}

// phase measures a part of the last request. One that a failed run did not come to has not taken 0 ms, but nothing is known of it.
func (r *httpRun) phase(path string, took time.Duration, err error) {
	if took > 0 || err == nil {
		r.measured.Set(path, httpMilliseconds(took))
	}
}

// httpMilliseconds is a duration with three decimals.
func httpMilliseconds(d time.Duration) float64 {
	return math.Round(float64(d.Nanoseconds())/1e3) / 1e3
}

// httpFailed is [engine.Failed] for an error that may come a moment before ctx ends: a connection and a context with the same
// deadline do not end at the same instant.
func httpFailed(ctx context.Context, err error, m engine.Measured) engine.Outcome {
	deadline, ok := ctx.Deadline()
	if ok && time.Until(deadline) < 100*time.Millisecond && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)) {
		<-ctx.Done()
	}
	return engine.Failed(ctx, err, m)
}

// fetch makes the request, follows redirects and reads the body of the last answer.
func (r *httpRun) fetch(ctx context.Context) error {
	for hop := &r.first; hop != nil; {
		r.dns, r.connect, r.tls, r.firstByte = 0, 0, 0, 0
		next, err := r.exchange(ctx, hop)
		if err != nil {
			return err
		}
		hop = next
	}
	return nil
}

// redirect is the request that an answer asks for, or nil if it asks for none. What becomes of the method is up to
// RFC 9110, section 15.4, as browsers understand it: only 307 and 308 keep a body.
func (r *httpRun) redirect(hop *httpHop, resp *http.Response) (*httpHop, error) {
	keep := false
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		keep = true
	default:
		return nil, nil
	}
	location := resp.Header.Get("Location")
	if !r.FollowRedirects || location == "" {
		return nil, nil
	}
	if r.redirects == r.MaxRedirects {
		return nil, &engine.PlainError{Text: fmt.Sprintf("stopped after %d redirects", r.MaxRedirects)}
	}
	r.redirects++
	to, err := url.Parse(location)
	if err != nil {
		return nil, &engine.PlainError{Text: "the redirect leads to what is no URL", Err: err}
	}
	next := httpRequest{method: hop.req.Method, url: hop.req.URL.ResolveReference(to), body: hop.body, bodyDropped: hop.bodyDropped}
	if next.url.Scheme != "http" && next.url.Scheme != "https" || next.url.Hostname() == "" {
		return nil, &engine.PlainError{Text: "the redirect leads to a URL that is not one of http or https", Err: errors.New(next.url.Redacted())}
	}
	if !to.IsAbs() && to.Host == "" {
		next.host = hop.host // the name that was configured, instead of the one in the URL
	}
	if !keep {
		if next.method != http.MethodHead {
			next.method = http.MethodGet
		}
		next.body, next.bodyDropped = "", true
	}
	first := r.first.req.URL
	next.foreign = next.url.Host != first.Host || first.Scheme == "https" && next.url.Scheme != "https"
	made, err := r.hop(next)
	if err != nil {
		return nil, &engine.PlainError{Text: "the redirect leads to a URL that cannot be asked for", Err: err}
	}
	return made, nil
}

// dial connects to a host and a port, and notes how long the parts of it took.
func (r *httpRun) dial(ctx context.Context, address string, literal bool) (net.Conn, error) {
	start := time.Now()
	var found time.Time
	if !literal {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{DNSDone: func(httptrace.DNSDoneInfo) { found = time.Now() }})
	}
	conn, err := r.policy.DialContext(ctx, "tcp"+r.IPVersion, address)
	if !found.IsZero() {
		r.dns = found.Sub(start)
	}
	if err != nil {
		return nil, r.withoutAddress(err)
	}
	r.connect = time.Since(start) - r.dns
	r.measured.Set("address", conn.RemoteAddr().String())
	return conn, nil
}

// withoutAddress says of a host that it has no address of the version of IP that is wanted.
func (r *httpRun) withoutAddress(err error) error {
	if r.IPVersion == "" {
		return err
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return &engine.PlainError{Text: "the host name does not exist, or has no address of IPv" + r.IPVersion, Err: err}
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return &engine.PlainError{Text: "the host has no address of IPv" + r.IPVersion, Err: err}
	}
	return err
}

// answered notes the header of an answer.
func (r *httpRun) answered(resp *http.Response) {
	r.status = resp.StatusCode
	r.measured.Header = resp.Header
	r.measured.Set("status", resp.StatusCode)
	switch {
	case resp.ProtoMajor == 2:
		r.measured.Set("httpVersion", "2")
	case resp.ProtoMinor == 0:
		r.measured.Set("httpVersion", "1.0")
	default:
		r.measured.Set("httpVersion", "1.1")
	}
}
