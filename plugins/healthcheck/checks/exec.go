// The check type exec runs a command on this machine and looks at how it ends. There is no shell: the command gets its arguments
// as they are, and of the environment only what the configuration gives it, with PATH, HOME and LANG of this process.
//
// The latency of a run is the time from its start until the command had ended and its output too. A command that was ended by
// the timeout has none.
//
// The hard case is a command that does not end alone. What it has started shares its process group, and goes with it, at the
// timeout and after each run. Something that has left the group, a daemon, can still hold the command's output: half a
// second after the command has ended, nobody listens to it any more. And a process that waits for a disk that is gone cannot
// be ended by anybody, so the run does not wait for it.

package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

const (
	execMaxOutput = 64 << 10               // bytes of each output that are kept
	execMaxText   = 4000                   // characters of an output that is measured
	execPatience  = 500 * time.Millisecond // with an output that is held after the command has ended
)

// execCheck is a configuration of type exec.
type execCheck struct {
	Command    string            `json:"command" doc:"the program: an absolute path, or a name that is looked for in PATH" limit:"1-1000" required:"true"`
	Args       []string          `json:"args" doc:"its arguments, which may be seen by every user of the machine: secrets belong in env"`
	Env        map[string]string `json:"env" doc:"its environment, besides PATH, HOME and LANG of this server"`
	Dir        string            `json:"dir" doc:"an absolute path of the folder that it runs in; that of this server if none is given" limit:"0-1000"`
	ExpectExit execCodes         `json:"expectExit" doc:"the exit codes that are good; [0] if none are given"`
	Nagios     bool              `json:"nagios" doc:"the command is a plugin of Nagios: 0 is healthy, 1 degraded, everything else unhealthy"`

	policy *engine.Policy
}

// Exec is the check type "exec". It does nothing unless the policy allows it.
func Exec(p *engine.Policy) engine.Type {
	return engine.New("exec", []engine.Path{
		{Name: "exitCode", Kind: engine.Number, Doc: "the exit code; nothing if the command was ended by a signal"},
		{Name: "signal", Kind: engine.Text, Doc: `the signal that ended the command, such as "killed"`},
		{Name: "stdout", Kind: engine.Text, Doc: "the first 4,000 characters of the output"},
		{Name: "stderr", Kind: engine.Text, Doc: "the first 4,000 characters of the error output"},
		{Name: "body", Kind: engine.Text, Doc: "the output, of which 64 KiB are kept"},
		{Name: "json.*", Kind: engine.Any, Doc: "a value in the output, if that is JSON"},
		{Name: "phases.totalMs", Kind: engine.Number, Doc: "how long it took until the command had ended, and its output"},
	}, func() engine.Config { return &execCheck{ExpectExit: execCodes{0}, policy: p} })
}

func (c *execCheck) allowed() bool { return c.policy != nil && c.policy.AllowExec }

const execNotAllowed = "this server does not run commands (-allow-exec)"

// Validate checks the command, and that commands may be run at all.
func (c *execCheck) Validate() error {
	if !c.allowed() {
		return plugins.Invalid("command", execNotAllowed)
	}
	if filepath.Base(c.Command) != c.Command && !filepath.IsAbs(c.Command) {
		return plugins.Invalid("command", "expected an absolute path, or a name without a folder")
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return plugins.Invalid("dir", "expected an absolute path")
	}
	for i, arg := range c.Args {
		if strings.Contains(arg, "\x00") {
			return plugins.Invalid(fmt.Sprintf("args[%d]", i), "expected a text without NUL characters")
		}
	}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return plugins.Invalid("env", "expected names without = and values, both without NUL characters")
		}
	}
	if c.Nagios && !slices.Equal(c.ExpectExit, execCodes{0}) {
		return plugins.Invalid("expectExit", "expected nothing here, because with nagios each exit code has a meaning")
	}
	return nil
}

// Target is empty: nobody knows what a command connects to.
func (c *execCheck) Target() string { return "" }

