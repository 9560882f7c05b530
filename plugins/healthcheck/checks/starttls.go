// How a server is asked to begin TLS in the middle of a protocol that begins without: SMTP (RFC 3207), IMAP (RFC 9051), POP3
// (RFC 2595), PostgreSQL and LDAP (RFC 4511, section 4.14).
//
// The hard case is what comes before TLS, which anybody on the way can change. More than the answer to the request, sent at once
// with it, would be taken for something that was said in secret, so it is refused: RFC 3207, section 6, and the attack
// known as STARTTLS injection. All that is said before TLS has at most 8 KiB, however it is cut into lines.

package checks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"checkstack/plugins/healthcheck/engine"
)

const tlsMaxPlain = 8 << 10 // bytes that a server says before TLS

// tlsProtocol is a protocol that begins without TLS.
type tlsProtocol struct {
	name string
	port int                  // the usual one
	ask  func(*tlsTalk) error // nil where TLS begins at once
	bye  string               // ends a session, in secret
}

func tlsStarts(name string) tlsProtocol {
	switch name {
	case "smtp":
		return tlsProtocol{"SMTP", 25, (*tlsTalk).smtp, "QUIT\r\n"}
	case "imap":
		return tlsProtocol{"IMAP", 143, (*tlsTalk).imap, "b LOGOUT\r\n"}
	case "pop3":
		return tlsProtocol{"POP3", 110, (*tlsTalk).pop3, "QUIT\r\n"}
	case "postgres":
		return tlsProtocol{"PostgreSQL", 5432, (*tlsTalk).postgres, ""}
	case "ldap":
		return tlsProtocol{"LDAP", 389, (*tlsTalk).ldap, ""}
	}
	return tlsProtocol{port: 443}
}

// tlsTalk is what is said before TLS.
type tlsTalk struct {
	conn net.Conn
	left *io.LimitedReader
	*bufio.Reader
}

// tlsAsk brings a server to the point where it expects a handshake.
func tlsAsk(conn net.Conn, protocol tlsProtocol) error {
	left := &io.LimitedReader{R: conn, N: tlsMaxPlain}
	t := &tlsTalk{conn, left, bufio.NewReaderSize(left, tlsMaxPlain)}
	err := protocol.ask(t)
	switch {
	case errors.Is(err, io.EOF) && left.N == 0:
		return &engine.PlainError{Text: "the server said too much before TLS", Err: err}
	case errors.Is(err, errTLSNotSpoken):
		return &engine.PlainError{Text: "the server does not speak " + protocol.name, Err: err}
	case err != nil:
		return err
	case t.Buffered() > 0:
		return &engine.PlainError{Text: "the server said more than that TLS may begin"}
	}
	return nil
}

var errTLSNotSpoken = errors.New("not an answer of the protocol")

func tlsNotSpoken(line string) error { return fmt.Errorf("%w: %.200q", errTLSNotSpoken, line) }

func tlsRefused(line string) error {
	return &engine.PlainError{Text: "the server refuses to begin TLS", Err: fmt.Errorf("it said %.200q", line)}
}

func (t *tlsTalk) say(s string) error {
	_, err := io.WriteString(t.conn, s)
	return err
}

// line is the next line without its end.
func (t *tlsTalk) line() (string, error) {
	line, err := t.ReadString('\n')
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err
}

// reply is an answer of SMTP: lines of a code and a text, of which all but the last have a dash between the two.
func (t *tlsTalk) reply() (code string, texts []string, err error) {
	for {
		line, err := t.line()
		if err != nil {
			return "", nil, err
		}
		if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" || code != "" && line[:3] != code {
			return "", nil, tlsNotSpoken(line)
		}
		code = line[:3]
		if len(line) == 3 {
			return code, append(texts, ""), nil
		}
		texts = append(texts, line[4:])
		switch line[3] {
		case ' ':
			return code, texts, nil
		case '-':
		default:
			return "", nil, tlsNotSpoken(line)
		}
	}
}

func (t *tlsTalk) smtp() error {
	code, texts, err := t.reply()
	if err != nil {
		return err
	}
	if code != "220" {
		return &engine.PlainError{Text: "the server does not accept the session", Err: fmt.Errorf("it said %s %.200q", code, texts[0])}
	}
	if err := t.say("EHLO " + tlsLiteral(t.conn.LocalAddr()) + "\r\n"); err != nil {
		return err
	}
	code, texts, err = t.reply()
	if err != nil {
		return err
	}
	offered := false
	for _, text := range texts[1:] { // the first is the server's name
		offered = offered || strings.EqualFold(strings.TrimSpace(text), "STARTTLS")
	}
	if code != "250" || !offered {
		return &engine.PlainError{Text: "the server does not offer TLS", Err: fmt.Errorf("it said %s %.200q", code, texts)}
	}
	if err := t.say("STARTTLS\r\n"); err != nil {
		return err
	}
	code, texts, err = t.reply()
	if err == nil && code != "220" {
		err = tlsRefused(code + " " + texts[0])
	}
	return err
}

