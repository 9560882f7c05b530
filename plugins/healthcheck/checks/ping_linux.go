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
func pingOpen(ipv6 bool, id uint16) (conn net.PacketConn, ids bool, err error) {
	conn, err = pingSocket(ipv6, syscall.SOCK_DGRAM, id)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		conn, err = pingSocket(ipv6, syscall.SOCK_RAW, id)
		return conn, true, err
	}
	return conn, false, err
}

func pingSocket(ipv6 bool, kind int, id uint16) (net.PacketConn, error) {
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
	if kind == syscall.SOCK_RAW {
		pingFilter(fd, ipv6, id)
	}
	return net.FilePacketConn(f)
}

// pingFilter has the system drop what does not have the ID before it takes a place in the buffer of the socket, which a busy
// machine fills with the messages of others. Without it a run only reads more.
func pingFilter(fd int, ipv6 bool, id uint16) {
	load := []syscall.SockFilter{ // what comes begins with the header of IPv4, whose length is in its first byte
		{Code: syscall.BPF_LDX | syscall.BPF_B | syscall.BPF_MSH, K: 0},
		{Code: syscall.BPF_LD | syscall.BPF_H | syscall.BPF_IND, K: 4},
	}
	if ipv6 { // but not with that of IPv6
		load = []syscall.SockFilter{{Code: syscall.BPF_LD | syscall.BPF_H | syscall.BPF_ABS, K: 4}}
	}
	//lint:ignore SA1019 what is to be used instead is another module
	syscall.AttachLsf(fd, append(load,
		syscall.SockFilter{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, Jf: 1, K: uint32(id)},
		syscall.SockFilter{Code: syscall.BPF_RET | syscall.BPF_K, K: 1 << 16},
		syscall.SockFilter{Code: syscall.BPF_RET | syscall.BPF_K, K: 0}))
}
