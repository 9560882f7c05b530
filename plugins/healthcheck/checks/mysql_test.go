//go:build unix

package checks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os/exec"
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

// mariaDBServer is a MariaDB with the users in init, and a function that runs statements.
func mariaDBServer(t *testing.T, init string) (address, ca string, execute func(*testing.T, string) string) {
	t.Helper()
	account := newServerAccount(t, "mysql")
	program := serverProgram(t, "mariadbd", "/usr/sbin", "/usr/libexec", "/opt/homebrew/bin")
	install := serverProgram(t, "mariadb-install-db")
	client := serverProgram(t, "mariadb")
	dir := account.dir(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "socket")
	if len(socket) > 100 {
		t.Fatalf("the folder for temporary files is too deep for a socket: %s", dir)
	}
	certificate, key := serverCertificate(t)
	options := []string{"--no-defaults", "--datadir=" + data, "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0"}
	serverPrepare(t, account.command(dir, install, append(options, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")...))
	port := strconv.Itoa(serverPort(t))
	serverStart(t, account.command(dir, program, append(options, "--port="+port, "--bind-address=127.0.0.1", "--socket="+socket,
		"--ssl-cert="+account.write(t, filepath.Join(dir, "server.crt"), certificate), "--ssl-key="+account.write(t, filepath.Join(dir, "server.key"), key),
		"--init-file="+account.write(t, filepath.Join(dir, "init.sql"), init), "--innodb-fast-shutdown=2", "--skip-name-resolve")...),
		"ready for connections", syscall.SIGTERM)
	execute = func(t *testing.T, statement string) string {
		t.Helper()
		out, err := exec.Command(client, "--no-defaults", "--socket="+socket, "--user=root", "--batch", "--skip-column-names", "--execute="+statement).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", statement, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	return "127.0.0.1:" + port, certificate, execute
}

func TestAMySQLCheckAsksARealServer(t *testing.T) {
	address, ca, execute := mariaDBServer(t, strings.Join([]string{
		"install soname 'auth_ed25519';",
		"create user guest identified by 's3cret';",
		"create user open identified by '';",
		"create user locked identified by 's3cret' account lock;",
		"create user safe identified by 's3cret' require ssl;",
		"create user ed identified via ed25519 using password('s3cret');",
		"create user busy identified by 's3cret' with max_user_connections -1;",
	}, "\n")+"\n")
	version := execute(t, "select version()")
	if !strings.Contains(version, "MariaDB") {
		t.Fatal(version)
	}
	run := func(t *testing.T, pairs ...any) engine.Outcome {
		t.Helper()
		return checkOnce(t, MySQL(nil), time.Minute, append([]any{"address", address}, pairs...)...)
	}
	counter := func(t *testing.T, name string) string {
		t.Helper()
		_, value, _ := strings.Cut(execute(t, "show global status like '"+name+"'"), "\t")
		return value
	}
	encrypted := map[string]any{"ca": ca}

	for name, test := range map[string]struct {
		pairs   []any
		message string
		tls     any
	}{
		"as nobody":            {nil, "the server answered", nil},
		"as nobody, with TLS":  {[]any{"tls", encrypted}, "the server answered", "TLS 1.3"},
		"as a user":            {[]any{"user", "guest", "password", "s3cret"}, "the server let the user in", nil},
		"as a user, with TLS":  {[]any{"user", "safe", "password", "s3cret", "tls", encrypted}, "the server let the user in", "TLS 1.3"},
		"without any password": {[]any{"user", "open"}, "the server let the user in", nil},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, test.pairs...)
			if out.Status != plugins.Healthy || out.Message != test.message || out.Latency == nil {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
			checkMeasured(t, out, "serverVersion", version, "protocol", mysqlProtocol, "tlsSupported", true, "tls.version", test.tls, "error", nil)
			if c, _ := out.Measured.Get("capabilities"); c.(uint32)&(mysqlNeeded|mysqlMethods|mysqlTLS) != mysqlNeeded|mysqlMethods|mysqlTLS {
				t.Errorf("capabilities %b", c)
			}
		})
	}
	for name, test := range map[string]struct {
		pairs           []any
		message, detail string
	}{
		"a wrong password":     {[]any{"user", "guest", "password", "wrong"}, "the server refused the user name or the password", "Access denied for user 'guest'@'127.0.0.1' (using password: YES) (1045)"},
		"no password":          {[]any{"user", "guest"}, "the server refused the user name or the password", "Access denied for user 'guest'@'127.0.0.1' (using password: NO) (1045)"},
		"an unknown user":      {[]any{"user", "nobody", "password", "s3cret"}, "the server refused the user name or the password", "Access denied for user 'nobody'@'127.0.0.1' (using password: YES) (1045)"},
		"a locked account":     {[]any{"user", "locked", "password", "s3cret"}, "the user's account is locked", "Access denied, this account is locked (4151)"},
		"TLS is missing":       {[]any{"user", "safe", "password", "s3cret"}, "the server refused the user name or the password", "Access denied for user 'safe'@'127.0.0.1' (using password: YES) (1045)"},
		"an unknown method":    {[]any{"user", "ed", "password", "s3cret"}, "the server asks for a way to log in that this check does not know", `the server asks for a way to log in that this check does not know: "client_ed25519"`},
		"an unknown authority": {[]any{"tls", map[string]any{}}, "the TLS certificate is signed by an unknown authority", "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"too many connections": {[]any{"user", "busy", "password", "s3cret"}, "the server has too many connections", "User 'busy' has exceeded the 'max_user_connections' resource (current value: -1) (1226)"},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, test.pairs...)
			if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil || out.Fault != nil {
				t.Errorf("%+v", out)
			}
			checkMeasured(t, out, "error", test.detail)
		})
	}
	t.Run("a login is no aborted client, and nobody is no handshake error", func(t *testing.T) {
		clients, early, connects := counter(t, "Aborted_clients"), counter(t, "Aborted_connects_preauth"), counter(t, "Aborted_connects")
		run(t)
		run(t, "tls", encrypted)
		before, _ := strconv.Atoi(connects)
		for patience, want := time.Now().Add(10*time.Second), strconv.Itoa(before+2); counter(t, "Aborted_connects") != want; {
			if time.Now().After(patience) {
				t.Fatalf("Aborted_connects was %s and is %s", connects, counter(t, "Aborted_connects"))
			}
		}
		if got := counter(t, "Aborted_connects_preauth"); got != early {
			t.Errorf("Aborted_connects_preauth was %s and is %s", early, got)
		}
		for range 3 {
			run(t, "user", "guest", "password", "s3cret")
		}
		for deadline := time.Now().Add(10 * time.Second); execute(t, "select count(*) from information_schema.processlist where user = 'guest'") != "0"; {
			if time.Now().After(deadline) {
				t.Fatal("a login is still there")
			}
		}
		if got := counter(t, "Aborted_clients"); got != clients {
			t.Errorf("Aborted_clients was %s and is %s", clients, got)
		}
	})
}

// mysqlPacket is a packet.
func mysqlPacket(sequence byte, body string) string {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	return string(head[:3]) + string(sequence) + body
}

// mysqlHello is a greeting of MySQL 8 that asks for a method.
func mysqlHello(method string) string {
	offered := mysqlLongPassword | mysqlTransactions | mysqlNeeded | mysqlMethods | mysqlTLS
	b := []byte("\x0a8.4.3\x00\x07\x00\x00\x00abcdefgh\x00")
	b = binary.LittleEndian.AppendUint16(b, uint16(offered))
	b = append(b, 255, 2, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(offered>>16))
	return string(b) + "\x15" + strings.Repeat("\x00", 10) + "ijklmnopqrst\x00" + method + "\x00"
}

func TestAMySQLCheckWithstandsServersThatAreNone(t *testing.T) {
	const notSpoken = "the other side does not speak MySQL's protocol"
	failure := func(code uint16) string {
		return string(binary.LittleEndian.AppendUint16([]byte{mysqlErr}, code)) + "#HY000no, 10.1.2.3"
	}
	hello := mysqlPacket(0, mysqlHello(mysqlSHA2))
	for name, test := range map[string]struct{ says, message string }{
		"it is full":                  {mysqlPacket(0, failure(1040)), "the server has too many connections"},
		"it has blocked this machine": {mysqlPacket(0, failure(1129)), "the server has blocked this machine because of many connection errors"},
		"it lets nobody in":           {mysqlPacket(0, failure(1130)), "the server does not let this machine in"},
		"it is shutting down":         {mysqlPacket(0, failure(1053)), "the server is shutting down"},
		"it has another reason":       {mysqlPacket(0, failure(4711)), "the server refused the connection (4711)"},
		"it becomes full":             {hello + mysqlPacket(2, failure(1040)), "the server has too many connections"},
		"it says nothing":             {"", "the connection was closed before the answer was complete"},
		"it goes after its greeting":  {hello, "the connection was closed before the answer was complete"},
		"it speaks HTTP":              {"HTTP/1.1 400 Bad Request\r\n\r\n", notSpoken},
		"it speaks SSH":               {"SSH-2.0-OpenSSH_9.2\r\n", notSpoken},
		"an empty packet":             {"\x00\x00\x00\x00", notSpoken},
		"16 MiB are announced":        {"\xff\xff\xff\x00\x0a", notSpoken},
		"it cannot count":             {mysqlPacket(1, mysqlHello(mysqlSHA2)), notSpoken},
		"half an error":               {mysqlPacket(0, "\xff\x01"), notSpoken},
		"it is cut short":             {hello[:40], "the connection was closed before the answer was complete"},
		"the greeting is cut short":   {mysqlPacket(0, mysqlHello(mysqlSHA2)[:50]), notSpoken},
		"protocol 9":                  {mysqlPacket(0, "\x093.20\x00\x07\x00\x00\x00abcdefgh\x00"), notSpoken},
		"it is very old":              {mysqlPacket(0, "\x0a4.0.30\x00\x07\x00\x00\x00abcdefgh\x00\x2c\x20\x08\x02\x00"), "the server is older than MySQL 4.1"},
		"it never decides":            {hello + mysqlMores(), notSpoken},
		"it wants what is unknown":    {hello + mysqlPacket(2, "\x02"), notSpoken},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, MySQL(nil), time.Minute, "address", serverSays(t, test.says))
			if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
		})
	}
	t.Run("it has no TLS", func(t *testing.T) {
		plain := strings.Replace(mysqlHello(mysqlSHA2), string(binary.LittleEndian.AppendUint16(nil, 0xaa01)), string(binary.LittleEndian.AppendUint16(nil, 0xa201)), 1)
		out := checkOnce(t, MySQL(nil), time.Minute, "address", serverSays(t, mysqlPacket(0, plain)), "tls", map[string]any{})
		if out.Message != "the server does not offer TLS" {
			t.Errorf("%+v", out)
		}
		checkMeasured(t, out, "tlsSupported", false, "serverVersion", "8.4.3")
	})
	t.Run("it is silent", func(t *testing.T) {
		for name, address := range map[string]string{"from the first": serverSilent(t), "after its greeting": serverFake(t, func(ctx context.Context, conn net.Conn) {
			_, _ = io.WriteString(conn, hello)
			<-ctx.Done()
		})} {
			if out := checkOnce(t, MySQL(nil), 100*time.Millisecond, "address", address); out.Message != "timed out after 100ms" {
				t.Errorf("%s: %+v", name, out)
			}
		}
	})
}

