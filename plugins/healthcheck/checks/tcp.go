// The check type tcp connects to a port. It can wait for a greeting, send a text, and look for one in what comes back:
//
//	connect ── TLS ── banner: the first bytes come ── send ── expect: the text comes
//
// What is expected is looked for in what came after the text was sent, so that a greeting cannot pass for an answer. Without a
// text to send it is looked for in everything. A run that expects nothing waits for nothing.
//
// The latency is the time from the start to the last of these steps, with the name lookup. The hard case is a server that accepts and
// then says nothing, or never stops: the one is ended by the time of the run, the other after 64 KiB. Neither has a latency,
// because what was waited for never came.

package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const tcpMaxText = 64 << 10 // bytes that a run reads

// TCP is the check type tcp.
func TCP(p *engine.Policy) engine.Type {
	paths := append([]engine.Path{
		{Name: "phases.connectMs", Kind: engine.Number, Doc: "milliseconds for the name lookup and the connection"},
		{Name: "phases.tlsMs", Kind: engine.Number, Doc: "milliseconds for the TLS handshake"},
		{Name: "phases.firstByteMs", Kind: engine.Number, Doc: "milliseconds from the end of the phases before to the first byte that came"},
		{Name: "received", Kind: engine.Text, Doc: "what came, as far as it was read: up to the expected text, at most 64 KiB"},
	}, engine.TLSPaths()...)
	return engine.New("tcp", paths, func() engine.Config { return &tcpCheck{policy: p} })
}

type tcpCheck struct {
	Address string      `json:"address" doc:"host and port to connect to" limit:"1-300" required:"true"`
	TLS     *engine.TLS `json:"tls,omitempty" doc:"speak TLS"`
	Banner  bool        `json:"banner" doc:"wait for the first bytes of the other side before anything is sent"`
	Send    string      `json:"send" doc:"text to send once connected" limit:"0-4096"`
	Expect  string      `json:"expect" doc:"text that must come back, after send if there is one" limit:"0-4096"`

	policy        *engine.Policy
	address, host string
}

// Validate implements [engine.Config].
func (c *tcpCheck) Validate() (err error) {
	if c.address, err = engine.Address("address", c.Address, 0); err != nil {
		return err
	}
	c.host, _, _ = net.SplitHostPort(c.address) // Address made it
	return c.TLS.Compile("tls")
}

// Target implements [engine.Config].
func (c *tcpCheck) Target() string { return c.address }

// Run implements [engine.Config].
func (c *tcpCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	if err := c.talk(ctx, &m); err != nil {
		return tcpFailed(ctx, err, m)
	}
	latency := time.Since(start)
	out := engine.Outcome{Status: plugins.Healthy, Latency: &latency, Message: "connected", Measured: m}
	if c.Expect != "" {
		out.Message = "connected, and the expected text came"
	}
	return out
}

func (c *tcpCheck) talk(ctx context.Context, m *engine.Measured) error {
	conn, err := tcpDial(ctx, c.policy, "tcp", c.address, m)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.TLS != nil {
		secure, err := tlsHandshake(ctx, conn, c.TLS.Config(c.host), m)
		if err != nil {
			return err
		}
		defer secure.Close()
		conn = secure
	}
	t := &tcpTalk{conn: conn, since: time.Now()}
	err = c.exchange(t)
	if len(t.got) > 0 {
		m.Set("phases.firstByteMs", tcpMs(t.first))
		m.Set("received", engine.Shorten(string(t.got), tcpMaxText))
	}
	return err
}

func (c *tcpCheck) exchange(t *tcpTalk) error {
	if c.Banner {
		if err := t.await("", 0); err != nil {
			return err
		}
	}
	before := 0
	if c.Send != "" {
		before = len(t.got)
		if _, err := io.WriteString(t.conn, c.Send); err != nil {
			return err
		}
	}
	if c.Expect == "" {
		return nil
	}
	return t.await(c.Expect, before)
}

// tcpTalk is what came over a connection.
type tcpTalk struct {
	conn  net.Conn
	got   []byte
	since time.Time
	first time.Duration // from since to the first byte
}

// await reads until text has come, after the first before bytes. An empty text has come with the first byte.
func (t *tcpTalk) await(text string, before int) error {
	buffer := make([]byte, 4096)
	seen := before // no match begins before this byte
	for {
		if len(t.got) > before && bytes.Contains(t.got[seen:], []byte(text)) {
			return nil
		}
		seen = max(before, len(t.got)-len(text)+1)
		if len(t.got) >= tcpMaxText {
			return &engine.PlainError{Text: "the expected text is not in the first 64 KiB that came"}
		}
		n, err := t.conn.Read(buffer[:min(len(buffer), tcpMaxText-len(t.got))])
		if n > 0 && len(t.got) == 0 {
			t.first = time.Since(t.since)
		}
		t.got = append(t.got, buffer[:n]...)
		if n > 0 {
			continue // an error comes again
		}
		if ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); ended && len(t.got) > before {
			return &engine.PlainError{Text: fmt.Sprintf("the expected text is not in the %d bytes that came", len(t.got)-before)}
		}
		if err != nil {
			return err
		}
	}
}

// tcpDial connects for one run: the end of ctx ends whatever waits for the connection.
func tcpDial(ctx context.Context, p *engine.Policy, network, address string, m *engine.Measured) (net.Conn, error) {
	start := time.Now()
	conn, err := p.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	m.Set("phases.connectMs", tcpMs(time.Since(start)))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return &tcpConn{conn, stop}, nil
}

type tcpConn struct {
	net.Conn
	stop func() bool
}

func (c *tcpConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

const tcpClocks = 50 * time.Millisecond // by which the clocks of a dialer and of a context may differ

// tcpFailed is [engine.Failed] for an error of a connection. A dialer keeps to the deadline of ctx with a clock of its own and
// may be done a moment before ctx is, when the words for it are not there yet.
func tcpFailed(ctx context.Context, err error, m engine.Measured) engine.Outcome {
	e, ok := errors.AsType[net.Error](err)
	if deadline, has := ctx.Deadline(); ok && e.Timeout() && has && time.Until(deadline) < tcpClocks {
		<-ctx.Done()
	}
	return engine.Failed(ctx, err, m)
}

// tcpMs is a duration in milliseconds, to the microsecond.
func tcpMs(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
