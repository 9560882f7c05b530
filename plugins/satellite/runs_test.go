package satellite_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/satellite/wire"
)

// batch is a body for POST /runs.
type batch struct {
	number  int64 // 0: none
	journal string
	runs    []wire.Run
}

// MarshalJSON writes what a satellite sends.
func (b batch) MarshalJSON() ([]byte, error) {
	w := wire.Batch{Journal: b.journal, Runs: b.runs}
	if b.number != 0 {
		w.Batch = &b.number
	}
	return json.Marshal(w)
}

// runs makes runs of one check, a second apart, the last of them now.
func runs(n int, system, configuration string) []wire.Run {
	return runsAt(time.Now().UTC().Truncate(time.Microsecond), n, system, configuration)
}

func runsAt(last time.Time, n int, system, configuration string) []wire.Run {
	list := make([]wire.Run, n)
	for i := range list {
		list[i] = wire.Run{
			RunID: plugins.NewID(), SystemID: system, ConfigurationID: configuration, Status: plugins.Healthy,
			LatencyMs: new(int32(i)), Message: "ok", ExecutedAt: last.Add(time.Duration(i-n+1) * time.Second),
		}
	}
	return list
}

func send(t testing.TB, s *servertest.Server, token string, body any) servertest.Response {
	t.Helper()
	return s.Do(t, "POST", base+"/runs", token, body)
}

// answer is what a batch without refusals is answered with.
func answer(stored, known int) string {
	return fmt.Sprintf(`{"stored":%d,"known":%d,"refused":[]}`, stored, known)
}

func TestRuns(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	t.Run("a body that is not as it must be names the field and changes nothing", func(t *testing.T) { malformed(t, s) })
	t.Run("a body may be compressed, and is bounded", func(t *testing.T) { bodies(t, s) })
	t.Run("a body that does not come whole is no verdict, and holds up nobody", func(t *testing.T) { stalled(t, s) })
	t.Run("what is not wanted is refused by name and stops nothing else", func(t *testing.T) { refused(t, s) })
	t.Run("a numbered batch is applied once, whatever the age of its runs", func(t *testing.T) { numbered(t, s) })
	t.Run("a batch without a number is told by its runs", func(t *testing.T) { unnumbered(t, s) })
	t.Run("each journal has its own numbers", func(t *testing.T) { journals(t, s) })
	t.Run("the same batch at the same time counts once", func(t *testing.T) { atOnce(t, s) })
	t.Run("a satellite that is rotated meanwhile records nothing", func(t *testing.T) { rotatedMeanwhile(t, s) })
	t.Run("a state moves forward only", func(t *testing.T) { forward(t, s) })
}

// place is a satellite with a check.
type place struct {
	registered
	system, configuration string
}

func newPlace(t testing.TB, s *servertest.Server, name string) place {
	t.Helper()
	p := place{register(t, s, name), system(t, s, name), configure(t, s, name)}
	assign(t, s, p.system, p.configuration, p.ID)
	return p
}

func (p place) runs(n int) []wire.Run { return runs(n, p.system, p.configuration) }

// counted is how many runs the history has of the satellite: raw ones, and in hours and days.
func (p place) counted(t testing.TB, s *servertest.Server) (raw, all int) {
	t.Helper()
	return count(t, s, `select count(*) from checkstack.health_check_runs where source_id = $1`, p.ID),
		count(t, s, `select coalesce(sum(run_count), 0)::int from checkstack.health_check_aggregates where source_id = $1`, p.ID)
}

func (p place) has(t testing.TB, s *servertest.Server, wantRaw, wantAll int) {
	t.Helper()
	if raw, all := p.counted(t, s); raw != wantRaw || all != wantAll {
		t.Errorf("the history has %d raw runs and counts %d, want %d and %d", raw, all, wantRaw, wantAll)
	}
}

