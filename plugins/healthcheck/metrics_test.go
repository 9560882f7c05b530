package healthcheck

import (
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// TestFiguresAreOfEverySliceCheckAndSystem compares the whole text, with names that need escapes.
func TestFiguresAreOfEverySliceCheckAndSystem(t *testing.T) {
	at := time.UnixMilli(1767225600500)
	local, station := "local", `B"e\r`
	names := map[string]string{"1": "Shop", "2": "a\nb"}
	all := []slice{
		{system: "1", check: "Page", kind: "http", configuration: "c", status: plugins.Degraded, source: &local, latency: new(int32(12)), lastRun: &at},
		{system: "1", check: "Page", kind: "http", configuration: "c", status: plugins.Degraded, source: &station, blocked: true},
		{system: "1", check: "Port", kind: "tcp", configuration: "d", status: paused, source: &local, lastRun: &at},
		{system: "2", check: "Page", kind: "http", configuration: "c", status: unknown},                                       // made nowhere
		{system: "3", check: "Page", kind: "http", configuration: "c", status: plugins.Healthy, source: &local, lastRun: &at}, // just deleted
	}
	want := `# HELP checkstack_system_status The status that a system has: 1.
# TYPE checkstack_system_status gauge
checkstack_system_status{system="Shop",status="degraded"} 1
checkstack_system_status{system="a\nb",status="unknown"} 1
# HELP checkstack_check_status The status that a check of a system has: 1.
# TYPE checkstack_check_status gauge
checkstack_check_status{system="Shop",check="Page",type="http",status="degraded"} 1
checkstack_check_status{system="Shop",check="Port",type="tcp",status="paused"} 1
checkstack_check_status{system="a\nb",check="Page",type="http",status="unknown"} 1
# HELP checkstack_check_latency_seconds How long the last run from a source took; none where that has told nothing of late.
# TYPE checkstack_check_latency_seconds gauge
checkstack_check_latency_seconds{system="Shop",check="Page",source="local"} 0.012
# HELP checkstack_check_last_run_timestamp_seconds When a source made the last run, Unix time.
# TYPE checkstack_check_last_run_timestamp_seconds gauge
checkstack_check_last_run_timestamp_seconds{system="Shop",check="Page",source="local"} 1.7672256005e+09
checkstack_check_last_run_timestamp_seconds{system="Shop",check="Port",source="local"} 1.7672256005e+09
# HELP checkstack_check_blocked Whether a check cannot be made from a source because of Checkstack itself: 1 it cannot.
# TYPE checkstack_check_blocked gauge
checkstack_check_blocked{system="Shop",check="Page",source="local"} 0
checkstack_check_blocked{system="Shop",check="Page",source="B\"e\\r"} 1
checkstack_check_blocked{system="Shop",check="Port",source="local"} 0
`
	if got := string(exposition(all, names)); got != want {
		t.Errorf("the figures are\n%s\nand not\n%s", got, want)
	}
	if got := string(exposition(nil, nil)); strings.Count(got, "\n") != 10 {
		t.Errorf("the figures of nothing are\n%s", got)
	}
}
