// Messages of DNS, as far as a check asks and understands: RFC 1035, section 4. A question is written; of an answer the header,
// the question and the answer section are read, and what comes after is left alone.
//
// The hard case is a name, which may go on elsewhere in the message, and from there elsewhere again (section 4.1.4). Each
// pointer must lead to before where the name, or the part that it ends, began: so no name goes in circles, and none is longer
// than 255 bytes. Counts in the header say nothing of how much there is; only the bytes do.

package checks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// dnsType is the type of a record.
type dnsType uint16

const (
	dnsA     dnsType = 1
	dnsNS    dnsType = 2
	dnsCNAME dnsType = 5
	dnsSOA   dnsType = 6
	dnsPTR   dnsType = 12
	dnsMX    dnsType = 15
	dnsTXT   dnsType = 16
	dnsAAAA  dnsType = 28  // RFC 3596
	dnsSRV   dnsType = 33  // RFC 2782
	dnsCAA   dnsType = 257 // RFC 8659
)

const (
	dnsMaxName    = 255 // bytes of a name in a message
	dnsMaxAliases = 16  // that lead from one name to another
	dnsHeaderSize = 12
	dnsClassIN    = 1

	dnsResponse      = 1 << 15
	dnsOpcode        = 0xf << 11
	dnsAuthoritative = 1 << 10
	dnsTruncated     = 1 << 9
	dnsRecursion     = 1 << 8
	dnsRcode         = 0xf
)

// dnsQuestion is what is asked.
type dnsQuestion struct {
	id      uint16
	name    string // without the dot at its end; "." is the root
	kind    dnsType
	recurse bool
}

// dnsAnswer is what was answered.
type dnsAnswer struct {
	rcode         int
	authoritative bool
	truncated     bool // there are no records then
	records       []dnsRecord
}

// dnsRecord is a record of the answer section. text is its data as [dnsText] writes it, empty for a type that is not known.
type dnsRecord struct {
	name string
	kind dnsType
	ttl  uint32
	text string
}

var (
	errDNSOther     = errors.New("not an answer to the question")
	errDNSMalformed = errors.New("not a message of DNS")
)

func dnsMalformed(what string) error { return fmt.Errorf("%w: %s", errDNSMalformed, what) }

// append writes the question as a message.
func (q dnsQuestion) append(b []byte) ([]byte, error) {
	flags := uint16(0)
	if q.recurse {
		flags = dnsRecursion
	}
	for _, n := range []uint16{q.id, flags, 1, 0, 0, 0} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b, err := appendDNSName(b, q.name)
	if err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint16(b, uint16(q.kind))
	return binary.BigEndian.AppendUint16(b, dnsClassIN), nil
}

// appendDNSName writes a name of ASCII characters without escapes.
func appendDNSName(b []byte, name string) ([]byte, error) {
	size := 1
	if name != "." {
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > 63 {
				return nil, errors.New("a label has 1 to 63 characters")
			}
			size += 1 + len(label)
			b = append(b, byte(len(label)))
			b = append(b, label...)
		}
	}
	if size > dnsMaxName {
		return nil, errors.New("a name has at most 253 characters")
	}
	return append(b, 0), nil
}

// parse reads the answer to the question. A message that is another's, or was made by one who has not seen the question, is
// errDNSOther: the right one may yet come.
func (q dnsQuestion) parse(msg []byte) (dnsAnswer, error) {
	if len(msg) < dnsHeaderSize {
		return dnsAnswer{}, errDNSOther
	}
	word := func(i int) uint16 { return binary.BigEndian.Uint16(msg[2*i:]) }
	flags, questions, answers := word(1), word(2), int(word(3))
	if word(0) != q.id || flags&dnsResponse == 0 || flags&dnsOpcode != 0 {
		return dnsAnswer{}, errDNSOther
	}
	a := dnsAnswer{rcode: int(flags & dnsRcode), authoritative: flags&dnsAuthoritative != 0, truncated: flags&dnsTruncated != 0}
	if questions == 0 && (a.rcode == 1 || a.rcode == 4) { // a server that did not understand the question need not repeat it
		return dnsAnswer{rcode: a.rcode}, nil
	}
	r := &dnsReader{msg: msg, at: dnsHeaderSize}
	name, kind, class := r.name(), dnsType(r.uint16()), r.uint16()
	if r.err != nil || questions != 1 || kind != q.kind || class != dnsClassIN || !strings.EqualFold(name, q.name) {
		return dnsAnswer{}, errDNSOther
	}
	if a.truncated {
		return a, nil
	}
	for range answers {
		record, class := r.record()
		if r.err != nil {
			return dnsAnswer{}, r.err
		}
		if class == dnsClassIN {
			a.records = append(a.records, record)
		}
	}
	return a, nil
}

