package checks

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// pingFake is a socket to a network that is not there: each request is answered by messages that come from addresses.
type pingFake struct {
	*net.UDPConn // what is sent to it comes back from it
	answer       func(request []byte) []pingMessage
}

type pingMessage struct {
	from string
	data []byte
}

func (f *pingFake) WriteTo(request []byte, to net.Addr) (int, error) {
	if _, ip := to.(*net.IPAddr); !ip {
		return 0, fmt.Errorf("sent to %T", to)
	}
	for _, m := range f.answer(request) {
		from := netip.MustParseAddr(m.from).As16()
		if _, err := f.UDPConn.WriteTo(append(from[:], m.data...), f.LocalAddr()); err != nil {
			return 0, err
		}
	}
	return len(request), nil
}

func (f *pingFake) ReadFrom(b []byte) (int, net.Addr, error) {
	data := make([]byte, 4096)
	n, _, err := f.UDPConn.ReadFrom(data)
	if err != nil {
		return 0, nil, err
	}
	return copy(b, data[16:n]), &net.IPAddr{IP: data[:16]}, nil
}

// pingFaked is the type ping with such a socket for each run.
func pingFaked(ids bool, answer func(request []byte) []pingMessage) engine.Type {
	return pingWith(nil, func(bool, uint16) (net.PacketConn, bool, error) {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, false, err
		}
		return &pingFake{conn, answer}, ids, nil
	})
}

// pingReply makes the answer to a request.
func pingReply(request []byte) []byte {
	b := bytes.Clone(request)
	b[0] = map[byte]byte{pingAsk4: pingAnswer4, pingAsk6: pingAnswer6}[b[0]]
	return b
}

// pingCounts is what a run counted.
func pingCounts(out engine.Outcome) string {
	sent, _ := out.Measured.Get("sent")
	received, _ := out.Measured.Get("received")
	loss, _ := out.Measured.Get("loss")
	return fmt.Sprintf("%v/%v %.4v%%", received, sent, loss)
}

func TestAPingCheckCountsAnswers(t *testing.T) {
	every := func(n int) func([]byte) []pingMessage { // answers the first n
		return func(r []byte) []pingMessage {
			if int(r[7]) >= n {
				return nil
			}
			return []pingMessage{{"127.0.0.1", pingReply(r)}}
		}
	}
	var all sync.WaitGroup // most of the runs wait for what does not come
	defer all.Wait()
	for _, test := range []struct {
		name, config string
		answered     int
		status       plugins.Status
		message      string
		counts       string
	}{
		{"all", ``, 20, plugins.Healthy, "3 of 3 pings answered", "3/3 0%"},
		{"one", `,"count":1`, 20, plugins.Healthy, "1 of 1 ping answered", "1/1 0%"},
		{"one lost", ``, 2, plugins.Healthy, "2 of 3 pings answered", "2/3 33.33%"},
		{"more than half lost", ``, 1, plugins.Unhealthy, "2 of 3 pings lost", "1/3 66.67%"},
		{"half lost", `,"count":4`, 2, plugins.Healthy, "2 of 4 pings answered", "2/4 50%"},
		{"none may be lost", `,"maxLoss":0`, 2, plugins.Unhealthy, "1 of 3 pings lost", "2/3 33.33%"},
		{"nearly all may be lost", `,"maxLoss":99,"count":20`, 1, plugins.Healthy, "1 of 20 pings answered", "1/20 95%"},
		{"no answer", `,"maxLoss":99`, 0, plugins.Unhealthy, "no answer to 3 pings", "0/3 100%"},
		{"no answer to one", `,"count":1`, 0, plugins.Unhealthy, "no answer to 1 ping", "0/1 100%"},
	} {
		all.Go(func() {
			out := tcpRun(t, pingFaked(true, every(test.answered)), time.Second, `{"host":"127.0.0.1","intervalMs":10`+test.config+`}`)
			if out.Status != test.status || out.Message != test.message || pingCounts(out) != test.counts || out.Fault != nil {
				t.Errorf("%s: got %s %q %s, fault %v; want %s %q %s", test.name, out.Status, out.Message, pingCounts(out), out.Fault,
					test.status, test.message, test.counts)
			}
			if average, ok := out.Measured.Get("rtt.avgMs"); ok != (test.answered > 0) || (out.Latency != nil) != ok || ok && average != tcpMs(*out.Latency) {
				t.Errorf("%s: the latency is %v, measured %s", test.name, out.Latency, out.Measured.Object())
			}
			tcpPrivate(t, test.name, out)
		})
	}
}

