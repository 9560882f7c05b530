// The check type grpc asks a server for its health as gRPC has it: the method Check of the service grpc.health.v1.Health
// (grpc/health/v1/health.proto), over HTTP/2 as "gRPC over HTTP/2" (grpc/doc/PROTOCOL-HTTP2.md) says:
//
//	POST /grpc.health.v1.Health/Check    te: trailers, content-type: application/grpc
//	00 00000005  0a 03 "web"             not compressed, 5 bytes: field 1, a string of 3 bytes
//	    ◄── 200, content-type: application/grpc
//	    ◄── 00 00000002  08 01           field 1, a number: SERVING
//	    ◄── trailer: grpc-status: 0
//
// The hard case is an answer that looks like success and is none: a proxy that answers 200 with a page, a body that ends
// before the trailer with the status. Only a status of gRPC counts, wherever it stands: an error may come as a header alone.

package checks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// GRPC is the check type grpc.
func GRPC(p *engine.Policy) engine.Type {
	wire := newHTTPWire()
	return engine.New("grpc", slices.Concat([]engine.Path{
		{Name: "grpc.code", Kind: engine.Number, Doc: "the status code of gRPC: 0 is OK, 5 a service that is not known, 14 unavailable"},
		{Name: "grpc.status", Kind: engine.Text, Doc: "the health: SERVING, NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN"},
		{Name: "grpc.message", Kind: engine.Text, Doc: "what the server says of a code that is not 0"},
		{Name: "header.*", Kind: engine.Text, Doc: "a header of the answer"},
		{Name: "address", Kind: engine.Text, Doc: "the address and port of the server"},
	}, engine.TLSPaths()), func() engine.Config { return &grpcCheck{policy: p, wire: wire} })
}

// grpcCheck is a configuration of type grpc.
type grpcCheck struct {
	Address   string            `json:"address" doc:"host and port of the server" limit:"1-300" required:"true"`
	Service   string            `json:"service" doc:"the service to ask for; by default the server as a whole" limit:"0-500"`
	Authority string            `json:"authority" doc:"the host to ask for, if not that of the address" limit:"0-300"`
	Metadata  map[string]string `json:"metadata" doc:"headers to send" limit:"0-50"`
	TLS       *engine.TLS       `json:"tls" doc:"speak TLS; without it the connection is in clear text"`

	policy  *engine.Policy
	wire    *httpWire
	address string
	tls     *tls.Config
	req     *http.Request // without a body
	body    []byte
}

// Validate understands the configuration and makes the request.
func (c *grpcCheck) Validate() error {
	address, err := httpASCII(c.Address)
	if err == nil {
		c.address, err = engine.Address("address", address, 0)
	}
	if err != nil {
		return plugins.Invalid("address", "expected a host and a port such as example.org:50051")
	}
	if err := checkHTTPHeaders("metadata", c.Metadata); err != nil {
		return err
	}
	for name := range c.Metadata {
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case canonical == "Host":
			return plugins.Invalid("metadata."+name, "expected a header that belongs to the request; the field authority is for the host")
		case canonical == "Content-Type" || canonical == "Accept-Encoding" || strings.HasPrefix(canonical, "Grpc-"):
			return plugins.Invalid("metadata."+name, "expected a header that does not belong to gRPC itself")
		}
	}
	if u, err := url.Parse("http://" + c.Authority); err != nil || u.Host != c.Authority {
		return plugins.Invalid("authority", "expected a host, or a host and a port")
	}
	if err := c.TLS.Compile("tls"); err != nil {
		return err
	}
	scheme := "http"
	if c.TLS != nil {
		host, _, _ := net.SplitHostPort(c.address)
		c.tls = c.TLS.Config(host)
		c.tls.NextProtos = []string{"h2"}
		scheme = "https"
	}
	c.req = &http.Request{Method: http.MethodPost, URL: &url.URL{Scheme: scheme, Host: c.address, Path: "/grpc.health.v1.Health/Check"},
		Host: c.Authority, ContentLength: -1, Header: http.Header{"User-Agent": {"Checkstack"}}}
	for name, value := range c.Metadata {
		c.req.Header.Set(name, value)
	}
	c.req.Header.Set("Content-Type", "application/grpc")
	c.req.Header.Set("Te", "trailers")
	c.body = grpcRequest(c.Service)
	return nil
}

// Target is the address.
func (c *grpcCheck) Target() string { return c.address }

// grpcRequest is a HealthCheckRequest{service} as a message of gRPC.
func grpcRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = append(message, 1<<3|2)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// Run asks once.
func (c *grpcCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	conn, end, err := httpDial(ctx, c.policy, c.address, c.tls, &m)
	if err != nil {
		return httpFailed(ctx, httpWithoutHTTP2(err), m)
	}
	defer end()
	code, status, err := c.ask(ctx, conn, &m)
	if err != nil {
		return httpFailed(ctx, err, m)
	}
	latency := time.Since(start)
	out := engine.Outcome{Status: plugins.Unhealthy, Latency: &latency, Measured: m}
	switch {
	case code == grpcNotFound:
		out.Message = "the service is not known to the server"
	case code == grpcUnimplemented:
		out.Message = "the server does not tell its health by gRPC"
	case code < uint64(len(grpcCodes)) && code > 0:
		out.Message = "expected the code OK, got " + grpcCodes[code]
	case code > 0:
		out.Message = fmt.Sprintf("expected the code OK, got %d", code)
	case status != "SERVING":
		out.Message = "expected the status SERVING, got " + status
	default:
		out.Status, out.Message = plugins.Healthy, "status SERVING"
	}
	return out
}