func mysqlMores() (all string) {
	for i := range 20 {
		all += mysqlPacket(byte(2+i), "\x01\x03")
	}
	return all
}

// mysqlMySQL8 plays a MySQL 8 whose user has the password "s3cret" and the method caching_sha2_password. It does not remember the
// password, so it asks for it unless it is told that it remembers.
func mysqlMySQL8(t *testing.T, pair *tls.Certificate, remembers bool) string {
	return serverFake(t, func(_ context.Context, conn net.Conn) {
		wire := &mysqlWire{conn: conn}
		if wire.write([]byte(mysqlHello(mysqlNative))) != nil {
			return
		}
		login, err := wire.read()
		if err != nil {
			return
		}
		if pair != nil {
			wire.conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*pair}})
			if login, err = wire.read(); err != nil {
				return
			}
		}
		if !bytes.Contains(login, []byte("\x00guest\x00\x14")) || !bytes.HasSuffix(login, []byte(mysqlNative+"\x00")) {
			_ = wire.write([]byte("\xff\x15\x04#28000this is no login"))
			return
		}
		salt := "01234567890123456789"
		_ = wire.write([]byte("\xfe" + mysqlSHA2 + "\x00" + salt + "\x00"))
		proof, err := wire.read()
		if want, _ := mysqlProof(mysqlSHA2, "s3cret", []byte(salt)); err != nil || !bytes.Equal(proof, want) {
			_ = wire.write([]byte("\xff\x15\x04#28000Access denied"))
			return
		}
		answer := "\x01\x04"
		if remembers {
			answer = "\x01\x03"
		}
		_ = wire.write([]byte(answer))
		if !remembers {
			if password, err := wire.read(); err != nil || string(password) != "s3cret\x00" {
				_ = wire.write([]byte("\xff\x15\x04#28000Access denied"))
				return
			}
		}
		_ = wire.write([]byte("\x00\x00\x00\x02\x00\x00\x00"))
		_, _ = io.Copy(io.Discard, wire.conn)
	})
}

