package engine

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"checkstack/plugins"
)

// Address checks "host" or "host:port", where the host is a name or an address, of IPv6 in brackets if there is a port, and returns
// it with the port, which is the default one if none is given. A default of 0 means that a port must be given.
func Address(field, s string, port int) (string, error) {
	example := "example.org:" + strconv.Itoa(port)
	if port == 0 {
		example = "example.org:8080"
	}
	invalid := plugins.Invalid(field, "expected a host and a port such as %s", example)
	host, given, err := net.SplitHostPort(s)
	if err != nil {
		host, given = s, strconv.Itoa(port)
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			host = s[1 : len(s)-1]
		}
	}
	n, bad := strconv.ParseUint(given, 10, 16)
	if bad != nil || n == 0 || !IsHost(host) {
		return "", invalid
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// IsHost reports whether s can be a host: an IP address, or a name of at most 253 bytes of letters, digits, dashes,
// underscores and dots.
func IsHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return !strings.ContainsFunc(addr.Zone(), notInName)
	}
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, ".") && !strings.Contains(s, "..") && !strings.ContainsFunc(s, notInName)
}

// notInName tells what cannot be in a name. Letters of every script can.
func notInName(r rune) bool {
	if r < 0x80 {
		return !isASCIILetter(r) && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}
	return r == utf8.RuneError || unicode.IsSpace(r) || unicode.IsControl(r)
}

func isASCIILetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