// grpcCodes are the names of the status codes, as grpc/doc/statuscodes.md has them.
var grpcCodes = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

const (
	grpcNotFound      = 5
	grpcUnimplemented = 12
	maxGRPCBody       = 64 << 10 // bytes; an answer has about 7
)

func grpcInvalid(why string) error {
	return &engine.PlainError{Text: "there was no valid gRPC answer", Err: errors.New(why)}
}

// ask makes the call. It returns the code of gRPC, and the health if that is 0.
func (c *grpcCheck) ask(ctx context.Context, conn net.Conn, m *engine.Measured) (code uint64, status string, err error) {
	if t, ok := conn.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol != "h2" {
		return 0, "", errNoHTTP2
	}
	cc, err := c.wire.h2.NewClientConn(context.WithValue(ctx, httpConnKey{}, conn), c.req.URL.Scheme, c.address)
	if err != nil {
		return 0, "", httpInvalid(err)
	}
	defer cc.Close()
	req := c.req.WithContext(ctx)
	req.Body = io.NopCloser(bytes.NewReader(c.body))
	if deadline, ok := ctx.Deadline(); ok {
		req.Header = c.req.Header.Clone()
		left := min(max(time.Until(deadline).Milliseconds(), 1), 99_999_999) // it has at most 8 digits
		req.Header.Set("Grpc-Timeout", strconv.FormatInt(left, 10)+"m")
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		return 0, "", httpInvalid(err)
	}
	m.Header = resp.Header
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode != http.StatusOK:
		return 0, "", &engine.PlainError{Text: fmt.Sprintf("expected a gRPC answer, got HTTP status %d", resp.StatusCode)}
	case kind != "application/grpc" && !strings.HasPrefix(kind, "application/grpc+"):
		return 0, "", grpcInvalid("the content type is another")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxGRPCBody+1))
	if err != nil {
		return 0, "", httpInvalid(err)
	}
	if len(body) > maxGRPCBody {
		return 0, "", grpcInvalid("the message is longer than 64 KiB")
	}
	trailer := resp.Trailer
	if given := resp.Header.Values("Grpc-Status"); len(given) > 0 && len(body) == 0 {
		trailer = resp.Header // an answer that consists of its trailer
	}
	given := trailer.Values("Grpc-Status")
	if len(given) != 1 {
		return 0, "", grpcInvalid("no grpc-status after the message")
	}
	if code, err = strconv.ParseUint(given[0], 10, 31); err != nil {
		return 0, "", grpcInvalid("a grpc-status that is no number")
	}
	m.Set("grpc.code", int(code))
	switch code {
	case 0:
		if status, err = grpcHealth(body); err != nil {
			return 0, "", err
		}
	case grpcNotFound:
		status = "SERVICE_UNKNOWN"
	}
	if status != "" {
		m.Set("grpc.status", status)
	}
	if text := trailer.Get("Grpc-Message"); text != "" {
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		m.Set("grpc.message", engine.Shorten(text, 500))
	}
	return code, status, nil
}

// grpcHealth is the status of a HealthCheckResponse in a message of gRPC. Fields that it does not know are passed over, as
// the encoding of protocol buffers wants it, and the last of a field that comes twice counts.
func grpcHealth(body []byte) (string, error) {
	if len(body) < 5 || uint64(binary.BigEndian.Uint32(body[1:5])) != uint64(len(body)-5) {
		return "", grpcInvalid("not one whole message")
	}
	if body[0] != 0 {
		return "", grpcInvalid("a message that is compressed")
	}
	var status uint64
	for b := body[5:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag > math.MaxUint32 {
			return "", grpcInvalid("a bad field")
		}
		b = b[n:]
		var skip uint64
		switch tag & 7 {
		case 0: // a number
			value, n := binary.Uvarint(b)
			if n <= 0 {
				return "", grpcInvalid("a bad number")
			}
			if tag>>3 == 1 {
				status = value
			}
			skip = uint64(n)
		case 1:
			skip = 8
		case 2: // bytes after their number
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return "", grpcInvalid("a bad length")
			}
			skip = uint64(n) + length
		case 5:
			skip = 4
		default:
			return "", grpcInvalid("a field of an unknown kind")
		}
		if skip > uint64(len(b)) || tag>>3 == 1 && tag&7 != 0 {
			return "", grpcInvalid("a bad field")
		}
		b = b[skip:]
	}
	names := [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	if status >= uint64(len(names)) {
		return "UNKNOWN", nil // a status that came after this was written
	}
	return names[status], nil
}
