//go:build !linux

package checks

import (
	"testing"
	"time"
)

func TestAPingCheckSaysWhereItIsMade(t *testing.T) {
	out := tcpRun(t, Ping(nil), time.Minute, `{"host":"127.0.0.1"}`)
	if out.Fault == nil || out.Fault.Error() != "checks of type ping are made on Linux only" {
		t.Errorf("got %+v", out)
	}
}
