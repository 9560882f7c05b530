// The check type ssh says hello to an SSH server and looks at what it offers, without logging in (RFC 4253, sections 4.2, 6 and 7):
//
//	both     SSH-2.0-software comments
//	server   KEXINIT: the names of all algorithms that it knows
//	check    DISCONNECT
//
// The latency of a run is the time from its start until the server's KEXINIT was read: name lookup, connection, and two answers.
//
// The hard case is being too early. A server that is full of clients that have not logged in yet says so in a line, and a line
// before its identification is what any server may send. So lines are not an error, but the last of them tells why there was no more.

package checks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const (
	sshMaxLine   = 255    // bytes, with the end of the line
	sshMaxLines  = 50     // before the identification
	sshMaxPacket = 35_000 // bytes; what everybody must be able to read
	sshMaxNames  = 50     // of a list that is measured
	sshMaxName   = 64     // characters

	sshDisconnect = 1
	sshIgnore     = 2
	sshDebug      = 4
	sshKexInit    = 20

	sshTooManyConnections = 12 // a reason to disconnect
)

// sshCheck is a configuration of type ssh.
type sshCheck struct {
	Address string `json:"address" doc:"host and port of the server; the port is 22 if none is given" limit:"1-300" required:"true"`

	policy *engine.Policy
}

// SSH is the check type "ssh".
func SSH(p *engine.Policy) engine.Type {
	return engine.New("ssh", []engine.Path{
		{Name: "version", Kind: engine.Text, Doc: `the version of the protocol: "2.0", or "1.99" if the server also knows the first one`},
		{Name: "software", Kind: engine.Text, Doc: `the name and version of the software, such as "OpenSSH_9.2p1"`},
		{Name: "banner", Kind: engine.Text, Doc: "all of the line by which the server identifies itself"},
		{Name: "kexAlgorithms", Kind: engine.Texts, Doc: "the ways to agree on a key that the server knows, the first 50 of them"},
		{Name: "hostKeyAlgorithms", Kind: engine.Texts, Doc: "the kinds of keys by which the server can prove who it is, the first 50 of them"},
	}, func() engine.Config { return &sshCheck{policy: p} })
}

// Validate checks the address.
func (c *sshCheck) Validate() (err error) {
	c.Address, err = engine.Address("address", c.Address, 22)
	return err
}

// Target is the address.
func (c *sshCheck) Target() string { return c.Address }

// Run says hello.
func (c *sshCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	conn, err := wireDial(ctx, c.policy, c.Address)
	if err != nil {
		return engine.Failed(ctx, err, m)
	}
	defer conn.Close()
	_, unsent := io.WriteString(conn, "SSH-2.0-Checkstack\r\n")
	if err = sshListen(bufio.NewReaderSize(conn, sshMaxLine), &m); err == nil {
		err = unsent
	}
	latency := time.Since(start)
	if err != nil {
		return engine.Failed(ctx, err, m)
	}
	_, _ = conn.Write(sshFarewell()) // the answer was complete before
	return engine.Outcome{Status: plugins.Healthy, Latency: &latency, Message: "the server answered", Measured: m}
}

var errSSHNotSpoken = &engine.PlainError{Text: "the other side does not speak SSH"}

// sshListen reads what the server says of itself. The reader's buffer is how long a line may be.
func sshListen(r *bufio.Reader, m *engine.Measured) error {
	banner, err := sshIdentification(r)
	if err != nil {
		return err
	}
	m.Set("banner", engine.Shorten(banner, sshMaxLine))
	version, software, found := strings.Cut(strings.TrimPrefix(banner, "SSH-"), "-")
	if !found || version == "" {
		return errSSHNotSpoken
	}
	software, _, _ = strings.Cut(software, " ")
	m.Set("version", engine.Shorten(version, sshMaxLine))
	m.Set("software", engine.Shorten(software, sshMaxLine))
	if version != "2.0" && version != "1.99" {
		return &engine.PlainError{Text: "the server does not speak version 2.0 of SSH"}
	}
	for range sshMaxLines { // there may be packets before that mean nothing
		payload, err := sshPacket(r)
		if err != nil {
			return err
		}
		switch payload[0] {
		case sshIgnore, sshDebug:
		case sshDisconnect:
			return sshRefused(payload)
		case sshKexInit:
			kex, keys, err := parseSSHKexInit(payload)
			if err != nil {
				return err
			}
			m.Set("kexAlgorithms", kex)
			m.Set("hostKeyAlgorithms", keys)
			return nil
		default:
			return errSSHNotSpoken
		}
	}
	return errSSHNotSpoken
}

