//go:build unix

package checks

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// redisServer is a Redis without a password, with some more lines of configuration, and a function that sends commands to it.
func redisServer(t *testing.T, ready string, config ...string) (address string, send func(*testing.T, ...string) string) {
	t.Helper()
	account := newServerAccount(t, "redis")
	program := serverProgram(t, "redis-server")
	dir := account.dir(t)
	port := strconv.Itoa(serverPort(t))
	lines := append([]string{"port " + port, "bind 127.0.0.1", "dir " + dir, `save ""`, "repl-diskless-sync-delay 0"}, config...)
	serverStart(t, account.command(dir, program, account.write(t, filepath.Join(dir, "redis.conf"), strings.Join(lines, "\n"))), ready, syscall.SIGTERM)
	address = "127.0.0.1:" + port
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	answers := bufio.NewReader(conn)
	send = func(t *testing.T, words ...string) string {
		t.Helper()
		_, err := conn.Write(redisCommand(nil, words...))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := redisRead(answers)
		if err != nil || answer.kind == '-' {
			t.Fatalf("%s: %s, %v", words, answer.text, err)
		}
		return answer.text
	}
	return address, send
}

func TestARedisCheckAsksARealServer(t *testing.T) {
	certificate, key := serverCertificate(t)
	account := newServerAccount(t, "redis")
	files := account.dir(t)
	tlsPort := strconv.Itoa(serverPort(t))
	address, send := redisServer(t, "Ready to accept connections", "user guest on >s3cret +ping +info", "user mute on >s3cret +ping", "user nothing on >s3cret",
		"tls-port "+tlsPort, "tls-auth-clients no",
		"tls-cert-file "+account.write(t, filepath.Join(files, "server.crt"), certificate), "tls-key-file "+account.write(t, filepath.Join(files, "server.key"), key),
		"tls-ca-cert-file "+filepath.Join(files, "server.crt"))
	encrypted := []any{"address", "127.0.0.1:" + tlsPort, "tls", map[string]any{"ca": certificate}}
	version := regexp.MustCompile(`redis_version:(\S+)`).FindStringSubmatch(send(t, "INFO", "server"))[1]
	run := func(t *testing.T, pairs ...any) engine.Outcome {
		t.Helper()
		return checkOnce(t, Redis(nil), time.Minute, append([]any{"address", address}, pairs...)...)
	}
	unhealthy := func(t *testing.T, out engine.Outcome, message string) {
		t.Helper()
		if out.Status != plugins.Unhealthy || out.Message != message || out.Latency != nil || out.Fault != nil {
			t.Errorf("%+v, want %s", out, message)
		}
	}

	for name, test := range map[string]struct {
		pairs     []any
		role, tls any
	}{
		"as anybody":             {nil, "master", nil},
		"as a user":              {[]any{"user", "guest", "password", "s3cret"}, "master", nil},
		"with TLS":               {encrypted, "master", "TLS 1.3"},
		"as a user, with TLS":    {append([]any{"user", "guest", "password", "s3cret"}, encrypted...), "master", "TLS 1.3"},
		"as one who may not ask": {[]any{"user", "mute", "password", "s3cret"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, test.pairs...)
			if out.Status != plugins.Healthy || out.Message != "the server answered" || out.Latency == nil {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
			checkMeasured(t, out, "role", test.role, "tls.version", test.tls, "masterLink", nil, "error", nil)
			if test.role != nil {
				checkMeasured(t, out, "version", version, "connectedReplicas", 0)
			}
		})
	}
	for name, test := range map[string]struct {
		pairs   []any
		message string
	}{
		"a wrong password":           {[]any{"user", "guest", "password", "wrong"}, "the server refused the user name or the password"},
		"an unknown user":            {[]any{"user", "nobody", "password", "s3cret"}, "the server refused the user name or the password"},
		"a user who may do nothing":  {[]any{"user", "nothing", "password", "s3cret"}, "the user may not send PING"},
		"a password that nobody has": {[]any{"password", "s3cret"}, "the server has no password, but the check sends one"},
		"an unknown authority":       {[]any{"address", "127.0.0.1:" + tlsPort, "tls", map[string]any{}}, "the TLS certificate is signed by an unknown authority"},
	} {
		t.Run(name, func(t *testing.T) { unhealthy(t, run(t, test.pairs...), test.message) })
	}
	t.Run("a password is missing", func(t *testing.T) {
		send(t, "CONFIG", "SET", "requirepass", "s3cret")
		defer send(t, "CONFIG", "SET", "requirepass", "")
		out := run(t)
		unhealthy(t, out, "the server asks for a password")
		checkMeasured(t, out, "error", "the server asks for a password: NOAUTH Authentication required.")
		if out := run(t, "password", "s3cret"); out.Status != plugins.Healthy {
			t.Errorf("%+v", out)
		}
	})
	t.Run("it is full", func(t *testing.T) {
		send(t, "CONFIG", "SET", "maxclients", "1")
		defer send(t, "CONFIG", "SET", "maxclients", "1000")
		unhealthy(t, run(t), "the server has too many connections")
	})
	t.Run("replication", func(t *testing.T) {
		host, port, _ := strings.Cut(address, ":")
		replica, sendReplica := redisServer(t, "sync: Finished with success", fmt.Sprintf("replicaof %s %s", host, port))
		checkMeasured(t, run(t), "role", "master", "connectedReplicas", 1)
		checkMeasured(t, run(t, "address", replica), "role", "slave", "masterLink", "up", "connectedReplicas", 0)

		_, gone, _ := strings.Cut(serverClosed(t), ":")
		sendReplica(t, "REPLICAOF", "127.0.0.1", gone)
		out := run(t, "address", replica)
		checkMeasured(t, out, "role", "slave", "masterLink", "down")
		if out.Status != plugins.Healthy {
			t.Errorf("%+v", out)
		}
		sendReplica(t, "CONFIG", "SET", "replica-serve-stale-data", "no")
		unhealthy(t, run(t, "address", replica), "the replica has lost its master and does not answer")
	})
}

