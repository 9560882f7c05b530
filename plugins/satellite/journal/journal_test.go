package journal

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var long = flag.Bool("long", false, "run the tests that take minutes")

// logBook is a log to look into.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// open opens a journal that is closed with the test, if the test has not done it.
func open(t testing.TB, dir string, o Options) *Journal {
	t.Helper()
	if o.Size == 0 {
		o.Size = 64 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// onDisk opens a journal on a disk in memory.
func onDisk(t testing.TB, d *disk, o Options) *Journal {
	t.Helper()
	o.Wrap = func(Files) Files { return d }
	return open(t, t.TempDir(), o)
}

// run is the run number i of a test.
func run(i int) []byte { return fmt.Appendf(nil, `{"i":%d}`, i) }

// runs are those from one number up to another.
func runs(from, to int) (all [][]byte) {
	for i := from; i <= to; i++ {
		all = append(all, run(i))
	}
	return all
}

// ints reads the numbers of runs.
func ints(t testing.TB, runs [][]byte) (all []int) {
	t.Helper()
	for _, r := range runs {
		number, _, _ := bytes.Cut(bytes.Trim(r, `{}"i:`), []byte(","))
		i, err := strconv.Atoi(string(number))
		if err != nil {
			t.Fatalf("%q is no run: %v", r, err)
		}
		all = append(all, i)
	}
	return all
}

func keep(t testing.TB, j *Journal, runs ...[]byte) {
	t.Helper()
	if err := j.Append(runs...); err != nil {
		t.Fatal(err)
	}
}

// next is the number of the next batch and what is in it: "3: 1 2 3".
func next(t testing.TB, j *Journal) (*Batch, string) {
	t.Helper()
	b, err := j.Next()
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		return nil, "nothing"
	}
	return b, fmt.Sprintf("%d: %s", b.Number, strings.Trim(fmt.Sprint(ints(t, b.Runs)), "[]"))
}

// expect takes batches until there is none, acknowledges each, and compares them.
func expect(t testing.TB, j *Journal, want ...string) {
	t.Helper()
	var got []string
	for {
		b, s := next(t, j)
		if b == nil {
			break
		}
		got = append(got, s)
		j.Ack(b)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// copyOf is the journal as a crash would leave it at this moment.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestRunsComeOutInBatchesOfTheirOrder(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	expect(t, j)
	keep(t, j, run(1), run(2), run(3)) // nobody waits, so this is a batch
	keep(t, j, run(4))
	keep(t, j, run(5), run(6))
	_, first := next(t, j)
	if _, again := next(t, j); again != first {
		t.Errorf("a batch that was not acknowledged: first %q, then %q", first, again)
	}
	if got := j.State(); got.Pending != 6 || got.InMemory != 0 || got.Dropped != 0 || got.Failing != "" {
		t.Errorf("the state is %+v", got)
	}
	expect(t, j, "3: 1 2 3", "6: 4 5 6")
	keep(t, j, run(7))
	expect(t, j, "7: 7")
	if got := j.State(); got.Pending != 0 || got.Dropped != 0 {
		t.Errorf("the state is %+v", got)
	}
}

func TestABatchIsTheSameAfterACrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	keep(t, j, run(1))
	keep(t, j, run(2))
	keep(t, j, run(3))
	one, _ := next(t, j)
	j.Ack(one)
	two, s := next(t, j) // what is on disk says from now on where it ends
	keep(t, j, run(4))

	after := open(t, copyOf(t, dir), Options{})
	keep(t, after, run(5))
	again, _ := next(t, after)
	if s != "3: 2 3" || again.Number != two.Number || again.Journal != two.Journal || !slices.EqualFunc(again.Runs, two.Runs, bytes.Equal) {
		t.Errorf("the batch was %q, and after the crash it is %d: %q", s, again.Number, again.Runs)
	}
	expect(t, after, "3: 2 3", "5: 4 5")
}

func TestWhatWasAcknowledgedIsSentAgainOnlyAfterACrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	keep(t, j, run(1), run(2))
	expect(t, j, "2: 1 2")
	crashed := open(t, copyOf(t, dir), Options{})
	expect(t, crashed, "2: 1 2")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, Options{})
	keep(t, j, run(3))
	expect(t, j, "3: 3")
}

func TestABatchHasAtMostThousandRuns(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	keep(t, j, run(1))
	for i := 2; i <= 2500; i += 7 {
		keep(t, j, runs(i, i+6)...)
	}
	keep(t, j, runs(2501, 5000)...)
	var sizes []int
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		if got := ints(t, b.Runs); got[len(got)-1] != int(b.Number) || got[0] != int(b.Number)-len(got)+1 {
			t.Errorf("batch %d has the runs %d to %d", b.Number, got[0], got[len(got)-1])
		}
		sizes = append(sizes, len(b.Runs))
		j.Ack(b)
	}
	if fmt.Sprint(sizes) != "[1 1000 1000 1000 1000 999]" {
		t.Errorf("the batches have %d runs", sizes)
	}
}

