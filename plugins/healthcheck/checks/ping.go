// The check type ping sends echo requests and counts the answers: ICMP (RFC 792) and ICMPv6 (RFC 4443).
//
// The latency is the average time from a request to its answer, as everybody who pings expects, and not how long the run took. A run
// has count requests, one every intervalMs, and waits two seconds for the last answers, or until its own time is nearly over,
// because requests that were not answered are something to say, and a run that timed out says nothing.
//
// A single lost request is no outage: networks lose some. So a run is healthy until more are lost than maxLoss, by default half, and
// the share that was lost can be asserted.
//
// The hard case is that a socket may see the answers to others' requests, and that anybody may send answers. Each run has
// a random text in its requests, and an answer counts once, if it is from the address that was asked, and has
// the same text and a number that was sent.

package checks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const (
	pingPatience = 2 * time.Second // for the answer to the last request
	pingHeader   = 8               // bytes before the text

	pingAsk4, pingAnswer4 = 8, 0
	pingAsk6, pingAnswer6 = 128, 129
)

// Ping is the check type ping.
func Ping(p *engine.Policy) engine.Type { return pingWith(p, pingOpen) }

// pingOpener opens a socket for echo requests with an ID. ids reports whether they have it; some sockets have the system give
// them one, which then keeps the answers to others' requests away.
type pingOpener func(ipv6 bool, id uint16) (conn net.PacketConn, ids bool, err error)

func pingWith(p *engine.Policy, open pingOpener) engine.Type {
	paths := []engine.Path{
		{Name: "loss", Kind: engine.Number, Doc: "how many of the requests were not answered, in percent"},
		{Name: "sent", Kind: engine.Number, Doc: "how many requests were sent"},
		{Name: "received", Kind: engine.Number, Doc: "how many of them were answered"},
		{Name: "rtt.minMs", Kind: engine.Number, Doc: "milliseconds to the quickest answer"},
		{Name: "rtt.avgMs", Kind: engine.Number, Doc: "milliseconds to an answer on average: the latency"},
		{Name: "rtt.maxMs", Kind: engine.Number, Doc: "milliseconds to the slowest answer"},
	}
	return engine.New("ping", paths, func() engine.Config {
		return &pingCheck{Count: 3, IntervalMs: 200, Size: 56, MaxLoss: 50, IPVersion: "any", policy: p, open: open}
	})
}

type pingCheck struct {
	Host       string `json:"host" doc:"the name or address to ping" limit:"1-253" required:"true"`
	Count      int    `json:"count" doc:"how many requests to send" limit:"1-20"`
	IntervalMs int    `json:"intervalMs" doc:"milliseconds from one request to the next" limit:"10-10000"`
	Size       int    `json:"size" doc:"bytes of the text in each request" limit:"16-1400"`
	MaxLoss    int    `json:"maxLoss" doc:"percent of the requests that may be lost; a run without any answer is always unhealthy" limit:"0-99"`
	IPVersion  string `json:"ipVersion" doc:"whether to use IPv4 or IPv6; any takes the address that connections would take" enum:"any,4,6"`

	policy *engine.Policy
	open   pingOpener
}

// Validate implements [engine.Config].
func (c *pingCheck) Validate() error {
	if !engine.IsHost(c.Host) {
		return plugins.Invalid("host", "expected a name or an address")
	}
	addr, err := netip.ParseAddr(c.Host)
	if err == nil && c.IPVersion != "any" && addr.Unmap().Is4() != (c.IPVersion == "4") {
		return plugins.Invalid("ipVersion", "expected the version of the address")
	}
	return nil
}

// Target implements [engine.Config].
func (c *pingCheck) Target() string { return c.Host }

// Run implements [engine.Config].
func (c *pingCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	addr, err := c.lookup(ctx)
	if err != nil {
		return tcpFailed(ctx, err, m)
	}
	text := make([]byte, c.Size)
	rand.Read(text) // never fails
	id := binary.BigEndian.Uint16(text)
	conn, ids, err := c.open(addr.Is6(), id)
	if err != nil {
		return engine.Failed(ctx, pingRefused(err), m)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	s := &pingSeries{conn: conn, addr: addr, to: pingTo(conn, addr), ids: ids, id: id, text: text, missed: make(map[int]bool)}
	err = s.run(ctx, c.Count, time.Duration(c.IntervalMs)*time.Millisecond)
	average := s.measure(&m)
	if err != nil {
		return engine.Failed(ctx, err, m)
	}
	lost := c.Count - len(s.took)
	switch {
	case len(s.took) == 0:
		return engine.Outcome{Status: plugins.Unhealthy, Message: "no answer to " + pings(c.Count), Measured: m}
	case lost*100 > c.MaxLoss*c.Count:
		return engine.Outcome{Status: plugins.Unhealthy, Latency: &average, Message: fmt.Sprintf("%d of %s lost", lost, pings(c.Count)), Measured: m}
	}
	return engine.Outcome{Status: plugins.Healthy, Latency: &average, Message: fmt.Sprintf("%d of %s answered", len(s.took), pings(c.Count)), Measured: m}
}

func pings(n int) string {
	if n == 1 {
		return "1 ping"
	}
	return fmt.Sprintf("%d pings", n)
}

// lookup is the address to ping. To connect a UDP socket sends nothing, but it looks up the name, chooses the address that
// there is a way to, and looks whether checks may go there, all as for every other connection.
func (c *pingCheck) lookup(ctx context.Context) (netip.Addr, error) {
	network := "udp"
	if c.IPVersion != "any" {
		network += c.IPVersion
	}
	const discard = "9" // RFC 863
	conn, err := c.policy.DialContext(ctx, network, net.JoinHostPort(c.Host, discard))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	to, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	addr := to.Addr().Unmap()
	if err == nil {
		err = c.policy.Allowed(addr)
	}
	return addr, err
}

// pingRefused makes a fault of a socket that could not be had.
func pingRefused(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return &engine.Fault{Reason: "this machine does not allow the server to ping: its group is not in the sysctl net.ipv4.ping_group_range, " +
			"and it does not have CAP_NET_RAW", Err: err}
	}
	return err
}

