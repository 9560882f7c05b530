package checks

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// dnsHex reads bytes in hexadecimal, and texts in apostrophes.
func dnsHex(t testing.TB, s string) (b []byte) {
	t.Helper()
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		data, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, data...)
	}
	return b
}

const (
	dnsGoldenQuestion = "1234 0100 0001 0000 0000 0000 07'example'03'org'00 000f 0001"
	dnsGoldenAnswer   = "1234 8580 0001 0002 0001 0001 07'example'03'org'00 000f 0001" +
		"c00c 000f 0001 00000e10 0009 000a 04'mail'c00c" +
		"c00c 000f 0001 00000708 0007 0014 02'mx'c02b" + // to the name in the first record
		"c00c 0002 0001 00000e10 0002 c00c" + // the authority section, which is not read
		"00 0029 04d0 00000000 0000"
)

var dnsGolden = dnsQuestion{id: 0x1234, name: "example.org", kind: dnsMX, recurse: true}

func TestAQuestionHasTheBytesThatDNSSays(t *testing.T) {
	for _, test := range []struct {
		q    dnsQuestion
		want string
	}{
		{dnsGolden, dnsGoldenQuestion},
		{dnsQuestion{id: 1, name: ".", kind: dnsNS}, "0001 0000 0001 0000 0000 0000 00 0002 0001"},
		{dnsQuestion{id: 0xffff, name: "_a.B", kind: dnsCAA, recurse: true}, "ffff 0100 0001 0000 0000 0000 02'_a'01'B'00 0101 0001"},
	} {
		got, err := test.q.append(nil)
		if want := dnsHex(t, test.want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: got %x, %v; want %x", test.q, got, err, want)
		}
	}
	for _, name := range []string{"", "a..b", ".a", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if got, err := (dnsQuestion{name: name}).append(nil); err == nil {
			t.Errorf("%q: got %x", name, got)
		}
	}
	if _, err := (dnsQuestion{name: strings.Repeat("a.", 126) + "a"}).append(nil); err != nil {
		t.Errorf("a name of 253 characters: %v", err)
	}
}

func TestAnAnswerIsReadFromTheBytesThatDNSSays(t *testing.T) {
	a, err := dnsGolden.parse(dnsHex(t, dnsGoldenAnswer))
	want := dnsAnswer{rcode: 0, authoritative: true, records: []dnsRecord{
		{"example.org", dnsMX, 3600, "10 mail.example.org"}, {"example.org", dnsMX, 1800, "20 mx.mail.example.org"}}}
	if err != nil || fmt.Sprint(a) != fmt.Sprint(want) {
		t.Errorf("got %+v, %v; want %+v", a, err, want)
	}
	texts, ttl := a.of("EXAMPLE.org", dnsMX)
	if !slices.Equal(texts, []string{"10 mail.example.org", "20 mx.mail.example.org"}) || ttl != 1800 {
		t.Errorf("got %q, %d", texts, ttl)
	}
}

func TestEveryKindOfRecordIsWrittenAsText(t *testing.T) {
	for _, test := range []struct {
		kind       dnsType
		data, text string
	}{
		{dnsA, "c0000201", "192.0.2.1"},
		{dnsAAAA, "20010db8 00000000 00000000 00000001", "2001:db8::1"},
		{dnsNS, "02'ns'c00c", "ns.example.org"},
		{dnsCNAME, "00", "."},
		{dnsPTR, "03'a.b'02'\\c'01 20 02 c3bc 00", `a\.b.\\c.\032.\195\188`},
		{dnsMX, "0000 00", "0 ."},
		{dnsSRV, "0000 0005 01bb 01'a'c00c", "0 5 443 a.example.org"},
		{dnsSOA, "02'ns'c00c 0a'hostmaster'c00c 78c3f2d9 00001c20 00000e10 00127500 0000012c",
			"ns.example.org hostmaster.example.org 2026107609 7200 3600 1209600 300"},
		{dnsTXT, "07'v=spf1 '04'-all'", "v=spf1 -all"},
		{dnsTXT, "00", ""},
		{dnsTXT, "07 'a\"b' 00 c3bc ff", `a"b\000ü\255`},
		{dnsCAA, "00 05'issue' 'ca.example.net'", `0 issue "ca.example.net"`},
		{dnsCAA, "80 03'tbs' 'a\"b\\'", `128 tbs "a\"b\\"`},
		{dnsType(46), "00", ""}, // not known
	} {
		data := dnsHex(t, test.data)
		msg := dnsHex(t, "1234 8180 0001 0001 0000 0000 07'example'03'org'00 000f 0001 c00c")
		msg = binary.BigEndian.AppendUint16(msg, uint16(test.kind))
		msg = append(msg, 0, 1, 0, 0, 0, 60)
		msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
		msg = append(msg, data...)
		a, err := dnsGolden.parse(msg)
		if want := (dnsRecord{"example.org", test.kind, 60, test.text}); err != nil || len(a.records) != 1 || a.records[0] != want {
			t.Errorf("%d %s: got %+v, %v; want %+v", test.kind, test.data, a.records, err, want)
		}
		if len(data) == 0 || test.kind == 46 {
			continue
		}
		// Of data that is cut, and of data with something after it, nothing is made up.
		for n := range data {
			size := len(msg) - len(data)
			short := append(slices.Clone(msg[:size-2]), byte(n>>8), byte(n))
			short = append(short, data[:n]...)
			whole := test.kind == dnsTXT && n > 0 && (n == 8 || data[0] == 0) || test.kind == dnsCAA && n >= 2+int(data[1])
			if a, err := dnsGolden.parse(short); !errors.Is(err, errDNSMalformed) && !whole {
				t.Errorf("%d %s cut to %d bytes: got %+v, %v", test.kind, test.data, n, a, err)
			}
		}
		if test.kind != dnsTXT && test.kind != dnsCAA {
			binary.BigEndian.PutUint16(msg[len(msg)-len(data)-2:], uint16(len(data)+1))
			if a, err := dnsGolden.parse(append(msg, 0)); !errors.Is(err, errDNSMalformed) {
				t.Errorf("%d %s and a byte more: got %+v, %v", test.kind, test.data, a, err)
			}
		}
	}
}

