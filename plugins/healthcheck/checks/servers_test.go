//go:build unix

package checks

// Real servers for tests. Each runs in a folder of its own, on a free port of the loopback interface, as long as the test
// that started it; a server is there when its own log says so.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// serverProgram finds a program, or ends the test.
func serverProgram(t *testing.T, name string, places ...string) string {
	t.Helper()
	if found, err := exec.LookPath(name); err == nil {
		return found
	}
	for _, place := range places {
		found, err := filepath.Glob(filepath.Join(place, name))
		if err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatalf("%s is not installed: sudo apt-get install -y postgresql redis-server mariadb-server openssh-server", name)
	return ""
}

// serverAccount is who a server runs as that refuses to be root: the first of the accounts that exists, and nobody else than
// the user of this process unless that is root.
type serverAccount struct{ uid, gid int }

func newServerAccount(t *testing.T, names ...string) *serverAccount {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil {
			return &serverAccount{uid, gid}
		}
	}
	t.Fatalf("there is no account to run a server as: %q", names)
	return nil
}

// command makes a command that runs as the account.
func (a *serverAccount) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// dir makes a folder that the account can write to and that goes with the test.
func (a *serverAccount) dir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if a != nil {
		if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
			t.Fatal(err)
		}
		a.own(t, dir)
	}
	return dir
}

// own gives the account a file.
func (a *serverAccount) own(t *testing.T, name string) {
	t.Helper()
	if a != nil {
		if err := os.Chown(name, a.uid, a.gid); err != nil {
			t.Fatal(err)
		}
	}
}

// write makes a file that only the account can read.
func (a *serverAccount) write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.own(t, name)
	return name
}

func serverPrepare(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, out)
	}
}

// serverProcess is a server that runs. Its log can be waited for.
type serverProcess struct {
	cmd   *exec.Cmd
	lines chan string // ends with the process
	log   bytes.Buffer
}

// serverStart starts a server and waits until it says that it is ready.
func serverStart(t *testing.T, cmd *exec.Cmd, ready string, stop syscall.Signal) *serverProcess {
	t.Helper()
	out, in := io.Pipe()
	s := &serverProcess{cmd: cmd, lines: make(chan string, 10_000)}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		_ = in.Close()
	}()
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(stop)
		patience := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		for line := range s.lines {
			fmt.Fprintln(&s.log, line)
		}
		if !patience.Stop() {
			t.Errorf("%s did not stop:\n%s", cmd.Path, &s.log)
		}
	})
	s.wait(t, ready)
	return s
}

// wait reads the log until a line has the text.
func (s *serverProcess) wait(t *testing.T, text string) {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		select {
		case line, runs := <-s.lines:
			if !runs {
				t.Fatalf("%s has ended:\n%s", s.cmd.Path, &s.log)
			}
			fmt.Fprintln(&s.log, line)
			if strings.Contains(line, text) {
				return
			}
		case <-patience:
			t.Fatalf("%s does not say %q:\n%s", s.cmd.Path, text, &s.log)
		}
	}
}

// serverPort is a port that was free a moment ago.
func serverPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// serverCertificate is a certificate for 127.0.0.1, which is its own authority, and its key, in PEM.
func serverCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10*24*time.Hour + time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// serverFake is the address of a server that serves each connection with a function, which may also wait for the end of the test.
func serverFake(t *testing.T, serve func(ctx context.Context, conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(t.Context(), conn)
			}()
		}
	}()
	return l.Addr().String()
}

// serverSays is a server that sends a text, and then waits for its client to go, or for the end of the test.
func serverSays(t *testing.T, text string) string {
	t.Helper()
	return serverFake(t, func(_ context.Context, conn net.Conn) {
		if _, err := io.WriteString(conn, text); err == nil {
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}
	})
}

// serverSilent is a server that accepts connections and nothing more.
func serverSilent(t *testing.T) string {
	t.Helper()
	return serverFake(t, func(ctx context.Context, _ net.Conn) { <-ctx.Done() })
}

// serverClosed is an address where nobody listens.
func serverClosed(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(serverPort(t))
}

// checkOnce compiles a configuration, {"a": 1} given as "a", 1, and makes one run of it.
func checkOnce(t *testing.T, kind engine.Type, timeout time.Duration, pairs ...any) engine.Outcome {
	t.Helper()
	check, err := kind.Compile(checkConfig(t, pairs...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), timeout, fmt.Errorf("timed out after %s", timeout))
	defer cancel()
	out := check.Run(ctx)
	for _, path := range checkPaths(out) {
		declared := func(p engine.Path) bool { return p.Name == path }
		if path != "error" && !slices.ContainsFunc(kind.Paths(), declared) {
			t.Errorf("the path %s is measured, but not declared", path)
		}
	}
	return out
}

func checkConfig(t *testing.T, pairs ...any) json.RawMessage {
	t.Helper()
	config := make(map[string]any)
	for i := 0; i < len(pairs); i += 2 {
		config[pairs[i].(string)] = pairs[i+1]
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkPaths are the paths that were measured.
func checkPaths(out engine.Outcome) (paths []string) {
	var walk func(prefix string, v map[string]any)
	walk = func(prefix string, v map[string]any) {
		for name, value := range v {
			if inner, ok := value.(map[string]any); ok {
				walk(prefix+name+".", inner)
				continue
			}
			paths = append(paths, prefix+name)
		}
	}
	var all map[string]any
	if json.Unmarshal(out.Measured.Object(), &all) == nil {
		walk("", all)
	}
	slices.Sort(paths)
	return paths
}

// checkMeasured compares what was measured below some paths, given as pairs; a nil value means that there is none.
func checkMeasured(t *testing.T, out engine.Outcome, pairs ...any) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, _ := out.Measured.Get(pairs[i].(string))
		if want := pairs[i+1]; fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Errorf("%s: measured %#v, want %#v", pairs[i], got, want)
		}
	}
}

// checkRefused compiles a configuration that is refused for a field.
func checkRefused(t *testing.T, kind engine.Type, field, says string, pairs ...any) {
	t.Helper()
	_, err := kind.Compile(checkConfig(t, pairs...))
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok || e.Field != field || e.Message != says {
		t.Errorf("%+v, want %s: %s", err, field, says)
	}
}
