// The check type http asks a web server for a page and compares what comes with what is expected.
//
// The latency of a run is the time from its start to the end of the body: name lookup, connection, TLS, redirects and the
// answer, because that is what a visitor waits for. Every run therefore makes a connection of its own. A run without
// a complete answer has no latency, so that refused connections do not make a broken system look fast.
//
// Messages are shown to everybody, so they hold neither addresses nor anything the other side sent: what the network said
// goes into the result, which only those who may see runs can read.

package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"checkstack/plugins"
)

const (
	maxResponseBody   = 1 << 20   // bytes that a run reads of an answer, after decompression
	maxResponseHeader = 256 << 10 // bytes
	maxRedirects      = 10
	maxDetail         = 500 // bytes of a network error that a result keeps
)

// httpCheck is the check type http.
type httpCheck struct {
	verify, trust http.RoundTripper // with and without a look at the certificate
}

func newHTTPCheck() *httpCheck {
	transport := func(insecure bool) http.RoundTripper {
		return &http.Transport{
			Proxy:                  nil, // a check looks at the system, not at what a proxy in the environment makes of it
			DialContext:            new(net.Dialer).DialContext,
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxResponseHeader,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: insecure},
		}
	}
	return &httpCheck{verify: transport(false), trust: transport(true)}
}

// Type is "http".
func (*httpCheck) Type() string { return "http" }

// Validate accepts what parseHTTPConfig does.
func (*httpCheck) Validate(config json.RawMessage) (json.RawMessage, error) {
	c, err := parseHTTPConfig(config)
	if err != nil {
		return nil, err
	}
	return c.normal(config)
}

// httpResult is what a run measured.
type httpResult struct {
	StatusCode int    `json:"statusCode,omitempty"` // of the last answer; absent if there was none
	BodyBytes  int    `json:"bodyBytes"`            // read, after decompression
	Redirects  int    `json:"redirects,omitempty"`
	Error      string `json:"error,omitempty"` // what the network said
}

// Run makes one request. It ends with ctx, however slowly the body drips.
func (h *httpCheck) Run(ctx context.Context, config json.RawMessage) Outcome {
	c, err := parseHTTPConfig(config)
	if err != nil {
		return Outcome{Status: plugins.Unhealthy, Message: "the configuration is not valid: " + err.Error()}
	}
	var result httpResult
	start := time.Now()
	body, err := h.fetch(ctx, c, &result)
	latency := time.Since(start)
	if err != nil {
		return failed(ctx, err, result)
	}
	out := Outcome{Status: plugins.Healthy, Latency: &latency, Result: encode(result)}
	out.Message = fmt.Sprintf("status %d", result.StatusCode)
	switch {
	case !c.ExpectStatus.has(result.StatusCode):
		out.Status = plugins.Unhealthy
		out.Message = fmt.Sprintf("expected status %s, got %d", c.ExpectStatus, result.StatusCode)
	case !bytes.Contains(body, []byte(c.ExpectBody)):
		out.Status = plugins.Unhealthy
		out.Message = fmt.Sprintf("status %d, but the expected text is not in the body of %d bytes", result.StatusCode, len(body))
		if len(body) == maxResponseBody {
			out.Message = fmt.Sprintf("status %d, but the expected text is not in the first 1 MiB of the body", result.StatusCode)
		}
	}
	return out
}

// fetch makes the request, follows redirects and reads the body, at most maxResponseBody of it.
func (h *httpCheck) fetch(ctx context.Context, c httpConfig, result *httpResult) ([]byte, error) {
	req, err := c.request(ctx)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: h.verify, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if !c.FollowRedirects {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return errRedirects
		}
		result.Redirects = len(via)
		next.Header.Del("Referer") // a URL may hold a secret, and so may any header: neither is for another host
		if first := via[0].URL; next.URL.Host != first.Host || first.Scheme == "https" && next.URL.Scheme != "https" {
			for name := range c.Headers {
				next.Header.Del(name)
			}
		}
		return nil
	}}
	if !c.TLSVerify {
		client.Transport = h.trust
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	result.StatusCode = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBody))
	result.BodyBytes = len(body)
	return body, err
}

var errRedirects = fmt.Errorf("stopped after %d redirects", maxRedirects)

// failed is the outcome of a run that got no complete answer.
func failed(ctx context.Context, err error, result httpResult) Outcome {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which may hold a secret
	}
	message := explain(err)
	if ctx.Err() != nil {
		message = context.Cause(ctx).Error()
	} else {
		result.Error = shorten(err.Error(), maxDetail)
	}
	return Outcome{Status: plugins.Unhealthy, Message: message, Result: encode(result)}
}

// explain says in a few words what a network error means, without addresses and names.
func explain(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "the host name does not exist"
		}
		return "the host name could not be looked up"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the TLS certificate has expired or is not valid yet"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the TLS certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the TLS certificate is signed by an unknown authority"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the TLS certificate is not valid"
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error() // "connection refused"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return "the TLS handshake was refused" // crypto/tls reports alerts so
	}
	switch {
	case errors.Is(err, errRedirects):
		return err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was complete"
	}
	return "there was no valid HTTP answer"
}

// encode never fails: a result holds only numbers and text.
func encode(result httpResult) json.RawMessage {
	data, _ := json.Marshal(result)
	return data
}
