package engine

import (
	"strings"
	"testing"
)

func TestAnAddressHasAHostAndAPort(t *testing.T) {
	for _, test := range []struct {
		given string
		port  int
		want  string // "" is refused
	}{
		{"example.org", 80, "example.org:80"}, {"example.org:81", 80, "example.org:81"}, {"example.org:081", 80, "example.org:81"}, {"example.org", 0, ""}, {"example.org:1", 0, "example.org:1"},
		{"192.0.2.1", 80, "192.0.2.1:80"}, {"::1", 80, "[::1]:80"}, {"[::1]", 80, "[::1]:80"}, {"[::1]:81", 80, "[::1]:81"}, {"fe80::1%eth0", 80, "[fe80::1%eth0]:80"}, {"[fe80::1%eth0]:1", 0, "[fe80::1%eth0]:1"},
		{"example.org.", 80, "example.org.:80"}, {"a_b-c", 80, "a_b-c:80"}, {"bücher.example", 80, "bücher.example:80"}, {"example.org:65535", 80, "example.org:65535"},
		{"", 80, ""}, {":80", 80, ""}, {"example.org:", 80, ""}, {"example.org:0", 80, ""}, {"example.org:65536", 80, ""}, {"example.org:-1", 80, ""}, {"example.org:+1", 80, ""}, {"example.org:http", 80, ""},
		{"[::1", 80, ""}, {"::1]", 80, ""}, {"[::1]:", 80, ""}, {"[::1]x", 80, ""}, {"a:b:c", 80, ""}, {"a b", 80, ""}, {"a/b", 80, ""}, {"user@a", 80, ""}, {"a\n", 80, ""}, {"a\u00a0b", 80, ""},
		{"a\u0085", 80, ""}, {"a\xff", 80, ""}, {".a", 80, ""}, {"a..b", 80, ""}, {".", 80, ""}, {"http://a", 80, ""}, {"::1%", 80, ""}, {"a%41", 80, ""}, {"[a b]:1", 80, ""},
		{strings.Repeat("a", 253), 80, strings.Repeat("a", 253) + ":80"}, {strings.Repeat("a", 254), 80, ""},
	} {
		got, err := Address("tcp.address", test.given, test.port)
		refused := ""
		if test.want == "" {
			refused = "tcp.address: expected a host and a port such as example.org:80"
			if test.port == 0 {
				refused += "80"
			}
		}
		if got != test.want || refusal(t, err) != refused {
			t.Errorf("%q with %d: got %q, %v; want %q", test.given, test.port, got, err, test.want)
		}
	}
}

// FuzzAddress: what is accepted is accepted again as it is.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"example.org", "[::1]:80", "::1", "fe80::1%a]", "a:b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		one, err := Address("a", s, 80)
		if err != nil {
			return
		}
		if two, err := Address("a", one, 0); err != nil || two != one {
			t.Errorf("%q is %q and then %q, %v", s, one, two, err)
		}
	})
}
