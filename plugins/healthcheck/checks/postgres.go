// The check type postgres logs in to a PostgreSQL server and asks it something.
//
// The latency of a run is the time from its start until the answer was read: name lookup, connection, TLS, login and query. Each
// run makes one connection of its own, as an application that starts does.
//
// lib/pq speaks the protocol, but it was made for a server that one trusts. So it gets everything spelled out, and reads no
// variable, password file or certificate of this machine; connections and TLS are made here; what comes is looked at before
// it sees it, see [postgresWire]; and it knows nothing of the context, for whose end it would make a second connection.
//
// The hard case is a query that does not end. A server does not notice that its client has gone, so each run would leave it one
// more query. Therefore the server is told how long the query may take, a little less than the time that is left: it stops
// first, and says whether it was the query or a lock that took so long.

package checks

import (
	"cmp"
	"context"
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"

	"github.com/lib/pq"
)

var (
	//go:embed sql/postgres_limit.sql
	postgresLimit string
	//go:embed sql/postgres_ping.sql
	postgresPing string
)

const (
	postgresMaxRows  = 1000             // that are counted
	postgresMaxBytes = 1 << 20          // of rows that are read
	postgresMaxText  = 1000             // characters of a value
	postgresPatience = 30 * time.Second // for a query where the run has no deadline
)

// postgresCheck is a configuration of type postgres.
type postgresCheck struct {
	Address  string      `json:"address" doc:"host and port of the server; the port is 5432 if none is given" limit:"1-300" required:"true"`
	User     string      `json:"user" doc:"who logs in; needs no rights but those of the query" limit:"1-63" required:"true"`
	Password string      `json:"password" doc:"the user's password" limit:"0-1000"`
	Database string      `json:"database" doc:"the database; the one that is called as the user if none is given" limit:"0-63"`
	Query    string      `json:"query" doc:"one statement that reads: SELECT, WITH, VALUES, TABLE or SHOW; the check only asks whether the server answers if none is given" limit:"0-10000"`
	TLS      *engine.TLS `json:"tls" doc:"speak TLS, {} with all defaults; without it the connection is plain"`

	policy *engine.Policy
}

// Postgres is the check type "postgres".
func Postgres(p *engine.Policy) engine.Type {
	paths := []engine.Path{
		{Name: "phases.connectMs", Kind: engine.Number, Doc: "how long it took to be logged in, with connection and TLS"},
		{Name: "phases.queryMs", Kind: engine.Number, Doc: "how long it took to get the rows of the query"},
		{Name: "rows", Kind: engine.Number, Doc: "how many rows the query returned; counting ends at 1,000 rows or 1 MiB"},
		{Name: "value", Kind: engine.Any, Doc: "the first column of the first row: a number, a boolean, or at most 1,000 characters of text; a time as RFC 3339; nothing where it is null"},
		{Name: "serverVersion", Kind: engine.Text, Doc: `the version of the server, such as "17.2"`},
	}
	return engine.New("postgres", slices.Concat(paths, engine.TLSPaths()), func() engine.Config { return &postgresCheck{policy: p} })
}

// Validate checks the address, the query and the certificates.
func (c *postgresCheck) Validate() (err error) {
	if c.Address, err = engine.Address("address", c.Address, 5432); err != nil {
		return err
	}
	if c.Query != "" && !slices.Contains([]string{"select", "with", "values", "table", "show"}, postgresKeyword(c.Query)) {
		return plugins.Invalid("query", "expected one statement that begins with SELECT, WITH, VALUES, TABLE or SHOW")
	}
	return c.TLS.Compile("tls")
}

