// Sockets for ping on Linux. The one of datagrams needs no privilege but that the group of the process is in the
// sysctl net.ipv4.ping_group_range, for IPv6 too; there the system numbers the requests. The raw one needs CAP_NET_RAW, and
// sees every message of ICMP that comes to the machine.

package checks

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// pingOpen opens a socket of datagrams or, where that is not allowed, a raw one.
func pingOpen(ipv6 bool) (conn net.PacketConn, ids bool, err error) {
	conn, err = pingSocket(ipv6, syscall.SOCK_DGRAM)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		conn, err = pingSocket(ipv6, syscall.SOCK_RAW)
		return conn, true, err
	}
	return conn, false, err
}

func pingSocket(ipv6 bool, kind int) (net.PacketConn, error) {
	family, protocol := syscall.AF_INET, syscall.IPPROTO_ICMP
	if ipv6 {
		family, protocol = syscall.AF_INET6, syscall.IPPROTO_ICMPV6
	}
	fd, err := syscall.Socket(family, kind|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "icmp")
	defer f.Close() // the connection has a copy
	return net.FilePacketConn(f)
}
