// What the checks that speak a protocol of their own have in common: one connection, which ends with the run. Reading and
// writing know nothing of a context, so it is the connection that does: when the context ends, its deadline passes.
//
// The hard case is closing a connection with TLS. It sends a farewell, and waits up to five seconds to get rid of it, whatever the
// context says; so what is closed at the end of a run is always the connection below.

package checks

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"checkstack/plugins/healthcheck/engine"
)

// wireConn is a connection that fails once its run is over.
type wireConn struct {
	net.Conn
	release func() bool
}

// wireDial connects to an address that was checked, "host:port".
func wireDial(ctx context.Context, p *engine.Policy, address string) (*wireConn, error) {
	conn, err := p.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	past := time.Unix(1, 0)
	return &wireConn{conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })}, nil
}

// Close closes the connection and forgets the context.
func (c *wireConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// wireTLS makes the handshake on a connection to address, and measures it.
func wireTLS(ctx context.Context, conn net.Conn, t *engine.TLS, address string, m *engine.Measured) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	client := tls.Client(conn, t.Config(host))
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	m.MeasureTLS(client.ConnectionState())
	return client, nil
}

// wireMillis is a duration in milliseconds, to the microsecond, as paths that end with Ms have it.
func wireMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
