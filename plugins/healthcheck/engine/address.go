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

// IsHost reports whether s can be a host: an IP address, or a name of at most 253 letters, digits, dashes, underscores and dots.
func IsHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > 253 || strings.HasPrefix(s, ".") || strings.Contains(s, "..") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == "" ||
		!strings.ContainsFunc(s, func(r rune) bool {
			return r <= ' ' || r == utf8.RuneError || unicode.IsSpace(r) || unicode.IsControl(r) || r < 0x80 && strings.ContainsRune(`"#$%&'()*+,/:;<=>?@[\]^{|}~`+"`\x7f", r)
		})
}
