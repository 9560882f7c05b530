package journal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childEnv makes a process of this test a child: it holds the folder and the number of its first run.
const childEnv = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		dir, from, _ := strings.Cut(task, "|")
		first, err := strconv.Atoi(from)
		if err == nil {
			err = child(dir, first)
		}
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child writes runs and sends batches until it is killed. Each line it prints is something that has happened:
//
//	kept 17                  all runs up to 17 are on disk
//	send <journal> 17 3 17   batch 17 goes to the server, with the runs 3 to 17; the answer is ok, or it is lost
func child(dir string, first int) error {
	j, err := Open(dir, Options{Size: 4 << 20, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	answers := bufio.NewScanner(os.Stdin)
	random := rand.New(rand.NewPCG(uint64(first), 3))
	for made := first; ; {
		n := 1 + random.IntN(300)*random.IntN(2)
		if err := j.Append(runs(made, made+n-1)...); err != nil {
			return err
		}
		made += n
		fmt.Printf("kept %d\n", made-1)
		for random.IntN(3) > 0 {
			b, err := j.Next()
			if err != nil {
				return err
			}
			if b == nil {
				break
			}
			fmt.Printf("send %s %d %s\n", b.Journal, b.Number, strings.Trim(fmt.Sprintf("%s", b.Runs), "[]"))
			if !answers.Scan() {
				return answers.Err()
			}
			if answers.Text() == "ok" {
				j.Ack(b)
			}
		}
	}
}

// outlive starts a child, does what it says, and kills it after a while.
func outlive(t *testing.T, dir string, first int, s *server, random *rand.Rand) (kept int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond+time.Duration(random.IntN(60_000))*time.Microsecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0]) // which kills it with SIGKILL
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", childEnv, dir, first))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kept = first - 1
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // what is not a whole line did not happen, as far as anybody knows
			break
		}
		word := strings.Fields(line)
		switch word[0] {
		case "kept":
			if kept, err = strconv.Atoi(word[1]); err != nil {
				t.Fatal(line)
			}
		case "send":
			b := &Batch{Journal: word[1]}
			if b.Number, err = strconv.ParseInt(word[2], 10, 64); err != nil {
				t.Fatal(line)
			}
			for _, r := range word[3:] {
				b.Runs = append(b.Runs, []byte(r))
			}
			s.receive(t, b)
			answer := "ok\n"
			if random.IntN(4) == 0 {
				answer = "lost\n"
			}
			io.WriteString(stdin, answer) // it may be dead by now
		default:
			t.Fatalf("the child says %s", line)
		}
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the child ended with %v", err)
	}
	return kept
}

func TestEveryRunIsCountedOnceWhenTheProcessIsKilled(t *testing.T) {
	kills := 20
	if *long {
		kills = 200
	}
	dir, s := t.TempDir(), newServer()
	random := rand.New(rand.NewPCG(5, 6))
	const each = 10_000_000 // numbers for one child
	kept := map[int]int{}
	for i := range kills {
		kept[i] = outlive(t, dir, i*each+1, s, random)
	}
	j := open(t, dir, Options{Size: 4 << 20})
	deliver(t, j, s)
	made, more := 0, 0
	for i, last := range kept {
		for n := i*each + 1; n <= last; n++ {
			if s.counted[n] != 1 {
				t.Errorf("run %d was counted %d times", n, s.counted[n])
			}
			made++
		}
	}
	for n, times := range s.counted {
		if times > 1 {
			t.Errorf("run %d was counted %d times", n, times)
		}
		if n > kept[n/each] {
			more++
		}
	}
	if dropped := j.State().Dropped; dropped > 0 || made+more != len(s.counted) {
		t.Errorf("%d are said to be lost, %d are counted", dropped, len(s.counted))
	}
	t.Logf("%d runs in %d batches, %d of them repeated; %d runs more were on disk than anybody knew", made, len(s.content), s.repeats, more)
	if made < 100*kills || s.repeats == 0 {
		t.Error("the test does not see enough")
	}
}

func TestTwoProcessesCannotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", childEnv, dir, 1))
	out, err := cmd.Output()
	want := "open journal: another process uses the folder " + dir + "\n"
	if err == nil || err.Error() != "exit status 1" || string(out) != want {
		t.Errorf("the other process ended with %v and %q, want %q", err, out, want)
	}
	if _, err := Open(dir, Options{Size: MinSize}); err == nil || err.Error()+"\n" != want {
		t.Errorf("in the same process: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
}
