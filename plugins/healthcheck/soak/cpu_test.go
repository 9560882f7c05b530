package soak

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tick is what the kernel counts CPU time in for processes: USER_HZ, which is 100 on every Linux.
const tick = time.Second / 100

// stat reads the fields of a process after its name: its parent, and the CPU time of itself and of its children that have ended.
func stat(pid int) (parent int, own, ended time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	number := func(i int) int {
		n, _ := strconv.Atoi(fields[i])
		return n
	}
	return number(1), time.Duration(number(11)+number(12)) * tick, time.Duration(number(13)+number(14)) * tick, nil
}

// cpuOf is the CPU time that a process has taken.
func cpuOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	_, own, _, err := stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// cpuOfPostgres is the CPU time that the database server behind db and all its processes have taken.
func cpuOfPostgres(t testing.TB, db *sql.DB) time.Duration {
	t.Helper()
	master, _, _, err := stat(value[int](t, db, `select pg_backend_pid()`))
	if err != nil {
		t.Fatal(err)
	}
	_, own, ended, err := stat(master)
	if err != nil {
		t.Fatal(err)
	}
	total := own + ended
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		if parent, own, _, err := stat(pid); err == nil && parent == master {
			total += own
		}
	}
	return total
}

// resident is the memory of a process that is in use, in MiB.
func resident(t testing.TB, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// ownCPU is the CPU time that this process has taken.
func ownCPU(t testing.TB) time.Duration {
	t.Helper()
	return cpuOf(t, os.Getpid())
}
