package soak

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

var long = flag.Bool("long", false, "run for minutes, at the whole size")

// targetEnv makes a process of this test the targets of checks.
const targetEnv = "SOAK_TEST_TARGETS"

func TestMain(m *testing.M) {
	if os.Getenv(targetEnv) != "" {
		fmt.Fprintln(os.Stderr, serveTargets())
		os.Exit(1)
	}
	postgrestest.Main(m)
}

// serveTargets serves, until its input ends, a web server that answers at once and a listener that accepts and never answers.
// It prints both addresses.
func serveTargets() error {
	answering, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				continue // no descriptor is free: the next one waits as well as this one would
			}
			go func() {
				io.Copy(io.Discard, c) // until the other side gives up
				c.Close()
			}()
		}
	}()
	fmt.Println(answering.Addr(), silent.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(answering, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"status":"ok"}`)
	}))
}

// targets starts the targets in a process of their own, and returns the URLs of the one that answers and of the one that does not.
func targets(t testing.TB) (answering, silent string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), targetEnv+"=1")
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() // it ends with its input
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	addresses := strings.Fields(line)
	if err != nil || len(addresses) != 2 {
		t.Fatalf("the targets said %q, %v", line, err)
	}
	return "http://" + addresses[0] + "/", "http://" + addresses[1] + "/"
}

// configure makes a configuration of type http.
func configure(t testing.TB, s *servertest.Server, name, url string, interval, timeout time.Duration) (id string) {
	t.Helper()
	body := fmt.Sprintf(`{"name":%q,"type":"http","config":{"url":%q},"intervalSeconds":%d,"timeoutMs":%d}`,
		name, url, int(interval.Seconds()), timeout.Milliseconds())
	return servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", "/api/healthcheck/configurations", servertest.Admin, body), 201).ID
}

// assign has a configuration checked for n new systems, each in its slots from now on, as assignments by the API get them, but without
// a first run at once.
func assign(t testing.TB, s *servertest.Server, configuration string, n int) {
	t.Helper()
	for _, statement := range []string{
		`insert into catalog.systems (id, name, name_key, description, metadata)
		select gen_random_uuid(), $1 || i, $1 || i, '', '{}' from generate_series(1, $2) i`,
		`insert into healthcheck.assignments (system_id, configuration_id, enabled, slot_at, next_run_at, due_at)
		select s.id::text, c.id, true, slot, first, first
		from catalog.systems s, healthcheck.configurations c, lateral (
			select timestamptz '2000-01-01 00:00Z' + make_interval(secs => ((hashtextextended(s.id::text || c.id::text, 0)
				& 9007199254740991) % (c.interval_seconds * 1000::bigint)) / 1000.0) as slot) x, lateral (
			select slot + make_interval(secs => c.interval_seconds
				* (floor(extract(epoch from now() - slot) / c.interval_seconds) + 1)) as first) y
		where c.id = $1::uuid and s.name like $1 || '%' and $2::integer > 0`,
	} {
		if _, err := s.DB.ExecContext(t.Context(), statement, configuration, n); err != nil {
			t.Fatal(err)
		}
	}
}

// pass lets time pass while the servers work.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
	if t.Context().Err() != nil {
		t.Fatal(t.Context().Err())
	}
}

func value[T any](t testing.TB, db *sql.DB, query string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
