// The check type redis sends PING to a server that speaks Redis's protocol, such as Redis, Valkey or KeyDB, and asks it for its
// version and its part in replication.
//
// The latency of a run is the time from its start until all answers were read: name lookup, connection, TLS, and one round trip,
// for everything is sent at once.
//
// The hard case is a server that answers and yet does not work: one that loads its data, a replica that has lost its master, one
// whose disk is full. Each says so in its answer to PING, with a first word that is the same in all versions; what follows
// it is not for everybody. What a user may not ask for, INFO, is not measured, and that alone makes no server unhealthy.

package checks

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const (
	redisMaxLine = 4 << 10   // bytes of an answer in one line
	redisMaxBulk = 256 << 10 // bytes of an answer with a length
)

// redisCheck is a configuration of type redis.
type redisCheck struct {
	Address  string      `json:"address" doc:"host and port of the server; the port is 6379 if none is given" limit:"1-300" required:"true"`
	User     string      `json:"user" doc:"who logs in, if not the user default; may need no more than the commands PING and INFO" limit:"0-200"`
	Password string      `json:"password" doc:"the user's password" limit:"0-1000"`
	TLS      *engine.TLS `json:"tls" doc:"speak TLS, {} with all defaults; without it the connection is plain"`

	policy *engine.Policy
}

// Redis is the check type "redis".
func Redis(p *engine.Policy) engine.Type {
	paths := []engine.Path{
		{Name: "version", Kind: engine.Text, Doc: `the version of Redis that the server is or is compatible with, such as "7.2.4"`},
		{Name: "role", Kind: engine.Text, Doc: `"master" or "slave", as Redis says it`},
		{Name: "connectedReplicas", Kind: engine.Number, Doc: "how many replicas are connected"},
		{Name: "masterLink", Kind: engine.Text, Doc: `of a replica, whether it is connected to its master: "up" or "down"`},
	}
	return engine.New("redis", slices.Concat(paths, engine.TLSPaths()), func() engine.Config { return &redisCheck{policy: p} })
}

// Validate checks the address and the certificates.
func (c *redisCheck) Validate() (err error) {
	if c.Address, err = engine.Address("address", c.Address, 6379); err != nil {
		return err
	}
	if c.User != "" && c.Password == "" {
		return plugins.Invalid("password", "expected a password, because there is a user")
	}
	return c.TLS.Compile("tls")
}

// Target is the address.
func (c *redisCheck) Target() string { return c.Address }

// Run asks.
func (c *redisCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	err := c.ask(ctx, &m)
	latency := time.Since(start)
	if err != nil {
		return engine.Failed(ctx, err, m)
	}
	return engine.Outcome{Status: plugins.Healthy, Latency: &latency, Message: "the server answered", Measured: m}
}

func (c *redisCheck) ask(ctx context.Context, m *engine.Measured) error {
	raw, err := wireDial(ctx, c.policy, c.Address)
	if err != nil {
		return err
	}
	defer raw.Close()
	var conn io.ReadWriter = raw
	if c.TLS != nil {
		if conn, err = wireTLS(ctx, raw, c.TLS, c.Address, m); err != nil {
			return err
		}
	}
	var commands []byte
	switch {
	case c.User != "":
		commands = redisCommand(commands, "AUTH", c.User, c.Password)
	case c.Password != "":
		commands = redisCommand(commands, "AUTH", c.Password)
	}
	commands = redisCommand(commands, "PING")
	commands = redisCommand(commands, "INFO", "server")
	commands = redisCommand(commands, "INFO", "replication")
	_, unsent := conn.Write(commands) // a server that is full answers without listening, and closes
	answers := bufio.NewReaderSize(conn, redisMaxLine)
	if c.Password != "" {
		if answer, err := redisRead(answers); err != nil {
			return err
		} else if answer.kind == '-' {
			return redisRefused(answer.text, true)
		}
	}
	pong, err := redisRead(answers)
	switch {
	case err != nil && unsent != nil:
		return unsent
	case err != nil:
		return err
	case pong.kind == '-':
		return redisRefused(pong.text, false)
	case pong.text != "PONG":
		return errRedisNotSpoken
	}
	for range 2 {
		info, err := redisRead(answers)
		if err != nil {
			return err
		}
		if info.kind == '$' {
			redisMeasure(info.text, m)
		}
	}
	return nil
}

// redisMeasure finds what is measured in an answer to INFO, "name:value" in lines. Who is no replica has no link to a master.
func redisMeasure(info string, m *engine.Measured) {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = engine.Shorten(value, 100)
		switch name {
		case "redis_version":
			m.Set("version", value)
		case "role":
			m.Set("role", value)
		case "master_link_status":
			m.Set("masterLink", value)
		case "connected_slaves":
			if n, err := strconv.Atoi(value); err == nil {
				m.Set("connectedReplicas", n)
			}
		}
	}
}

// redisCommand adds a command: its words as an array, each with its length, so that any byte can be in them.
func redisCommand(b []byte, words ...string) []byte {
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, word := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b
}

// redisAnswer is an answer: '+' a word, '-' an error, ':' a number, '$' a text, which may also be missing.
type redisAnswer struct {
	kind byte
	text string
}

var errRedisNotSpoken = &engine.PlainError{Text: "the other side does not speak Redis's protocol"}

// redisRead reads the next answer. The reader's buffer is how long a line may be.
func redisRead(r *bufio.Reader) (a redisAnswer, err error) {
	line, err := r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return a, errRedisNotSpoken
	}
	if err != nil {
		return a, err
	}
	line, found := bytes.CutSuffix(line, []byte("\r\n"))
	if !found || len(line) == 0 || !strings.ContainsRune("+-:$", rune(line[0])) {
		return a, errRedisNotSpoken
	}
	a = redisAnswer{line[0], string(line[1:])}
	if a.kind != '$' {
		return a, nil
	}
	size, err := strconv.Atoi(a.text)
	if err != nil || size < -1 || size > redisMaxBulk {
		return a, errRedisNotSpoken
	}
	if a.text = ""; size < 0 {
		return a, nil
	}
	text := make([]byte, size+2)
	if _, err := io.ReadFull(r, text); err == io.EOF {
		return a, io.ErrUnexpectedEOF
	} else if err != nil {
		return a, err
	}
	if text, found = bytes.CutSuffix(text, []byte("\r\n")); !found {
		return a, errRedisNotSpoken
	}
	a.text = string(text)
	return a, nil
}

// redisRefused is what an error means that answers PING, or AUTH.
func redisRefused(text string, login bool) error {
	word, _, _ := strings.Cut(text, " ")
	plain := "the server answered with an error"
	switch {
	case word == "NOAUTH":
		plain = "the server asks for a password"
	case word == "LOADING":
		plain = "the server is loading its data"
	case word == "MASTERDOWN":
		plain = "the replica has lost its master and does not answer"
	case word == "BUSY":
		plain = "the server is busy with a script"
	case word == "MISCONF":
		plain = "the server cannot save its data"
	case word == "DENIED":
		plain = "the server is in protected mode and does not let this machine in"
	case word == "NOPERM":
		plain = "the user may not send PING"
	case word == "ERR" && strings.Contains(text, "max number of clients"):
		plain = "the server has too many connections"
	case word == "ERR" && login && (strings.Contains(text, "without any password") || strings.Contains(text, "no password is set")):
		plain = "the server has no password, but the check sends one"
	case word == "WRONGPASS" || login:
		plain = "the server refused the user name or the password"
	}
	return &engine.PlainError{Text: plain, Err: fmt.Errorf("%s", text)}
}
