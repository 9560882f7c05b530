// The check type dns asks a name server for the records of a name, and compares them with those that are expected:
//
//	{"resolver": "ns1.example.org", "name": "example.org", "type": "MX", "expect": ["10 mail.example.org"], "match": "exact"}
//
// Names are written as they are asked for, in ASCII: an international one in its form with xn--. The records are those of the name
// or of what it is an alias for; see dnsrecord.go for how they are written.
//
// The latency is the time from the start to the answer: with the lookup of the server's own name, the connection, the handshake,
// and the second question where one was needed.
//
// The hard case is a check without a resolver, which asks the name server of this machine. That one is no part of what is
// watched: if it answers nothing at all, the run says nothing of the name. So after a failure it is asked for a name that
// can never exist (RFC 6761, section 6.4), and if it does not answer that either, the fault is ours.

package checks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const (
	dnsMaxRecords = 100         // that are measured
	dnsProbe      = time.Second // for the name server of this machine to show that it is there
	dnsAbsent     = "checkstack.invalid"
)

// DNS is the check type dns.
func DNS(p *engine.Policy) engine.Type {
	return dnsWith(p, func(port int) (string, error) { return dnsNameserver("/etc/resolv.conf", port) })
}

// dnsWith is the type with another way to find the name server of this machine.
func dnsWith(p *engine.Policy, nameserver func(port int) (string, error)) engine.Type {
	paths := append([]engine.Path{
		{Name: "rcode", Kind: engine.Text, Doc: "what kind of answer it was, such as NOERROR or NXDOMAIN"},
		{Name: "records", Kind: engine.Texts, Doc: "the records of the type that was asked for, in the order of the answer, at most 100"},
		{Name: "answers", Kind: engine.Number, Doc: "how many there are"},
		{Name: "ttl", Kind: engine.Number, Doc: "seconds for which they may be kept: the least of theirs and of the aliases that led to them"},
		{Name: "authoritative", Kind: engine.Bool, Doc: "whether the server is an authority for the name"},
		{Name: "phases.connectMs", Kind: engine.Number, Doc: "milliseconds for the lookup of the resolver and, but for UDP, the connection"},
		{Name: "phases.tlsMs", Kind: engine.Number, Doc: "milliseconds for the TLS handshake"},
		{Name: "phases.totalMs", Kind: engine.Number, Doc: "milliseconds until the answer: the latency"},
	}, engine.TLSPaths()...)
	return engine.New("dns", paths, func() engine.Config {
		return &dnsCheck{Type: "A", Transport: "udp", Recursion: true, Match: "all", ExpectRcode: "NOERROR", policy: p, nameserver: nameserver}
	})
}

type dnsCheck struct {
	Name        string      `json:"name" doc:"the name to ask for; for PTR also an address" limit:"1-255" required:"true"`
	Type        string      `json:"type" doc:"the type of the records" enum:"A,AAAA,CNAME,MX,TXT,NS,SRV,PTR,SOA,CAA"`
	Resolver    string      `json:"resolver" doc:"the name server to ask, host or host:port; by default that of the machine where the check runs" limit:"0-300"`
	Transport   string      `json:"transport" doc:"how to ask; udp goes on with TCP where the answer does not fit" enum:"udp,tcp,tls"`
	TLS         *engine.TLS `json:"tls,omitempty" doc:"how to speak TLS, with the transport tls"`
	Recursion   bool        `json:"recursion" doc:"whether the server is asked to ask others"`
	Expect      []string    `json:"expect" doc:"records that are expected; none with match exact: that there are none. By default any record will do" limit:"0-50"`
	Match       string      `json:"match" doc:"whether any, all or exactly these must be among the records" enum:"any,all,exact"`
	ExpectRcode string      `json:"expectRcode" doc:"the kind of answer that is expected" enum:"NOERROR,FORMERR,SERVFAIL,NXDOMAIN,NOTIMP,REFUSED"`

	policy     *engine.Policy
	nameserver func(port int) (string, error)
	server     string // "host:port", empty for that of the machine
	question   dnsQuestion
	expected   map[string]bool // by their keys
}

// Validate implements [engine.Config].
func (c *dnsCheck) Validate() (err error) {
	if c.TLS != nil && c.Transport != "tls" {
		return plugins.Invalid("tls", "expected this field only with the transport tls")
	}
	if c.Resolver != "" {
		if c.server, err = engine.Address("resolver", c.Resolver, c.port()); err != nil {
			return err
		}
	}
	c.question = dnsQuestion{name: c.Name, kind: dnsTypes[c.Type], recurse: c.Recursion}
	if addr, bad := netip.ParseAddr(c.Name); bad == nil && c.Type == "PTR" && addr.Zone() == "" {
		c.question.name = dnsReverse(addr)
	} else if c.Name != "." {
		c.question.name = strings.TrimSuffix(c.Name, ".")
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '"' }) {
		return plugins.Invalid("name", "expected a name in ASCII; an international name is written with xn--")
	}
	if _, err := c.question.append(nil); err != nil {
		return plugins.Invalid("name", "expected a name such as example.org: %v", err)
	}
	if c.Expect == nil {
		return c.TLS.Compile("tls")
	}
	if c.ExpectRcode != "NOERROR" {
		return plugins.Invalid("expect", "expected no records, because they come only with NOERROR")
	}
	if len(c.Expect) == 0 && c.Match != "exact" {
		return plugins.Invalid("expect", "expected at least one record, or match exact")
	}
	c.expected = make(map[string]bool)
	for i, s := range c.Expect {
		key, err := dnsKey(c.question.kind, s)
		if text, ok := dnsUnquote(s); err == nil && c.Type == "TXT" && ok {
			key = text
		}
		if err != nil {
			return plugins.Invalid("expect["+strconv.Itoa(i)+"]", "%v", err)
		}
		c.expected[key] = true
	}
	return c.TLS.Compile("tls")
}

