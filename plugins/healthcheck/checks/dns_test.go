package checks

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// dnsServe answers questions over UDP and TCP on one port with what answer makes of them: any number of messages.
func dnsServe(t *testing.T, answer func(network string, question []byte) [][]byte) string {
	t.Helper()
	l, udp := dnsListen(t)
	t.Cleanup(func() { l.Close(); udp.Close() })
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			for _, msg := range answer("udp", buffer[:n]) {
				udp.WriteTo(msg, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				dnsStream(c, answer)
			}()
		}
	}()
	return l.Addr().String()
}

// dnsListen finds a port that is free for both.
func dnsListen(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if udp, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, udp
		}
		l.Close()
	}
}

func dnsStream(c net.Conn, answer func(network string, question []byte) [][]byte) {
	var size [2]byte
	io.ReadFull(c, size[:])
	question := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, question); err != nil {
		return
	}
	for _, msg := range answer("tcp", question) {
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	}
	tcpSilent(c)
}

// dnsReply is an answer to a question: its flags, and the records in hexadecimal, without the name that was asked for before them.
func dnsReply(t *testing.T, question []byte, flags uint16, records ...string) []byte {
	msg := append([]byte{}, question...)
	binary.BigEndian.PutUint16(msg[2:], dnsResponse|flags)
	binary.BigEndian.PutUint16(msg[6:], uint16(len(records)))
	for _, r := range records {
		msg = append(msg, dnsHex(t, r)...)
	}
	return msg
}

// dnsAsked is the name and type of a question.
func dnsAsked(question []byte) string {
	r := &dnsReader{msg: question, at: dnsHeaderSize}
	return fmt.Sprint(strings.ToLower(r.name()), " ", r.uint16())
}

// dnsZone has records of every type.
func dnsZone(t *testing.T) func(string, []byte) [][]byte {
	zone := map[string][]string{
		"example.org 1": {"c00c 0001 0001 0000012c 0004 c0000201", "c00c 0001 0001 0000003c 0004 c0000202"},
		"www.example.org 1": {"c00c 0005 0001 0000000a 0002 c010",
			"c010 0001 0001 0000012c 0004 c0000201", "09'elsewhere'03'org'00 0001 0001 00000001 0004 c0000209"},
		"www.example.org 5":          {"c00c 0005 0001 0000000a 0002 c010"},
		"example.org 28":             {"c00c 001c 0001 0000012c 0010 20010db8000000000000000000000001"},
		"example.org 15":             {"c00c 000f 0001 0000012c 0009 000a 04'mail'c00c", "c00c 000f 0001 0000012c 0004 0014 c00c"},
		"example.org 16":             {"c00c 0010 0001 0000012c 000d 07'v=spf1 '04'-all'"},
		"example.org 2":              {"c00c 0002 0001 0000012c 0005 02'ns'c00c"},
		"_https._tcp.example.org 33": {"c00c 0021 0001 0000012c 000a 0000 0005 01bb 01'a'c018"},
		"1.2.0.192.in-addr.arpa 12":  {"c00c 000c 0001 0000012c 000d 07'example'03'org'00"},
		dnsReverse(netip.MustParseAddr("2001:db8::1")) + " 12": {"c00c 000c 0001 0000012c 000d 07'example'03'org'00"},
		"example.org 6":      {"c00c 0006 0001 0000012c 0026 02'ns'c00c 0a'hostmaster'c00c 00000001 00001c20 00000e10 00127500 0000012c"},
		"example.org 257":    {"c00c 0101 0001 0000012c 0015 00 05'issue' 'ca.example.net'"},
		". 2":                {"00 0002 0001 0000012c 0008 01'a'04'root'00"},
		"none.example.org 1": {},
	}
	return func(_ string, question []byte) [][]byte {
		records, ok := zone[dnsAsked(question)]
		if !ok {
			return [][]byte{dnsReply(t, question, dnsAuthoritative|3)}
		}
		return [][]byte{dnsReply(t, question, dnsAuthoritative, records...)}
	}
}

