package engine

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"checkstack/plugins"
)

// denying is a policy that denies networks.
func denying(t *testing.T, networks string) *Policy {
	t.Helper()
	deny, err := parsePrefixes(networks)
	if err != nil {
		t.Fatal(err)
	}
	return &Policy{Deny: deny}
}

func TestAnAddressIsDeniedHoweverItIsWritten(t *testing.T) {
	for _, test := range []struct{ networks, address, denied string }{
		{"127.0.0.0/8", "127.0.0.1", "127.0.0.0/8"}, {"127.0.0.0/8", "127.255.255.255", "127.0.0.0/8"}, {"127.0.0.0/8", "128.0.0.0", ""},
		{"127.0.0.0/8", "::ffff:127.0.0.1", "127.0.0.0/8"}, {"127.0.0.0/8", "::ffff:7f00:1", "127.0.0.0/8"}, {"127.0.0.0/8", "64:ff9b::127.0.0.1", "127.0.0.0/8"},
		{"127.0.0.0/8", "64:ff9b:1::7f00:1", ""}, {"127.0.0.0/8", "::1", ""}, {"127.0.0.0/8", "0.0.0.0", "127.0.0.0/8"}, {"127.0.0.0/8", "::", "127.0.0.0/8"},
		{"127.0.0.0/8", "2002:7f00:1::", "127.0.0.0/8"}, {"127.0.0.0/8", "::127.0.0.1", "127.0.0.0/8"}, {"2002::/16", "2002:7f00:1::", "2002::/16"},
		{"::1", "::", "::1/128"}, {"::1", "0.0.0.0", "::1/128"}, {"::1", "::ffff:0.0.0.0", "::1/128"}, {"0.0.0.0/32", "0.0.0.0", "0.0.0.0/32"},
		{"::ffff:10.0.0.0/104", "10.1.2.3", "10.0.0.0/8"}, {"::ffff:10.1.2.3", "10.1.2.3", "10.1.2.3/32"}, {"10.1.2.3/8", "10.9.9.9", "10.0.0.0/8"},
		{"fe80::/10", "fe80::1%eth0", "fe80::/10"}, {"fe80::/10", "febf::1", "fe80::/10"}, {"fe80::/10", "fec0::1", ""}, {"10.0.0.0/8, fd00::/8", "fd12::1", "fd00::/8"},
		{"0.0.0.0/0", "192.0.2.1", "0.0.0.0/0"}, {"0.0.0.0/0", "2001:db8::1", ""}, {"::/0", "192.0.2.1", ""}, {"none", "127.0.0.1", ""},
		{denied, "169.254.169.254", "169.254.0.0/16"}, {denied, "fd00:ec2::254", "fd00:ec2::254/128"}, {denied, "fd00:ec2::253", ""}, {denied, "100.100.100.200", "100.100.100.200/32"}, {denied, "10.0.0.1", ""},
	} {
		err := denying(t, test.networks).Allowed(netip.MustParseAddr(test.address))
		got := ""
		if e, ok := errors.AsType[*DeniedError](err); ok {
			got = e.Network.String()
		}
		if got != test.denied || (err == nil) != (test.denied == "") {
			t.Errorf("%s of %s: got %v, want %q", test.address, test.networks, err, test.denied)
		}
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "::ffff:127.0.0.1", "0"} {
		if denying(t, "127.0.0.0/8").AllowedHost(host) == nil {
			t.Errorf("a proxy may go to %s", host)
		}
	}
	for _, host := range []string{"", "128.1", "127.0.0.0.1", "localhost", "127.example", "256.0.0.1", "127.0.0.256", "1_27.0.0.1"} {
		if err := denying(t, "127.0.0.0/8").AllowedHost(host); err != nil {
			t.Errorf("a proxy may not go to %s: %v", host, err)
		}
	}
	var none *Policy
	if err := none.Allowed(netip.MustParseAddr("127.0.0.1")); err != nil {
		t.Errorf("without a policy: %v", err)
	}
}

