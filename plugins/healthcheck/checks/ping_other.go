//go:build !linux

// Sockets for ping where the program does not know how to make them.

package checks

import (
	"net"

	"checkstack/plugins/healthcheck/engine"
)

func pingOpen(bool, uint16) (conn net.PacketConn, ids bool, err error) {
	return nil, false, &engine.Fault{Reason: "checks of type ping are made on Linux only"}
}