// postgresKeyword is the first word of a statement, in lower case, after blanks and lines of comment.
func postgresKeyword(query string) string {
	query = strings.TrimLeft(query, " \t\r\n(")
	for strings.HasPrefix(query, "--") {
		_, query, _ = strings.Cut(query, "\n")
		query = strings.TrimLeft(query, " \t\r\n(")
	}
	end := strings.IndexFunc(query, func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' })
	if end < 0 {
		end = len(query)
	}
	return strings.ToLower(query[:end])
}

// Target is the address.
func (c *postgresCheck) Target() string { return c.Address }

// Run makes one connection and asks the query.
func (c *postgresCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	rows, err := c.ask(ctx, &m)
	latency := time.Since(start)
	if err != nil {
		return engine.Failed(ctx, err, m)
	}
	out := engine.Outcome{Status: plugins.Healthy, Latency: &latency, Message: "the server answered", Measured: m}
	switch {
	case c.Query == "":
	case rows == 1:
		out.Message = "the query returned 1 row"
	default:
		out.Message = fmt.Sprintf("the query returned %d rows", rows)
	}
	return out
}

// ask logs in and asks. It returns how many rows there were.
func (c *postgresCheck) ask(ctx context.Context, m *engine.Measured) (rows int, err error) {
	var wire *postgresWire
	loggedIn := false
	defer func() {
		if broken := recover(); broken != nil { // lib/pq, reading a message that ends too early
			err = fmt.Errorf("a message of the server is not well formed: %v", broken)
		}
		if wire != nil {
			_ = wire.below.Close()
			err = wire.explain(err, loggedIn)
		}
	}()
	start := time.Now()
	dial := func() (net.Conn, error) {
		wire, err = c.dial(ctx, m)
		return wire, err
	}
	conn, err := c.logIn(dial)
	if wire == nil && err == nil {
		err = errors.New("lib/pq made a connection by itself")
	}
	if err != nil {
		return 0, err
	}
	loggedIn = true
	m.Set("phases.connectMs", wireMillis(time.Since(start)))
	return c.query(ctx, conn, wire, m)
}

// dial connects, with TLS if it is asked for. PostgreSQL has a way to TLS of its own: the client asks for it in
// a message of eight bytes, and the server answers with one.
func (c *postgresCheck) dial(ctx context.Context, m *engine.Measured) (*postgresWire, error) {
	conn, err := wireDial(ctx, c.policy, c.Address)
	if err != nil {
		return nil, err
	}
	if c.TLS == nil {
		return &postgresWire{Conn: conn, below: conn}, nil
	}
	secure, err := func() (net.Conn, error) {
		if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
			return nil, err
		}
		var answer [1]byte // and not one byte more: what follows in plain text is not the server's word
		if _, err := io.ReadFull(conn, answer[:]); err != nil {
			return nil, err
		}
		switch answer[0] {
		case 'S':
			return wireTLS(ctx, conn, c.TLS, c.Address, m)
		case 'N':
			return nil, &engine.PlainError{Text: "the server does not offer TLS"}
		}
		return nil, &engine.PlainError{Text: postgresNotSpoken}
	}()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &postgresWire{Conn: secure, below: conn}, nil
}

// postgresDialer gives lib/pq the connection.
type postgresDialer func() (net.Conn, error)

// Dial is what lib/pq calls; the address is known already.
func (d postgresDialer) Dial(string, string) (net.Conn, error) { return d() }

// DialTimeout is Dial: the run has a timeout of its own.
func (d postgresDialer) DialTimeout(string, string, time.Duration) (net.Conn, error) { return d() }

// postgresConn is what is used of lib/pq's connection.
type postgresConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.QueryerContext
}

// logIn makes lib/pq's connection of one that dial makes.
func (c *postgresCheck) logIn(dial postgresDialer) (postgresConn, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	connector, err := pq.NewConnectorConfig(pq.Config{
		Host:                        host,
		Port:                        uint16(n),
		User:                        c.User,
		Password:                    c.Password,
		Passfile:                    "\x00", // no file has this name; without one, ~/.pgpass would be read where there is no password
		Database:                    cmp.Or(c.Database, c.User),
		SSLMode:                     pq.SSLModeDisable, // dial has done it
		ApplicationName:             "checkstack",
		ClientEncoding:              "UTF8",
		Datestyle:                   "ISO, MDY",
		DisablePreparedBinaryResult: true,
	})
	if err != nil {
		return nil, err
	}
	connector.Dialer(dial)
	opened, err := connector.Connect(context.Background()) // the connection itself knows when to end
	if err != nil {
		return nil, err
	}
	conn, ok := opened.(postgresConn)
	if !ok {
		return nil, errors.Join(errors.New("lib/pq's connection lacks a method that it had"), opened.Close())
	}
	return conn, nil
}