func TestADNSCheckReadsRecordsOfEveryTypeOverEveryTransport(t *testing.T) {
	pki := tlsMake(t)
	zone := dnsZone(t)
	plain := dnsServe(t, zone)
	secure := tlsServe(t, pki.leaf, func(c net.Conn) { dnsStream(c, zone) })
	for _, transport := range []string{
		`"resolver":"` + plain + `"`,
		`"resolver":"` + plain + `","transport":"tcp"`,
		`"resolver":"` + strings.Replace(plain, "127.0.0.1", "localhost", 1) + `"`,
		`"resolver":"` + secure + `","transport":"tls","tls":{"ca":` + tlsQuote(pki.rootPEM) + `}`,
	} {
		for _, test := range []struct {
			name, kind string
			records    string
			ttl        uint32
			message    string
		}{
			{"example.org", "A", "[192.0.2.1 192.0.2.2]", 60, "2 A records"},
			{"EXAMPLE.org.", "A", "[192.0.2.1 192.0.2.2]", 60, "2 A records"},
			{"www.example.org", "A", "[192.0.2.1]", 10, "1 A record"},
			{"www.example.org", "CNAME", "[example.org]", 10, "1 CNAME record"},
			{"example.org", "AAAA", "[2001:db8::1]", 300, "1 AAAA record"},
			{"example.org", "MX", "[10 mail.example.org 20 example.org]", 300, "2 MX records"},
			{"example.org", "TXT", "[v=spf1 -all]", 300, "1 TXT record"},
			{"example.org", "NS", "[ns.example.org]", 300, "1 NS record"},
			{"_https._tcp.example.org", "SRV", "[0 5 443 a.example.org]", 300, "1 SRV record"},
			{"192.0.2.1", "PTR", "[example.org]", 300, "1 PTR record"},
			{"2001:db8::1", "PTR", "[example.org]", 300, "1 PTR record"},
			{"1.2.0.192.in-addr.arpa", "PTR", "[example.org]", 300, "1 PTR record"},
			{"example.org", "SOA", "[ns.example.org hostmaster.example.org 1 7200 3600 1209600 300]", 300, "1 SOA record"},
			{"example.org", "CAA", `[0 issue "ca.example.net"]`, 300, "1 CAA record"},
			{".", "NS", "[a.root]", 300, "1 NS record"},
		} {
			out := tcpRun(t, DNS(nil), time.Minute, `{"name":"`+test.name+`","type":"`+test.kind+`",`+transport+`}`)
			records, _ := out.Measured.Get("records")
			ttl, _ := out.Measured.Get("ttl")
			authoritative, _ := out.Measured.Get("authoritative")
			if out.Status != plugins.Healthy || out.Message != test.message || out.Latency == nil || fmt.Sprint(records) != test.records ||
				ttl != test.ttl || authoritative != true || tcpText(out, "rcode") != "NOERROR" {
				t.Errorf("%s %s %.40s: got %s %q %s", test.name, test.kind, transport, out.Status, out.Message, out.Measured.Object())
			}
		}
	}
}

