// As much of the protocol of MySQL and MariaDB as it takes to log in: packets of at most 16 MiB, each with three bytes for its
// length, the least significant first, and one that counts.
//
//	server   greeting: version, capabilities, 20 bytes of salt, a method to prove the password
//	client   [request for TLS, handshake] login: user, proof, method
//	server   OK, or an error, or another method with other salt, or more of the same method
//
// The hard case is a greeting that is none. A server that is full or has blocked this machine sends an error in its place, which
// says more than that something went wrong. A server of another kind sends a text, whose first letters are a length.

package checks

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"net"
	"slices"
	"strings"

	"checkstack/plugins/healthcheck/engine"
)

// The bits of the capabilities that matter here.
const (
	mysqlLongPassword uint32 = 1 << 0
	mysql41           uint32 = 1 << 9
	mysqlTLS          uint32 = 1 << 11
	mysqlTransactions uint32 = 1 << 13
	mysqlSecure       uint32 = 1 << 15
	mysqlMethods      uint32 = 1 << 19
	mysqlNeeded              = mysql41 | mysqlSecure
)

// The first bytes of packets, and what a method adds.
const (
	mysqlProtocol  = 10
	mysqlOK        = 0x00
	mysqlMore      = 0x01
	mysqlQuit      = 0x01
	mysqlSwitch    = 0xfe
	mysqlErr       = 0xff
	mysqlSHA2Known = 3
	mysqlSHA2Full  = 4
)

// The methods to prove a password that are known here.
const (
	mysqlNative = "mysql_native_password"
	mysqlSHA2   = "caching_sha2_password"
)

const (
	mysqlMaxPacket = 64 << 10 // bytes of a packet that a server sends before the login is over
	mysqlUTF8      = 33       // the character set utf8, which every version knows
)

var errMySQLNotSpoken = &engine.PlainError{Text: "the other side does not speak MySQL's protocol"}

// mysqlWire sends and receives packets.
type mysqlWire struct {
	conn     net.Conn
	sequence byte // of the next packet, in either direction
}

// read returns the next packet, which has at least one byte.
func (w *mysqlWire) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(w.conn, head[:]); err != nil {
		return nil, err
	}
	size := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if size == 0 || size > mysqlMaxPacket || head[3] != w.sequence {
		return nil, errMySQLNotSpoken
	}
	w.sequence++
	packet := make([]byte, size)
	_, err := io.ReadFull(w.conn, packet)
	return packet, err
}

// write sends a packet, which is a short one.
func (w *mysqlWire) write(packet []byte) error {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(packet)))
	head[3] = w.sequence
	w.sequence++
	_, err := w.conn.Write(append(head, packet...))
	return err
}

// mysqlGreeting is what a server says first.
type mysqlGreeting struct {
	version      string
	capabilities uint32
	salt         []byte
	method       string
}

// parseMySQLGreeting reads the first packet of a server, which may also be an error.
func parseMySQLGreeting(b []byte) (g mysqlGreeting, err error) {
	if len(b) > 0 && b[0] == mysqlErr {
		return g, parseMySQLError(b)
	}
	if len(b) == 0 || b[0] != mysqlProtocol {
		return g, errMySQLNotSpoken
	}
	version, rest, found := bytes.Cut(b[1:], []byte{0})
	// The number of the connection (4 bytes), salt (8), a zero, capabilities (2), character set (1), state (2), more
	// capabilities (2), the length of all salt with a zero at its end (1), and nothing of interest (10).
	const fixed = 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10
	if !found || len(version) == 0 || len(rest) < 15 {
		return g, errMySQLNotSpoken
	}
	// For replicas that know of no version above 5, MariaDB puts one before its own.
	g.version = strings.TrimPrefix(string(version), "5.5.5-")
	g.capabilities = uint32(binary.LittleEndian.Uint16(rest[13:]))
	if len(rest) < fixed {
		return g, nil // as old servers have it
	}
	g.capabilities |= uint32(binary.LittleEndian.Uint16(rest[18:])) << 16
	more := max(13, int(rest[20])-8)
	if len(rest) < fixed+more {
		return g, errMySQLNotSpoken
	}
	g.salt = slices.Concat(rest[4:12], bytes.TrimSuffix(rest[fixed:fixed+more], []byte{0}))
	method, _, _ := bytes.Cut(rest[fixed+more:], []byte{0})
	g.method = string(method)
	return g, nil
}