func TestARedisCheckWithstandsServersThatAreNone(t *testing.T) {
	const notSpoken = "the other side does not speak Redis's protocol"
	for name, test := range map[string]struct{ says, message string }{
		"it is loading":           {"-LOADING Redis is loading the dataset in memory\r\n", "the server is loading its data"},
		"it is busy":              {"-BUSY Redis is busy running a script.\r\n", "the server is busy with a script"},
		"its disk is full":        {"-MISCONF Redis is configured to save RDB snapshots\r\n", "the server cannot save its data"},
		"it is in protected mode": {"-DENIED Redis is running in protected mode\r\n", "the server is in protected mode and does not let this machine in"},
		"another error":           {"-ERR 10.1.2.3 is down\r\n", "the server answered with an error"},
		"it says nothing":         {"", "the connection was closed before the answer was complete"},
		"it speaks HTTP":          {"HTTP/1.1 400 Bad Request\r\n\r\n", notSpoken},
		"another word":            {"+GNIP\r\n", notSpoken},
		"an array":                {"*1\r\n+PONG\r\n", notSpoken},
		"only line feeds":         {"+PONG\n", notSpoken},
		"no length":               {"+PONG\r\n$x\r\n", notSpoken},
		"a length below nothing":  {"+PONG\r\n$-2\r\n", notSpoken},
		"a giant length":          {"+PONG\r\n$9999999999999\r\n", notSpoken},
		"a wrong length":          {"+PONG\r\n$1\r\nabc\r\n", notSpoken},
		"an endless line":         {"+" + strings.Repeat("x", 100_000), notSpoken},
		"it is cut short":         {"+PONG\r\n$100\r\nrole:", "the connection was closed before the answer was complete"},
		"it goes after PONG":      {"+PONG\r\n", "the connection was closed before the answer was complete"},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, Redis(nil), time.Minute, "address", serverSays(t, test.says))
			if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
		})
	}
	t.Run("old words for a wrong password", func(t *testing.T) {
		for says, message := range map[string]string{
			"-ERR invalid password\r\n":                           "the server refused the user name or the password",
			"-ERR Client sent AUTH, but no password is set\r\n":   "the server has no password, but the check sends one",
			"-ERR max number of clients reached\r\n":              "the server has too many connections",
			"-LOADING Redis is loading the dataset in memory\r\n": "the server is loading its data",
		} {
			if out := checkOnce(t, Redis(nil), time.Minute, "address", serverSays(t, says), "password", "x"); out.Message != message {
				t.Errorf("%q: %+v", says, out)
			}
		}
	})
	t.Run("it has no TLS", func(t *testing.T) {
		out := checkOnce(t, Redis(nil), time.Minute, "address", serverSays(t, "-ERR unknown command\r\n"), "tls", map[string]any{})
		if out.Message != "the other side does not speak TLS" {
			t.Errorf("%+v", out)
		}
	})
	t.Run("it is silent", func(t *testing.T) {
		for name, address := range map[string]string{"from the first": serverSilent(t), "after PONG": serverFake(t, func(ctx context.Context, conn net.Conn) {
			_, _ = io.WriteString(conn, "+PONG\r\n")
			<-ctx.Done()
		})} {
			if out := checkOnce(t, Redis(nil), 100*time.Millisecond, "address", address); out.Message != "timed out after 100ms" || out.Status != plugins.Unhealthy {
				t.Errorf("%s: %+v", name, out)
			}
		}
	})
}

func TestARedisConfigurationIsRefusedWithTheFieldThatIsWrong(t *testing.T) {
	checkRefused(t, Redis(nil), "address", "expected this field, but it is missing")
	checkRefused(t, Redis(nil), "address", "expected a host and a port such as example.org:6379", "address", "redis://db")
	checkRefused(t, Redis(nil), "password", "expected a password, because there is a user", "address", "db", "user", "x")
	checkRefused(t, Redis(nil), "tls.ca", "expected certificates in PEM", "address", "db", "tls", map[string]any{"ca": "x"})
	check, err := Redis(nil).Compile(checkConfig(t, "address", "db"))
	if err != nil || check.Target() != "db:6379" {
		t.Errorf("%v %v", check, err)
	}
}

func FuzzRedisAnswer(f *testing.F) {
	f.Add([]byte("+PONG\r\n$4\r\nrole\r\n-ERR no\r\n:12\r\n$-1\r\n"))
	f.Add([]byte("$999999999\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(data), redisMaxLine)
		for {
			a, err := redisRead(r)
			if err != nil {
				return // at the end, if not before
			}
			if len(a.text) > redisMaxBulk || !bytes.Contains(data, []byte(a.text)) {
				t.Fatalf("%q is no part of %q", a.text, data)
			}
			redisMeasure(a.text, new(engine.Measured))
		}
	})
}
