//go:build unix

package checks

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"

	"github.com/lib/pq"
)

// postgresServer is a PostgreSQL that wants passwords and offers TLS, with the user admin, whose password is "s3cret".
func postgresServer(t *testing.T) (db *sql.DB, address, ca string) {
	t.Helper()
	account := newServerAccount(t, "postgres")
	initdb := serverProgram(t, "initdb", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
	dir := account.dir(t)
	data := filepath.Join(dir, "data")
	password := account.write(t, filepath.Join(dir, "password"), "s3cret")
	certificate, key := serverCertificate(t)
	serverPrepare(t, account.command(dir, initdb, "-D", data, "-U", "admin", "-E", "UTF8", "--locale=C", "--no-sync", "--auth=scram-sha-256", "--pwfile="+password))
	port := strconv.Itoa(serverPort(t))
	serverStart(t, account.command(dir, filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", port, "-F",
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl=on",
		"-c", "ssl_cert_file="+account.write(t, filepath.Join(dir, "server.crt"), certificate),
		"-c", "ssl_key_file="+account.write(t, filepath.Join(dir, "server.key"), key)),
		"database system is ready to accept connections", syscall.SIGINT)
	address = "127.0.0.1:" + port
	connector, err := pq.NewConnector("postgres://admin:s3cret@" + address + "/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	db = sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db, address, certificate
}

func postgresExecute(t *testing.T, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestAPostgresCheckAsksARealServer(t *testing.T) {
	db, address, ca := postgresServer(t)
	kind := Postgres(nil)
	run := func(t *testing.T, timeout time.Duration, pairs ...any) engine.Outcome {
		t.Helper()
		return checkOnce(t, kind, timeout, append([]any{"address", address, "user", "admin", "password", "s3cret", "database", "postgres"}, pairs...)...)
	}
	var version string
	if err := db.QueryRow("show server_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	postgresExecute(t, db, "create table orders (n int, paid numeric)", "insert into orders values (1, 12.50)",
		"create user full password 'full' connection limit 0", "create user plain password 'plain'")

	t.Run("it answers", func(t *testing.T) {
		out := run(t, time.Minute)
		if out.Status != plugins.Healthy || out.Message != "the server answered" || out.Latency == nil {
			t.Fatalf("%+v %s", out, out.Measured.Object())
		}
		checkMeasured(t, out, "rows", 1, "value", int64(1), "serverVersion", version, "error", nil, "tls.version", nil)
		connect, _ := out.Measured.Get("phases.connectMs")
		query, _ := out.Measured.Get("phases.queryMs")
		if sum := connect.(float64) + query.(float64); connect.(float64) <= 0 || query.(float64) <= 0 || sum > wireMillis(*out.Latency) {
			t.Errorf("phases of %v and %v ms in %v", connect, query, *out.Latency)
		}
	})
	t.Run("with TLS", func(t *testing.T) {
		out := run(t, time.Minute, "tls", map[string]any{"ca": ca}, "query", "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
		if out.Status != plugins.Healthy || out.Message != "the query returned 1 row" {
			t.Fatalf("%+v %s", out, out.Measured.Object())
		}
		checkMeasured(t, out, "value", true, "tls.version", "TLS 1.3", "certificate.daysLeft", 10, "certificate.subject", "CN=test server")
	})
	t.Run("with a certificate that nobody vouches for", func(t *testing.T) {
		out := run(t, time.Minute, "tls", map[string]any{})
		if out.Status != plugins.Unhealthy || out.Message != "the TLS certificate is signed by an unknown authority" {
			t.Errorf("%+v", out)
		}
	})

	for query, want := range map[string]struct {
		rows  int
		value any
	}{
		"select count(*) from orders":                                 {1, int64(1)},
		"select paid from orders":                                     {1, 12.5},
		"-- with a comment\n(select 'a'::text) union all select 'b';": {2, "a"},
		"select false":               {1, false},
		"select null":                {1, nil},
		"select 'NaN'::numeric":      {1, "NaN"},
		"select '-Infinity'::float8": {1, "-Inf"},
		"select 0.1::float8":         {1, 0.1},
		"select timestamptz '2026-01-02 03:04:05Z' at time zone 'utc'":   {1, "2026-01-02T03:04:05Z"},
		"select '{\"a\": 1}'::jsonb":                                     {1, `{"a": 1}`},
		"select '0a6f3f6c-7a10-4bd2-9d2c-6d8a3c1f0001'::uuid":            {1, "0a6f3f6c-7a10-4bd2-9d2c-6d8a3c1f0001"},
		"select repeat('ä', 2000)":                                       {1, strings.Repeat("ä", 1000)},
		"select n from orders where n = 7":                               {0, nil},
		"select":                                                         {1, nil},
		"select n from generate_series(1, 1000) n":                       {1000, int64(1)},
		"select generate_series(1, 1000000000)":                          {1000, int64(1)},
		"select repeat('x', 300000) from generate_series(1, 1000000)":    {4, strings.Repeat("x", 1000)},
		"with x as (select 1 a) table x":                                 {1, int64(1)},
		"show transaction_read_only":                                     {1, "on"},
		"values (1), (2), (3)":                                           {3, int64(1)},
		"select current_setting('application_name')":                     {1, "checkstack"},
		"select pg_backend_pid() > 0 and inet_client_addr() is not null": {1, true},
	} {
		t.Run(query, func(t *testing.T) {
			out := run(t, time.Minute, "query", query)
			message := fmt.Sprintf("the query returned %d rows", want.rows)
			if want.rows == 1 {
				message = "the query returned 1 row"
			}
			if out.Status != plugins.Healthy || out.Message != message {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
			checkMeasured(t, out, "rows", want.rows, "value", want.value)
		})
	}

	for name, test := range map[string]struct {
		pairs   []any
		message string
		detail  string
	}{
		"a wrong password":    {[]any{"password", "wrong"}, "the server refused the user name or the password", `password authentication failed for user "admin" (28P01)`},
		"no password":         {[]any{"password", ""}, "the server refused the user name or the password", `password authentication failed for user "admin" (28P01)`},
		"an unknown user":     {[]any{"user", "nobody"}, "the server refused the user name or the password", `password authentication failed for user "nobody" (28P01)`},
		"no database":         {[]any{"database", "nothing"}, "the database does not exist", `database "nothing" does not exist (3D000)`},
		"no connection left":  {[]any{"user", "full", "password", "full"}, "the server has too many connections", `too many connections for role "full" (53300)`},
		"two statements":      {[]any{"query", "select 1; select 2"}, "the query is not one statement of valid SQL", "cannot insert multiple commands into a prepared statement (42601)"},
		"a statement in two":  {[]any{"query", "select 1; commit; drop table orders"}, "the query is not one statement of valid SQL", "cannot insert multiple commands into a prepared statement (42601)"},
		"no SQL":              {[]any{"query", "select from where"}, "the query is not one statement of valid SQL", `syntax error at or near "where" (42601)`},
		"no such table":       {[]any{"query", "select * from nowhere"}, "the query does not fit the database", `relation "nowhere" does not exist (42P01)`},
		"a write":             {[]any{"query", "with x as (delete from orders returning n) select n from x"}, "the query would write, and a check only reads", "cannot execute SELECT in a read-only transaction (25006)"},
		"a right is missing":  {[]any{"query", "select * from orders", "user", "plain", "password", "plain"}, "the user may not do what the query does", "permission denied for table orders (42501)"},
		"a division by zero":  {[]any{"query", "select 1 / (n - 1) from orders"}, "the query met a value that it cannot work with", "division by zero (22012)"},
		"a parameter":         {[]any{"query", "select $1::int"}, "the query has parameters, and a check has no values for them", "the query has parameters, and a check has no values for them"},
		"a row that is large": {[]any{"query", "select repeat('x', 2000000)"}, "a row of the answer is larger than 1 MiB", "a row of the answer is larger than 1 MiB"},
		"it is stopped":       {[]any{"query", "select pg_terminate_backend(pg_backend_pid())"}, "the server is shutting down", "terminating connection due to administrator command (57P01)"},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, time.Minute, test.pairs...)
			if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil || out.Fault != nil {
				t.Errorf("%+v", out)
			}
			detail, _ := out.Measured.Get("error")
			if text, _ := detail.(string); !strings.HasSuffix(text, test.detail) {
				t.Errorf("the error is %q, want %q", text, test.detail)
			}
		})
	}

	patient := func(t *testing.T, query string) engine.Outcome {
		t.Helper()
		check, err := kind.Compile(checkConfig(t, "address", address, "user", "admin", "password", "s3cret", "database", "postgres", "query", query))
		if err != nil {
			t.Fatal(err)
		}
		return check.Run(postgresDeadline{t.Context(), time.Now().Add(time.Second)})
	}
	t.Run("a query that does not end leaves nothing behind", func(t *testing.T) {
		out := patient(t, "select pg_sleep(600)")
		if out.Status != plugins.Unhealthy || out.Message != "the query took too long" {
			t.Errorf("%+v", out)
		}
		postgresGone(t, db)
	})
	t.Run("a table is locked", func(t *testing.T) {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		postgresExecute(t, tx, "lock table orders")
		out := patient(t, "select * from orders")
		if out.Status != plugins.Unhealthy || out.Message != "the query waited too long for a lock" {
			t.Errorf("%+v", out)
		}
	})
	t.Run("no environment variable has a say", func(t *testing.T) {
		home := t.TempDir()
		for name, value := range map[string]string{"HOME": home, "PGHOST": "nowhere.invalid", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "s3cret",
			"PGSSLMODE": "verify-full", "PGOPTIONS": "-c nonsense=1", "PGAPPNAME": "other", "PGSERVICE": "nothing", "PGREQUIRESSL": "1"} {
			t.Setenv(name, value)
		}
		(*serverAccount)(nil).write(t, filepath.Join(home, ".pgpass"), "*:*:*:*:s3cret\n")
		checkMeasured(t, run(t, time.Minute, "query", "show application_name"), "value", "checkstack")
		if out := run(t, time.Minute, "password", ""); out.Message != "the server refused the user name or the password" {
			t.Errorf("without a password: %+v", out)
		}
	})
	t.Run("neither a connection nor a goroutine is left", func(t *testing.T) {
		before := runtime.NumGoroutine()
		for _, query := range []string{"select 1", "select generate_series(1, 1000000)", "select * from nowhere"} {
			for range 5 {
				run(t, time.Minute, "query", query)
			}
		}
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines, and %d before", after, before)
		}
		postgresGone(t, db)
	})
	t.Run("what was prepared is undone for a pooler", func(t *testing.T) {
		// What a pooler does: many clients, one after the other, on one connection of the server.
		server, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		pooler := postgresPooler(t, server)
		for range 3 {
			out := checkOnce(t, kind, time.Minute, "address", pooler, "user", "admin", "password", "s3cret", "database", "postgres", "query", "select 7")
			if out.Status != plugins.Healthy {
				t.Fatalf("%+v %s", out, out.Measured.Object())
			}
			checkMeasured(t, out, "value", int64(7))
		}
	})
}

// postgresDeadline has a deadline, but does not end there, so that only what the server does about it counts.
type postgresDeadline struct {
	context.Context
	at time.Time
}

func (c postgresDeadline) Deadline() (time.Time, bool) { return c.at, true }

// postgresGone waits until no connection of a check is left in the server.
func postgresGone(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for left := -1; left != 0; {
		err := db.QueryRowContext(ctx, "select count(*) from pg_stat_activity where application_name = 'checkstack'").Scan(&left)
		if err != nil {
			t.Fatalf("%d connections are left: %v", left, err)
		}
	}
}

// postgresPooler lets clients in by itself, and gives them one connection of the server in turn. What logs the first one in is
// sent to the server, and what the server said then to all of them.
func postgresPooler(t *testing.T, server net.Conn) string {
	var welcome []byte // what came after the login
	message := func(r io.Reader) ([]byte, error) {
		head := make([]byte, 5)
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, err
		}
		m := append(head, make([]byte, binary.BigEndian.Uint32(head[1:])-4)...)
		_, err := io.ReadFull(r, m[5:])
		return m, err
	}
	return serverFake(t, func(_ context.Context, client net.Conn) {
		var size [4]byte
		if _, err := io.ReadFull(client, size[:]); err != nil {
			return
		}
		startup := append(size[:], make([]byte, binary.BigEndian.Uint32(size[:])-4)...)
		if _, err := io.ReadFull(client, startup[4:]); err != nil {
			return
		}
		if welcome == nil {
			_, _ = server.Write(startup)
		} else {
			_, _ = client.Write(welcome)
		}
		idle := welcome != nil // nothing is asked of the server
		for {
			if idle {
				m, err := message(client)
				if err != nil || m[0] == 'X' {
					return
				}
				_, _ = server.Write(m)
				idle = m[0] != 'Q' && m[0] != 'S' // then it answers until it is ready
				if idle {
					continue
				}
			}
			m, err := message(server)
			if err != nil {
				return
			}
			_, _ = client.Write(m)
			switch {
			case m[0] == 'Z' && welcome == nil:
				welcome, idle = postgresJoin([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 0}, []byte{'S', 0, 0, 0, 27}, []byte("client_encoding\x00UTF8\x00\x00\x00"), m), true
			case m[0] == 'Z':
				idle = true
			case m[0] == 'R' && (m[8] == 10 || m[8] == 11): // SCRAM goes on
				if answer, err := message(client); err == nil {
					_, _ = server.Write(answer)
				}
			}
		}
	})
}

