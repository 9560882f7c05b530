//go:build unix

package checks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// sshServer is an OpenSSH server that lets nobody in.
func sshServer(t *testing.T, options ...string) (*serverProcess, string) {
	t.Helper()
	program := serverProgram(t, "sshd", "/usr/sbin")
	keygen := serverProgram(t, "ssh-keygen")
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd asks for it
			t.Fatal(err)
		}
	}
	var self *serverAccount
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	serverPrepare(t, self.command(dir, keygen, "-q", "-t", "ed25519", "-N", "", "-f", key))
	port := strconv.Itoa(serverPort(t))
	config := []string{"Port " + port, "ListenAddress 127.0.0.1", "HostKey " + key, "PidFile none", "PasswordAuthentication no", "UsePAM no", "LogLevel VERBOSE"}
	file := self.write(t, filepath.Join(dir, "config"), strings.Join(append(config, options...), "\n")+"\n")
	s := serverStart(t, self.command(dir, program, "-D", "-e", "-f", file), "Server listening on 127.0.0.1", syscall.SIGTERM)
	return s, "127.0.0.1:" + port
}

func TestAnSSHCheckAsksARealServer(t *testing.T) {
	server, address := sshServer(t, "MaxStartups 1:100:1")
	out := checkOnce(t, SSH(nil), time.Minute, "address", address)
	if out.Status != plugins.Healthy || out.Message != "the server answered" || out.Latency == nil {
		t.Fatalf("%+v %s", out, out.Measured.Object())
	}
	checkMeasured(t, out, "version", "2.0", "hostKeyAlgorithms", []string{"ssh-ed25519"}, "error", nil)
	software, _ := out.Measured.Get("software")
	if !regexp.MustCompile(`^OpenSSH_\d\S*$`).MatchString(software.(string)) {
		t.Errorf("software %q", software)
	}
	if banner, _ := out.Measured.Get("banner"); !strings.HasPrefix(banner.(string), "SSH-2.0-"+software.(string)) {
		t.Errorf("banner %q", banner)
	}
	if kex, _ := out.Measured.Get("kexAlgorithms"); !slices.Contains(kex.([]string), "curve25519-sha256") {
		t.Errorf("kexAlgorithms %q", kex)
	}
	server.wait(t, ":11: health check [preauth]")

	// One client that has not logged in is as many as it takes.
	for full, patience := false, time.Now().Add(10*time.Second); !full; {
		if time.Now().After(patience) {
			t.Fatal("the server does not forget the first client")
		}
		first, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		line, err := bufio.NewReader(first).ReadString('\n')
		full = err == nil && strings.HasPrefix(line, "SSH-")
	}
	out = checkOnce(t, SSH(nil), time.Minute, "address", address)
	if out.Status != plugins.Unhealthy || out.Message != "the server has too many connections" || out.Latency != nil {
		t.Errorf("%+v %s", out, out.Measured.Object())
	}
}

// sshKexInitOf is a KEXINIT with lists of names; the eight others are empty.
func sshKexInitOf(kex, hostKeys string) []byte {
	b := append([]byte{sshKexInit}, make([]byte, 16)...)
	for _, list := range []string{kex, hostKeys, "", "", "", "", "", "", "", ""} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(list))), list...)
	}
	return append(b, make([]byte, 5)...)
}

func TestAnSSHCheckReadsWhatAServerMaySay(t *testing.T) {
	packet := func(payload string) string { return string(sshSeal([]byte(payload))) }
	offer := string(sshSeal(sshKexInitOf("a,b", "c")))
	many := strings.TrimSuffix(strings.Repeat("x,", 100), ",")
	for name, test := range map[string]struct {
		says                      string
		version, software, banner string
		kex                       []string
	}{
		"lines before":            {strings.Repeat("Welcome\r\n", 50) + "SSH-2.0-Server_1.0 with comments\r\n" + offer, "2.0", "Server_1.0", "SSH-2.0-Server_1.0 with comments", []string{"a", "b"}},
		"only line feeds":         {"Welcome\nSSH-2.0-Server\n" + offer, "2.0", "Server", "SSH-2.0-Server", []string{"a", "b"}},
		"the first version too":   {"SSH-1.99-Cisco-1.25\r\n" + offer, "1.99", "Cisco-1.25", "SSH-1.99-Cisco-1.25", []string{"a", "b"}},
		"packets without meaning": {"SSH-2.0-x\r\n" + packet("\x02\x00\x00\x00\x00") + packet("\x04\x00") + offer, "2.0", "x", "SSH-2.0-x", []string{"a", "b"}},
		"many algorithms":         {"SSH-2.0-x\r\n" + string(sshSeal(sshKexInitOf(many, many))), "2.0", "x", "SSH-2.0-x", slices.Repeat([]string{"x"}, 50)},
		"a long line":             {"SSH-2.0-x " + strings.Repeat("y", 243) + "\r\n" + offer, "2.0", "x", "SSH-2.0-x " + strings.Repeat("y", 243), []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, SSH(nil), time.Minute, "address", serverSays(t, test.says))
			if out.Status != plugins.Healthy {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
			checkMeasured(t, out, "version", test.version, "software", test.software, "banner", test.banner, "kexAlgorithms", test.kex)
		})
	}
}

