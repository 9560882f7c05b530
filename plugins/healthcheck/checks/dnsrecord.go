// The data of records as text: what a run measures, and what a configuration expects. It is the presentation form of zone
// files, with two exceptions that make it what people write: names have no dot at their end, and the strings of a TXT
// record are one text, without quotes, as those who use them read it (RFC 7208, section 3.3).
//
//	A 192.0.2.1   MX "10 mail.example.org"   SRV "0 5 443 a.example.org"   CAA `0 issue "ca.example.net"`
//	SOA "ns.example.org hostmaster.example.org 2026010101 7200 3600 1209600 300"
//
// What is expected may have the dots and quotes nevertheless. It is compared as DNS does: the case of names and
// tags does not matter, that of texts does, and an address is the same however it is written.

package checks

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// dnsText reads data of a type that is known.
func dnsText(kind dnsType, r *dnsReader) (text string, known bool) {
	switch kind {
	case dnsA, dnsAAAA:
		size := 4
		if kind == dnsAAAA {
			size = 16
		}
		addr, ok := netip.AddrFromSlice(r.bytes(size))
		if !ok {
			return "", true // it ended too early
		}
		return addr.String(), true
	case dnsNS, dnsCNAME, dnsPTR:
		return r.name(), true
	case dnsMX:
		return fmt.Sprint(r.uint16(), " ", r.name()), true
	case dnsSRV:
		return fmt.Sprint(r.uint16(), " ", r.uint16(), " ", r.uint16(), " ", r.name()), true
	case dnsSOA:
		return fmt.Sprint(r.name(), " ", r.name(), " ", r.uint32(), " ", r.uint32(), " ", r.uint32(), " ", r.uint32(), " ", r.uint32()), true
	case dnsTXT:
		var all []byte
		for more := true; more; more = r.at < len(r.msg) {
			all = append(all, r.bytes(int(r.uint8()))...)
		}
		return dnsPrintable(all), true
	case dnsCAA:
		flags := r.uint8()
		tag := r.bytes(int(r.uint8()))
		value := r.bytes(len(r.msg) - r.at)
		return fmt.Sprintf(`%d %s "%s"`, flags, dnsPrintable(tag), dnsQuoted.Replace(dnsPrintable(value))), true
	}
	return "", false
}

var dnsQuoted = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// dnsPrintable writes what is no text as \DDD.
func dnsPrintable(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		if c < ' ' || c == 0x7f || c == utf8.RuneError && n == 1 {
			fmt.Fprintf(&s, `\%03d`, b[0])
		} else {
			s.Write(b[:n])
		}
		b = b[n:]
	}
	return s.String()
}

// dnsKey returns the form of a record's text in which two that are equal are the same. The error says what a text of the type
// looks like.
func dnsKey(kind dnsType, text string) (string, error) {
	fields := strings.Fields(text)
	switch kind {
	case dnsA, dnsAAAA:
		addr, err := netip.ParseAddr(text)
		if err == nil && addr.Zone() == "" && addr.Is4() == (kind == dnsA) {
			return addr.String(), nil
		}
		if kind == dnsA {
			return "", errors.New("expected an address such as 192.0.2.1")
		}
		return "", errors.New("expected an address such as 2001:db8::1")
	case dnsNS, dnsCNAME, dnsPTR:
		return dnsFields(fields, "n", "a name such as host.example.org")
	case dnsMX:
		return dnsFields(fields, "in", `a preference and a name such as "10 mail.example.org"`)
	case dnsSRV:
		return dnsFields(fields, "iiin", `priority, weight, port and name such as "0 5 443 host.example.org"`)
	case dnsSOA:
		return dnsFields(fields, "nniiiii", `two names and five numbers such as "ns.example.org hostmaster.example.org 1 7200 3600 1209600 300"`)
	case dnsCAA:
		invalid := errors.New(`expected flags, a tag and a value such as 0 issue "ca.example.net"`)
		parts := strings.SplitN(text, " ", 3)
		if len(parts) != 3 {
			return "", invalid
		}
		if n, err := strconv.ParseUint(parts[0], 10, 8); err != nil || strconv.FormatUint(n, 10) != parts[0] || parts[1] == "" {
			return "", invalid
		}
		value, ok := dnsUnquote(parts[2])
		if !ok {
			return "", invalid
		}
		return parts[0] + " " + strings.ToLower(parts[1]) + " " + value, nil
	}
	return text, nil
}

// dnsFields checks fields by their kinds: i a whole number without zeros before it, n a name.
func dnsFields(fields []string, kinds, what string) (string, error) {
	if len(fields) != len(kinds) {
		return "", errors.New("expected " + what)
	}
	for i, f := range fields {
		if kinds[i] == 'n' {
			fields[i] = strings.ToLower(f)
			if f != "." {
				fields[i] = strings.TrimSuffix(fields[i], ".")
			}
		} else if n, err := strconv.ParseUint(f, 10, 32); err != nil || strconv.FormatUint(n, 10) != f {
			return "", errors.New("expected " + what)
		}
	}
	return strings.Join(fields, " "), nil
}

// dnsUnquote reads strings in quotes and puts them together. A text that does not begin with a quote is itself.
func dnsUnquote(s string) (text string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, true
	}
	var b strings.Builder
	for s != "" {
		if s[0] != '"' {
			return "", false
		}
		s = s[1:]
		for {
			switch {
			case s == "" || s == `\`:
				return "", false
			case s[0] == '\\' && (s[1] == '"' || s[1] == '\\'):
				b.WriteByte(s[1])
				s = s[2:]
				continue
			case s[0] != '"':
				b.WriteByte(s[0])
				s = s[1:]
				continue
			}
			break
		}
		s = strings.TrimLeft(s[1:], " ")
	}
	return b.String(), true
}