// query runs the query in a transaction that can only read. As a prepared statement it cannot be two. What was prepared is
// undone in the end, because a pooler gives the server's side of the connection to somebody else.
func (c *postgresCheck) query(ctx context.Context, conn postgresConn, wire *postgresWire, m *engine.Measured) (int, error) {
	unlimited := context.Background()
	tx, err := conn.BeginTx(unlimited, driver.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	version, err := c.limit(ctx, conn)
	if err != nil {
		return 0, err
	}
	m.Set("serverVersion", engine.Shorten(version, 100))

	start := time.Now()
	statement, err := conn.PrepareContext(unlimited, cmp.Or(c.Query, postgresPing))
	if err != nil {
		return 0, err
	}
	if statement.NumInput() > 0 {
		return 0, &engine.PlainError{Text: "the query has parameters, and a check has no values for them"}
	}
	asked, ok := statement.(driver.StmtQueryContext)
	if !ok {
		return 0, errors.New("lib/pq's statement lacks a method that it had")
	}
	rows, err := asked.QueryContext(unlimited, nil)
	if err != nil {
		return 0, err
	}
	n, complete, err := postgresRead(rows, wire, m)
	if err != nil {
		return 0, err
	}
	m.Set("phases.queryMs", wireMillis(time.Since(start)))
	if complete { // else there may be any number of rows to come, and hanging up is the farewell
		_ = errors.Join(statement.Close(), tx.Rollback(), conn.Close())
	}
	return n, nil
}

// limit tells the server how long the query may take, and returns its version.
func (c *postgresCheck) limit(ctx context.Context, conn postgresConn) (version string, err error) {
	left := postgresPatience
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	left -= max(left/10, min(left/2, time.Second)) // for the server to notice and to say so
	allowed := max(1, left.Milliseconds())
	rows, err := conn.QueryContext(context.Background(), postgresLimit, []driver.NamedValue{
		{Ordinal: 1, Value: strconv.FormatInt(allowed, 10)},
		{Ordinal: 2, Value: strconv.FormatInt(max(1, allowed*9/10), 10)},
	})
	if err != nil {
		return "", err
	}
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return "", err
	}
	version, _ = row[0].(string)
	return version, rows.Close()
}

// postgresRead counts the rows, as far as they are counted, and measures the first value.
func postgresRead(rows driver.Rows, wire *postgresWire, m *engine.Measured) (n int, complete bool, err error) {
	row := make([]driver.Value, min(1, len(rows.Columns())))
	for n < postgresMaxRows && wire.data <= postgresMaxBytes {
		err := rows.Next(row)
		if err == io.EOF {
			complete = true
			break
		}
		if err != nil {
			return n, false, err
		}
		if n == 0 && len(row) > 0 {
			named, _ := rows.(driver.RowsColumnTypeDatabaseTypeName)
			if value := postgresValue(row[0], named != nil && named.ColumnTypeDatabaseTypeName(0) == "NUMERIC"); value != nil {
				m.Set("value", value)
			}
		}
		n++
	}
	m.Set("rows", n)
	return n, complete, nil
}

// postgresValue is a value as assertions know it. A number that JSON does not have, such as NaN, is text.
func postgresValue(v driver.Value, numeric bool) any {
	switch v := v.(type) {
	case nil, bool, int64:
		return v
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		return v
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []byte:
		if f, err := strconv.ParseFloat(string(v), 64); numeric && err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		return engine.Shorten(string(v), postgresMaxText)
	case string:
		return engine.Shorten(v, postgresMaxText)
	}
	return nil
}
