package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"

	"github.com/lib/pq"
)

func TestConnectionStringsGetTheSettingsTheyDoNotState(t *testing.T) {
	type want struct {
		tls                                 pq.SSLMode
		timeout                             time.Duration
		name, timezone, statement, idle, db string
	}
	usual := want{pq.SSLModePrefer, 5 * time.Second, "checkstack", "UTC", "30s", "60s", "d"}
	with := func(change func(*want)) want { w := usual; change(&w); return w }
	for s, want := range map[string]want{
		"postgres://u:p@h/d":                                                 usual,
		"postgresql://u:p@h:6000/d":                                          usual,
		"host=h dbname=d":                                                    usual,
		"host=/run dbname=d":                                                 with(func(w *want) { w.tls = pq.SSLModeDisable }),
		"postgres://h/d?sslmode=verify-full":                                 with(func(w *want) { w.tls = pq.SSLModeVerifyFull }),
		"postgres://h/d?connect_timeout=1":                                   with(func(w *want) { w.timeout = time.Second }),
		"postgres://h/d?application_name=a":                                  with(func(w *want) { w.name = "a" }),
		"postgres://h/d?TimeZone=Asia/Tokyo":                                 with(func(w *want) { w.timezone = "" }),
		"postgres://h/d?statement_timeout=1000":                              with(func(w *want) { w.statement = "1000" }),
		"postgres://h/d?options=-c+statement_timeout=1":                      with(func(w *want) { w.statement = "" }),
		"host=h dbname=d options='-c idle_in_transaction_session_timeout=0'": with(func(w *want) { w.idle = "" }),
	} {
		cfg, err := postgres.Parse(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		got := want
		got.tls, got.timeout, got.name, got.db = cfg.SSLMode, cfg.ConnectTimeout, cfg.ApplicationName, cfg.Database
		got.timezone, got.statement, got.idle = cfg.Runtime["timezone"], cfg.Runtime["statement_timeout"], cfg.Runtime["idle_in_transaction_session_timeout"]
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", s, got, want)
		}
	}
}

func TestMalformedConnectionStringIsAnErrorAtOnceWithoutThePassword(t *testing.T) {
	for s, want := range map[string]string{
		"postgres://u:s3cret@h:port/d":              "not a valid URL",
		"postgres://u:s3cret/@h/d":                  "not a valid URL",
		"postgres://u:s3%cret@h/d":                  "not a valid URL",
		"postgres://u:s3 cret@h/d":                  "not a valid URL",
		"mysql://u:s3cret@h/d":                      "neither a URL such as postgres://",
		"user=u password=a s3cret":                  "neither a URL such as postgres://",
		"password='s3cret":                          "neither a URL such as postgres://",
		"s3cret":                                    "neither a URL such as postgres://",
		"postgres://u:s3cret@h/d?sslmode=yes":       `wrong value for "sslmode": "yes" is not supported`,
		"postgres://u:s3cret@h/d?port=s3cret":       `wrong value for "port"`,
		"user=u password=s3cret connect_timeout=1s": `wrong value for "connect_timeout"`,
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: s})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "DATABASE_URL") {
			t.Errorf("%s: %v, want %q", s, err, want)
		} else if strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: the password is in: %v", s, err)
		}
	}
}

func TestServerOlderThan15IsAnError(t *testing.T) {
	for number, want := range map[int]string{
		90624: "9.6.24", 100023: "10.23", 140012: "14.12", 149999: "14.9999",
	} {
		if err := postgres.CheckVersion(number); err == nil || !strings.Contains(err.Error(), "PostgreSQL "+want+", and 15 or newer is needed") {
			t.Errorf("%d: %v", number, err)
		}
	}
	for _, number := range []int{150000, 150014, 180001} {
		if err := postgres.CheckVersion(number); err != nil {
			t.Errorf("%d: %v", number, err)
		}
	}
}

func TestSessionsAreInUTCWhateverTheServerSays(t *testing.T) {
	admin, url := postgrestest.New(t)
	if _, err := admin.Exec("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$"); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer closeDatabase(t, db)
	if got := show(t, db, "SELECT date_trunc('day', timestamptz '2024-01-01 20:00Z')::text"); got != "2024-01-01 00:00:00+00" {
		t.Error(got)
	}
	var at time.Time
	if err := db.QueryRow("SELECT timestamptz '2024-01-01 20:00Z'").Scan(&at); err != nil || at.Format(time.RFC3339) != "2024-01-01T20:00:00Z" {
		t.Error(at, err)
	}
}

// passwordCluster returns a private cluster with a user "guest" who needs the password "s3cret", and a connection string for it.
func passwordCluster(t *testing.T) (db *postgres.Database, dsn string) {
	dir := copiedCluster(t)
	db = openCluster(t, dir)
	if _, err := db.Exec("CREATE ROLE guest LOGIN PASSWORD 's3cret'"); err != nil {
		t.Fatal(err)
	}
	rules := "local all checkstack trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(dir, "postgres", "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := show(t, db, "SELECT pg_reload_conf()"); got != "true" {
		t.Fatal(got)
	}
	eventually(t, "the new rules are read", func() bool {
		return show(t, db, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'scram-sha-256'") == "1"
	})
	return db, "host=" + filepath.Join(dir, "run") + " user=guest dbname=checkstack"
}

func TestFaultsThatStayAreErrorsAtOnce(t *testing.T) {
	t.Parallel()
	_, dsn := passwordCluster(t)
	for name, c := range map[string]struct{ url, want string }{
		"wrong password":    {dsn + " password=s3cret-not", "password authentication failed"},
		"missing database":  {dsn + " password=s3cret dbname=nothing", `database "nothing" does not exist`},
		"missing user":      {dsn + " password=s3cret user=nobody", "authentication failed"},
		"unknown setting":   {dsn + " password=s3cret nonsense=1", `unrecognized configuration parameter "nonsense"`},
		"TLS not to be had": {"postgres://guest:s3cret@" + relay(t, dsn, nil) + "/checkstack?sslmode=require", "SSL is not enabled on the server"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := postgres.Open(ctx, postgres.Config{URL: c.url})
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want %q", err, c.want)
			} else if strings.Contains(err.Error(), "s3cret") {
				t.Error("the password is in:", err)
			}
		})
	}
	db, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://guest:s3cret@" + relay(t, dsn, nil) + "/checkstack"})
	if err != nil {
		t.Fatal("without TLS, which the server does not offer:", err)
	}
	defer closeDatabase(t, db)
	if got := show(t, db, "SELECT current_user"); got != "guest" {
		t.Error(got)
	}
	if db.Private() {
		t.Error("a server of DATABASE_URL is said to be private")
	}
}

func TestServerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	dir, log := copiedCluster(t), newLog()
	closeDatabase(t, openCluster(t, dir))
	url := "host=" + filepath.Join(dir, "run") + " user=checkstack dbname=checkstack password=s3cret"
	opened := make(chan error)
	go func() {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Log: slog.New(log)})
		if err == nil {
			err = db.Close(t.Context())
		}
		opened <- err
	}()
	log.next(t, "the database does not answer yet")
	openCluster(t, dir)
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Error("the password is in the log")
	}
}

func TestServerThatStaysAwayIsAnErrorWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := postgres.Open(ctx, postgres.Config{URL: "host=/nowhere user=u dbname=d password=s3cret"})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOENT) || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}