func TestLargeRunsMakeSmallBatches(t *testing.T) {
	j := open(t, t.TempDir(), Options{Size: MinSize})
	large := func(i int) []byte { return fmt.Appendf(nil, `{"i":%d,"x":%q}`, i, strings.Repeat("x", MaxRun-30)) }
	var all [][]byte
	for i := range 20 {
		all = append(all, large(i+1))
	}
	keep(t, j, all...)
	var got []int
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		got = append(got, ints(t, b.Runs)...)
		j.Ack(b)
	}
	if want := ints(t, all); !slices.Equal(got, want) {
		t.Errorf("got the runs %d, want %d", got, want)
	}
}

func TestWhatIsNoLineOfTextIsLostWithACount(t *testing.T) {
	log := &logBook{}
	j := open(t, t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	keep(t, j, run(1), nil, []byte("a\nb"), bytes.Repeat([]byte("x"), MaxRun+1), run(2))
	expect(t, j, "2: 1 2")
	if j.State().Dropped != 3 || strings.Count(log.String(), "level=WARN") != 3 {
		t.Errorf("%d are lost\n%s", j.State().Dropped, log)
	}
}

func TestFilesThatAreDoneAreRemoved(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{Size: MinSize})
	files := func() int {
		names, err := filepath.Glob(filepath.Join(dir, "*.journal"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for i := 1; i <= 20_000; i += 500 {
		keep(t, j, runs(i, i+499)...)
	}
	if n := files(); n < 4 {
		t.Errorf("there are %d files", n)
	}
	before := files()
	for range 10 {
		b, _ := next(t, j)
		j.Ack(b)
	}
	if n := files(); n >= before {
		t.Errorf("there were %d files, and there are %d", before, n)
	}
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		j.Ack(b)
	}
	if n := files(); n != 1 {
		t.Errorf("there are %d files", n)
	}
}

func TestAFullJournalLosesTheOldestAndSaysHowMany(t *testing.T) {
	log := &logBook{}
	dir := t.TempDir()
	o := Options{Size: MinSize, Log: slog.New(slog.NewTextHandler(log, nil))}
	j := open(t, dir, o)
	const made = 200_000
	most := int64(0)
	for i := 1; i <= made; i += 100 {
		keep(t, j, runs(i, i+99)...)
		most = max(most, onDiskBytes(t, dir))
		if i == 100_001 { // over a restart
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j = open(t, dir, o)
		}
	}
	if most > MinSize || most < MinSize*3/4 {
		t.Errorf("the files had up to %d bytes", most)
	}
	state := j.State()
	var got []int
	for b, _ := next(t, j); b != nil; b, _ = next(t, j) {
		got = append(got, ints(t, b.Runs)...)
		j.Ack(b)
	}
	if !slices.Equal(got, ints(t, runs(made-len(got)+1, made))) {
		t.Errorf("what is left is not what was made last, but %d … %d", got[0], got[len(got)-1])
	}
	if int(state.Dropped) != made-len(got) || state.Pending != int64(len(got)) || state.Bytes > MinSize {
		t.Errorf("%d of %d are left, and the state was %+v", len(got), made, state)
	}
	if want := fmt.Sprintf("total=%d", state.Dropped); !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q", want)
	}
	crashed := open(t, copyOf(t, dir), o)
	if crashed.State().Dropped != state.Dropped {
		t.Errorf("after a crash %d are lost, not %d", crashed.State().Dropped, state.Dropped)
	}
}

func onDiskBytes(t *testing.T, dir string) (n int64) {
	names, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

func TestABatchThatIsDroppedUnderWayAndArrivesIsNotLost(t *testing.T) {
	j := open(t, t.TempDir(), Options{Size: MinSize})
	keep(t, j, runs(1, 500)...)
	first, _ := next(t, j)
	const made = 200_000
	for i := 501; i <= made; i += 500 {
		keep(t, j, runs(i, i+499)...)
	}
	before := j.State()
	j.Ack(first)
	after := j.State()
	if before.Dropped+before.Pending != made || after.Dropped != before.Dropped-500 || after.Pending != before.Pending {
		t.Errorf("the state was %+v, and is %+v", before, after)
	}
	second, _ := next(t, j)
	if ints(t, second.Runs)[0] != int(before.Dropped)+1 {
		t.Errorf("%d were lost, and the next batch begins with %s", before.Dropped, second.Runs[0])
	}
}

func TestABatchThatIsSplitIsSentOneByOneAlsoAfterACrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	keep(t, j, runs(1, 2)...)
	keep(t, j, runs(3, 5)...)
	keep(t, j, runs(6, 7)...)
	b, _ := next(t, j)
	j.Ack(b)
	b, s := next(t, j)
	if s != "7: 3 4 5 6 7" {
		t.Fatal(s)
	}
	if err := j.Split(b); err != nil {
		t.Fatal(err)
	}
	keep(t, j, run(8))
	crashed := open(t, copyOf(t, dir), Options{})
	expect(t, crashed, "3: 3", "4: 4", "5: 5", "6: 6", "7: 7", "8: 8")
	b, _ = next(t, j)
	j.Ack(b)
	keep(t, j, run(9)) // with it goes how far it was
	crashed = open(t, copyOf(t, dir), Options{})
	expect(t, crashed, "4: 4", "5: 5", "6: 6", "7: 7", "9: 8 9")
	expect(t, j, "4: 4", "5: 5", "6: 6", "7: 7", "9: 8 9")
	if j.State().Pending != 0 {
		t.Errorf("the state is %+v", j.State())
	}
}

func TestWhatIsSetAsideIsKeptAndCounted(t *testing.T) {
	dir := t.TempDir()
	log := &logBook{}
	j := open(t, dir, Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	keep(t, j, run(1), run(2))
	b, _ := next(t, j)
	j.SetAside(b, `it said "no"`)
	text, err := os.ReadFile(filepath.Join(dir, asideName))
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for line := range strings.Lines(string(text)) {
		var v struct {
			At, Reason string
			Run        struct{ I int }
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Reason != `it said "no"` || v.At == "" {
			t.Errorf("%s: %v", line, err)
		}
		got = append(got, v.Run.I)
	}
	if !slices.Equal(got, []int{1, 2}) || j.State().Dropped != 2 || j.State().Pending != 0 || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("aside are %d, the state is %+v\n%s", got, j.State(), log)
	}
	large := bytes.Repeat([]byte("1"), MaxRun)
	for range 400 {
		keep(t, j, large)
		b, _ := j.Next()
		j.SetAside(b, "too large")
	}
	for _, name := range []string{asideName, asideName + ".1"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() > asideSize+2*MaxRun {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestARenewedJournalHasAnotherIDForWhatComes(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	keep(t, j, run(1))
	first, _ := next(t, j)
	j.Renew()
	keep(t, j, run(2))
	again, _ := next(t, j)
	j.Ack(again)
	second, s := next(t, j)
	if again.Journal != first.Journal || second.Journal == first.Journal || s != "2: 2" {
		t.Errorf("the journals are %s, %s, and then %s for %s", first.Journal, again.Journal, second.Journal, s)
	}
	crashed := open(t, copyOf(t, dir), Options{})
	keep(t, crashed, run(3))
	b, s := next(t, crashed)
	if b.Journal != second.Journal || s != "2: 2" {
		t.Errorf("after a crash %s of %s, want 2: 2 of %s", s, b.Journal, second.Journal)
	}
}

func TestANewFolderIsANewJournal(t *testing.T) {
	a, b := open(t, t.TempDir(), Options{}), open(t, t.TempDir(), Options{})
	keep(t, a, run(1))
	keep(t, b, run(1))
	one, _ := next(t, a)
	two, _ := next(t, b)
	if one.Journal == two.Journal || one.Number != 1 || two.Number != 1 {
		t.Errorf("%+v, %+v", one, two)
	}
}

func TestFilledTellsOfNewRuns(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	select {
	case <-j.Filled():
		t.Error("an empty journal is filled")
	default:
	}
	keep(t, j, run(1))
	<-j.Filled()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	<-open(t, dir, Options{}).Filled() // what was left
}

func TestASizeThatIsTooSmallIsAnError(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{Size: MinSize - 1}); err == nil || err.Error() != "open journal: expected a size of at least 1048576 bytes, not 1048575" {
		t.Error(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			j := open(b, b.TempDir(), Options{Size: 1 << 30})
			random := rand.New(rand.NewPCG(1, 2))
			batch := make([][]byte, n)
			for i := range batch {
				batch[i] = fmt.Appendf(nil, `{"runId":"0191d0a4-7c00-4000-8000-%012d","configurationId":"0191d0a4-7c00-4000-8000-000000000001","systemId":`+
					`"0191d0a4-7c00-4000-8000-000000000002","status":"healthy","latencyMs":%d,"message":"200 OK","executedAt":"2026-01-31T23:59:59.123456Z"}`, i, random.IntN(1000))
			}
			b.ReportAllocs()
			for b.Loop() {
				keep(b, j, batch...)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "runs/s")
		})
	}
}