func TestADNSCheckComparesTheRecordsWithThoseExpected(t *testing.T) {
	address := dnsServe(t, dnsZone(t))
	for _, test := range []struct {
		config  string
		status  plugins.Status
		message string
	}{
		{`"name":"example.org","expect":["192.0.2.1"]`, plugins.Healthy, "2 A records"},
		{`"name":"example.org","expect":["192.0.2.1","192.0.2.3"]`, plugins.Unhealthy, "1 of 2 expected records are missing"},
		{`"name":"example.org","expect":["192.0.2.1","192.0.2.3"],"match":"any"`, plugins.Healthy, "2 A records"},
		{`"name":"example.org","expect":["192.0.2.3"],"match":"any"`, plugins.Unhealthy, "none of the expected records is there"},
		{`"name":"example.org","expect":["192.0.2.2","192.0.2.1"],"match":"exact"`, plugins.Healthy, "2 A records"},
		{`"name":"example.org","expect":["192.0.2.2"],"match":"exact"`, plugins.Unhealthy, "1 A record more than expected"},
		{`"name":"example.org","expect":["192.0.2.2","192.0.2.1","192.0.2.3"],"match":"exact"`, plugins.Unhealthy, "1 of 3 expected records are missing"},
		{`"name":"example.org","expect":[],"match":"exact"`, plugins.Unhealthy, "2 A records more than expected"},
		{`"name":"none.example.org","expect":[],"match":"exact"`, plugins.Healthy, "0 A records"},
		{`"name":"none.example.org"`, plugins.Unhealthy, "there are no A records"},
		{`"name":"secret.example.org"`, plugins.Unhealthy, "expected NOERROR, the answer was NXDOMAIN"},
		{`"name":"secret.example.org","expectRcode":"NXDOMAIN"`, plugins.Healthy, "the answer was NXDOMAIN"},
		{`"name":"example.org","expectRcode":"NXDOMAIN"`, plugins.Unhealthy, "expected NXDOMAIN, the answer was NOERROR"},
		{`"name":"example.org","type":"AAAA","expect":["2001:DB8:0::1"],"match":"exact"`, plugins.Healthy, "1 AAAA record"},
		{`"name":"example.org","type":"MX","expect":["20 Example.org.","10  mail.example.org"],"match":"exact"`, plugins.Healthy, "2 MX records"},
		{`"name":"example.org","type":"TXT","expect":["v=spf1 -all"],"match":"exact"`, plugins.Healthy, "1 TXT record"},
		{`"name":"example.org","type":"TXT","expect":["\"v=spf1 \" \"-all\""],"match":"exact"`, plugins.Healthy, "1 TXT record"},
		{`"name":"example.org","type":"TXT","expect":["V=spf1 -all"]`, plugins.Unhealthy, "1 of 1 expected records are missing"},
		{`"name":"example.org","type":"CAA","expect":["0 ISSUE ca.example.net"],"match":"exact"`, plugins.Healthy, "1 CAA record"},
		{`"name":"example.org","type":"SOA","expect":["NS.example.org. hostmaster.example.org. 1 7200 3600 1209600 300"]`, plugins.Healthy, "1 SOA record"},
		{`"name":"_https._tcp.example.org","type":"SRV","expect":["0 5 443 a.example.org."]`, plugins.Healthy, "1 SRV record"},
	} {
		out := tcpRun(t, DNS(nil), time.Minute, `{"resolver":"`+address+`",`+test.config+`}`)
		if out.Status != test.status || out.Message != test.message || out.Latency == nil || out.Fault != nil {
			t.Errorf("%s: got %s %q, latency %v, fault %v; want %s %q", test.config, out.Status, out.Message, out.Latency, out.Fault, test.status, test.message)
		}
		tcpPrivate(t, test.config, out)
	}
}

func TestADNSCheckWaitsForTheRightAnswer(t *testing.T) {
	elsewhere, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { elsewhere.Close() })
	const bad, good = "c00c 0001 0001 0000012c 0004 c0000209", "c00c 0001 0001 0000012c 0004 c0000201"
	wrong := func(question []byte) [][]byte {
		id, name, asks := dnsReply(t, question, 0, bad), dnsReply(t, question, 0, bad), dnsReply(t, question, 0, bad)
		id[1]++
		name[13] ^= 1
		asks[2] = 0
		return [][]byte{id, name, asks, {}, question, []byte("secret"), id[:11], make([]byte, 4096)}
	}
	all := dnsServe(t, func(_ string, question []byte) [][]byte {
		return append(wrong(question), dnsReply(t, question, 0, good))
	})
	out := tcpRun(t, DNS(nil), time.Minute, `{"resolver":"`+all+`","name":"example.org","expect":["192.0.2.1"],"match":"exact"}`)
	if out.Status != plugins.Healthy {
		t.Errorf("got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
	none := dnsServe(t, func(_ string, question []byte) [][]byte { return wrong(question) })
	out = tcpRun(t, DNS(nil), 100*time.Millisecond, `{"resolver":"`+none+`","name":"example.org"}`)
	if out.Status != plugins.Unhealthy || out.Message != "timed out after 100ms" || out.Latency != nil || out.Fault != nil {
		t.Errorf("no right answer: got %s %q", out.Status, out.Message)
	}

	// One who has seen the question answers from another port, before the server does.
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		question := make([]byte, 512)
		n, from, err := udp.ReadFrom(question)
		if err != nil {
			return
		}
		elsewhere.WriteTo(dnsReply(t, question[:n], 0, bad), from)
		udp.WriteTo(dnsReply(t, question[:n], 0, good), from)
	}()
	out = tcpRun(t, DNS(nil), time.Minute, `{"resolver":"`+udp.LocalAddr().String()+`","name":"example.org","expect":["192.0.2.1"],"match":"exact"}`)
	if out.Status != plugins.Healthy {
		t.Errorf("another source: got %s %q %s", out.Status, out.Message, out.Measured.Object())
	}
}