func malformed(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Malformed")
	good, err := json.Marshal(p.runs(1)[0])
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return `{"runs":[` + string(good) + "," + strings.Replace(string(good), old, new, 1) + `]}`
	}
	executed := `"executedAt":"` + p.runs(1)[0].ExecutedAt.Format("2006")
	for _, test := range []struct{ body, field, message string }{
		{``, "", "expected a JSON value, not an empty body"},
		{`{`, "", "the JSON value ends too early"},
		{`{"runs":[]} {}`, "", "there is more than one JSON value"},
		{`[]`, "", "expected an object, not array"},
		{`{}`, "runs", "expected an array of runs"},
		{`{"runs":null}`, "runs", "expected an array of runs"},
		{`{"runs":{}}`, "runs", "expected an array of runs"},
		{`{"runs":[5]}`, "runs[0]", "expected an object, not number"},
		{`{"runs":[],"more":1}`, "more", "there is no such field"},
		{`{"batch":0,"runs":[]}`, "batch", "expected a whole number from 1, not 0"},
		{`{"batch":-1,"runs":[]}`, "batch", "expected a whole number from 1, not -1"},
		{`{"batch":1.5,"runs":[]}`, "batch", "expected a whole number, not number 1.5"},
		{`{"batch":9223372036854775808,"runs":[]}`, "batch", "expected a whole number, not number 9223372036854775808"},
		{`{"journal":"` + p.ID + `","runs":[]}`, "journal", "expected a journal only together with a batch, which is a number of it"},
		{`{"batch":1,"journal":"x","runs":[]}`, "journal", "expected a UUID, in lower case"},
		{with(`"status":"healthy"`, `"status":7`), "runs[1].status", "expected a string, not number"},
		{with(`"latencyMs":0`, `"latencyMs":2147483648`), "runs[1].latencyMs", "expected a whole number from -2147483648 to 2147483647, not number 2147483648"},
		{with(executed, `"executedAt":"x`), "runs[1].executedAt", "expected a time such as 2026-01-31T23:59:59Z (RFC 3339), not "},
		{with(`"message":"ok"`, `"massage":"ok"`), "runs[1].massage", "there is no such field"},
		{"{\"runs\":[{\"message\":\"\xff\"}]}", "", "expected JSON in UTF-8"},
	} {
		res := send(t, s, p.Token, test.body)
		if strings.HasSuffix(test.message, "not ") { // the time itself follows
			if res.Status != 400 || !strings.Contains(res.Body, test.message) || !strings.Contains(res.Body, `"field":"`+test.field+`"`) {
				t.Errorf("%s: %d %s", test.body, res.Status, res.Body)
			}
			continue
		}
		res.IsInvalid(t, test.field, test.message)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+base+"/runs", strings.NewReader(`{"runs":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	s.Send(t, req).Is(t, 415, `{"error":"Unsupported Media Type","message":"the body must be JSON, with Content-Type: application/json"}`)
	p.has(t, s, 0, 0)
	if read(t, s, p.ID).LastSeenAt != nil {
		t.Error("a malformed body counts as a sign of life")
	}
}

func refused(t *testing.T, s *servertest.Server) {
	p, other := newPlace(t, s, "Refused"), newPlace(t, s, "Refused other")
	list := p.runs(16)
	reason := make([]string, len(list))
	for i, change := range []struct {
		do  func(r *wire.Run)
		why string
	}{
		{func(r *wire.Run) {}, ""},
		{func(r *wire.Run) { r.SystemID = other.system }, "not assigned to this satellite"},
		{func(r *wire.Run) { r.ConfigurationID = other.configuration }, "not assigned to this satellite"},
		{func(r *wire.Run) { r.SystemID, r.ConfigurationID = other.system, other.configuration }, "not assigned to this satellite"},
		{func(r *wire.Run) { r.SystemID = "" }, "not assigned to this satellite"},
		{func(r *wire.Run) { r.SystemID = "\x00" }, "not assigned to this satellite"},
		{func(r *wire.Run) { r.ConfigurationID = "x" }, "not assigned to this satellite"},
		{func(r *wire.Run) { r.ConfigurationID = strings.ToUpper(r.ConfigurationID) }, ""},
		{func(r *wire.Run) { r.RunID = "x" }, "id: expected a UUID"},
		{func(r *wire.Run) { r.Status = "fine" }, "status: expected healthy, degraded or unhealthy"},
		{func(r *wire.Run) { r.LatencyMs = new(int32(-1)) }, "latencyMs: expected a number of milliseconds from 0"},
		{func(r *wire.Run) { r.LatencyMs = nil }, ""},
		{func(r *wire.Run) { r.ExecutedAt = time.Now().Add(6 * time.Minute) }, "executedAt: more than 5 minutes in the future"},
		{func(r *wire.Run) { r.ExecutedAt = time.Now().AddDate(-2, 0, 0) }, "executedAt: too old, before all that is kept of this check"},
		{func(r *wire.Run) { r.Message = "a\x00b" }, ""},
		{func(r *wire.Run) { r.Result = json.RawMessage(`{"a":"\u0000"}`) }, "result: expected a JSON value that can be stored"},
	} {
		change.do(&list[i])
		reason[i] = change.why
	}
	got := servertest.Decode[wire.Answer](t, send(t, s, p.Token, batch{number: 1, runs: list}), 200)
	want := map[string]string{}
	for i, why := range reason {
		if why != "" {
			want[list[i].RunID] = why
		}
	}
	for _, r := range got.Refused {
		if want[r.RunID] != r.Reason {
			t.Errorf("run %s is refused: %s; want %q", r.RunID, r.Reason, want[r.RunID])
		}
		delete(want, r.RunID)
	}
	if len(want) != 0 || got.Stored != 4 || got.Known != 0 {
		t.Errorf("%d stored, %d known, want 4 and 0; not refused: %v", got.Stored, got.Known, want)
	}
	p.has(t, s, 4, 4)
	other.has(t, s, 0, 0)
	if n := count(t, s, `select count(*) from checkstack.health_check_runs where source_id = $1 and system_id = $2 and configuration_id = $3`,
		p.ID, p.system, p.configuration); n != 4 {
		t.Errorf("%d runs are of the check that they were sent for", n)
	}
}

func numbered(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Numbered")
	old := runsAt(time.Now().UTC().AddDate(0, 0, -20), 10, p.system, p.configuration)
	first := batch{number: 5, runs: append(old, p.runs(10)...)}
	send(t, s, p.Token, first).Is(t, 200, answer(20, 0))
	send(t, s, p.Token, first).Is(t, 200, answer(0, 20))
	p.has(t, s, 10, 20)
	send(t, s, p.Token, batch{number: 4, runs: p.runs(3)}).Is(t, 200, answer(0, 3)) // a lower number was applied before
	p.has(t, s, 10, 20)
	send(t, s, p.Token, batch{number: 1 << 62, runs: p.runs(3)}).Is(t, 200, answer(3, 0)) // gaps are allowed
	send(t, s, p.Token, batch{number: 6, runs: p.runs(3)}).Is(t, 200, answer(0, 3))
	send(t, s, p.Token, batch{number: 1<<62 + 1}).IsInvalid(t, "runs", "expected an array of runs")
	send(t, s, p.Token, batch{number: 1<<62 + 1, runs: []wire.Run{}}).Is(t, 200, answer(0, 0))
	send(t, s, p.Token, batch{number: 1<<62 + 1, runs: p.runs(3)}).Is(t, 200, answer(0, 3))
	twice := p.runs(1)
	send(t, s, p.Token, batch{number: 1<<62 + 2, runs: append(twice, twice...)}).Is(t, 200, answer(1, 1))
	veryOld := runsAt(time.Now().UTC().AddDate(0, 0, -30), 1, p.system, p.configuration)
	send(t, s, p.Token, batch{number: 1<<62 + 3, runs: append(veryOld, veryOld...)}).Is(t, 200, answer(1, 1))
	p.has(t, s, 14, 25)
}

func unnumbered(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Unnumbered")
	list := p.runs(10)
	send(t, s, p.Token, batch{runs: list}).Is(t, 200, answer(10, 0))
	send(t, s, p.Token, batch{runs: append(list, p.runs(5)...)}).Is(t, 200, answer(5, 10))
	late := runsAt(time.Now().UTC().AddDate(0, 0, -10), 1, p.system, p.configuration)
	send(t, s, p.Token, batch{runs: late}).Is(t, 200,
		`{"stored":0,"known":0,"refused":[{"runId":"`+late[0].RunID+`","reason":"executedAt: too old, before the raw runs that are kept of this check"}]}`)
	p.has(t, s, 15, 15)
	if n := count(t, s, `select count(*) from satellite.journals where satellite_id = $1`, p.ID); n != 0 {
		t.Errorf("%d journals are kept", n)
	}
}

func journals(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Journals")
	first, second := plugins.NewID(), plugins.NewID()
	for _, b := range []batch{
		{9, "", p.runs(1)},
		{3, first, p.runs(1)}, // two programs that share a token by mistake
		{1, second, p.runs(1)},
		{4, first, p.runs(1)},
		{2, second, p.runs(1)},
	} {
		send(t, s, p.Token, b).Is(t, 200, answer(1, 0))
		send(t, s, p.Token, b).Is(t, 200, answer(0, 1))
	}
	p.has(t, s, 5, 5)
	if n := count(t, s, `select count(*) from satellite.journals where satellite_id = $1 and (journal, batch) in (('', 9), ($2, 4), ($3, 2))`,
		p.ID, first, second); n != 3 {
		t.Errorf("%d of 3 journals have their number", n)
	}
	exec(t, s, `insert into satellite.journals select $1, gen_random_uuid()::text, 1 from generate_series(1, 9997)`, p.ID)
	const limit = `{"error":"Limit reached","message":"this satellite has had 10000 journals in the last 400 days; ` +
		`keep its journal on a disk that lasts, and register it anew","field":"journal"}`
	send(t, s, p.Token, batch{1, plugins.NewID(), p.runs(1)}).Is(t, 409, limit)
	send(t, s, p.Token, batch{3, second, p.runs(1)}).Is(t, 200, answer(1, 0))
	p.has(t, s, 6, 6)

	// One of those that were not used for 400 days makes room: the longest unused one.
	exec(t, s, `update satellite.journals set used_at = now() - interval '399 days' where satellite_id = $1`, p.ID)
	send(t, s, p.Token, batch{1, plugins.NewID(), p.runs(1)}).Is(t, 409, limit)
	exec(t, s, `update satellite.journals set used_at = now() - interval '401 days' where satellite_id = $1 and journal = ''`, p.ID)
	exec(t, s, `update satellite.journals set used_at = now() - interval '402 days' where satellite_id = $1 and journal = any(array[$2, $3])`, p.ID, first, second)
	send(t, s, p.Token, batch{4, second, p.runs(1)}).Is(t, 200, answer(1, 0)) // is used again
	third := plugins.NewID()
	send(t, s, p.Token, batch{1, third, p.runs(1)}).Is(t, 200, answer(1, 0))
	if n := count(t, s, `select count(*) from satellite.journals where satellite_id = $1 and journal = any(array['', $2, $3, $4])`,
		p.ID, first, second, third); n != 3 {
		t.Errorf("%d of 3 journals are left", n)
	}
	send(t, s, p.Token, batch{4, first, p.runs(1)}).Is(t, 200, answer(1, 0)) // '' goes for it
	send(t, s, p.Token, batch{1, plugins.NewID(), p.runs(1)}).Is(t, 409, limit)
	if n := count(t, s, `select count(*) from satellite.journals where satellite_id = $1`, p.ID); n != 10_000 {
		t.Errorf("%d journals are kept", n)
	}
	p.has(t, s, 9, 9)
}

func atOnce(t *testing.T, s *servertest.Server) {
	other := servertest.Start(t, servertest.Config{Database: s.Database})
	p := newPlace(t, s, "At once")
	old := runsAt(time.Now().UTC().AddDate(0, 0, -20), 200, p.system, p.configuration)
	for number := int64(1); number <= 5; number++ {
		b := batch{number: number, journal: p.ID, runs: append(p.runs(200), old...)}
		for i := range b.runs {
			b.runs[i].RunID = plugins.NewID()
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		stored, known := 0, 0
		for i := range 8 {
			all.Go(func() {
				got := servertest.Decode[wire.Answer](t, send(t, []*servertest.Server{s, other}[i%2], p.Token, b), 200)
				mu.Lock()
				defer mu.Unlock()
				stored, known = stored+got.Stored, known+got.Known
			})
		}
		all.Wait()
		if stored != 400 || known != 2800 {
			t.Errorf("%d stored and %d known, want 400 and 2800", stored, known)
		}
	}
	p.has(t, s, 1000, 2000)
}

// rotatedMeanwhile stops a batch in the database at two moments: before it holds its satellite, and after.
func rotatedMeanwhile(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Meanwhile")
	hold := func(query, arg string) func() {
		t.Helper()
		tx, err := s.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), query, arg); err != nil {
			t.Fatal(err)
		}
		return func() {
			t.Helper()
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		}
	}
	var all sync.WaitGroup

	// The token is good when the request comes, and replaced before the batch holds its satellite.
	commit := hold(`update satellite.satellites set token_hash = sha256('x') where id = $1`, p.ID)
	all.Go(func() { send(t, s, p.Token, batch{number: 1, runs: p.runs(1)}).Is(t, 401, badToken) })
	waiting(t, s, "%token_hash = $1%for no key update%", 1)
	commit()
	all.Wait()
	p.has(t, s, 0, 0)

	// The batch holds its satellite, and is stopped at its assignment: who rotates waits for it.
	token := servertest.Decode[struct{ Token string }](t, s.Do(t, "POST", satellites+"/"+p.ID+"/rotate", servertest.Admin, nil), 200).Token
	commit = hold(`select from healthcheck.assignments where system_id = $1 for update`, p.system)
	all.Go(func() { send(t, s, token, batch{number: 1, runs: p.runs(1)}).Is(t, 200, answer(1, 0)) })
	waiting(t, s, "%healthcheck.assignment%", 1)
	all.Go(func() {
		s.Do(t, "POST", satellites+"/"+p.ID+"/rotate", servertest.Admin, nil).Has(t, 200)
		send(t, s, token, batch{number: 2, runs: p.runs(1)}).Is(t, 401, badToken)
	})
	waiting(t, s, "%set token_hash%", 1)
	commit()
	all.Wait()
	p.has(t, s, 1, 1)
}

// waiting returns when n statements like a pattern wait for a lock.
func waiting(t testing.TB, s *servertest.Server, like string, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if count(t, s, `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like $1`, like) == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no statement like %s waits", like)
		}
	}
}