func TestAPingCheckCountsOnlyAnswersToItsOwnRequests(t *testing.T) {
	change := func(at int, to byte) func([]byte) []pingMessage {
		return func(r []byte) []pingMessage {
			b := pingReply(r)
			b[at] ^= to
			return []pingMessage{{"127.0.0.1", b}}
		}
	}
	var all sync.WaitGroup
	defer all.Wait()
	for name, answer := range map[string]func([]byte) []pingMessage{
		"from elsewhere":       func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.2", pingReply(r)}} },
		"the request itself":   func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.1", r}} },
		"another ID":           change(4, 1),
		"a number not sent":    change(6, 1),
		"another text":         change(20, 1),
		"another code":         change(1, 1),
		"an answer of IPv6":    change(0, pingAnswer6),
		"cut":                  func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.1", pingReply(r)[:40]}} },
		"longer":               func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.1", append(pingReply(r), 0)}} },
		"nothing but a header": func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.1", pingReply(r)[:8]}} },
		"nothing":              func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.1", nil}} },
	} {
		all.Go(func() {
			out := tcpRun(t, pingFaked(true, answer), 500*time.Millisecond, `{"host":"127.0.0.1","intervalMs":10}`)
			if out.Message != "no answer to 3 pings" {
				t.Errorf("%s: got %s %q", name, out.Status, out.Message)
			}
		})
	}
	twice := func(r []byte) []pingMessage {
		m := pingMessage{"127.0.0.1", pingReply(r)}
		if r[7] > 0 {
			return nil
		}
		return []pingMessage{m, m, m}
	}
	if out := tcpRun(t, pingFaked(true, twice), 500*time.Millisecond, `{"host":"127.0.0.1","intervalMs":10}`); out.Message != "2 of 3 pings lost" {
		t.Errorf("an answer three times: got %q", out.Message)
	}
	if out := tcpRun(t, pingFaked(false, change(4, 1)), time.Minute, `{"host":"127.0.0.1","intervalMs":10}`); out.Message != "3 of 3 pings answered" {
		t.Errorf("where the system numbers requests: got %q", out.Message)
	}
}

func TestAPingCheckEndsWithTheLastAnswerOrWithItsTime(t *testing.T) {
	good := pingFaked(true, func(r []byte) []pingMessage { return []pingMessage{{"127.0.0.1", pingReply(r)}} })
	silent := pingFaked(true, func([]byte) []pingMessage { return nil })
	for _, test := range []struct {
		name        string
		kind        engine.Type
		timeout     time.Duration
		config      string
		message     string
		counts      string
		least, most time.Duration
	}{
		{"answered", good, time.Minute, `"count":2,"intervalMs":100`, "2 of 2 pings answered", "2/2 0%", 100 * time.Millisecond, 2 * time.Second},
		{"not answered", silent, time.Minute, `"count":1`, "no answer to 1 ping", "0/1 100%", pingPatience, 10 * time.Second},
		{"nearly out of time", silent, time.Second, `"count":1`, "no answer to 1 ping", "0/1 100%", 800 * time.Millisecond, time.Second},
		{"out of time", good, 300 * time.Millisecond, `"count":2,"intervalMs":10000`, "timed out after 300ms", "1/1 0%", 300 * time.Millisecond, 10 * time.Second},
	} {
		start := time.Now()
		out := tcpRun(t, test.kind, test.timeout, `{"host":"127.0.0.1",`+test.config+`}`)
		if took := time.Since(start); out.Message != test.message || pingCounts(out) != test.counts || took < test.least || took > test.most {
			t.Errorf("%s: got %q %s after %s", test.name, out.Message, pingCounts(out), took)
		}
	}
}