func TestADNSCheckAsksAgain(t *testing.T) {
	zone := dnsZone(t)
	var asked, connected atomic.Int32
	lost := dnsServe(t, func(network string, question []byte) [][]byte {
		if asked.Add(1) == 1 {
			return nil
		}
		return zone(network, question)
	})
	out := tcpRun(t, DNS(nil), 1500*time.Millisecond, `{"resolver":"`+lost+`","name":"example.org"}`)
	if out.Status != plugins.Healthy || asked.Load() != 2 || *out.Latency < 400*time.Millisecond {
		t.Errorf("after a lost datagram: got %s %q after %v, asked %d times", out.Status, out.Message, out.Latency, asked.Load())
	}
	long := dnsServe(t, func(network string, question []byte) [][]byte {
		if network == "udp" {
			return [][]byte{dnsReply(t, question, dnsTruncated)}
		}
		connected.Add(1)
		return zone(network, question)
	})
	out = tcpRun(t, DNS(nil), time.Minute, `{"resolver":"`+long+`","name":"example.org"}`)
	if out.Status != plugins.Healthy || out.Message != "2 A records" || connected.Load() != 1 {
		t.Errorf("after a truncated answer: got %s %q, %d connections", out.Status, out.Message, connected.Load())
	}
}

func TestADNSCheckTellsTheServerWhetherToAskOthers(t *testing.T) {
	flags := make(chan byte, 2)
	address := dnsServe(t, func(_ string, question []byte) [][]byte {
		flags <- question[2]
		return [][]byte{dnsReply(t, question, 5)}
	})
	for config, want := range map[string]byte{"": 1, `,"recursion":false`: 0} {
		out := tcpRun(t, DNS(nil), time.Minute, `{"resolver":"`+address+`","name":"example.org"`+config+`}`)
		if got := <-flags; got != want || out.Message != "expected NOERROR, the answer was REFUSED" {
			t.Errorf("%q: got %d, %q", config, got, out.Message)
		}
	}
}

