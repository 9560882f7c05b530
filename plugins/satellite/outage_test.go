package satellite_test

// A satellite that was cut off for 40 days, as real processes: one that keeps runs in the journal, and the agent that
// brings them to the server. Each is killed.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/satellite/journal"
	"checkstack/plugins/satellite/wire"
	"checkstack/sql/postgres/postgrestest"
)

// keeperEnv makes a process of this test one that keeps runs in a journal: it has the folder.
const keeperEnv = "SATELLITE_TEST_KEEPER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(keeperEnv); dir != "" {
		if err := keep(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	postgrestest.Main(m)
}

// keep reads an array of runs from each line of its input, appends them to the journal, and says "kept" when they are on
// disk.
func keep(dir string) error {
	j, err := journal.Open(dir, journal.Options{Size: 64 << 20, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	for in := json.NewDecoder(os.Stdin); ; {
		var runs []json.RawMessage
		if err := in.Decode(&runs); err == io.EOF {
			return j.Close()
		} else if err != nil {
			return err
		}
		lines := make([][]byte, len(runs))
		for i, run := range runs {
			lines[i] = run
		}
		if err := j.Append(lines...); err != nil {
			return err
		}
		fmt.Println("kept")
	}
}

// days adds up runs by system and UTC day.
type days map[string]struct{ Runs, Unhealthy, LatencySum int }

func (d days) add(r wire.Run) {
	name := r.SystemID + " " + r.ExecutedAt.UTC().Format(time.DateOnly)
	s := d[name]
	s.Runs++
	if r.Status == plugins.Unhealthy {
		s.Unhealthy++
	}
	s.LatencySum += int(*r.LatencyMs)
	d[name] = s
}

// outage is a satellite that is cut off.
type outage struct {
	place
	dir    string
	random *rand.Rand
	now    time.Time
	made   []wire.Run // that are on its disk
}

// make makes n runs of the last 40 days, in the order in which they were executed.
func (o *outage) make(n int) []wire.Run {
	list := make([]wire.Run, n)
	const step = 40 * 24 * time.Hour
	for i := range list {
		at := o.now.Add(-step + step*time.Duration(i)/time.Duration(n) + rand.N(step/time.Duration(n)))
		list[i] = wire.Run{RunID: plugins.NewID(), SystemID: o.system, ConfigurationID: o.configuration, Status: plugins.Healthy,
			LatencyMs: new(int32(o.random.IntN(500))), ExecutedAt: at.Truncate(time.Microsecond)}
		if o.random.IntN(10) == 0 {
			list[i].Status = plugins.Unhealthy
		}
	}
	return list
}

// keep has runs kept in the journal by a process that is killed when it has half of them, and by another that is killed
// when it has the rest. That a kill in the middle of a write does no harm is shown where the journal is.
func (o *outage) keep(t *testing.T, runs []wire.Run) {
	t.Helper()
	for len(runs) > 0 {
		cmd := osexec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), keeperEnv+"="+o.dir)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for until := len(runs)/2 + 1; until > 0 && len(runs) > 0; {
			chunk := runs[:min(len(runs), 1+o.random.IntN(100))]
			if err := json.NewEncoder(in).Encode(chunk); err != nil {
				t.Fatal(err)
			}
			if !said.Scan() || said.Text() != "kept" {
				t.Fatalf("kept nothing: %q", said.Text())
			}
			o.made, runs, until = append(o.made, chunk...), runs[len(chunk):], until-len(chunk)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // the signal is its error
	}
}

// deliver runs the agent against a server until the history counts so many runs, and kills it.
func (o *outage) deliver(t *testing.T, s *servertest.Server, until int) {
	t.Helper()
	cmd := servertest.Command(t, []string{"CHECKSTACK_SATELLITE_TOKEN=" + o.Token}, "satellite", "-server="+s.URL, "-journal="+o.dir)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if _, all := o.counted(t, s); all >= until {
			break
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("not delivered:\n%s", &log)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // the signal is its error
}

// rollUp rolls up by hand and returns how many days were added to.
func rollUp(t *testing.T, s *servertest.Server) (merged int) {
	t.Helper()
	out, err := servertest.Command(t, []string{"DATABASE_URL=" + s.Database}, "rollup").Output()
	if err != nil {
		t.Fatal(err)
	}
	var sum struct{ DailyRowsMerged int }
	if err := json.Unmarshal(out, &sum); err != nil {
		t.Fatal(err)
	}
	return sum.DailyRowsMerged
}

// stored reads what the history has of the satellite.
func (o *outage) stored(t *testing.T, s *servertest.Server) days {
	t.Helper()
	rows, err := s.DB.Query(`select system_id || ' ' || to_char(bucket_start at time zone 'UTC', 'YYYY-MM-DD'), sum(run_count)::bigint,
		sum(unhealthy_count)::bigint, sum(latency_sum_ms)::bigint
		from checkstack.health_check_aggregates where source_id = $1 group by 1`, o.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := days{}
	for rows.Next() {
		var name string
		var one struct{ Runs, Unhealthy, LatencySum int }
		if err := rows.Scan(&name, &one.Runs, &one.Unhealthy, &one.LatencySum); err != nil {
			t.Fatal(err)
		}
		got[name] = one
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestASatelliteThatWasCutOffFor40DaysAndKilledLosesAndDoublesNoRun(t *testing.T) {
	first := servertest.Start(t, servertest.Config{})
	second := servertest.Start(t, servertest.Config{Database: first.Database})
	second.DB = first.DB
	o := &outage{place: newPlace(t, first, "Cut off"), dir: t.TempDir(), now: time.Now().UTC(), random: rand.New(rand.NewPCG(4, 0))}
	first.Do(t, "PUT", "/api/healthcheck/systems/"+o.system+"/checks/"+o.configuration, servertest.Admin,
		map[string]any{"enabled": false}).Has(t, 200) // so that the agent makes no runs besides

	// Those that it made before the line was cut are rolled up, where they are old enough.
	o.keep(t, o.make(3000))
	o.deliver(t, first, 3000)
	if merged := rollUp(t, first); merged != 0 {
		t.Errorf("%d days were there", merged)
	}
	// Back after 40 days: killed while it keeps, and twice while it delivers, to one server and to another.
	o.keep(t, o.make(20_000))
	o.deliver(t, first, 3000+4000)
	if merged := rollUp(t, first); merged == 0 {
		t.Error("no day was added to")
	}
	o.deliver(t, second, 3000+12_000)
	o.deliver(t, second, 3000+20_000)
	o.check(t, first)
	rollUp(t, first)
	o.check(t, first)
	if n := count(t, first, `select count(*) from checkstack.health_check_aggregates
		where bucket_size = 'hourly' and bucket_start < date_trunc('day', now() - interval '30 days', 'UTC')`); n != 0 {
		t.Errorf("%d hours are left that were due", n)
	}
}

// check compares the history with the runs that were made.
func (o *outage) check(t *testing.T, s *servertest.Server) {
	t.Helper()
	want, raw := days{}, map[string]bool{}
	for _, r := range o.made {
		want.add(r)
		if r.ExecutedAt.After(time.Now().Add(-7*24*time.Hour + time.Minute)) {
			raw[r.RunID] = true
		}
	}
	if got := o.stored(t, s); !reflect.DeepEqual(got, want) {
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s: %+v, want %+v", name, got[name], want[name])
			}
		}
		t.Errorf("%d days, want %d", len(got), len(want))
	}
	rows, err := s.DB.Query(`select run_id from checkstack.health_check_runs where source_id = $1`, o.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found := 0
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		if raw[id] {
			found++
		}
	}
	if rows.Err() != nil || found != len(raw) {
		t.Errorf("%d raw runs of the last 7 days, want %d (%v)", found, len(raw), rows.Err())
	}
}
