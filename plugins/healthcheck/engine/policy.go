// What runs may do on this machine, as the operator says: the networks they may not reach, the commands and variables they may
// use. Every connection that a check makes goes through [Policy.DialContext], which looks at the address itself, after names
// were resolved, and again for every redirect: a name that points to a forbidden network is of no use, whenever it does so.

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"checkstack/plugins"
)

// Policy is what checks may do. It is made by [Policy.Flags], or its fields are set before the first run. A nil *Policy allows
// connections to every network, and no commands and variables.
type Policy struct {
	Deny      []netip.Prefix // networks that no check may connect to
	AllowExec bool           // whether checks may run commands
	AllowEnv  []string       // names of variables that configurations may refer to
	Getenv    func(string) string

	resolver resolver
}

// denied is what checks may not reach by default: link-local networks, where clouds have the services that give credentials
// to whoever asks from the machine itself (RFC 3927, RFC 4291 section 2.5.6), and the addresses of such services elsewhere.
const denied = "169.254.0.0/16,fe80::/10,fd00:ec2::254/128,100.100.100.200/32,168.63.129.16/32"

// FlagsOfService declares the flags that make the policy of a program that makes checks which others have written: commands are
// run only where that is allowed.
func (p *Policy) FlagsOfService(f *plugins.Flags) {
	p.Flags(f)
	f.Bool(&p.AllowExec, "allow-exec", false, "let checks of type exec run commands on this machine, as the user that runs this program")
}

// Flags declares the flags that make the policy of whoever runs a check of their own.
func (p *Policy) Flags(f *plugins.Flags) {
	p.Deny, _ = parsePrefixes(denied) // it is well formed
	f.Func("deny-networks", "`networks` that no check may connect to, whatever name leads there, with commas between them, or none "+
		"(default "+denied+": link-local, and the metadata services of clouds)", func(s string) (err error) {
		p.Deny, err = parsePrefixes(s)
		return err
	})
	f.Func("env-allow", "`names` of environment variables that configurations may refer to as ${ENV:NAME}, with commas between them (default none)",
		func(s string) error {
			p.AllowEnv = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
			for _, name := range p.AllowEnv {
				if !isVariable(name) {
					return errors.New("expected names of letters, digits and underscores with commas between them")
				}
			}
			return nil
		})
}

func parsePrefixes(s string) ([]netip.Prefix, error) {
	if s == "none" {
		return nil, nil
	}
	var all []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		prefix, err := netip.ParsePrefix(part)
		if addr, bad := netip.ParseAddr(part); err != nil && bad == nil && addr.Zone() == "" {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("expected networks such as 10.0.0.0/8,fd00::/8, or none; %q is not one", part)
		}
		if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 { // as [Policy.Allowed] looks at it
			prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

// DeniedError says that a check may not connect to an address.
type DeniedError struct{ Network netip.Prefix }

// Error names neither the address nor the network, which are not for everybody who reads it.
func (e *DeniedError) Error() string {
	return "the address is in a network that checks may not connect to (-deny-networks)"
}

// embedding are the networks of IPv6 with an IPv4 address in their addresses, and from which byte on: RFC 6052, RFC 3056 section 2,
// RFC 4291 section 2.5.5.1.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 12},
}

// Allowed returns a [DeniedError] for an address that no check may connect to. An IPv4 address that is written as one of IPv6
// is looked at as what it is, and 0.0.0.0 and :: as this machine, to which they connect.
func (p *Policy) Allowed(addr netip.Addr) error {
	if p == nil {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	all := []netip.Addr{addr}
	for _, e := range embedding {
		if b := addr.As16(); addr.Is6() && e.prefix.Contains(addr) {
			all = append(all, netip.AddrFrom4([4]byte(b[e.at:e.at+4])))
		}
	}
	if addr.IsUnspecified() {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
	}
	for _, prefix := range p.Deny {
		if slices.ContainsFunc(all, prefix.Contains) {
			return &DeniedError{prefix}
		}
	}
	return nil
}

// AllowedHost is Allowed for a host that somebody else will resolve, as a proxy does. Of a name nothing is known here; an address is
// one also as older programs write it: 127.1, 2130706433, 0x7f000001 and 0177.0.0.1 are 127.0.0.1 (inet_aton).
func (p *Policy) AllowedHost(host string) error {
	host = strings.TrimSuffix(host, ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.Allowed(addr)
	}
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return nil
	}
	var all uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 { // the last one has all the bytes that are left
			bits = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(part, 0, bits)
		if err != nil || strings.ContainsRune(part, '_') {
			return nil
		}
		all = all<<bits | n
	}
	return p.Allowed(netip.AddrFrom4([4]byte{byte(all >> 24), byte(all >> 16), byte(all >> 8), byte(all)}))
}

// DialContext connects as [net.Dialer] does, but not to an address that is denied. network is "tcp", "tcp4", "tcp6", "udp" and
// so on; no other kind is allowed when anything is denied, such as a Unix socket.
func (p *Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
		return nil, fmt.Errorf("connect: the network %q is not one that checks may use", network)
	}
	d := net.Dialer{
		KeepAlive: -1, // no connection outlives a run
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return p.Allowed(addr.Addr())
		},
	}
	conn, err := d.DialContext(ctx, network, address)
	if err == nil && p != nil && !isAddress(address) {
		p.resolver.answered()
	}
	return conn, p.asDNSFault(ctx, err)
}

func isAddress(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	_, err := netip.ParseAddr(host)
	return err == nil
}

// mayRead returns an error for a variable that configurations may not refer to.
func (p *Policy) mayRead(name string) error {
	if p == nil || p.Getenv == nil || !slices.Contains(p.AllowEnv, name) {
		return fmt.Errorf("the variable %s is not one that configurations may refer to (-env-allow)", name)
	}
	return nil
}

// env returns the value of a variable that configurations may refer to.
func (p *Policy) env(name string) (string, error) {
	if err := p.mayRead(name); err != nil {
		return "", err
	}
	value := p.Getenv(name)
	switch {
	case value == "":
		return "", fmt.Errorf("the variable %s is not set", name)
	case !utf8.ValidString(value):
		return "", fmt.Errorf("the variable %s is not a text in UTF-8", name)
	}
	return value, nil
}

func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || isASCIILetter(r)
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