// mysqlRequest is the beginning of a login, and all of a request for TLS.
func mysqlRequest(offered, tls uint32) []byte {
	capabilities := offered&(mysqlLongPassword|mysql41|mysqlTransactions|mysqlSecure|mysqlMethods) | tls
	b := binary.LittleEndian.AppendUint32(nil, capabilities)
	b = binary.LittleEndian.AppendUint32(b, 1<<24) // the largest packet
	return append(append(b, mysqlUTF8), make([]byte, 23)...)
}

// mysqlLogin is a login.
func mysqlLogin(offered, tls uint32, user string, proof []byte, method string) []byte {
	b := append(mysqlRequest(offered, tls), user...)
	b = append(append(b, 0, byte(len(proof))), proof...)
	if offered&mysqlMethods != 0 {
		b = append(append(b, method...), 0)
	}
	return b
}

// mysqlProof shows that the password is known, to a server that knows its hash, and to nobody who listens. An empty password
// has an empty proof.
func mysqlProof(method, password string, salt []byte) ([]byte, error) {
	var sum func(parts ...[]byte) []byte
	hashed := func(h hash.Hash, parts ...[]byte) []byte {
		for _, part := range parts {
			h.Write(part)
		}
		return h.Sum(nil)
	}
	switch method {
	case mysqlNative:
		sum = func(parts ...[]byte) []byte { return hashed(sha1.New(), parts...) }
	case mysqlSHA2:
		sum = func(parts ...[]byte) []byte { return hashed(sha256.New(), parts...) }
	default:
		return nil, &engine.PlainError{Text: "the server asks for a way to log in that this check does not know", Err: fmt.Errorf("%q", method)}
	}
	if password == "" {
		return nil, nil
	}
	once := sum([]byte(password))
	mask := sum(salt, sum(once))
	if method == mysqlSHA2 {
		mask = sum(sum(once), salt)
	}
	for i := range once {
		once[i] ^= mask[i]
	}
	return once, nil
}

// mysqlError is an error that the server sent.
type mysqlError struct {
	code uint16
	text string
}

func (e *mysqlError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// parseMySQLError reads a packet that begins with mysqlErr: a code (2 bytes), "#" and an SQLSTATE (6) or not, a text.
func parseMySQLError(b []byte) error {
	if len(b) < 3 {
		return errMySQLNotSpoken
	}
	e := &mysqlError{code: binary.LittleEndian.Uint16(b[1:])}
	text := b[3:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:]
	}
	e.text = string(text)
	return e
}

// Plain says what the code means.
func (e *mysqlError) Plain() string {
	switch e.code {
	case 1040, 1203, 1226:
		return "the server has too many connections"
	case 1129:
		return "the server has blocked this machine because of many connection errors"
	case 1130:
		return "the server does not let this machine in"
	case 1045, 1698:
		return "the server refused the user name or the password"
	case 1044:
		return "the server does not let the user in"
	case 3118, 4151:
		return "the user's account is locked"
	case 1820, 1862:
		return "the user's password has expired"
	case 3159:
		return "the server takes connections with TLS only"
	case 1053, 1079:
		return "the server is shutting down"
	case 1037, 1038, 1041, 1135:
		return "the server lacks memory"
	}
	return fmt.Sprintf("the server refused the connection (%d)", e.code)
}

// mysqlNobody are the errors that say only that nobody may not come in: by name and password, by the way to prove it, or without TLS.
var mysqlNobody = []uint16{1045, 1698, 1044, 1251, 1275, 3118, 3159, 4151}