func TestAnSSHCheckWithstandsServersThatAreNone(t *testing.T) {
	const notSpoken = "the other side does not speak SSH"
	const cut = "the connection was closed before the answer was complete"
	packet := func(payload string) string { return "SSH-2.0-x\r\n" + string(sshSeal([]byte(payload))) }
	kexInit := string(sshKexInitOf("a", "b"))
	for name, test := range map[string]struct{ says, message string }{
		"it says nothing":               {"", cut},
		"it goes after a line":          {"Welcome\r\n", cut},
		"it goes after its name":        {"SSH-2.0-x\r\n", cut},
		"it is full":                    {packet("\x01\x00\x00\x00\x0c\x00\x00\x00\x04busy\x00\x00\x00\x00"), "the server has too many connections"},
		"it lets nobody in for a while": {"Not allowed at this time\r\n", "the server does not let this machine in for a while"},
		"it refuses":                    {packet("\x01\x00\x00\x00\x01\xff\xff\xff\xff10.1.2.3 go away"), "the server refused the connection"},
		"it refuses in few words":       {packet("\x01\x00"), notSpoken},
		"it speaks HTTP":                {"HTTP/1.1 400 Bad Request\r\n\r\n", cut},
		"the first version":             {"SSH-1.5-x\r\n", "the server does not speak version 2.0 of SSH"},
		"no version":                    {"SSH-\r\n", notSpoken},
		"no software":                   {"SSH-2.0\r\n", notSpoken},
		"too many lines":                {strings.Repeat("Welcome\r\n", 51) + "SSH-2.0-x\r\n", notSpoken},
		"a line that is too long":       {"SSH-2.0-x " + strings.Repeat("y", 244) + "\r\n", notSpoken},
		"an endless line":               {strings.Repeat("y", 100_000), notSpoken},
		"a giant packet":                {"SSH-2.0-x\r\n\xff\xff\xff\xff\x04", notSpoken},
		"a packet without padding":      {"SSH-2.0-x\r\n\x00\x00\x00\x0c\x00" + strings.Repeat("\x14", 11), notSpoken},
		"a packet of padding":           {"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0b" + strings.Repeat("\x14", 11), notSpoken},
		"a packet of an odd size":       {"SSH-2.0-x\r\n\x00\x00\x00\x0d\x04" + strings.Repeat("\x14", 12), notSpoken},
		"a packet that is cut short":    {packet(kexInit)[:60], cut},
		"another packet":                {packet("\x06\x00"), notSpoken},
		"endless packets":               {"SSH-2.0-x\r\n" + strings.Repeat(string(sshSeal([]byte("\x02"))), 100), notSpoken},
		"lists that are cut short":      {packet(kexInit[:len(kexInit)-6]), notSpoken},
		"a list of a giant size":        {packet(strings.Replace(kexInit, "\x00\x00\x00\x01a", "\xff\xff\xff\xffa", 1)), notSpoken},
		"no algorithms":                 {packet(string(sshKexInitOf("", ""))), notSpoken},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, SSH(nil), time.Minute, "address", serverSays(t, test.says))
			if out.Status != plugins.Unhealthy || out.Message != test.message || out.Latency != nil {
				t.Errorf("%+v %s", out, out.Measured.Object())
			}
		})
	}
	for name, address := range map[string]string{
		"silent": serverSilent(t),
		"silent after its name": serverFake(t, func(ctx context.Context, conn net.Conn) {
			_, _ = io.WriteString(conn, "SSH-2.0-x\r\n")
			<-ctx.Done()
		}),
	} {
		t.Run(name, func(t *testing.T) {
			if out := checkOnce(t, SSH(nil), 100*time.Millisecond, "address", address); out.Message != "timed out after 100ms" || out.Status != plugins.Unhealthy {
				t.Errorf("%+v", out)
			}
		})
	}
}

func TestAnSSHConfigurationIsRefusedWithTheFieldThatIsWrong(t *testing.T) {
	checkRefused(t, SSH(nil), "address", "expected this field, but it is missing")
	checkRefused(t, SSH(nil), "address", "expected a host and a port such as example.org:22", "address", "user@host")
	check, err := SSH(nil).Compile(checkConfig(t, "address", "git.example.org:2222"))
	if err != nil || check.Target() != "git.example.org:2222" {
		t.Errorf("%v %v", check, err)
	}
}

func FuzzSSHBanner(f *testing.F) {
	f.Add([]byte("Welcome\r\nSSH-2.0-OpenSSH_9.2p1 Debian\r\n"))
	f.Add([]byte("Exceeded MaxStartups\r\n"))
	f.Add([]byte("SSH-2.0-x\r\n" + string(sshSeal(sshKexInitOf("a,b", "c")))))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m engine.Measured
		err := sshListen(bufio.NewReaderSize(bytes.NewReader(data), sshMaxLine), &m)
		banner, identified := m.Get("banner")
		if err == nil && !identified || identified && !strings.HasPrefix(banner.(string), "SSH-") {
			t.Errorf("%q: %v, %q", data, err, banner)
		}
	})
}

func FuzzSSHKexInit(f *testing.F) {
	f.Add(sshKexInitOf("curve25519-sha256,ext-info-s", "ssh-ed25519"))
	f.Add(sshKexInitOf(",", ","))
	f.Fuzz(func(t *testing.T, data []byte) {
		packet := sshSeal(data)
		if len(data) > 0 && len(packet) <= sshMaxPacket {
			if payload, err := sshPacket(bytes.NewReader(packet)); err != nil || !bytes.Equal(payload, data) {
				t.Errorf("%q became %q, %v", data, payload, err)
			}
		}
		kex, hostKeys, err := parseSSHKexInit(data)
		if err == nil && (len(kex) == 0 || len(hostKeys) == 0 || len(kex) > sshMaxNames || len(hostKeys) > sshMaxNames) {
			t.Errorf("%q: %q, %q", data, kex, hostKeys)
		}
	})
}