// pingSeries is the requests and answers of one run.
type pingSeries struct {
	conn   net.PacketConn
	addr   netip.Addr
	to     net.Addr
	ids    bool
	id     uint16
	text   []byte
	sent   []time.Time // by their numbers
	missed map[int]bool
	took   []time.Duration
}

// pingTo is an address as a connection wants it.
func pingTo(conn net.PacketConn, addr netip.Addr) net.Addr {
	if _, datagrams := conn.(*net.UDPConn); datagrams {
		return &net.UDPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
	}
	return &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
}

// run sends the requests and reads what comes until all are answered, or it is no use to wait longer. The error is one of
// sending, or that of ctx if not all could be sent.
func (s *pingSeries) run(ctx context.Context, count int, interval time.Duration) error {
	next, end := time.Now(), time.Time{} // of the next request, and of the wait after the last
	buffer := make([]byte, 2048)
	for len(s.took) < count {
		now := time.Now()
		if len(s.sent) < count && !now.Before(next) {
			if err := s.send(); err != nil {
				return err
			}
			next, end = next.Add(interval), pingEnd(ctx)
			continue
		}
		until := end
		if len(s.sent) < count {
			until = next
		} else if !now.Before(end) {
			return nil
		}
		s.conn.SetReadDeadline(until)
		if ctx.Err() != nil { // its own deadline came before this one, which hides it
			break
		}
		n, from, err := s.conn.ReadFrom(buffer)
		if err == nil {
			s.receive(buffer[:n], from)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	if len(s.sent) < count {
		return ctx.Err()
	}
	return nil
}

// pingEnd is until when to wait for answers: some of the time that is left is kept for the outcome.
func pingEnd(ctx context.Context) time.Time {
	wait := pingPatience
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)*9/10)
	}
	return time.Now().Add(wait)
}

func (s *pingSeries) send() error {
	n := len(s.sent)
	kind := byte(pingAsk4)
	if s.addr.Is6() {
		kind = pingAsk6
	}
	s.missed[n] = true
	s.sent = append(s.sent, time.Now())
	_, err := s.conn.WriteTo(appendPing(nil, kind, s.id, uint16(n), s.text), s.to)
	return err
}

// receive looks at a message: whether it is an answer to a request that has none yet.
func (s *pingSeries) receive(msg []byte, from net.Addr) {
	now := time.Now()
	kind := byte(pingAnswer4)
	if s.addr.Is6() {
		kind = pingAnswer6
	}
	if len(msg) < pingHeader || msg[0] != kind || msg[1] != 0 || pingFrom(from) != s.addr.WithZone("") {
		return
	}
	id, n := binary.BigEndian.Uint16(msg[4:]), int(binary.BigEndian.Uint16(msg[6:]))
	if s.ids && id != s.id || !s.missed[n] || !bytes.Equal(msg[pingHeader:], s.text) {
		return
	}
	delete(s.missed, n)
	s.took = append(s.took, now.Sub(s.sent[n]))
}

// pingFrom is the address a message is from, without its zone.
func pingFrom(from net.Addr) netip.Addr {
	var ip net.IP
	switch a := from.(type) {
	case *net.IPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// measure sets what the run showed, and returns the average time to an answer.
func (s *pingSeries) measure(m *engine.Measured) (average time.Duration) {
	if len(s.sent) == 0 {
		return 0
	}
	m.Set("loss", 100*float64(len(s.missed))/float64(len(s.sent)))
	m.Set("sent", len(s.sent))
	m.Set("received", len(s.took))
	if len(s.took) == 0 {
		return 0
	}
	least, most := s.took[0], s.took[0]
	for _, d := range s.took {
		least, most, average = min(least, d), max(most, d), average+d
	}
	average /= time.Duration(len(s.took))
	m.Set("rtt.minMs", tcpMs(least))
	m.Set("rtt.avgMs", tcpMs(average))
	m.Set("rtt.maxMs", tcpMs(most))
	return average
}

// appendPing writes an echo message. Its checksum is that of ICMP; the one of ICMPv6, which is over addresses too, is written by
// the system.
func appendPing(b []byte, kind byte, id, n uint16, text []byte) []byte {
	begin := len(b)
	b = append(b, kind, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, n)
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[begin+2:], pingChecksum(b[begin:]))
	return b
}

// pingChecksum is the Internet checksum: RFC 1071.
func pingChecksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum + sum>>16)
}
