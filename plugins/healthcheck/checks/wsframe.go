// The frames of WebSocket (RFC 6455, section 5), for a client:
//
//	FIN RSV opcode │ MASK length │ longer length, 2 or 8 bytes │ mask, 4 bytes, of a client only │ payload
//
// A message may come in several frames, with control frames between them. A server that masks what it sends, uses a bit that
// nobody agreed on, or writes a length longer than it has to be, breaks the rules, and the run fails: what it says cannot be trusted.

package checks

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"checkstack/plugins/healthcheck/engine"
)

// The opcodes of frames.
const (
	wsContinuation = 0
	wsText         = 1
	wsBinary       = 2
	wsClose        = 8
	wsPing         = 9
	wsPong         = 10
)

const (
	maxWSMessage = 1 << 20     // bytes
	maxWSControl = 125         // bytes of the payload of a control frame
	wsGoodbye    = time.Second // for the other side to answer that the connection is closed
)

// wsConn is an open WebSocket.
type wsConn struct {
	conn net.Conn // for writing, and deadlines
	r    *bufio.Reader
}

func wsMalformed(why string) error {
	return &engine.PlainError{Text: "the server broke the rules of WebSocket", Err: errors.New(why)}
}

// read returns the next message, and answers control frames until it is there.
func (ws *wsConn) read() ([]byte, error) {
	var message []byte
	var kind byte // of a message that has begun
	for {
		opcode, final, payload, err := ws.frame(maxWSMessage - len(message))
		if err != nil {
			return nil, err
		}
		switch opcode {
		case wsPing:
			if err := ws.write(wsPong, payload); err != nil {
				return nil, err
			}
			continue
		case wsPong:
			continue
		case wsClose:
			if len(payload) == 1 {
				return nil, wsMalformed("a close frame with half a code")
			}
			ws.write(wsClose, payload[:min(len(payload), 2)])
			return nil, &engine.PlainError{Text: "the server closed the WebSocket before the expected message came"}
		case wsText, wsBinary:
			if kind != 0 {
				return nil, wsMalformed("a message within another")
			}
			kind = opcode
		case wsContinuation:
			if kind == 0 {
				return nil, wsMalformed("a continuation of nothing")
			}
		}
		message = append(message, payload...)
		if !final {
			continue
		}
		if kind == wsText && !utf8.Valid(message) {
			return nil, wsMalformed("a text that is not UTF-8")
		}
		return message, nil
	}
}

// frame reads a frame, whose payload may have at most max bytes if it is not a control frame.
func (ws *wsConn) frame(max int) (opcode byte, final bool, payload []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(ws.r, head[:2]); err != nil {
		return 0, false, nil, err
	}
	opcode, final = head[0]&0xf, head[0]&0x80 != 0
	length := uint64(head[1] & 0x7f)
	control := opcode >= wsClose
	switch {
	case head[0]&0x70 != 0:
		return 0, false, nil, wsMalformed("a reserved bit is set")
	case opcode > wsBinary && opcode < wsClose || opcode > wsPong:
		return 0, false, nil, wsMalformed("an unknown opcode")
	case head[1]&0x80 != 0:
		return 0, false, nil, wsMalformed("a server that masks")
	case control && !final:
		return 0, false, nil, wsMalformed("a control frame in parts")
	case control && length > maxWSControl:
		return 0, false, nil, wsMalformed("a long control frame")
	}
	switch length {
	case 126:
		_, err = io.ReadFull(ws.r, head[:2])
		if length = uint64(binary.BigEndian.Uint16(head[:2])); err == nil && length < 126 {
			err = wsMalformed("a length longer than it has to be")
		}
	case 127:
		_, err = io.ReadFull(ws.r, head[:8])
		if length = binary.BigEndian.Uint64(head[:8]); err == nil && (length < 1<<16 || length > 1<<63-1) {
			err = wsMalformed("a length longer than it has to be")
		}
	}
	if err == nil && !control && length > uint64(max) {
		err = &engine.PlainError{Text: "a message is longer than 1 MiB"}
	}
	if err != nil {
		return 0, false, nil, err
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(ws.r, payload)
	return opcode, final, payload, err
}

// write sends a whole message or a control frame, masked.
func (ws *wsConn) write(opcode byte, payload []byte) error {
	b := make([]byte, 0, 14+len(payload))
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	var mask [4]byte
	rand.Read(mask[:])
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	_, err := ws.conn.Write(b)
	return err
}

// leave closes the WebSocket: it says so, and waits a little for the other side to say so too. Whatever comes before that is of
// no interest any more.
func (ws *wsConn) leave(ctx context.Context) {
	until := time.Now().Add(wsGoodbye)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	ws.conn.SetDeadline(until)
	if ctx.Err() != nil || ws.write(wsClose, []byte{1000 >> 8, 1000 & 0xff}) != nil {
		return
	}
	for {
		opcode, _, _, err := ws.frame(maxWSMessage)
		if err != nil || opcode == wsClose {
			return
		}
	}
}