func TestADNSCheckWithoutAnAnswerIsUnhealthyAndHasNoLatency(t *testing.T) {
	pki := tlsMake(t)
	reply := func(make func(question []byte) []byte) string {
		return dnsServe(t, func(_ string, question []byte) [][]byte { return [][]byte{make(question)} })
	}
	const malformed = "there was no valid answer of DNS"
	const early = "the connection was closed before the answer was complete"
	for _, test := range []struct{ name, config, message string }{
		{"refused", `"resolver":"127.0.0.1:1"`, "connection refused"},
		{"refused over TCP", `"resolver":"127.0.0.1:1","transport":"tcp"`, "connection refused"},
		{"cut", `"resolver":"` + reply(func(q []byte) []byte { return dnsReply(t, q, 0, "c00c 0001 0001 0000") }) + `"`, malformed},
		{"a short address", `"resolver":"` + reply(func(q []byte) []byte { return dnsReply(t, q, 0, "c00c 0001 0001 00000000 0003 c00002") }) + `"`, malformed},
		{"in circles", `"resolver":"` + reply(func(q []byte) []byte { return dnsReply(t, q, 0, "c01d 0001 0001 00000000 0004 c0000201") }) + `"`, malformed},
		{"truncated over TCP", `"resolver":"` + reply(func(q []byte) []byte { return dnsReply(t, q, dnsTruncated) }) + `"`, malformed},
		{"another ID over TCP", `"transport":"tcp","resolver":"` + reply(func(q []byte) []byte { q[0]++; return dnsReply(t, q, 0) }) + `"`,
			"the answer was to another question"},
		{"closed", `"transport":"tcp","resolver":"` + tcpServe(t, func(c net.Conn) { c.Read(make([]byte, 512)) }) + `"`, early},
		{"closed within", `"transport":"tcp","resolver":"` + tcpServe(t, func(c net.Conn) { c.Read(make([]byte, 512)); c.Write([]byte{1, 0, 1}) }) + `"`, early},
		{"not TLS", `"transport":"tls","resolver":"` + tcpServe(t, tcpSay("220 secret\r\n")) + `"`, "the other side does not speak TLS"},
		{"unknown authority", `"transport":"tls","resolver":"` + tlsServe(t, pki.leaf, tcpSilent) + `"`, "the TLS certificate is signed by an unknown authority"},
	} {
		out := tcpRun(t, DNS(nil), 10*time.Second, `{"name":"example.org",`+test.config+`}`)
		if out.Status != plugins.Unhealthy || !strings.HasPrefix(out.Message, test.message) || out.Latency != nil || out.Fault != nil {
			t.Errorf("%s: got %s %q, latency %v, fault %v; want %q", test.name, out.Status, out.Message, out.Latency, out.Fault, test.message)
		}
		tcpPrivate(t, test.name, out)
	}
	for _, config := range []string{
		`"resolver":"` + dnsServe(t, func(string, []byte) [][]byte { return nil }) + `"`,
		`"transport":"tcp","resolver":"` + tcpServe(t, tcpSilent) + `"`,
		`"transport":"tls","resolver":"` + tcpServe(t, tcpSilent) + `"`,
	} {
		out := tcpRun(t, DNS(nil), 100*time.Millisecond, `{"name":"example.org",`+config+`}`)
		if out.Status != plugins.Unhealthy || out.Message != "timed out after 100ms" || out.Latency != nil || out.Fault != nil {
			t.Errorf("%s: got %s %q, latency %v, fault %v", config, out.Status, out.Message, out.Latency, out.Fault)
		}
	}
}

func TestTheNameServerOfThisMachineIsOurs(t *testing.T) {
	zone := dnsZone(t)
	with := func(address string, err error) engine.Type {
		return dnsWith(nil, func(int) (string, error) { return address, err })
	}
	run := func(kind engine.Type) engine.Outcome {
		return tcpRun(t, kind, 200*time.Millisecond, `{"name":"example.org"}`)
	}
	if out := run(with(dnsServe(t, zone), nil)); out.Status != plugins.Healthy || out.Fault != nil {
		t.Errorf("one that answers: got %s %q, fault %v", out.Status, out.Message, out.Fault)
	}
	silent := dnsServe(t, func(string, []byte) [][]byte { return nil })
	if out := run(with(silent, nil)); out.Fault == nil || out.Fault.Error() != "the name server of this machine does not answer" {
		t.Errorf("a silent one: got %s %q, fault %v", out.Status, out.Message, out.Fault)
	}
	some := dnsServe(t, func(network string, question []byte) [][]byte {
		if dnsAsked(question) == "checkstack.invalid 1" {
			return zone(network, question)
		}
		return nil
	})
	if out := run(with(some, nil)); out.Status != plugins.Unhealthy || out.Message != "timed out after 200ms" || out.Fault != nil {
		t.Errorf("one that is silent for the name: got %s %q, fault %v", out.Status, out.Message, out.Fault)
	}
	if out := run(with("", errors.New("none"))); out.Fault == nil ||
		out.Fault.Error() != "this machine has no name server in /etc/resolv.conf; a resolver can be set in the check" {
		t.Errorf("none: got %+v", out)
	}
}

