//go:build unix

package checks

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// execAllowed is the type where commands may be run.
func execAllowed() engine.Type { return Exec(&engine.Policy{AllowExec: true}) }

// execShell runs a line of shell.
func execShell(t *testing.T, timeout time.Duration, line string, pairs ...any) engine.Outcome {
	t.Helper()
	return checkOnce(t, execAllowed(), timeout, append([]any{"command", "/bin/sh", "args", []string{"-c", line}}, pairs...)...)
}

func TestAnExecCheckSaysHowACommandEnds(t *testing.T) {
	nagios := []any{"nagios", true}
	for name, test := range map[string]struct {
		line    string
		pairs   []any
		status  plugins.Status
		message string
		code    any
		signal  any
	}{
		"good":                      {"exit 0", nil, plugins.Healthy, "exit code 0", 0, nil},
		"bad":                       {"exit 3", nil, plugins.Unhealthy, "expected exit code 0, got 3", 3, nil},
		"another is good":           {"exit 3", []any{"expectExit", []int{3, 0, 3}}, plugins.Healthy, "exit code 3", 3, nil},
		"none of those":             {"exit 1", []any{"expectExit", []int{3, 0}}, plugins.Unhealthy, "expected exit code 0, 3, got 1", 1, nil},
		"a signal":                  {"kill -TERM $$", nil, plugins.Unhealthy, "the command was ended by a signal: terminated", nil, "terminated"},
		"Nagios says OK":            {"exit 0", nagios, plugins.Healthy, "exit code 0", 0, nil},
		"Nagios says WARNING":       {"exit 1", nagios, plugins.Degraded, "exit code 1", 1, nil},
		"Nagios says CRITICAL":      {"exit 2", nagios, plugins.Unhealthy, "exit code 2", 2, nil},
		"Nagios says UNKNOWN":       {"exit 3", nagios, plugins.Unhealthy, "exit code 3", 3, nil},
		"Nagios says something":     {"exit 4", nagios, plugins.Unhealthy, "exit code 4", 4, nil},
		"a plugin is ended":         {"kill -KILL $$", nagios, plugins.Unhealthy, "the command was ended by a signal: killed", nil, "killed"},
		"it reads, but there is no": {"read x", nil, plugins.Unhealthy, "expected exit code 0, got 1", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out := execShell(t, time.Minute, test.line, test.pairs...)
			if out.Status != test.status || out.Message != test.message || out.Latency == nil || out.Fault != nil {
				t.Errorf("%+v", out)
			}
			checkMeasured(t, out, "exitCode", test.code, "signal", test.signal, "stdout", nil, "error", nil, "phases.totalMs", wireMillis(*out.Latency))
		})
	}
}

func TestAnExecCheckKeepsTheBeginningOfWhatACommandSays(t *testing.T) {
	out := execShell(t, time.Minute, `echo '{"a": 1}'; echo oops >&2`)
	if string(out.Measured.Body) != "{\"a\": 1}\n" || out.Status != plugins.Healthy {
		t.Errorf("%+v", out)
	}
	checkMeasured(t, out, "stdout", "{\"a\": 1}\n", "stderr", "oops\n")

	out = execShell(t, time.Minute, `yes | head -c 10000000; yes ä | head -c 10000000 >&2; exit 7`)
	if string(out.Measured.Body) != strings.Repeat("y\n", execMaxOutput/2) || out.Message != "expected exit code 0, got 7" {
		t.Errorf("%d bytes, %s", len(out.Measured.Body), out.Message)
	}
	checkMeasured(t, out, "stdout", strings.Repeat("y\n", execMaxText/2), "stderr", strings.Repeat("ä\n", execMaxText/2))
}

