// A connection for the types that speak over HTTP, to one address and without a proxy.

package checks

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"checkstack/plugins/healthcheck/engine"
)

// httpDial connects to address, speaks TLS unless secure is nil, and measures both. What is done with the connection fails as
// soon as ctx ends. end closes it.
func httpDial(ctx context.Context, p *engine.Policy, address string, secure *tls.Config, m *engine.Measured) (conn net.Conn, end func(), err error) {
	raw, err := p.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	m.Set("address", raw.RemoteAddr().String())
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	conn = raw
	end = func() {
		stop()
		if ctx.Err() == nil {
			conn.Close() // and so says goodbye, where there is TLS
		}
		raw.Close()
	}
	if secure == nil {
		return conn, end, nil
	}
	over := tls.Client(raw, secure)
	if err := over.Handshake(); err != nil {
		end()
		return nil, nil, err
	}
	m.MeasureTLS(over.ConnectionState())
	conn = over
	return conn, end, nil
}
