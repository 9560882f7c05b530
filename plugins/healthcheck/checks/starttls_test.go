package checks

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// tlsAfter is a server that goes through a script and then speaks TLS: a line "C: " is what must come, all others are said.
// It says nothing more after tlsCut.
func tlsAfter(t *testing.T, pki *tlsPKI, script ...string) string {
	return tcpServe(t, func(c net.Conn) {
		for _, line := range script {
			want, come := strings.CutPrefix(line, "C: ")
			switch {
			case line == tlsCut:
				c.(*net.TCPConn).CloseWrite()
				tcpSilent(c)
				return
			case !come:
				io.WriteString(c, line)
				continue
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil {
				return
			}
			if string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		tlsThen(pki.leaf, tcpSilent)(c)
	})
}

const (
	tlsCut     = "the connection is cut"
	tlsHello   = "C: EHLO [127.0.0.1]\r\n"
	tlsPGAsk   = "C: \x00\x00\x00\x08\x04\xd2\x16\x2f"
	tlsLDAPAsk = "C: \x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
)

func TestATLSCheckAsksForTLSInEveryProtocol(t *testing.T) {
	pki := tlsMake(t)
	for _, test := range []struct {
		protocol string
		script   []string
	}{
		{"smtp", []string{"220 mail ESMTP\r\n", tlsHello, "250-mail\r\n250-SIZE 1000\r\n250 starttls\r\n", "C: STARTTLS\r\n", "220 go\r\n"}},
		{"smtp", []string{"220-mail\r\n220-is\r\n220 here\r\n", tlsHello, "250-mail\r\n250-STARTTLS\r\n250 X\r\n", "C: STARTTLS\r\n", "220\r\n"}},
		{"imap", []string{"* OK [CAPABILITY IMAP4rev2] hello\r\n", "C: a STARTTLS\r\n", "* 1 EXISTS\r\na OK go\r\n"}},
		{"imap", []string{"* ok\r\n", "C: a STARTTLS\r\n", "a ok\r\n"}},
		{"pop3", []string{"+OK hello\r\n", "C: STLS\r\n", "+OK\r\n"}},
		{"postgres", []string{tlsPGAsk, "S"}},
		{"ldap", []string{tlsLDAPAsk, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"}},
		{"ldap", []string{tlsLDAPAsk, "\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"}},
	} {
		address := tlsAfter(t, pki, test.script...)
		out := tcpRun(t, TLS(nil), time.Minute, `{"address":"`+address+`","starttls":"`+test.protocol+`","ca":`+tlsQuote(pki.rootPEM)+`}`)
		if out.Status != plugins.Healthy || out.Message != "the certificate expires in 100 days" || out.Latency == nil {
			t.Errorf("%s %q: got %s %q %s", test.protocol, test.script, out.Status, out.Message, out.Measured.Object())
		}
		if _, ok := out.Measured.Get("phases.starttlsMs"); !ok {
			t.Errorf("%s: measured %s", test.protocol, out.Measured.Object())
		}
	}
}

func TestATLSCheckBelievesNothingThatIsWrongBeforeTLS(t *testing.T) {
	pki := tlsMake(t)
	const (
		refuses = "the server refuses to begin TLS"
		offers  = "the server does not offer TLS"
		more    = "the server said more than that TLS may begin"
		much    = "the server said too much before TLS"
		early   = "the connection was closed before the answer was complete"
	)
	long := strings.Repeat("secret ", 2000)
	for _, test := range []struct {
		protocol, message string
		script            []string
	}{
		{"smtp", "the server does not speak SMTP", []string{"SSH-2.0-secret\r\n"}},
		{"smtp", "the server does not speak SMTP", []string{"220-a\r\n250 b\r\n"}},
		{"smtp", "the server does not speak SMTP", []string{"220:secret\r\n"}},
		{"smtp", "the server does not speak SMTP", []string{"\r\n"}},
		{"smtp", "the server does not accept the session", []string{"554 secret\r\n"}},
		{"smtp", offers, []string{"220 x\r\n", tlsHello, "250-x\r\n250 STARTTLSX\r\n"}},
		{"smtp", offers, []string{"220 x\r\n", tlsHello, "250 STARTTLS\r\n"}}, // the name of the server
		{"smtp", offers, []string{"220 x\r\n", tlsHello, "502 secret\r\n"}},
		{"smtp", refuses, []string{"220 x\r\n", tlsHello, "250-x\r\n250 STARTTLS\r\n", "C: STARTTLS\r\n", "454 secret\r\n"}},
		{"smtp", more, []string{"220 x\r\n", tlsHello, "250-x\r\n250 STARTTLS\r\n", "C: STARTTLS\r\n", "220 go\r\n250 secret\r\n"}},
		{"smtp", much, []string{long}},
		{"smtp", much, []string{strings.Repeat("220-\r\n", 2000)}},
		{"imap", "the server does not speak IMAP", []string{"220 secret\r\n"}},
		{"imap", refuses, []string{"* PREAUTH secret\r\n"}},
		{"imap", refuses, []string{"* BYE secret\r\n"}},
		{"imap", refuses, []string{"* OK\r\n", "C: a STARTTLS\r\n", "a NO secret\r\n"}},
		{"imap", refuses, []string{"* OK\r\n", "C: a STARTTLS\r\n", "a BAD secret\r\n"}},
		{"imap", refuses, []string{"* OK\r\n", "C: a STARTTLS\r\n", "* BYE secret\r\n"}},
		{"imap", "the server does not speak IMAP", []string{"* OK\r\n", "C: a STARTTLS\r\n", "b OK secret\r\n"}},
		{"imap", more, []string{"* OK\r\n", "C: a STARTTLS\r\n", "a OK\r\n* OK secret\r\n"}},
		{"imap", much, []string{"* OK\r\n", "C: a STARTTLS\r\n", strings.Repeat("* secret\r\n", 2000)}},
		{"pop3", "the server does not speak POP3", []string{"-ERR secret\r\n"}},
		{"pop3", refuses, []string{"+OK\r\n", "C: STLS\r\n", "-ERR secret\r\n"}},
		{"pop3", "the server does not speak POP3", []string{"+OK\r\n", "C: STLS\r\n", "OK\r\n"}},
		{"pop3", more, []string{"+OK\r\n", "C: STLS\r\n", "+OK\r\n+OK secret\r\n"}},
		{"pop3", much, []string{long}},
		{"postgres", refuses, []string{tlsPGAsk, "N"}},
		{"postgres", "the server does not speak PostgreSQL", []string{tlsPGAsk, "H"}},
		{"postgres", more, []string{tlsPGAsk, "Ssecret"}},
		{"ldap", refuses, []string{tlsLDAPAsk, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"}},
		{"ldap", "the server does not speak LDAP", []string{tlsLDAPAsk, "HTTP/1.1 400 secret\r\n"}},
		{"ldap", "the server does not speak LDAP", []string{tlsLDAPAsk, "\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"}}, // to another message
		{"ldap", "the server does not speak LDAP", []string{tlsLDAPAsk, "\x30\x84\x7f\xff\xff\xff\x02"}},
		{"ldap", "the server does not speak LDAP", []string{tlsLDAPAsk, "\x30\x03\x02\x01\x01"}},
		{"ldap", more, []string{tlsLDAPAsk, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00secret"}},
		{"smtp", early, []string{"220-x\r\n", tlsCut}},
		{"imap", early, []string{"* OK\r\n", "C: a STARTTLS\r\n", "a OK", tlsCut}},
		{"pop3", early, []string{"+OK", tlsCut}},
		{"postgres", early, []string{tlsPGAsk, tlsCut}},
		{"ldap", early, []string{tlsLDAPAsk, "\x30\x0c\x02\x01\x01", tlsCut}},
	} {
		address := tlsAfter(t, pki, test.script...)
		out := tcpRun(t, TLS(nil), time.Minute, `{"address":"`+address+`","starttls":"`+test.protocol+`","verify":false}`)
		if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil || out.Fault != nil {
			t.Errorf("%s %.100q: got %s %q, latency %v, fault %v; want %q", test.protocol, test.script, out.Status, out.Message, out.Latency, out.Fault, test.message)
		}
		tcpPrivate(t, test.protocol, out)
	}
}

// TestWhatIsWrongBeforeTLSIsShownToThoseWhoMaySeeRuns, as it is often the only trace of a device in between.
func TestWhatIsWrongBeforeTLSIsShownToThoseWhoMaySeeRuns(t *testing.T) {
	out := tcpRun(t, TLS(nil), time.Minute, `{"address":"`+tcpServe(t, tcpSay("554 no \x00service\r\n"))+`","starttls":"smtp"}`)
	if got := tcpText(out, "error"); got != `the server does not accept the session: it said 554 "no \x00service"` {
		t.Errorf("got %q", got)
	}
}

func TestAClientWithoutANameSaysItsAddress(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:25":            "[192.0.2.1]",
		"[2001:db8::1]:25":        "[IPv6:2001:db8::1]",
		"[fe80::1%eth0]:25":       "[IPv6:fe80::1]",
		"[::ffff:192.0.2.1]:2500": "[192.0.2.1]",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := tlsLiteral(a); got != want {
			t.Errorf("%s: got %s", address, got)
		}
	}
}
