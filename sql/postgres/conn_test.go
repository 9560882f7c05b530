package postgres_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"

	"github.com/lib/pq"
)

// relay passes a server's Unix socket on as a TCP port, and returns its address. What the server sends goes through pass, if
// it is not nil, one message at a time; the connection is closed when pass says so.
func relay(t *testing.T, dsn string, pass func(kind byte) (closeAfter bool)) string {
	t.Helper()
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", fmt.Sprintf("%s/.s.PGSQL.%d", cfg.Host, cfg.Port))
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
			go func() {
				defer client.Close()
				defer server.Close()
				if pass == nil {
					io.Copy(client, server)
					return
				}
				relayMessages(client, bufio.NewReader(server), pass)
			}()
		}
	}()
	return l.Addr().String()
}

func relayMessages(client io.Writer, server io.Reader, pass func(byte) bool) {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(server, head); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(server, rest); err != nil {
			return
		}
		if _, err := client.Write(append(head, rest...)); err != nil || pass(head[0]) {
			return
		}
	}
}

func TestServerThatClosesAfterAnErrorLeavesNoStuckConnection(t *testing.T) {
	t.Parallel()
	dsn := openCluster(t, copiedCluster(t)).URL()
	errorThenClose := func(kind byte) bool { return kind == 'E' }
	host, port, _ := net.SplitHostPort(relay(t, dsn, errorThenClose))
	through := dsn + " host=" + host + " port=" + port
	afterAnError := func(db *sql.DB, statement string, args ...any) error {
		_, err := db.Exec(statement, args...)
		if e, ok := errors.AsType[*pq.Error](err); ok && e.SQLState() != "42883" {
			t.Error(err)
		}
		var n int
		return db.QueryRow("SELECT 1").Scan(&n)
	}
	bare, err := sql.Open("postgres", through)
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if err := afterAnError(bare, "SELECT nothing($1::int)", 0); err == nil || err.Error() != "pq: there is already a query being processed on this connection" {
		t.Errorf("lib/pq by itself no longer leaves the connection stuck: %v", err)
	}
	db := openOne(t, through)
	for range 20 {
		if err := afterAnError(db.DB, "SELECT nothing($1::int)", 0); err != nil {
			t.Fatal("with parameters:", err)
		}
		if err := afterAnError(db.DB, "SELECT nothing()"); err != nil {
			t.Fatal("without:", err)
		}
	}
}

func TestStatementsWithParametersStayPrepared(t *testing.T) {
	_, url := postgrestest.New(t)
	db := openOne(t, url)
	for i := range 3 {
		if got := show(t, db, "SELECT 'kept ' || $1::int", i); got != fmt.Sprint("kept ", i) {
			t.Error(got)
		}
		if r, err := db.Exec("SELECT $1::int", i); err != nil {
			t.Error(r, err)
		}
	}
	const prepared = "SELECT count(*) FROM pg_catalog.pg_prepared_statements"
	if got := show(t, db, prepared); got != "2" {
		t.Errorf("%s statements are prepared, want 2", got)
	}
	for i := range 300 {
		if got := show(t, db, fmt.Sprintf("SELECT %d + $1::int", i), 1); got != fmt.Sprint(i+1) {
			t.Error(got)
		}
	}
	if got := show(t, db, prepared); got != "256" {
		t.Errorf("%s statements are prepared, want no more than 256", got)
	}
}