// sshIdentification returns the line that begins with "SSH-", without its end.
func sshIdentification(r *bufio.Reader) (string, error) {
	last := ""
	for range sshMaxLines + 1 {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			return "", errSSHNotSpoken
		}
		switch {
		case err != nil && strings.HasPrefix(last, "Exceeded MaxStartups"): // as OpenSSH has it
			return "", &engine.PlainError{Text: "the server has too many connections", Err: fmt.Errorf("%q", last)}
		case err != nil && strings.HasPrefix(last, "Not allowed at this time"):
			return "", &engine.PlainError{Text: "the server does not let this machine in for a while", Err: fmt.Errorf("%q", last)}
		case err != nil:
			return "", err
		}
		last = string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")))
		if strings.HasPrefix(last, "SSH-") {
			return last, nil
		}
	}
	return "", errSSHNotSpoken
}

// sshPacket reads a packet before there are keys: its length (4 bytes), how much of that is padding (1), what it says, and the
// padding, which is at least four bytes and makes all of it a multiple of eight.
func sshPacket(r io.Reader) (payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size, padding := int64(binary.BigEndian.Uint32(head[:])), int64(head[4])
	if size > sshMaxPacket-4 || (size+4)%8 != 0 || padding < 4 || size < padding+2 {
		return nil, errSSHNotSpoken
	}
	rest := make([]byte, size-1)
	if _, err := io.ReadFull(r, rest); err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	return rest[:size-1-padding], nil
}

// parseSSHKexInit reads a KEXINIT: its number, 16 random bytes, ten lists of names, whether a guess follows (1), and a reserved
// number (4). Of the lists, the first two are returned.
func parseSSHKexInit(b []byte) (kex, hostKeys []string, err error) {
	if len(b) < 17 || b[0] != sshKexInit {
		return nil, nil, errSSHNotSpoken
	}
	b = b[17:]
	for i := range 10 {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
			return nil, nil, errSSHNotSpoken
		}
		size := int(binary.BigEndian.Uint32(b))
		list := b[4 : 4+size]
		b = b[4+size:]
		switch i {
		case 0:
			kex = sshNames(list)
		case 1:
			hostKeys = sshNames(list)
		}
	}
	if len(b) < 5 || len(kex) == 0 || len(hostKeys) == 0 {
		return nil, nil, errSSHNotSpoken
	}
	return kex, hostKeys, nil
}

// sshNames are the names of a list, with commas between them.
func sshNames(list []byte) (names []string) {
	if len(list) == 0 {
		return nil
	}
	for name := range bytes.SplitSeq(list, []byte{','}) {
		if len(names) == sshMaxNames {
			break
		}
		names = append(names, engine.Shorten(string(name), sshMaxName))
	}
	return names
}

// sshRefused is what a DISCONNECT means: a reason (4 bytes), a description, a language.
func sshRefused(payload []byte) error {
	if len(payload) < 9 {
		return errSSHNotSpoken
	}
	reason := binary.BigEndian.Uint32(payload[1:])
	text := "the server refused the connection"
	if reason == sshTooManyConnections {
		text = "the server has too many connections"
	}
	said := payload[9:]
	said = said[:min(uint64(len(said)), uint64(binary.BigEndian.Uint32(payload[5:])))]
	return &engine.PlainError{Text: text, Err: fmt.Errorf("%q (%d)", said, reason)}
}

// sshFarewell is a DISCONNECT, which OpenSSH logs as "Received disconnect from …: 11: health check [preauth]".
func sshFarewell() []byte {
	const byApplication = 11
	payload := binary.BigEndian.AppendUint32([]byte{sshDisconnect}, byApplication)
	for _, text := range []string{"health check", ""} {
		payload = append(binary.BigEndian.AppendUint32(payload, uint32(len(text))), text...)
	}
	return sshSeal(payload)
}

// sshSeal makes a packet.
func sshSeal(payload []byte) []byte {
	padding := 4 + (8-(5+len(payload)+4)%8)%8
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	b = append(append(b, byte(padding)), payload...)
	return append(b, make([]byte, padding)...)
}