// of returns the records of a type that a name has, by way of the aliases in the answer, and for how many seconds all of
// them may be kept. Records of other names are nothing that was asked for.
func (a dnsAnswer) of(name string, kind dnsType) (texts []string, ttl uint32) {
	ttl = 1<<32 - 1
	for range dnsMaxAliases + 1 { // they may lead in circles
		next := ""
		for _, r := range a.records {
			if !strings.EqualFold(r.name, name) || r.kind != kind && r.kind != dnsCNAME {
				continue
			}
			ttl = min(ttl, r.ttl)
			if r.kind == kind {
				texts = append(texts, r.text)
			} else {
				next = r.text
			}
		}
		if next == "" || len(texts) > 0 {
			break
		}
		name = next
	}
	return texts, ttl
}

// dnsReader reads a message. After its first error it reads nothing more.
type dnsReader struct {
	msg []byte
	at  int
	err error
}

func (r *dnsReader) fail(what string) {
	if r.err == nil {
		r.err = dnsMalformed(what)
	}
	r.at = len(r.msg)
}

func (r *dnsReader) bytes(n int) []byte {
	if r.err != nil || n > len(r.msg)-r.at {
		r.fail("it ends too early")
		return nil
	}
	r.at += n
	return r.msg[r.at-n : r.at]
}

func (r *dnsReader) uint8() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *dnsReader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *dnsReader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// name reads a name and writes it as RFC 1035, section 5.1, does, without the dot at its end.
func (r *dnsReader) name() string {
	var name []byte
	size, begin, after := 1, r.at, -1
	for {
		n := int(r.uint8())
		switch {
		case r.err != nil:
			return ""
		case n == 0:
			if after >= 0 {
				r.at = after
			}
			if len(name) == 0 {
				return "."
			}
			return string(name[:len(name)-1])
		case n < 64:
			if size += 1 + n; size > dnsMaxName {
				r.fail("a name is too long")
				return ""
			}
			for _, c := range r.bytes(n) {
				switch {
				case c == '.' || c == '\\':
					name = append(name, '\\', c)
				case c <= ' ' || c > '~':
					name = fmt.Appendf(name, `\%03d`, c)
				default:
					name = append(name, c)
				}
			}
			name = append(name, '.')
		case n >= 0xc0:
			to := (n-0xc0)<<8 | int(r.uint8())
			if r.err == nil && to >= begin {
				r.fail("a name goes in circles")
			}
			if r.err != nil {
				return ""
			}
			if after < 0 {
				after = r.at
			}
			r.at, begin = to, to
		default:
			r.fail("a name has a label of an unknown kind")
			return ""
		}
	}
}

// record reads one record of the answer section.
func (r *dnsReader) record() (record dnsRecord, class uint16) {
	record.name = r.name()
	record.kind, class = dnsType(r.uint16()), r.uint16()
	record.ttl = r.uint32()
	if record.ttl > 1<<31-1 { // RFC 2181, section 8
		record.ttl = 0
	}
	size := int(r.uint16())
	begin := r.at
	if r.bytes(size); r.err != nil || class != dnsClassIN {
		return record, class
	}
	// Names in the data may lead to before it, so it is read with all that comes before, and nothing that comes after.
	data := &dnsReader{msg: r.msg[:r.at], at: begin}
	known := true
	record.text, known = dnsText(record.kind, data)
	if known && data.err == nil && data.at != r.at {
		data.fail("a record is longer than its data")
	}
	if known && data.err != nil {
		r.err = data.err
	}
	return record, class
}
