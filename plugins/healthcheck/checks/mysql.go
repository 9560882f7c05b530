// The check type mysql asks a MySQL or MariaDB server who it is, and logs in if there is a user to log in as.
//
// The latency of a run is the time from its start until the server has answered the login: name lookup, connection, greeting, TLS
// and login.
//
// The hard case is leaving without harm. The server greets first, so its greeting could be all of a run; but a client that goes
// then has made a handshake error, and after max_connect_errors of them, 100 by default, the server blocks the machine for all
// its clients: "Host is blocked because of many connection errors" (1129). A login that is refused is no such error. So where
// there is no user, the check logs in as nobody, without a password, and is content to be refused. MariaDB writes a line to its
// log each time, and both count it in Aborted_connects. A user without any right avoids that:
//
//	create user checkstack identified by '…';

package checks

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// mysqlCheck is a configuration of type mysql.
type mysqlCheck struct {
	Address  string      `json:"address" doc:"host and port of the server; the port is 3306 if none is given" limit:"1-300" required:"true"`
	User     string      `json:"user" doc:"who logs in; needs no right at all. Without one the check tries to log in as nobody and is content to be refused" limit:"0-80"`
	Password string      `json:"password" doc:"the user's password" limit:"0-1000"`
	TLS      *engine.TLS `json:"tls" doc:"speak TLS, {} with all defaults; without it the connection is plain"`

	policy *engine.Policy
}

// MySQL is the check type "mysql", for MySQL and MariaDB.
func MySQL(p *engine.Policy) engine.Type {
	paths := []engine.Path{
		{Name: "serverVersion", Kind: engine.Text, Doc: `the version of the server, such as "8.4.3" or "10.11.6-MariaDB"`},
		{Name: "protocol", Kind: engine.Number, Doc: "the version of the protocol: 10"},
		{Name: "tlsSupported", Kind: engine.Bool, Doc: "whether the server offers TLS"},
		{Name: "capabilities", Kind: engine.Number, Doc: "what the server can do, as the bits of the protocol"},
	}
	return engine.New("mysql", slices.Concat(paths, engine.TLSPaths()), func() engine.Config { return &mysqlCheck{policy: p} })
}

// Validate checks the address and the certificates.
func (c *mysqlCheck) Validate() (err error) {
	if c.Address, err = engine.Address("address", c.Address, 3306); err != nil {
		return err
	}
	if c.User == "" && c.Password != "" {
		return plugins.Invalid("user", "expected a user, because there is a password")
	}
	return c.TLS.Compile("tls")
}

// Target is the address.
func (c *mysqlCheck) Target() string { return c.Address }

// Run reads the greeting and logs in.
func (c *mysqlCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	err := c.visit(ctx, &m)
	latency := time.Since(start)
	if err != nil {
		return engine.Failed(ctx, err, m)
	}
	message := "the server answered"
	if c.User != "" {
		message = "the server let the user in"
	}
	return engine.Outcome{Status: plugins.Healthy, Latency: &latency, Message: message, Measured: m}
}

func (c *mysqlCheck) visit(ctx context.Context, m *engine.Measured) error {
	conn, err := wireDial(ctx, c.policy, c.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	wire := &mysqlWire{conn: conn}
	packet, err := wire.read()
	if err != nil {
		return err
	}
	hello, err := parseMySQLGreeting(packet)
	if err != nil {
		return err
	}
	m.Set("serverVersion", engine.Shorten(hello.version, 100))
	m.Set("protocol", mysqlProtocol)
	m.Set("tlsSupported", hello.capabilities&mysqlTLS != 0)
	m.Set("capabilities", hello.capabilities)
	if hello.capabilities&mysqlNeeded != mysqlNeeded {
		return &engine.PlainError{Text: "the server is older than MySQL 4.1"}
	}
	if c.TLS != nil {
		if hello.capabilities&mysqlTLS == 0 {
			return &engine.PlainError{Text: "the server does not offer TLS"}
		}
		if err := wire.write(mysqlRequest(hello.capabilities, mysqlTLS)); err != nil {
			return err
		}
		if wire.conn, err = wireTLS(ctx, conn, c.TLS, c.Address, m); err != nil {
			return err
		}
	}
	if err := c.logIn(wire, hello); err != nil {
		return err
	}
	wire.sequence = 0
	_ = wire.write([]byte{mysqlQuit}) // the answer was complete before
	return nil
}

// logIn sends who logs in, and answers what the server then asks, until it has decided.
func (c *mysqlCheck) logIn(wire *mysqlWire, hello mysqlGreeting) error {
	var tls uint32
	if c.TLS != nil {
		tls = mysqlTLS
	}
	method, salt := hello.method, hello.salt
	proof, err := mysqlProof(method, c.Password, salt)
	if err != nil { // the server names another method if it knows one for this user
		method = mysqlNative
		proof, _ = mysqlProof(method, c.Password, salt)
	}
	if err := wire.write(mysqlLogin(hello.capabilities, tls, c.User, proof, method)); err != nil {
		return err
	}
	for range 10 { // more is not asked by any method
		packet, err := wire.read()
		if err != nil {
			return err
		}
		switch {
		case packet[0] == mysqlOK:
			return nil
		case packet[0] == mysqlErr:
			return c.refused(parseMySQLError(packet))
		case packet[0] == mysqlSwitch:
			name, rest, _ := bytes.Cut(packet[1:], []byte{0})
			method, salt = string(name), bytes.TrimSuffix(rest, []byte{0})
			proof, err := mysqlProof(method, c.Password, salt)
			if err != nil && c.User != "" {
				return err
			}
			if err := wire.write(proof); err != nil {
				return err
			}
		case packet[0] == mysqlMore && method == mysqlSHA2 && len(packet) == 2 && packet[1] == mysqlSHA2Known:
		case packet[0] == mysqlMore && method == mysqlSHA2 && len(packet) == 2 && packet[1] == mysqlSHA2Full:
			// The server has not seen this password since it was started and needs it as it is.
			if c.TLS == nil {
				return &engine.PlainError{Text: "the server takes the password over TLS only"}
			}
			if err := wire.write(append([]byte(c.Password), 0)); err != nil {
				return err
			}
		default:
			return errMySQLNotSpoken
		}
	}
	return errMySQLNotSpoken
}

// refused is what an error means that answers a login. That nobody may not come in is as it has to be.
func (c *mysqlCheck) refused(err error) error {
	if e, ok := errors.AsType[*mysqlError](err); ok && c.User == "" && slices.Contains(mysqlNobody, e.code) {
		return nil
	}
	return err
}