func TestAMessageThatIsNotTheAnswerIsAnothers(t *testing.T) {
	for name, msg := range map[string]string{
		"nothing":            "",
		"a header too short": "1234 8180 0001 0000 0000 00",
		"another ID":         "1235 8180 0001 0000 0000 0000 07'example'03'org'00 000f 0001",
		"a question":         dnsGoldenQuestion,
		"another opcode":     "1234 a180 0001 0000 0000 0000 07'example'03'org'00 000f 0001",
		"another name":       "1234 8180 0001 0000 0000 0000 07'exbmple'03'org'00 000f 0001",
		"another type":       "1234 8180 0001 0000 0000 0000 07'example'03'org'00 0010 0001",
		"another class":      "1234 8180 0001 0000 0000 0000 07'example'03'org'00 000f 0003",
		"two questions":      "1234 8180 0002 0000 0000 0000 07'example'03'org'00 000f 0001 c00c 000f 0001",
		"no question":        "1234 8183 0000 0000 0000 0000",
		"half a question":    "1234 8180 0001 0000 0000 0000 07'example'03'org'00 00",
	} {
		if a, err := dnsGolden.parse(dnsHex(t, msg)); !errors.Is(err, errDNSOther) {
			t.Errorf("%s: got %+v, %v", name, a, err)
		}
	}
	for name, msg := range map[string]string{
		"not understood":     "1234 8181 0000 0000 0000 0000",
		"in capitals":        "1234 8181 0001 0000 0000 0000 07'EXAMPLE'03'oRg'00 000f 0001",
		"with more after it": "1234 8181 0001 0000 ffff ffff 07'example'03'org'00 000f 0001 aaaa",
	} {
		if a, err := dnsGolden.parse(dnsHex(t, msg)); err != nil || a.rcode != 1 {
			t.Errorf("%s: got %+v, %v", name, a, err)
		}
	}
}

