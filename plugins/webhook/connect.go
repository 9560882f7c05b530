// Connections to receivers. Each message has one of its own, to where the policy allows, and not through a proxy.
//
// The hard case is a receiver that speaks first, because it is not one of HTTP or does not wait for what it is sent. net/http writes what
// that says to the log of the process, which is not the place for it, and forgets it. So nothing is read before something was written.

package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

const maxAnswer = 64 << 10 // bytes of the header of an answer, and as many of its body

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func newTransport(dial dialer) *http.Transport {
	t := &http.Transport{
		DisableKeepAlives:      true, // messages are rare
		DisableCompression:     true, // nothing of an answer is looked at
		MaxResponseHeaderBytes: maxAnswer,
		TLSClientConfig:        new(tls.Config),
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &polite{Conn: conn, written: make(chan struct{})}, nil
	}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := t.TLSClientConfig.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address) // net/http made it
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return &polite{Conn: secure, written: make(chan struct{})}, nil
	}
	return t
}

// polite is a connection of which nothing is read before something is written.
type polite struct {
	net.Conn
	once    sync.Once
	written chan struct{}
}

func (c *polite) Read(b []byte) (int, error) {
	<-c.written
	return c.Conn.Read(b)
}

func (c *polite) Write(b []byte) (int, error) {
	c.letRead()
	return c.Conn.Write(b)
}

func (c *polite) Close() error {
	c.letRead()
	return c.Conn.Close()
}

func (c *polite) letRead() { c.once.Do(func() { close(c.written) }) }