func forward(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Forward")
	state := func() string {
		t.Helper()
		var status string
		if err := s.DB.QueryRowContext(t.Context(), `select last_status from healthcheck.states where system_id = $1 and source_id = $2`,
			p.system, p.ID).Scan(&status); err != nil {
			t.Fatal(err)
		}
		return status
	}
	list := p.runs(3)
	list[0].Status, list[1].Status, list[2].Status = plugins.Healthy, plugins.Unhealthy, plugins.Degraded
	list[1], list[2] = list[2], list[1] // in any order
	list[1].ExecutedAt, list[2].ExecutedAt = list[2].ExecutedAt, list[1].ExecutedAt
	send(t, s, p.Token, batch{number: 1, runs: list}).Is(t, 200, answer(3, 0))
	newest := list[0]
	for _, r := range list {
		if r.ExecutedAt.After(newest.ExecutedAt) {
			newest = r
		}
	}
	if got := state(); got != string(newest.Status) {
		t.Errorf("the state is %s, want %s", got, newest.Status)
	}
	late := runsAt(time.Now().UTC().AddDate(0, 0, -9), 1, p.system, p.configuration)
	late[0].Status = plugins.Healthy
	send(t, s, p.Token, batch{number: 2, runs: late}).Is(t, 200, answer(1, 0))
	if got := state(); got != string(newest.Status) {
		t.Errorf("after a late run the state is %s, want %s", got, newest.Status)
	}
	p.has(t, s, 3, 4)
}