func TestAPingCheckThatCannotSendSaysWhoseFaultItIs(t *testing.T) {
	for name, test := range map[string]struct {
		open, send error
		fault      string
		message    string
	}{
		"not allowed": {open: os.NewSyscallError("socket", syscall.EPERM), fault: "this machine does not allow the server to ping: its group is not in the " +
			"sysctl net.ipv4.ping_group_range, and it does not have CAP_NET_RAW"},
		"no descriptors": {open: os.NewSyscallError("socket", syscall.EMFILE), fault: "this server has no free file descriptors"},
		"no route":       {send: os.NewSyscallError("sendto", syscall.ENETUNREACH), fault: "this machine has no route to the network"},
		"a firewall":     {send: os.NewSyscallError("sendto", syscall.EPERM), fault: "this machine does not allow the connection"},
		"no host":        {send: os.NewSyscallError("sendto", syscall.EHOSTUNREACH), message: "no route to host"},
	} {
		kind := pingWith(nil, func(bool, uint16) (net.PacketConn, bool, error) {
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return pingBroken{conn, test.send}, true, test.open
		})
		out := tcpRun(t, kind, time.Minute, `{"host":"127.0.0.1"}`)
		if got := fmt.Sprint(out.Fault); got != test.fault && (test.fault != "" || out.Fault != nil) || out.Message != test.message || out.Latency != nil {
			t.Errorf("%s: got %q, fault %v", name, out.Message, out.Fault)
		}
	}
}

type pingBroken struct {
	net.PacketConn
	err error
}

func (b pingBroken) WriteTo([]byte, net.Addr) (int, error) { return 0, b.err }

func TestAPingCheckDoesNotPingWhereItMayNot(t *testing.T) {
	var opened atomic.Int32
	p := &engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	kind := pingWith(p, func(bool, uint16) (net.PacketConn, bool, error) {
		opened.Add(1)
		return nil, false, errors.New("opened")
	})
	for _, host := range []string{"127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1"} {
		out := tcpRun(t, kind, time.Minute, `{"host":"`+host+`"}`)
		if _, ok := errors.AsType[*engine.DeniedError](out.Fault); !ok || opened.Load() > 0 {
			t.Errorf("%s: got %+v, %d sockets", host, out, opened.Load())
		}
	}
}

func TestARequestHasTheBytesThatICMPSays(t *testing.T) {
	for want, got := range map[string][]byte{
		"0800d1b2123400010203040506070809": appendPing(nil, pingAsk4, 0x1234, 1, []byte{2, 3, 4, 5, 6, 7, 8, 9})[:16],
		"0000f7ff0000ffff0800":             appendPing([]byte{}, pingAnswer4, 0, 0xffff, []byte{8, 0}),
		"080000000000f7ff":                 appendPing(nil, pingAsk4, 0, 0xf7ff, nil),
		"0800f6ff0000000001":               appendPing(nil, pingAsk4, 0, 0, []byte{1}),
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("got %x, want %s", got, want)
		}
		if pingChecksum(got) != 0 {
			t.Errorf("%x: the checksum is wrong", got)
		}
	}
}

func TestAConfigurationOfAPingCheckIsChecked(t *testing.T) {
	for config, field := range map[string]string{
		`{}`:                                   "host",
		`{"host":"a b"}`:                       "host",
		`{"host":"http://a"}`:                  "host",
		`{"host":"a","count":0}`:               "count",
		`{"host":"a","count":21}`:              "count",
		`{"host":"a","intervalMs":9}`:          "intervalMs",
		`{"host":"a","size":15}`:               "size",
		`{"host":"a","size":1401}`:             "size",
		`{"host":"a","maxLoss":100}`:           "maxLoss",
		`{"host":"a","ipVersion":"5"}`:         "ipVersion",
		`{"host":"::1","ipVersion":"4"}`:       "ipVersion",
		`{"host":"127.0.0.1","ipVersion":"6"}`: "ipVersion",
	} {
		tcpInvalid(t, Ping(nil), config, field)
	}
	check, err := Ping(nil).Compile(json.RawMessage(`{"host":"fe80::1%eth0","ipVersion":"6","size":1400}`))
	if err != nil || check.Target() != "fe80::1%eth0" || !strings.Contains(string(check.Normal()), `"size":1400`) {
		t.Errorf("got %v, %v", check, err)
	}
}
