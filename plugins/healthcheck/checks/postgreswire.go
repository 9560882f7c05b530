// What a PostgreSQL server sends is looked at here before lib/pq sees it. Messages have a byte for their type and four for their
// length, and lib/pq believes them: it would make room for 4 GiB that were announced, and count as many rounds of SCRAM as it
// is told to, for hours, with no regard to any deadline.
//
// The hard case is an error that lib/pq forgets. After "terminating connection due to administrator command" it says only
// that the connection is bad. So the error is noted as it passes.

package checks

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"checkstack/plugins/healthcheck/engine"
)

const (
	postgresMaxMessage = postgresMaxBytes // bytes
	postgresMaxError   = 30_000           // bytes; from there on, it is a text that is no message
	postgresMaxRounds  = 1_000_000        // of SCRAM; PostgreSQL has 4,096 by default
	postgresNotSpoken  = "the other side does not speak PostgreSQL's protocol"
)

// postgresWire is a connection whose server's messages are looked at.
type postgresWire struct {
	net.Conn          // with TLS, if that is spoken
	below    net.Conn // without

	head    [5]byte
	ready   []byte // has been read, to be handed on
	left    int    // bytes of the message that are to be handed on as they come
	data    int    // bytes of rows that came
	refused *postgresError
	err     error // why nothing more comes
}

// postgresError is an error that the server sent.
type postgresError struct{ code, text string }

func (e *postgresError) Error() string { return e.text + " (" + e.code + ")" }

// Read hands on what was looked at.
func (w *postgresWire) Read(p []byte) (int, error) {
	if w.err == nil && len(w.ready) == 0 && w.left == 0 {
		w.err = w.next()
	}
	if w.err != nil {
		return 0, w.err
	}
	if len(w.ready) > 0 {
		n := copy(p, w.ready)
		w.ready = w.ready[n:]
		return n, nil
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	w.err = err
	return n, err
}

// next reads the beginning of a message, and all of it where there is something to look at.
func (w *postgresWire) next() error {
	if _, err := io.ReadFull(w.Conn, w.head[:]); err != nil {
		return err
	}
	kind, size := w.head[0], int64(binary.BigEndian.Uint32(w.head[1:]))-4
	switch {
	case kind == 'E' && (size < 4 || size > postgresMaxError) && w.data == 0:
		return &engine.PlainError{Text: "the server could not start a process for the connection"} // it says so in plain text
	case kind == 'D' && size > postgresMaxMessage:
		return &engine.PlainError{Text: "a row of the answer is larger than 1 MiB"}
	case size < 0 || size > postgresMaxMessage:
		return &engine.PlainError{Text: postgresNotSpoken}
	}
	w.ready, w.left = w.head[:], int(size)
	if kind == 'D' {
		w.data += int(size)
	}
	if kind != 'E' && kind != 'R' {
		return nil
	}
	message := make([]byte, 5+size)
	copy(message, w.head[:])
	if _, err := io.ReadFull(w.Conn, message[5:]); err == io.EOF {
		return io.ErrUnexpectedEOF // in the middle of a message
	} else if err != nil {
		return err
	}
	w.ready, w.left = message, 0
	if kind == 'E' {
		w.refused = postgresParseError(message[5:])
		return nil
	}
	return postgresCheckRounds(message[5:])
}

// postgresParseError reads an error: fields, each a byte for its type and a text that ends with NUL.
func postgresParseError(b []byte) *postgresError {
	e := new(postgresError)
	for field := range strings.SplitSeq(string(b), "\x00") {
		switch {
		case strings.HasPrefix(field, "C"):
			e.code = field[1:]
		case strings.HasPrefix(field, "M"):
			e.text = field[1:]
		}
	}
	return e
}

// postgresCheckRounds looks into the server's first message of SCRAM (RFC 5802, section 7): "r=nonce,s=salt,i=rounds".
func postgresCheckRounds(b []byte) error {
	const saslContinue = 11
	if len(b) < 4 || binary.BigEndian.Uint32(b) != saslContinue {
		return nil
	}
	for attribute := range strings.SplitSeq(string(b[4:]), ",") {
		rounds, found := strings.CutPrefix(attribute, "i=")
		if n, err := strconv.Atoi(rounds); found && (err != nil || n > postgresMaxRounds) {
			return &engine.PlainError{Text: "the server asks for more rounds of SCRAM than 1,000,000"}
		}
	}
	return nil
}

// explain makes an error for people of what lib/pq says and of what was seen here.
func (w *postgresWire) explain(err error, loggedIn bool) error {
	switch {
	case err == nil:
		return nil
	case w.refused != nil:
		return &engine.PlainError{Text: postgresPlain(w.refused.code, loggedIn), Err: w.refused}
	case w.err != nil:
		return w.err
	case errors.Is(err, driver.ErrBadConn):
		return io.ErrUnexpectedEOF
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*engine.PlainError](err); ok {
		return err
	}
	return &engine.PlainError{Text: postgresNotSpoken, Err: err}
}

// postgresPlain says what an SQLSTATE means: one that is known, else its class, else that something was refused.
func postgresPlain(code string, loggedIn bool) string {
	for _, key := range []string{code, code[:min(2, len(code))]} {
		switch key {
		case "28P01":
			return "the server refused the user name or the password"
		case "28000", "28":
			return "the server does not let the user in"
		case "3D000":
			return "the database does not exist"
		case "53300":
			return "the server has too many connections"
		case "53":
			return "the server lacks memory or disk space"
		case "57P03":
			return "the server is starting up or shutting down"
		case "57P01", "57P02":
			return "the server is shutting down"
		case "57014":
			return "the query took too long"
		case "55P03":
			return "the query waited too long for a lock"
		case "25006":
			return "the query would write, and a check only reads"
		case "42501":
			return "the user may not do what the query does"
		case "42601":
			return "the query is not one statement of valid SQL"
		case "42":
			return "the query does not fit the database"
		case "22":
			return "the query met a value that it cannot work with"
		case "40":
			return "the query was stopped by a conflict with another one"
		}
	}
	if loggedIn {
		return "the server could not run the query"
	}
	return "the server refused the connection"
}