// Run runs the command.
func (c *execCheck) Run(ctx context.Context) engine.Outcome {
	if !c.allowed() {
		return engine.Outcome{Fault: &engine.Fault{Reason: execNotAllowed}}
	}
	var m engine.Measured
	cmd := exec.CommandContext(ctx, c.Command, c.Args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.Dir, c.environment(), execPatience
	var stdout, stderr execOutput
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	execGroup(cmd)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return engine.Failed(ctx, err, m)
		}
		return engine.Outcome{Fault: c.fault(ctx, err)}
	}
	err, ended := execWait(ctx, cmd)
	if !ended {
		return engine.Failed(ctx, err, m) // what the command has said still belongs to it
	}
	total := time.Since(start)
	stdout.measure("stdout", &m)
	stderr.measure("stderr", &m)
	m.Body = stdout.kept.Bytes()
	if ctx.Err() != nil {
		return engine.Failed(ctx, err, m)
	}
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed && !errors.Is(err, exec.ErrWaitDelay) {
		return engine.Outcome{Fault: c.fault(ctx, err), Measured: m}
	}
	m.Set("phases.totalMs", wireMillis(total))
	return c.judge(cmd.ProcessState, total, m)
}

// execWait waits until the command has ended and ends what is left of it. If its time is over it should have ended at once, or
// else it is not waited for.
func execWait(ctx context.Context, cmd *exec.Cmd) (err error, ended bool) {
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		execEnd(cmd)
		done <- err
	}()
	select {
	case err := <-done:
		return err, true
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err, true
	case <-time.After(2 * execPatience):
		return context.Cause(ctx), false
	}
}

// environment is what the command gets. The configuration has the last word.
func (c *execCheck) environment() []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		env = append(env, name+"="+c.Env[name])
	}
	return env
}

// fault is why a command could not be started. That is never the fault of what it was to look at.
func (c *execCheck) fault(ctx context.Context, err error) error {
	if info, bad := os.Stat(c.Dir); c.Dir != "" && (bad != nil || !info.IsDir()) {
		return &engine.Fault{Reason: "the folder that the command is to run in does not exist", Err: err}
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return &engine.Fault{Reason: "the command is not installed on this server", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return &engine.Fault{Reason: "this server may not run the command", Err: err}
	}
	if fault := engine.AsFault(ctx, err); fault != nil {
		return fault
	}
	return &engine.Fault{Reason: "the command could not be run", Err: err}
}

// judge says what the end of the command means.
func (c *execCheck) judge(state *os.ProcessState, total time.Duration, m engine.Measured) engine.Outcome {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		signal := status.Signal().String()
		m.Set("signal", signal)
		return engine.Outcome{Status: plugins.Unhealthy, Latency: &total, Message: "the command was ended by a signal: " + signal, Measured: m}
	}
	code := state.ExitCode()
	m.Set("exitCode", code)
	out := engine.Outcome{Status: plugins.Healthy, Latency: &total, Message: fmt.Sprintf("exit code %d", code), Measured: m}
	switch {
	case c.Nagios && code == 1:
		out.Status = plugins.Degraded
	case c.Nagios && code != 0:
		out.Status = plugins.Unhealthy
	case !c.Nagios && !slices.Contains(c.ExpectExit, code):
		out.Status, out.Message = plugins.Unhealthy, fmt.Sprintf("expected exit code %s, got %d", c.ExpectExit, code)
	}
	return out
}

// execOutput keeps the beginning of an output, and takes the rest, so that the command can go on. It has no other method that
// takes bytes: io.Copy would choose that.
type execOutput struct{ kept bytes.Buffer }

// Write keeps what fits, and takes the rest.
func (o *execOutput) Write(p []byte) (int, error) {
	_, err := o.kept.Write(p[:min(len(p), execMaxOutput-o.kept.Len())])
	return len(p), err
}

// measure keeps the first characters under a path.
func (o *execOutput) measure(path string, m *engine.Measured) {
	if o.kept.Len() > 0 {
		m.Set(path, engine.Shorten(o.kept.String(), execMaxText))
	}
}