var dnsTypes = map[string]dnsType{"A": dnsA, "AAAA": dnsAAAA, "CNAME": dnsCNAME, "MX": dnsMX, "TXT": dnsTXT, "NS": dnsNS, "SRV": dnsSRV,
	"PTR": dnsPTR, "SOA": dnsSOA, "CAA": dnsCAA}

// port is the usual port.
func (c *dnsCheck) port() int {
	if c.Transport == "tls" {
		return 853
	}
	return 53
}

// dnsReverse is the name that an address has a PTR record at: RFC 1035 section 3.5, RFC 3596 section 2.5.
func dnsReverse(addr netip.Addr) string {
	var name strings.Builder
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	b := addr.As16()
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&name, "%x.%x.", b[i]&0xf, b[i]>>4)
	}
	return name.String() + "ip6.arpa"
}

// Target is empty for the name server of the machine, which many checks ask.
func (c *dnsCheck) Target() string { return c.server }

// Run implements [engine.Config].
func (c *dnsCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	server := c.server
	if server == "" {
		var err error
		if server, err = c.nameserver(c.port()); err != nil {
			return engine.Outcome{Fault: &engine.Fault{Reason: "this machine has no name server in /etc/resolv.conf; a resolver can be set in the check", Err: err}}
		}
	}
	start := time.Now()
	a, err := c.ask(ctx, server, c.question, &m)
	latency := time.Since(start)
	if err != nil {
		return c.failed(ctx, server, err, m)
	}
	records, ttl := a.of(c.question.name, c.question.kind)
	m.Set("rcode", dnsRcodeName(a.rcode))
	m.Set("authoritative", a.authoritative)
	m.Set("answers", len(records))
	m.Set("records", append([]string{}, records[:min(len(records), dnsMaxRecords)]...))
	if len(records) > 0 {
		m.Set("ttl", ttl)
	}
	m.Set("phases.totalMs", tcpMs(latency))
	status, message := c.judge(a.rcode, records)
	return engine.Outcome{Status: status, Latency: &latency, Message: message, Measured: m}
}

// judge compares an answer with what is expected.
func (c *dnsCheck) judge(rcode int, records []string) (plugins.Status, string) {
	name := dnsRcodeName(rcode)
	switch {
	case name != c.ExpectRcode:
		return plugins.Unhealthy, "expected " + c.ExpectRcode + ", the answer was " + name
	case rcode != 0:
		return plugins.Healthy, "the answer was " + name
	case c.expected == nil && len(records) == 0:
		return plugins.Unhealthy, "there are no " + c.Type + " records"
	}
	found, others := make(map[string]bool), 0
	for _, text := range records {
		key, err := dnsKey(c.question.kind, text)
		if err != nil || !c.expected[key] {
			others++
			continue
		}
		found[key] = true
	}
	missing := len(c.expected) - len(found)
	switch {
	case c.expected == nil:
	case c.Match == "any" && len(found) == 0:
		return plugins.Unhealthy, "none of the expected records is there"
	case c.Match != "any" && missing > 0:
		return plugins.Unhealthy, fmt.Sprintf("%d of %d expected records are missing", missing, len(c.expected))
	case c.Match == "exact" && others > 0:
		return plugins.Unhealthy, c.count(others) + " more than expected"
	}
	return plugins.Healthy, c.count(len(records))
}

// count is a number of records of the type.
func (c *dnsCheck) count(n int) string {
	if n == 1 {
		return "1 " + c.Type + " record"
	}
	return fmt.Sprintf("%d %s records", n, c.Type)
}

// failed is the outcome of a run without an answer.
func (c *dnsCheck) failed(ctx context.Context, server string, err error, m engine.Measured) engine.Outcome {
	switch {
	case errors.Is(err, errDNSMalformed):
		err = &engine.PlainError{Text: "there was no valid answer of DNS", Err: err}
	case errors.Is(err, errDNSOther):
		err = &engine.PlainError{Text: "the answer was to another question", Err: err}
	}
	out := tcpFailed(ctx, err, m)
	if c.server != "" || out.Fault != nil || errors.Is(ctx.Err(), context.Canceled) {
		return out
	}
	probe, cancel := context.WithTimeout(context.WithoutCancel(ctx), dnsProbe)
	defer cancel()
	if _, silent := c.ask(probe, server, dnsQuestion{name: dnsAbsent, kind: dnsA, recurse: true}, &engine.Measured{}); silent != nil {
		out.Fault = &engine.Fault{Reason: "the name server of this machine does not answer", Err: err}
	}
	return out
}

// dnsRcodeName is the name of a kind of answer: RFC 1035 section 4.1.1, RFC 2136 section 2.2.
func dnsRcodeName(code int) string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}
	if code < len(names) {
		return names[code]
	}
	return "RCODE" + strconv.Itoa(code)
}

// dnsNameserver is the first name server in a file like /etc/resolv.conf, which is read for every run because it changes.
func dnsNameserver(file string, port int) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "nameserver" {
			if _, err := netip.ParseAddr(fields[1]); err == nil {
				return net.JoinHostPort(fields[1], strconv.Itoa(port)), nil
			}
		}
	}
	return "", errors.New("there is no line of a name server")
}
