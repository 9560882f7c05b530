// How a question goes to a name server and the answer comes back: over UDP, with TCP for what does not fit (RFC 1035 section
// 4.2, RFC 7766), over TCP at once, or over TLS (RFC 7858).
//
// The hard case is UDP, where anybody can send an answer that looks like the server's. The socket is connected, so the
// system drops what comes from elsewhere; the port and the ID are random; what does not repeat both the ID and the question
// is passed over, and the run goes on waiting for the right answer (RFC 5452). A datagram may also be lost, so the question is
// sent once more after a third of the time that is left.

package checks

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"checkstack/plugins/healthcheck/engine"
)

const (
	dnsPatience = 5 * time.Second // for an answer, where nothing limits the run
	dnsMaxUDP   = 4096            // bytes of a datagram; more than 512 were not asked for, but some servers send them
)

// ask asks the server, "host:port". An answer over TCP or TLS that is not one to the question is an error.
func (c *dnsCheck) ask(ctx context.Context, server string, q dnsQuestion, m *engine.Measured) (dnsAnswer, error) {
	var id [2]byte
	rand.Read(id[:]) // never fails
	q.id = binary.BigEndian.Uint16(id[:])
	network := "tcp"
	if c.Transport == "udp" {
		network = "udp"
	}
	conn, err := tcpDial(ctx, c.policy, network, server, m)
	if err != nil {
		return dnsAnswer{}, err
	}
	defer conn.Close()
	switch c.Transport {
	case "tls":
		host, _, _ := net.SplitHostPort(server) // Validate made it
		secure, err := tlsHandshake(ctx, conn, c.TLS.Config(host), m)
		if err != nil {
			return dnsAnswer{}, err
		}
		defer secure.Close()
		return q.stream(secure)
	case "udp":
		a, err := q.datagrams(ctx, conn)
		if err != nil || !a.truncated {
			return a, err
		}
		again, err := tcpDial(ctx, c.policy, "tcp", conn.RemoteAddr().String(), m)
		if err != nil {
			return dnsAnswer{}, err
		}
		defer again.Close()
		conn = again
	}
	return q.stream(conn)
}

// datagrams asks over UDP.
func (q dnsQuestion) datagrams(ctx context.Context, conn net.Conn) (dnsAnswer, error) {
	msg, err := q.append(nil)
	if err != nil {
		return dnsAnswer{}, err
	}
	left := dnsPatience
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	if _, err := conn.Write(msg); err != nil {
		return dnsAnswer{}, err
	}
	again := time.AfterFunc(left/3, func() { conn.Write(msg) })
	defer again.Stop()
	buffer := make([]byte, dnsMaxUDP)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return dnsAnswer{}, err
		}
		a, err := q.parse(buffer[:n])
		if !errors.Is(err, errDNSOther) {
			return a, err
		}
	}
}

// stream asks over a connection: each message is preceded by its length.
func (q dnsQuestion) stream(conn net.Conn) (dnsAnswer, error) {
	msg, err := q.append(make([]byte, 2, 512))
	if err != nil {
		return dnsAnswer{}, err
	}
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	if _, err := conn.Write(msg); err != nil {
		return dnsAnswer{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return dnsAnswer{}, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return dnsAnswer{}, err
	}
	a, err := q.parse(answer)
	if err == nil && a.truncated {
		err = dnsMalformed("it is truncated where it need not be")
	}
	return a, err
}