func TestAMalformedAnswerIsRefused(t *testing.T) {
	const head = "07'example'03'org'00 000f 0001"
	for name, rest := range map[string]string{
		"fewer records than said":  "c00c 000f 0001 00000000 0003 0001 00",
		"no records":               "",
		"a pointer to itself":      "c01d 000f 0001 00000000 0003 0001 00",
		"pointers in circles":      "c00c 000f 0001 00000000 0004 0001 c02b",
		"a pointer ahead":          "c0ff 000f 0001 00000000 0003 0001 00",
		"half a pointer":           "c0",
		"a label of another kind":  "4000 000f 0001 00000000 0003 0001 00",
		"a label that goes on":     "3f'a'",
		"data that go on":          "c00c 000f 0001 00000000 ffff 0001 00",
		"no end of the name":       "03'abc'",
		"a name that is too long":  strings.Repeat("3f"+strings.Repeat("61", 63), 4) + "00 000f 0001 00000000 0003 0001 00",
		"a name within other data": "c00c 0002 0001 00000000 0001 03'abc'00",
	} {
		msg := dnsHex(t, "1234 8180 0001 ffff 0000 0000"+head+rest)
		if a, err := dnsGolden.parse(msg); !errors.Is(err, errDNSMalformed) {
			t.Errorf("%s: got %+v, %v", name, a, err)
		}
	}
	// Cut anywhere, the golden answer is one no more.
	whole := dnsHex(t, dnsGoldenAnswer)
	answers := len(whole) - 11 - 14
	for n := range answers {
		if a, err := dnsGolden.parse(whole[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: got %+v", n, len(whole), a)
		}
	}
	// A truncated one is not looked at further than to see that it is.
	if a, err := dnsGolden.parse(dnsHex(t, "1234 8380 0001 ffff 0000 0000"+head+"c0")); err != nil || !a.truncated || a.records != nil {
		t.Errorf("truncated: got %+v, %v", a, err)
	}
}

func TestAliasesAreFollowedToTheRecords(t *testing.T) {
	alias := func(from, to string, ttl uint32) dnsRecord { return dnsRecord{from, dnsCNAME, ttl, to} }
	a := func(name, text string, ttl uint32) dnsRecord { return dnsRecord{name, dnsA, ttl, text} }
	var long []dnsRecord
	for i := range 100 {
		long = append(long, alias(fmt.Sprint("a", i), fmt.Sprint("a", i+1), 1))
	}
	for _, test := range []struct {
		name    string
		records []dnsRecord
		kind    dnsType
		want    string
		ttl     uint32
	}{
		{"none", []dnsRecord{a("a0", "1", 5)}, dnsA, "[1]", 5},
		{"two, out of order", []dnsRecord{a("c", "1", 50), alias("b", "C", 7), a("c", "2", 60), alias("A0", "b", 9)}, dnsA, "[1 2]", 7},
		{"of another name", []dnsRecord{alias("a0", "b", 9), a("c", "1", 5)}, dnsA, "[]", 9},
		{"in circles", []dnsRecord{alias("a0", "b", 9), alias("b", "a0", 8)}, dnsA, "[]", 8},
		{"that are asked for", []dnsRecord{alias("a0", "b", 9), alias("b", "c", 8)}, dnsCNAME, "[b]", 9},
		{"too many", append(long, a("a100", "1", 1)), dnsA, "[]", 1},
		{"of another type", []dnsRecord{{"a0", dnsAAAA, 1, "::1"}}, dnsA, "[]", 1<<32 - 1},
	} {
		texts, ttl := dnsAnswer{records: test.records}.of("a0", test.kind)
		if fmt.Sprint(texts) != test.want || ttl != test.ttl {
			t.Errorf("%s: got %v, %d; want %s, %d", test.name, texts, ttl, test.want, test.ttl)
		}
	}
}

// FuzzDNSAnswer looks for messages that the reader of answers cannot cope with.
func FuzzDNSAnswer(f *testing.F) {
	f.Add(dnsHex(f, dnsGoldenAnswer))
	f.Add(dnsHex(f, "1234 8180 0001 0001 0000 0000 07'example'03'org'00 000f 0001 c00c 0006 0001 ffffffff 001a c00c c00c"+strings.Repeat("00000001", 5)+"0000"))
	f.Add(dnsHex(f, "1234 8180 0001 ffff 0000 0000 07'example'03'org'00 000f 0001 c01d 0101 0001 00000000 0003 00 01 61"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		a, err := dnsGolden.parse(msg)
		if err != nil {
			if !errors.Is(err, errDNSOther) && !errors.Is(err, errDNSMalformed) {
				t.Errorf("the error %v", err)
			}
			return
		}
		if len(a.records) > len(msg)/11 {
			t.Errorf("%d records in %d bytes", len(a.records), len(msg))
		}
		for _, r := range a.records {
			if len(r.name) > 4*dnsMaxName || r.ttl > 1<<31-1 {
				t.Errorf("got %+v", r)
			}
		}
		a.of("example.org", dnsMX)
	})
}

// FuzzDNSQuestion has every name that can be asked for come back as it was.
func FuzzDNSQuestion(f *testing.F) {
	f.Add(uint16(1), "example.org", uint16(dnsA), true)
	f.Add(uint16(0xffff), ".", uint16(dnsCAA), false)
	f.Fuzz(func(t *testing.T, id uint16, name string, kind uint16, recurse bool) {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
			return // Validate refuses it
		}
		q := dnsQuestion{id, name, dnsType(kind), recurse}
		msg, err := q.append(nil)
		if err != nil {
			return
		}
		msg[2] |= dnsResponse >> 8
		if a, err := q.parse(msg); err != nil || a.records != nil || a.rcode != 0 {
			t.Errorf("%+v: got %+v, %v", q, a, err)
		}
	})
}