func TestTheFirstNameServerOfAFileIsTaken(t *testing.T) {
	for text, want := range map[string]string{
		"# c\nsearch a\n nameserver\t192.0.2.1 \nnameserver 192.0.2.2\n": "192.0.2.1:53",
		"nameserver fe80::1%eth0": "[fe80::1%eth0]:53",
		"#nameserver 192.0.2.1\nnameserver\nnameserver x\nnameservers 192.0.2.1\n": "",
		"": "",
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := dnsNameserver(file, 53); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	if _, err := dnsNameserver(filepath.Join(t.TempDir(), "none"), 53); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

func TestADNSCheckDoesNotAskWhereItMayNot(t *testing.T) {
	p := &engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	address := dnsServe(t, func(string, []byte) [][]byte { t.Error("there was a question"); return nil })
	for _, transport := range []string{"udp", "tcp", "tls"} {
		out := tcpRun(t, DNS(p), time.Minute, `{"name":"example.org","resolver":"`+address+`","transport":"`+transport+`"}`)
		if _, ok := errors.AsType[*engine.DeniedError](out.Fault); !ok {
			t.Errorf("%s: got %+v", transport, out)
		}
	}
}

func TestAConfigurationOfADNSCheckIsChecked(t *testing.T) {
	for config, field := range map[string]string{
		`{}`:                   "name",
		`{"name":""}`:          "name",
		`{"name":"a..b"}`:      "name",
		`{"name":"a b"}`:       "name",
		`{"name":"ä.example"}`: "name",
		`{"name":"` + strings.Repeat("a", 64) + `"}`:           "name",
		`{"name":"a","type":"ANY"}`:                            "type",
		`{"name":"a","resolver":"b:c"}`:                        "resolver",
		`{"name":"a","transport":"quic"}`:                      "transport",
		`{"name":"a","tls":{}}`:                                "tls",
		`{"name":"a","transport":"tls","tls":{"ca":"x"}}`:      "tls.ca",
		`{"name":"a","expect":[]}`:                             "expect",
		`{"name":"a","expect":["1.2.3.4","x"]}`:                "expect[1]",
		`{"name":"a","expect":["::1"]}`:                        "expect[0]",
		`{"name":"a","type":"AAAA","expect":["1.2.3.4"]}`:      "expect[0]",
		`{"name":"a","type":"MX","expect":["mail"]}`:           "expect[0]",
		`{"name":"a","type":"MX","expect":["010 mail"]}`:       "expect[0]",
		`{"name":"a","type":"NS","expect":["a b"]}`:            "expect[0]",
		`{"name":"a","type":"SRV","expect":["1 2 x a"]}`:       "expect[0]",
		`{"name":"a","type":"SOA","expect":["a b 1 2 3 4"]}`:   "expect[0]",
		`{"name":"a","type":"CAA","expect":["issue a"]}`:       "expect[0]",
		`{"name":"a","type":"CAA","expect":["300 issue a"]}`:   "expect[0]",
		`{"name":"a","type":"CAA","expect":["0 issue \"a"]}`:   "expect[0]",
		`{"name":"a","expectRcode":"NXDOMAIN","expect":["x"]}`: "expect",
		`{"name":"a","expectRcode":"3"}`:                       "expectRcode",
	} {
		tcpInvalid(t, DNS(nil), config, field)
	}
	for config, target := range map[string]string{
		`{"name":"a"}`:                                        "",
		`{"name":"a","resolver":"ns"}`:                        "ns:53",
		`{"name":"a","resolver":"::1","transport":"tls"}`:     "[::1]:853",
		`{"name":"a","resolver":"ns:5353","transport":"tcp"}`: "ns:5353",
		`{"expect":[],"match":"exact","name":"a"}`:            "",
	} {
		check, err := DNS(nil).Compile(json.RawMessage(config))
		if err != nil {
			t.Errorf("%s: %v", config, err)
		} else if check.Target() != target {
			t.Errorf("%s: target %q", config, check.Target())
		}
	}
	check, err := DNS(nil).Compile(json.RawMessage(`{"name":"a","expect":[],"match":"exact","tls":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(check.Normal()); got != `{"expect":[],"match":"exact","name":"a"}` {
		t.Errorf("written %s", got)
	}
}