func TestAMySQLCheckLogsInAsMySQL8Wants(t *testing.T) {
	certificate, key := serverCertificate(t)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	encrypted := []any{"tls", map[string]any{"ca": certificate}}
	for name, test := range map[string]struct {
		address string
		pairs   []any
		status  plugins.Status
		message string
	}{
		"it remembers the password":          {mysqlMySQL8(t, nil, true), nil, plugins.Healthy, "the server let the user in"},
		"it remembers another password":      {mysqlMySQL8(t, nil, true), []any{"password", "wrong"}, plugins.Unhealthy, "the server refused the user name or the password"},
		"it does not, and there is TLS":      {mysqlMySQL8(t, &pair, false), encrypted, plugins.Healthy, "the server let the user in"},
		"it does not, and there is none":     {mysqlMySQL8(t, nil, false), nil, plugins.Unhealthy, "the server takes the password over TLS only"},
		"it remembers, and there is TLS too": {mysqlMySQL8(t, &pair, true), encrypted, plugins.Healthy, "the server let the user in"},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, MySQL(nil), time.Minute, append([]any{"address", test.address, "user", "guest", "password", "s3cret"}, test.pairs...)...)
			if out.Status != test.status || out.Message != test.message {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
		})
	}
}

func TestAMySQLPasswordIsProvedAsOtherClientsDo(t *testing.T) {
	salt := []byte{10, 47, 74, 111, 75, 73, 34, 48, 88, 76, 114, 74, 37, 13, 3, 80, 82, 2, 23, 21}
	for method, want := range map[string]string{
		mysqlSHA2:   "f490e76f66d9d86665ce54d98c78d0acfe2fb0b08b423da807144873d30b312c",
		mysqlNative: "6a149bdd80bda1ebf0fa2bd2cf2e9717fecc34bb",
	} {
		if proof, err := mysqlProof(method, "secret", salt); err != nil || hex.EncodeToString(proof) != want {
			t.Errorf("%s: %x, %v", method, proof, err)
		}
		if proof, err := mysqlProof(method, "", salt); err != nil || len(proof) != 0 {
			t.Errorf("%s: the proof of no password is %x, %v", method, proof, err)
		}
	}
}