// openOne opens a pool of a single connection.
func openOne(t testing.TB, url string) *postgres.Database {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestPreparedStatementsOutliveAChangeOfTheTable(t *testing.T) {
	other, url := postgrestest.New(t)
	db := openOne(t, url)
	change := func(statement string) {
		t.Helper()
		if _, err := other.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	const query = "SELECT t.* FROM public.t WHERE n >= $1"
	columns := func(on interface {
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	}) (int, error) {
		rows, err := on.QueryContext(t.Context(), query, 0)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		names, err := rows.Columns()
		return len(names), err
	}
	change("CREATE TABLE public.t (n int)")
	if n, err := columns(db); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	change("ALTER TABLE public.t ADD m int")
	if n, err := columns(db); n != 2 || err != nil {
		t.Error("after a column was added:", n, err)
	}
	change("ALTER TABLE public.t ADD l int")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := columns(tx); err == nil || !strings.Contains(err.Error(), "cached plan must not change result type") {
		t.Error("in a transaction, which the error has ended:", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if n, err := columns(db); n != 3 || err != nil {
		t.Error("after that transaction:", n, err)
	}
	if _, err := db.Exec("DEALLOCATE ALL"); err != nil {
		t.Fatal(err)
	}
	if n, err := columns(db); n != 3 || err != nil {
		t.Error("after somebody has deallocated everything:", n, err)
	}
	change("DROP TABLE public.t; CREATE TABLE public.t (n bigint)")
	if n, err := columns(db); n != 1 || err != nil {
		t.Error("after the table was made anew:", n, err)
	}
}

func TestValuesOfEveryTypeComeBackAsTheyWereSent(t *testing.T) {
	db, _ := postgrestest.New(t)
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC)
	for query, c := range map[string]struct{ in, want any }{
		"SELECT $1::bytea":                    {[]byte("\\x00\xff\\"), []byte("\\x00\xff\\")},
		"SELECT $1::jsonb":                    {[]byte(`{"a": 1}`), []byte(`{"a": 1}`)},
		"SELECT ($1::jsonb)->>'a'":            {`{"a": "b"}`, "b"},
		"SELECT $1::text":                     {[]byte("text"), "text"},
		"SELECT $1::uuid::text":               {"7d444840-9dc0-11d1-b245-5ffdce74fad2", "7d444840-9dc0-11d1-b245-5ffdce74fad2"},
		"SELECT $1::timestamptz":              {at, at},
		"SELECT $1::bigint":                   {int64(1) << 62, int64(1) << 62},
		"SELECT $1::float8":                   {1.5, 1.5},
		"SELECT $1::bool":                     {true, true},
		"SELECT $1::int IS NULL":              {nil, true},
		"SELECT array_length($1::text[], 1)":  {pq.Array([]string{"a", "b"}), int64(2)},
		"SELECT array_length($1::bigint[],1)": {[]int64{1, 2, 3}, int64(3)},
	} {
		for range 2 { // prepared, and then prepared already
			var got any
			if err := db.QueryRow(query, c.in).Scan(&got); err != nil {
				t.Errorf("%s: %v", query, err)
			} else if is, ok := got.(time.Time); ok && is.Equal(at) {
				continue
			} else if fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", c.want, c.want) {
				t.Errorf("%s: %T %v, want %T %v", query, got, got, c.want, c.want)
			}
		}
	}
}

func TestSecondStatementWhileRowsAreOpenIsRefusedAndHarmsNothing(t *testing.T) {
	db, _ := postgrestest.New(t)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	rows, err := tx.Query("SELECT generate_series(1, $1::int)", 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		if n++; n == 500 {
			if _, err := tx.Exec("SELECT $1::int", 1); err == nil || !strings.Contains(err.Error(), "already a query being processed") {
				t.Error(err)
			}
		}
	}
	if err := rows.Err(); err != nil || n != 1000 {
		t.Error(n, err)
	}
	if _, err := tx.Exec("SELECT $1::int", 1); err != nil {
		t.Error("after the rows are closed:", err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}

func TestEndedContextCancelsTheStatement(t *testing.T) {
	_, url := postgrestest.New(t)
	db := openOne(t, url)
	for _, query := range []string{"SELECT pg_sleep(60)", "SELECT pg_sleep($1)"} {
		var args []any
		if strings.Contains(query, "$1") {
			args = append(args, 60)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := db.ExecContext(ctx, query, args...)
		cancel()
		if e, ok := errors.AsType[*pq.Error](err); !ok || e.SQLState() != "57014" {
			t.Errorf("%s: %v, want 57014", query, err)
		}
		if got := show(t, db, "SELECT 'yes'"); got != "yes" {
			t.Error(got)
		}
	}
}

func TestFrozenServerHoldsNoCallerLongerThanSecondsPastItsContext(t *testing.T) {
	t.Parallel()
	url := openCluster(t, copiedCluster(t)).URL()
	for name, call := range map[string]func(context.Context, *sql.DB) error{
		"query": func(ctx context.Context, db *sql.DB) error {
			var n int
			return db.QueryRowContext(ctx, "SELECT $1::int", 1).Scan(&n)
		},
		"commit": func(ctx context.Context, db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			return tx.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := openOne(t, url)
			var backend int
			if err := one.QueryRow("SELECT pg_backend_pid()").Scan(&backend); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			defer syscall.Kill(backend, syscall.SIGCONT)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := call(ctx, one.DB)
			if took := time.Since(began); err == nil || took > 10*time.Second {
				t.Errorf("it took %v: %v", took, err)
			}
			if got := show(t, one, "SELECT 'yes'"); got != "yes" { // on another connection
				t.Error(got)
			}
		})
	}
}

// What a row by its key costs over the whole way, 32 callers and 16 connections: as this package does it, as lib/pq does it,
// and with its binary_parameters.
func BenchmarkRowByKey(b *testing.B) {
	setup, url := postgrestest.New(b)
	if _, err := setup.Exec("CREATE TABLE public.systems (id uuid PRIMARY KEY, name text, at timestamptz DEFAULT now());" +
		"INSERT INTO public.systems SELECT gen_random_uuid(), 'system ' || n FROM generate_series(1, 1000) n"); err != nil {
		b.Fatal(err)
	}
	id := show(b, setup, "SELECT id FROM public.systems LIMIT 1")
	ours, err := postgres.Open(b.Context(), postgres.Config{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer ours.Close(context.Background())
	bare := func(settings ...string) *sql.DB {
		db, err := sql.Open("postgres", with(url, settings...))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16)
		return db
	}
	for name, db := range map[string]*sql.DB{"prepared": ours.DB, "two trips": bare(), "binary parameters": bare("binary_parameters=yes")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				for pb.Next() {
					var id2, name string
					var at time.Time
					if err := db.QueryRowContext(ctx, "SELECT id, name, at FROM public.systems WHERE id = $1", id).Scan(&id2, &name, &at); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
