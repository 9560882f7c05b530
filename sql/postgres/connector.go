package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// connector opens the pool's connections with lib/pq, which leaves four things to be wished for:
//
//   - sslmode=prefer leaves the refused connection open until the garbage collector finds it. Here prefer means: TLS if the
//     server offers it, else plain, and that it does not offer TLS is the only reason to do without.
//   - A host that vanishes is noticed after a quarter of an hour, by default. Here it is after half a minute.
//   - A call whose context has ended still waits for the server's answer. See [conn.limit].
//   - A statement with parameters costs two round trips, is parsed and planned each time, and can leave the connection stuck.
//     See [conn.statement].
type connector struct {
	tls, plain *pq.Connector // tried in this order; nil: not allowed
}

func newConnector(cfg pq.Config) (*connector, error) {
	var c connector
	var err error
	if cfg.SSLMode == pq.SSLModePrefer || cfg.SSLMode == pq.SSLModeDisable {
		without := cfg.Clone()
		without.SSLMode = pq.SSLModeDisable
		if c.plain, err = pq.NewConnectorConfig(without); err != nil {
			return nil, err
		}
	}
	if cfg.SSLMode == pq.SSLModePrefer {
		cfg.SSLMode = pq.SSLModeRequire
	}
	if cfg.SSLMode != pq.SSLModeDisable {
		c.tls, err = pq.NewConnectorConfig(cfg)
	}
	return &c, err
}

// Connect opens a connection of the pool.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := c.open(ctx, &dialer{})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// open opens a connection with TLS or without.
func (c *connector) open(ctx context.Context, d *dialer) (*conn, error) {
	if c.tls != nil {
		opened, err := connect(ctx, *c.tls, d)
		if c.plain == nil || !errors.Is(err, pq.ErrSSLNotSupported) {
			return opened, err
		}
	}
	return connect(ctx, *c.plain, d)
}

// Driver returns lib/pq's driver.
func (c *connector) Driver() driver.Driver { return pq.Driver{} }

func connect(ctx context.Context, c pq.Connector, d *dialer) (*conn, error) {
	c.Dialer(d)
	opened, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner, ok := opened.(pqConn)
	if !ok {
		return nil, errors.Join(errors.New("lib/pq's connection lacks a method that it had"), opened.Close())
	}
	return &conn{pqConn: inner, socket: *d.socket.Load(), statements: map[string]statement{}}, nil
}

// dialer opens the socket of one connection, and keeps it. It also opens the second connection that cancelling needs.
type dialer struct {
	hold   bool                     // make it a [valve]
	socket atomic.Pointer[net.Conn] // the last one opened
}

// DialContext opens a socket whose other end is looked after.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	const patience = 30 * time.Second
	inner := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: patience / 2, Interval: patience / 6, Count: 3},
		Control: func(network, _ string, raw syscall.RawConn) error {
			if runtime.GOOS != "linux" || !strings.HasPrefix(network, "tcp") {
				return nil
			}
			const tcpUserTimeout = 18 // tcp(7): how long sent data may go without an acknowledgement, in ms
			var refused error
			err := raw.Control(func(fd uintptr) {
				refused = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(patience.Milliseconds()))
			})
			return errors.Join(err, refused)
		},
	}
	socket, err := inner.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.hold {
		socket = &valve{Conn: socket}
	}
	d.socket.Store(&socket)
	return socket, nil
}

// Dial and DialTimeout are there because lib/pq's interface asks for them; it calls DialContext.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout is DialContext with a timeout.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
