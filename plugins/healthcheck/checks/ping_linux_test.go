package checks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// pingOf is the type ping with one kind of socket.
func pingOf(kind int) engine.Type {
	return pingWith(nil, func(ipv6 bool, id uint16) (net.PacketConn, bool, error) {
		conn, err := pingSocket(ipv6, kind, id)
		return conn, kind == syscall.SOCK_RAW, err
	})
}

// pingReally pings this machine with both kinds of sockets and with the one that is chosen. Where a kind is not allowed a run must say so.
// It returns the kinds that are.
func pingReally(t *testing.T) (allowed []string) {
	for _, host := range pingHosts() {
		for name, kind := range map[string]engine.Type{"datagrams": pingOf(syscall.SOCK_DGRAM), "raw": pingOf(syscall.SOCK_RAW), "either": Ping(nil)} {
			out := tcpRun(t, kind, 10*time.Second, `{"host":"`+host+`","intervalMs":10,"size":1400}`)
			if errors.Is(out.Fault, os.ErrPermission) {
				continue
			}
			allowed = append(allowed, name)
			if out.Status != plugins.Healthy || out.Message != "3 of 3 pings answered" || out.Fault != nil || out.Latency == nil || *out.Latency <= 0 {
				t.Errorf("%s, %s: got %s %q, fault %v, latency %v", host, name, out.Status, out.Message, out.Fault, out.Latency)
			}
			if least, _ := out.Measured.Get("rtt.minMs"); pingCounts(out) != "3/3 0%" || least.(float64) <= 0 {
				t.Errorf("%s, %s: measured %s", host, name, out.Measured.Object())
			}
		}
	}
	return allowed
}

func TestAPingCheckPingsThisMachine(t *testing.T) { pingReally(t) }

// TestAPingCheckNeedsNoPrivilegeWhereTheGroupMayPing has a network of its own, where it may change the sysctl, and no privilege.
// Without the right to make one, it looks at the machine as it is.
func TestAPingCheckNeedsNoPrivilegeWhereTheGroupMayPing(t *testing.T) {
	pingThread(func() {
		own := syscall.Unshare(syscall.CLONE_NEWNET) == nil
		if own {
			pingLoopback(t)
			if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0); err != nil {
				own = false
			}
		}
		pingDrop()
		allowed := pingReally(t)
		slices.Sort(allowed)
		if got := fmt.Sprint(slices.Compact(allowed)); own && got != "[datagrams either]" {
			t.Errorf("allowed: %v", allowed)
		}
	})
}

func TestWithoutAnyPrivilegeAPingCheckSaysWhatIsMissing(t *testing.T) {
	pingThread(func() {
		pingDrop()
		if conn, err := pingSocket(false, syscall.SOCK_RAW, 1); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a raw socket: got %v, %v", conn, err)
		}
		out := tcpRun(t, pingOf(syscall.SOCK_RAW), time.Minute, `{"host":"127.0.0.1"}`)
		const reason = "this machine does not allow the server to ping: its group is not in the sysctl net.ipv4.ping_group_range, and it does not have CAP_NET_RAW"
		if fmt.Sprint(out.Fault) != reason || !errors.Is(out.Fault, os.ErrPermission) {
			t.Errorf("got %q, fault %v", out.Message, out.Fault)
		}
	})
}

// TestARawSocketGetsOnlyWhatHasItsID, so that others cannot fill its buffer.
func TestARawSocketGetsOnlyWhatHasItsID(t *testing.T) {
	for _, host := range pingHosts() {
		kind, to := byte(pingAsk4), &net.IPAddr{IP: net.ParseIP(host)}
		if host == "::1" {
			kind = pingAsk6
		}
		conn, err := pingSocket(host == "::1", syscall.SOCK_RAW, 0x1234)
		if errors.Is(err, os.ErrPermission) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		for _, id := range []uint16{0x1235, 0x1234} {
			if _, err := conn.WriteTo(appendPing(nil, kind, id, 7, nil), to); err != nil {
				t.Error(err)
			}
		}
		msg := make([]byte, 100)
		if n, _, err := conn.ReadFrom(msg); err != nil || n != 8 || binary.BigEndian.Uint16(msg[4:]) != 0x1234 {
			t.Errorf("%s: got %x, %v", host, msg[:n], err)
		}
	}
}

// pingHosts are the addresses of this machine: not every one has IPv6.
func pingHosts() []string {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return []string{"127.0.0.1"}
	}
	l.Close()
	return []string{"127.0.0.1", "::1"}
}

// TestPingChecksAtTheSameTimeDoNotReadEachOthersAnswers, although a raw socket gets them all.
func TestPingChecksAtTheSameTimeDoNotReadEachOthersAnswers(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			out := tcpRun(t, Ping(nil), 10*time.Second, `{"host":"127.0.0.1","intervalMs":10,"count":20,"maxLoss":0}`)
			if !errors.Is(out.Fault, os.ErrPermission) && (out.Message != "20 of 20 pings answered" || pingCounts(out) != "20/20 0%") {
				t.Errorf("got %q %s, fault %v", out.Message, pingCounts(out), out.Fault)
			}
		})
	}
	all.Wait()
}

// pingThread calls f on a thread of its own, which ends with it and with all that f did to it.
func pingThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		f()
	}()
	<-done
}

// pingDrop takes from this thread what root may, and from nobody else.
func pingDrop() {
	const nobody, asItIs = 65534, ^uintptr(0)
	syscall.RawSyscall(syscall.SYS_SETRESUID, asItIs, nobody, asItIs) // not possible, and not needed, for others
}

// pingLoopback switches on the loopback interface of this thread's network: its address follows.
func pingLoopback(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		t.Error(err)
		return
	}
	defer syscall.Close(fd)
	e := binary.NativeEndian
	msg := e.AppendUint32(nil, 32) // struct nlmsghdr
	msg = e.AppendUint16(msg, syscall.RTM_NEWLINK)
	msg = e.AppendUint16(msg, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	msg = append(msg, make([]byte, 8)...)
	msg = append(msg, make([]byte, 4)...) // struct ifinfomsg
	for _, n := range []uint32{1, syscall.IFF_UP, syscall.IFF_UP} {
		msg = e.AppendUint32(msg, n)
	}
	answer := make([]byte, 4096)
	if err := syscall.Sendto(fd, msg, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		t.Error(err)
	} else if n, _, err := syscall.Recvfrom(fd, answer, 0); err != nil || n < 20 || e.Uint32(answer[16:]) != 0 {
		t.Errorf("the interface is not up: %x, %v", answer[:max(n, 0)], err)
	}
}