// tlsLiteral is the address of this side as one without a name says it: RFC 5321, section 4.1.3.
func tlsLiteral(a net.Addr) string {
	at, _ := netip.ParseAddrPort(a.String())
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is6() {
		return "[IPv6:" + addr.String() + "]"
	}
	return "[" + addr.String() + "]"
}

func (t *tlsTalk) imap() error {
	line, err := t.line()
	if err != nil {
		return err
	}
	switch {
	case tlsHasWords(line, "*", "PREAUTH"), tlsHasWords(line, "*", "BYE"): // the one is too late for TLS, the other too early
		return tlsRefused(line)
	case !tlsHasWords(line, "*", "OK"):
		return tlsNotSpoken(line)
	}
	if err := t.say("a STARTTLS\r\n"); err != nil {
		return err
	}
	for {
		line, err := t.line()
		switch {
		case err != nil:
			return err
		case tlsHasWords(line, "a", "OK"):
			return nil
		case tlsHasWords(line, "a", "NO"), tlsHasWords(line, "a", "BAD"), tlsHasWords(line, "*", "BYE"):
			return tlsRefused(line)
		case !strings.HasPrefix(line, "* "):
			return tlsNotSpoken(line)
		}
	}
}

// tlsHasWords reports whether a line begins with two words.
func tlsHasWords(line, first, second string) bool {
	a, rest, _ := strings.Cut(line, " ")
	b, _, _ := strings.Cut(rest, " ")
	return a == first && strings.EqualFold(b, second)
}

func (t *tlsTalk) pop3() error {
	line, err := t.line()
	if err != nil {
		return err
	}
	if word, _, _ := strings.Cut(line, " "); word != "+OK" {
		return tlsNotSpoken(line)
	}
	if err := t.say("STLS\r\n"); err != nil {
		return err
	}
	line, err = t.line()
	if err != nil {
		return err
	}
	switch word, _, _ := strings.Cut(line, " "); word {
	case "+OK":
		return nil
	case "-ERR":
		return tlsRefused(line)
	}
	return tlsNotSpoken(line)
}

// postgres sends an SSLRequest: its length, and a number that is no version of the protocol.
func (t *tlsTalk) postgres() error {
	if err := t.say("\x00\x00\x00\x08\x04\xd2\x16\x2f"); err != nil {
		return err
	}
	answer, err := t.ReadByte()
	switch {
	case err != nil:
		return err
	case answer == 'S':
		return nil
	case answer == 'N', answer == 'E':
		return tlsRefused(string(answer))
	}
	return tlsNotSpoken(string(answer))
}

// ldap sends an ExtendedRequest for StartTLS with the message ID 1. The answer is
//
//	SEQUENCE { INTEGER 1, [APPLICATION 24] { ENUMERATED resultCode, … } }
func (t *tlsTalk) ldap() error {
	if err := t.say("\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"); err != nil {
		return err
	}
	n, err := tlsBERLength(t, 0x30)
	if err != nil {
		return err
	}
	if n > tlsMaxPlain {
		return tlsNotSpoken("")
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(t, answer); err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(answer, []byte{0x02, 1, 1})
	r := bytes.NewReader(rest)
	_, err = tlsBERLength(r, 0x78)
	code, bad := tlsBERLength(r, 0x0a)
	if result, none := r.ReadByte(); !ok || err != nil || bad != nil || none != nil || code != 1 {
		return tlsNotSpoken(string(answer))
	} else if result != 0 {
		return tlsRefused(fmt.Sprintf("result code %d", result))
	}
	return nil
}

// tlsBERLength reads the tag of a value, which must be this one, and the length of what follows, in any form of at most 4 bytes.
func tlsBERLength(r io.ByteReader, tag byte) (int, error) {
	got, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	if got != tag {
		return 0, tlsNotSpoken(string(got))
	}
	first, err := r.ReadByte()
	if err != nil || first < 0x80 {
		return int(first), err
	}
	if first == 0x80 || first > 0x84 {
		return 0, tlsNotSpoken(string(first))
	}
	n := 0
	for range first - 0x80 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n = n<<8 | int(b)
	}
	return n, nil
}