func TestAnExecCheckGivesTheCommandWhatIsConfiguredAndNothingElse(t *testing.T) {
	t.Setenv("DATABASE_URL", "secret")
	t.Setenv("HOME", "/home/of/server")
	t.Setenv("LANG", "C.UTF-8")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	env := func(pairs ...any) string {
		out := checkOnce(t, execAllowed(), time.Minute, append([]any{"command", "env"}, pairs...)...)
		return string(out.Measured.Body)
	}
	path := "PATH=" + os.Getenv("PATH") + "\n"
	if got, want := env(), path+"HOME=/home/of/server\nLANG=C.UTF-8\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := env("env", map[string]string{"LANG": "de", "TOKEN": "a b=c"}), path+"HOME=/home/of/server\nLANG=de\nTOKEN=a b=c\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out := execShell(t, time.Minute, `pwd -P; printf '<%s>' "$0" "$@"`, "args", []string{"-c", `pwd -P; printf '<%s>' "$0" "$@"`, "a b", "$HOME", "", "*"}, "dir", dir)
	if got, want := string(out.Measured.Body), dir+"\n<a b><$HOME><><*>"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// execGone waits until a process has ended and fails if it has not within a while.
func execGone(t *testing.T, pid int) {
	t.Helper()
	for patience := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return // nobody has asked how it ended
		}
		if time.Now().After(patience) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// execPipe is a pipe with a name, which a command can write to.
func execPipe(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAnExecCheckEndsWithItsTimeAndSoDoesWhatTheCommandHasStarted(t *testing.T) {
	for name, line := range map[string]string{
		"a command":                    `echo $$ | tee $PIPE; exec sleep 60`,
		"one that does not want to":    `trap '' TERM INT HUP; echo $$ | tee $PIPE; while :; do sleep 60; done`,
		"what a command has started":   `sleep 60 & echo $! | tee $PIPE; wait`,
		"what does not want to either": `(trap '' TERM HUP; sleep 60) & echo $! | tee $PIPE; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipe := execPipe(t)
			check, err := execAllowed().Compile(checkConfig(t, "command", "/bin/sh", "args", []string{"-c", line}, "env", map[string]string{"PIPE": pipe}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			began := make(chan string, 1)
			go func() {
				said, _ := os.ReadFile(pipe)
				began <- string(said)
				cancel(errors.New("timed out after a while"))
			}()
			out := check.Run(ctx)
			if out.Status != plugins.Unhealthy || out.Message != "timed out after a while" || out.Latency != nil || out.Fault != nil {
				t.Errorf("%+v", out)
			}
			checkMeasured(t, out, "exitCode", nil, "signal", nil)
			pid, err := strconv.Atoi(strings.TrimSpace(<-began))
			if err != nil {
				t.Fatal(err)
			}
			execGone(t, pid)
		})
	}
}

func TestAnExecCheckDoesNotWaitForWhatHoldsTheOutput(t *testing.T) {
	for name, line := range map[string]string{
		"in the group":   `sleep 60 & echo $!`,
		"in another one": `setsid sh -c 'echo $$; echo > $PIPE; exec sleep 60' & read x < $PIPE`,
	} {
		for _, code := range []string{"0", "3"} {
			t.Run(name+" "+code, func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				out := execShell(t, time.Minute, line+"\nexit "+code, "expectExit", []int{0, 3}, "env", map[string]string{"PIPE": execPipe(t)})
				if out.Status != plugins.Healthy || out.Message != "exit code "+code || out.Latency == nil {
					t.Errorf("%+v", out)
				}
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("it took %s", took)
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(out.Measured.Body)))
				if err != nil {
					t.Fatal(err)
				}
				if name == "in another one" { // which is not ours to end
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Errorf("the daemon has ended: %v", err)
					}
				}
				execGone(t, pid)
			})
		}
	}
}

func TestAnExecCheckDoesNotWaitForAProcessThatCannotBeEnded(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60") // which knows of no context, so nothing ends it
	execGroup(cmd)
	cmd.Cancel = nil
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("timed out"))
	defer cancel()
	if err, ended := execWait(ctx, cmd); ended || err.Error() != "timed out" {
		t.Errorf("%v, %v", err, ended)
	}
	execEnd(cmd)
	execGone(t, cmd.Process.Pid)
}

func TestACommandThatCannotBeRunIsNobodysOutage(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, test := range map[string]struct {
		pairs  []any
		reason string
	}{
		"not in PATH":        {[]any{"command", "check_of_nothing"}, "the command is not installed on this server"},
		"no such file":       {[]any{"command", filepath.Join(dir, "nothing")}, "the command is not installed on this server"},
		"not executable":     {[]any{"command", file("data", "exit 0", 0o644)}, "this server may not run the command"},
		"a folder":           {[]any{"command", dir}, "this server may not run the command"},
		"no program":         {[]any{"command", file("broken", "\x00\x01\x02", 0o755)}, "the command could not be run"},
		"no such folder":     {[]any{"command", "/bin/sh", "dir", filepath.Join(dir, "nothing")}, "the folder that the command is to run in does not exist"},
		"a file as a folder": {[]any{"command", "/bin/sh", "dir", filepath.Join(dir, "data")}, "the folder that the command is to run in does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			out := checkOnce(t, execAllowed(), time.Minute, test.pairs...)
			if out.Fault == nil || out.Fault.Error() != test.reason {
				t.Errorf("%+v", out)
			}
		})
	}
}

func TestCommandsAreRunOnlyWhereThatIsAllowed(t *testing.T) {
	const says = "this server does not run commands (-allow-exec)"
	checkRefused(t, Exec(nil), "command", says, "command", "/bin/true")
	checkRefused(t, Exec(&engine.Policy{}), "command", says, "command", "/bin/true")

	policy := &engine.Policy{AllowExec: true}
	check, err := Exec(policy).Compile(checkConfig(t, "command", "/bin/true"))
	if err != nil || check.Target() != "" {
		t.Fatalf("%v %v", check, err)
	}
	policy.AllowExec = false
	if out := check.Run(t.Context()); out.Fault == nil || out.Fault.Error() != says {
		t.Errorf("%+v", out)
	}
}

func TestAnExecConfigurationIsRefusedWithTheFieldThatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		field, says string
		pairs       []any
	}{
		"no command":         {"command", "expected this field, but it is missing", nil},
		"a path from here":   {"command", "expected an absolute path, or a name without a folder", []any{"command", "./check"}},
		"a folder from here": {"dir", "expected an absolute path", []any{"command", "true", "dir", "here"}},
		"NUL":                {"args[1]", "expected a text without NUL characters", []any{"command", "true", "args", []string{"a", "b\x00"}}},
		"a variable":         {"env", "expected names without = and values, both without NUL characters", []any{"command", "true", "env", map[string]string{"A=B": "c"}}},
		"no codes":           {"expectExit", "expected a list of 1 to 50 exit codes, such as [0]", []any{"command", "true", "expectExit", []int{}}},
		"no numbers":         {"expectExit", "expected a list of 1 to 50 exit codes, such as [0]", []any{"command", "true", "expectExit", "0"}},
		"a negative code":    {"expectExit", "expected exit codes from 0 to 2147483647", []any{"command", "true", "expectExit", []int{0, -1}}},
		"codes and Nagios":   {"expectExit", "expected nothing here, because with nagios each exit code has a meaning", []any{"command", "true", "nagios", true, "expectExit", []int{1}}},
	} {
		t.Run(name, func(t *testing.T) { checkRefused(t, execAllowed(), test.field, test.says, test.pairs...) })
	}
	check, err := execAllowed().Compile(checkConfig(t, "command", "true", "expectExit", []int{2, 0, 2}, "args", nil))
	if err != nil || string(check.Normal()) != `{"command":"true","expectExit":[0,2]}` {
		t.Errorf("%v %v", check, err)
	}
	var schema struct {
		Properties map[string]map[string]any
	}
	if err := json.Unmarshal(execAllowed().Schema(), &schema); err != nil || len(schema.Properties["expectExit"]["default"].([]any)) != 1 {
		t.Errorf("%v, %v", schema.Properties["expectExit"], err)
	}
}