// listener accepts connections on 127.0.0.1 until the test ends.
func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestNoConnectionIsMadeToADeniedNetwork(t *testing.T) {
	l := listener(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	hosts := map[string]string{"the address": "127.0.0.1", "a name": "localhost", "IPv6": "::ffff:127.0.0.1", "any": "0.0.0.0"}
	p := denying(t, "127.0.0.0/8,::1")
	for name, host := range hosts {
		address := net.JoinHostPort(host, port)
		conn, err := p.DialContext(t.Context(), "tcp", address)
		if conn != nil {
			conn.Close()
			t.Errorf("%s connects to %s", name, conn.RemoteAddr())
		}
		fault := AsFault(t.Context(), err)
		if fault == nil || fault.Error() != "the address is in a network that checks may not connect to (-deny-networks)" || strings.Contains(fault.Error(), host) {
			t.Errorf("%s: got %v, %v", name, err, fault)
		}
	}
	conn, err := p.DialContext(t.Context(), "udp", net.JoinHostPort("127.0.0.1", port))
	if _, ok := errors.AsType[*DeniedError](err); !ok || conn != nil {
		t.Errorf("udp: got %v", err)
	}
	for _, allowed := range []*Policy{nil, {}, denying(t, "10.0.0.0/8")} {
		conn, err := allowed.DialContext(t.Context(), "tcp", net.JoinHostPort("localhost", port))
		if err != nil {
			t.Errorf("%+v: %v", allowed, err)
			continue
		}
		conn.Close()
	}
}

func TestOnlyNetworksOfAddressesAreUsed(t *testing.T) {
	for _, network := range []string{"unix", "unixgram", "ip4:icmp", ""} {
		if conn, err := (&Policy{}).DialContext(t.Context(), network, "/tmp/socket"); conn != nil || err == nil || !strings.HasSuffix(err.Error(), "is not one that checks may use") {
			t.Errorf("%s: got %v", network, err)
		}
	}
}

func TestThePolicyIsTakenFromFlags(t *testing.T) {
	for _, test := range []struct {
		args []string
		deny string
		exec bool
		env  []string
		err  string
	}{
		{args: nil, deny: denied},
		{args: []string{"-deny-networks", "10.0.0.0/8,::1", "-allow-exec", "-env-allow", "A, b_2"}, deny: "10.0.0.0/8,::1/128", exec: true, env: []string{"A", "b_2"}},
		{args: []string{"-deny-networks", "none"}, deny: "none"},
		{args: []string{"-deny-networks", "10.0.0.0/33"}, err: "expected networks such as 10.0.0.0/8,fd00::/8, or none; \"10.0.0.0/33\" is not one"},
		{args: []string{"-deny-networks", "fe80::1%eth0"}, err: "expected networks such as 10.0.0.0/8,fd00::/8, or none; \"fe80::1%eth0\" is not one"},
		{args: []string{"-deny-networks", ""}, err: "expected networks such as 10.0.0.0/8,fd00::/8, or none; \"\" is not one"},
		{args: []string{"-env-allow", "A,2b"}, err: "expected names of letters, digits and underscores with commas between them"},
		{args: []string{"-env-allow", "A-B"}, err: "expected names of letters, digits and underscores with commas between them"},
	} {
		var p Policy
		var flags plugins.Flags
		p.FlagsOfService(&flags)
		err := flags.Parse(test.args, func(string) string { return "" })
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q: got %v, want %s", test.args, err, test.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(p.Deny, denying(t, test.deny).Deny) || p.AllowExec != test.exec || !reflect.DeepEqual(p.AllowEnv, test.env) {
			t.Errorf("%q: got %v, %v, %q, %v", test.args, p.Deny, p.AllowExec, p.AllowEnv, err)
		}
	}
}