func TestAMySQLConfigurationIsRefusedWithTheFieldThatIsWrong(t *testing.T) {
	checkRefused(t, MySQL(nil), "address", "expected this field, but it is missing")
	checkRefused(t, MySQL(nil), "address", "expected a host and a port such as example.org:3306", "address", "db:")
	checkRefused(t, MySQL(nil), "user", "expected a user, because there is a password", "address", "db", "password", "x")
	checkRefused(t, MySQL(nil), "tls.key", "expected a certificate and its key, or neither", "address", "db", "tls", map[string]any{"key": "x"})
	check, err := MySQL(nil).Compile(checkConfig(t, "address", "db"))
	if err != nil || check.Target() != "db:3306" {
		t.Errorf("%v %v", check, err)
	}
}

func FuzzMySQLGreeting(f *testing.F) {
	f.Add([]byte(mysqlHello(mysqlNative)))
	f.Add([]byte(mysqlHello("")))
	f.Add([]byte("\xff\x10\x04#08004Too many connections"))
	f.Add([]byte("\x0a5.5.5-10.11.6-MariaDB\x00\x07\x00\x00\x00abcdefgh\x00\x2c\x20\x08\x02\x00"))
	plain := regexp.MustCompile(`^[ -~]+$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		hello, err := parseMySQLGreeting(data)
		if err != nil {
			if !plain.MatchString(engine.Explain(err)) {
				t.Errorf("%q", engine.Explain(err))
			}
			return
		}
		if data[0] != mysqlProtocol || hello.version == "" && !bytes.Contains(data, []byte("5.5.5-")) || len(hello.salt) > 255 {
			t.Errorf("%q became %+v", data, fmt.Sprint(hello))
		}
	})
}