func postgresJoin(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// postgresMessage is a message of a server.
func postgresMessage(kind byte, body string) string {
	return string(kind) + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
}

func TestAPostgresCheckWithstandsServersThatAreNone(t *testing.T) {
	refusal := func(code string) string {
		return postgresMessage('E', "SFATAL\x00C"+code+"\x00Mnot now, 10.1.2.3\x00\x00")
	}
	loggedIn := postgresMessage('R', "\x00\x00\x00\x00") + postgresMessage('Z', "I")
	for name, test := range map[string]struct{ says, message string }{
		"it is starting":              {refusal("57P03"), "the server is starting up or shutting down"},
		"it is full":                  {refusal("53300"), "the server has too many connections"},
		"it has another reason":       {refusal("08P01"), "the server refused the connection"},
		"it says nothing":             {"", "the connection was closed before the answer was complete"},
		"it cannot fork":              {"Ecould not fork new process for connection\x00", "the server could not start a process for the connection"},
		"it speaks HTTP":              {"HTTP/1.1 400 Bad Request\r\n\r\n", "the other side does not speak PostgreSQL's protocol"},
		"it speaks SSH":               {"SSH-2.0-OpenSSH_9.2\r\n", "the other side does not speak PostgreSQL's protocol"},
		"it announces 4 GiB":          {"R\xff\xff\xff\xff", "the other side does not speak PostgreSQL's protocol"},
		"it announces less than none": {"R\x00\x00\x00\x00", "the other side does not speak PostgreSQL's protocol"},
		"it is cut short":             {"R\x00\x00\x00\x08\x00", "the connection was closed before the answer was complete"},
		"a message is cut short":      {postgresMessage('R', "\x00"), "the other side does not speak PostgreSQL's protocol"},
		"a text has no end":           {postgresMessage('S', "server_version"), "the other side does not speak PostgreSQL's protocol"},
		"a billion rounds of SCRAM": {postgresMessage('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00") +
			postgresMessage('R', "\x00\x00\x00\x0br=x,s=AAAA,i=2000000000"), "the server asks for more rounds of SCRAM than 1,000,000"},
		"it stops while it works":   {loggedIn + refusal("57P01"), "the server is shutting down"},
		"it goes while it works":    {loggedIn, "the connection was closed before the answer was complete"},
		"it answers something else": {loggedIn + postgresMessage('H', "\x00\x00\x00"), "the other side does not speak PostgreSQL's protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, Postgres(nil), time.Minute, "address", serverSays(t, test.says), "user", "u")
			if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
		})
	}
	for name, test := range map[string]struct{ says, message string }{
		"it has no TLS":                     {"N", "the server does not offer TLS"},
		"it answers something else":         {"HTTP/1.1 400", "the other side does not speak PostgreSQL's protocol"},
		"it says plain what TLS is to hide": {"S" + loggedIn, "the other side does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, Postgres(nil), time.Minute, "address", serverSays(t, test.says), "user", "u", "tls", map[string]any{})
			if out.Status != plugins.Unhealthy || out.Message != test.message {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
		})
	}
}

func TestAPostgresCheckEndsWithItsTime(t *testing.T) {
	certificate, key := serverCertificate(t)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{
		"silent": serverSilent(t),
		"logged in and silent": serverFake(t, func(ctx context.Context, conn net.Conn) {
			_, _ = io.WriteString(conn, postgresMessage('R', "\x00\x00\x00\x00")+postgresMessage('Z', "I"))
			<-ctx.Done()
		}),
		"endless notices": serverFake(t, func(_ context.Context, conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, postgresMessage('N', "SNOTICE\x00\x00")); err != nil {
					return
				}
			}
		}),
		"silent behind TLS": serverFake(t, func(ctx context.Context, conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 8))
			_, _ = io.WriteString(conn, "S")
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}).HandshakeContext(ctx)
			<-ctx.Done()
		}),
	} {
		t.Run(name, func(t *testing.T) {
			pairs := []any{"address", address, "user", "u"}
			if strings.HasSuffix(name, "TLS") {
				pairs = append(pairs, "tls", map[string]any{"ca": certificate})
			}
			out := checkOnce(t, Postgres(nil), 100*time.Millisecond, pairs...)
			if out.Status != plugins.Unhealthy || out.Message != "timed out after 100ms" || out.Fault != nil {
				t.Errorf("%+v", out)
			}
		})
	}
}

