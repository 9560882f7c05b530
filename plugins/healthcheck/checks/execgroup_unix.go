//go:build unix

package checks

import (
	"os/exec"
	"syscall"
)

// execGroup makes a command the first of a process group, and lets its timeout end all of that.
func execGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		execEnd(cmd)
		return cmd.Process.Kill() // which may have left its group
	}
}

// execEnd ends what is left of a command's group. That there is nothing is as it should be. The number of a group is not given
// to another one as long as a process is in it, and if none is, not that soon.
func execEnd(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