func TestAPostgresCheckKnowsWhoseFaultItIs(t *testing.T) {
	out := checkOnce(t, Postgres(nil), time.Minute, "address", serverClosed(t), "user", "u")
	if out.Status != plugins.Unhealthy || out.Message != "connection refused" || out.Fault != nil {
		t.Errorf("nobody listens: %+v", out)
	}
	denied := &engine.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	out = checkOnce(t, Postgres(denied), time.Minute, "address", serverClosed(t), "user", "u")
	if out.Fault == nil || out.Fault.Error() != "the address is in a network that checks may not connect to (-deny-networks)" {
		t.Errorf("denied: %+v", out)
	}
}

func TestAPostgresConfigurationIsRefusedWithTheFieldThatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		pairs       []any
		field, says string
	}{
		"no address":     {[]any{"user", "u"}, "address", "expected this field, but it is missing"},
		"no user":        {[]any{"address", "db"}, "user", "expected this field, but it is missing"},
		"a socket":       {[]any{"address", "/run/postgresql", "user", "u"}, "address", "expected a host and a port such as example.org:5432"},
		"a write":        {[]any{"address", "db", "user", "u", "query", "delete from orders"}, "query", "expected one statement that begins with SELECT, WITH, VALUES, TABLE or SHOW"},
		"a copy":         {[]any{"address", "db", "user", "u", "query", "copy orders to program 'rm -r /'"}, "query", "expected one statement that begins with SELECT, WITH, VALUES, TABLE or SHOW"},
		"a hidden copy":  {[]any{"address", "db", "user", "u", "query", "/* select */ copy orders to stdout"}, "query", "expected one statement that begins with SELECT, WITH, VALUES, TABLE or SHOW"},
		"only a comment": {[]any{"address", "db", "user", "u", "query", "-- select"}, "query", "expected one statement that begins with SELECT, WITH, VALUES, TABLE or SHOW"},
		"another word":   {[]any{"address", "db", "user", "u", "query", "selection"}, "query", "expected one statement that begins with SELECT, WITH, VALUES, TABLE or SHOW"},
		"no PEM":         {[]any{"address", "db", "user", "u", "tls", map[string]any{"ca": "x"}}, "tls.ca", "expected certificates in PEM"},
	} {
		t.Run(name, func(t *testing.T) { checkRefused(t, Postgres(nil), test.field, test.says, test.pairs...) })
	}
	check, err := Postgres(nil).Compile(checkConfig(t, "address", "[::1]", "user", "u", "tls", map[string]any{}))
	if err != nil || check.Target() != "[::1]:5432" || string(check.Normal()) != `{"address":"[::1]","tls":{},"user":"u"}` {
		t.Errorf("%s %s %v", check.Target(), check.Normal(), err)
	}
}

func FuzzPostgresWire(f *testing.F) {
	f.Add([]byte(postgresMessage('R', "\x00\x00\x00\x00") + postgresMessage('S', "server_version\x0017\x00") + postgresMessage('Z', "I")))
	f.Add([]byte(postgresMessage('E', "C53300\x00Mfull\x00\x00")))
	f.Add([]byte("R\xff\xff\xff\xff"))
	f.Add([]byte("R\x00\x00\x00\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := &postgresWire{Conn: postgresReplay{r: bytes.NewReader(data)}}
		handed, err := io.ReadAll(w)
		if !bytes.HasPrefix(data, handed) {
			t.Errorf("%q became %q", data, handed)
		}
		if err == nil && len(handed) != len(data) {
			t.Errorf("only %d of %d bytes came, and no error", len(handed), len(data))
		}
	})
}

// postgresReplay is a connection whose other side has said everything.
type postgresReplay struct {
	net.Conn
	r io.Reader
}

func (c postgresReplay) Read(p []byte) (int, error) { return c.r.Read(p) }
