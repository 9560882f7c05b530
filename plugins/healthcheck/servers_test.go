package healthcheck_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

// TestAKilledServerLosesNothingThatWasAcknowledged kills a server in the middle of its work, twice, and compares what is in
// the database with itself and with what was promised.
func TestAKilledServerLosesNothingThatWasAcknowledged(t *testing.T) {
	db, url := postgrestest.New(t)
	looks := make(chan struct{}, 100_000)
	st := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { looks <- struct{}{} }))
	t.Cleanup(st.Close)
	var (
		systems      []string
		check        string
		acknowledged []string
		made         int
	)
	for round := range 3 {
		s := servertest.Start(t, servertest.Config{Database: url})
		editor := s.Token(t, "editor")
		if round == 0 {
			check = configure(t, s, "Killed", st.URL, 1).ID
			for i := range 30 {
				systems = append(systems, system(t, s, fmt.Sprint("Killed ", i)))
				assign(t, s, systems[i], check, true)
			}
		}
		var byHand sync.WaitGroup
		var mu sync.Mutex
		for i := range 4 {
			byHand.Go(func() {
				for j := range 10 {
					sys := systems[(10*i+j)%len(systems)]
					res := s.Do(t, "POST", base+"/configurations/"+check+"/run?systemId="+sys, editor, nil)
					run := servertest.Decode[healthcheck.RunResult](t, res, 200)
					mu.Lock()
					acknowledged = append(acknowledged, run.RunID)
					mu.Unlock()
				}
			})
		}
		byHand.Wait()
		for range 100 { // some by the scheduler, and the last of them are under way when the server goes
			<-looks
			made++
		}
		if round < 2 {
			s.Kill(t)
		} else {
			s.Stop(t)
		}
	}
	for _, test := range []struct{ what, query string }{
		{"runs are counted otherwise than they are kept", `select count(*) from (
			select configuration_id, system_id, source_id, date_bin('1 hour', executed_at, timestamptz '2000-01-01 00:00Z') as hour, count(*) as n,
				count(latency_ms) as measured, sum(latency_ms) as sum
			from checkstack.health_check_runs group by 1, 2, 3, 4) r
			full join checkstack.health_check_aggregates a
				on (a.configuration_id, a.system_id, a.source_id, a.bucket_start) = (r.configuration_id, r.system_id, r.source_id, r.hour)
			where (a.run_count, a.healthy_count, a.latency_count, a.latency_sum_ms) is distinct from (r.n, r.n, r.measured, r.sum)`},
		{"states are not at the newest run", `select count(*) from (
			select distinct on (system_id) system_id, run_id, executed_at from checkstack.health_check_runs order by system_id, executed_at desc) r
			full join healthcheck.states s using (system_id) where (s.run_id, s.last_run_at) is distinct from (r.run_id, r.executed_at)`},
	} {
		var n int
		if err := db.QueryRowContext(t.Context(), test.query).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d %s, %v", n, test.what, err)
		}
	}
	var kept, all int
	err := db.QueryRowContext(t.Context(), `select count(*) filter (where run_id = any (string_to_array($1, ',')::uuid[])), count(*)
		from checkstack.health_check_runs`, strings.Join(acknowledged, ",")).Scan(&kept, &all)
	if err != nil || kept != 120 || all > made+len(looks) {
		t.Errorf("%d of 120 acknowledged runs are kept, %d runs in all of %d that were made, %v", kept, all, made+len(looks), err)
	}
}

// TestTheExampleIsMadeOnceHoweverManyServersBoot also shows that it works, and that a server on another port takes it along.
func TestTheExampleIsMadeOnceHoweverManyServersBoot(t *testing.T) {
	_, url := postgrestest.New(t)
	demo := servertest.Config{Database: url, Args: []string{"-demo=true"}}
	all := make([]*servertest.Server, 3)
	var boots sync.WaitGroup
	for i := range all {
		boots.Go(func() { all[i] = servertest.Start(t, demo) })
	}
	boots.Wait()
	s := all[0]
	systems := servertest.Decode[plugins.List[struct{ ID, Name string }]](t, s.Do(t, "GET", "/api/catalog/systems", "", nil), 200)
	if systems.Total != 1 || systems.Items[0].Name != "Checkstack" {
		t.Fatalf("the systems are %+v", systems)
	}
	sys := systems.Items[0].ID
	if got := await(t, s, sys, is("healthy")); len(got.Checks) != 1 || got.Checks[0].Name != "Checkstack health" {
		t.Errorf("its status is %+v", got)
	}
	for _, old := range all {
		old.Stop(t)
	}

	moved := servertest.Start(t, demo)
	list := servertest.Decode[plugins.List[configuration]](t, moved.Do(t, "GET", base+"/configurations", moved.Token(t, "viewer"), nil), 200)
	if list.Total != 1 || string(list.Items[0].Config) != `{"url":"`+moved.URL+`/.checkstack/health"}` || list.Items[0].IntervalSeconds != 30 {
		t.Fatalf("the configurations are %+v", list)
	}
	mine := input("Mine", moved.URL+"/.checkstack/health?mine", 60)
	moved.Do(t, "PUT", base+"/configurations/"+list.Items[0].ID, moved.Token(t, "editor"), mine).Has(t, 200)
	moved.Do(t, "DELETE", "/api/catalog/systems/"+sys, moved.Token(t, "editor"), nil).Has(t, 204)
	moved.Stop(t)

	again := servertest.Start(t, demo)
	again.Do(t, "GET", "/api/catalog/systems", "", nil).Is(t, 200, `{"items":[],"total":0}`)
	list = servertest.Decode[plugins.List[configuration]](t, again.Do(t, "GET", base+"/configurations", again.Token(t, "viewer"), nil), 200)
	if list.Total != 1 || !strings.HasSuffix(string(list.Items[0].Config), `?mine"}`) {
		t.Errorf("what was changed by hand is %+v", list)
	}
}

func TestTheExampleStaysWithAServerThatAnswers(t *testing.T) {
	_, url := postgrestest.New(t)
	demo := servertest.Config{Database: url, Args: []string{"-demo=true"}}
	owner := servertest.Start(t, demo)
	pointsAt := func(s *servertest.Server, want *servertest.Server) {
		t.Helper()
		list := servertest.Decode[plugins.List[configuration]](t, s.Do(t, "GET", base+"/configurations", s.Token(t, "viewer"), nil), 200)
		if list.Total != 1 || string(list.Items[0].Config) != `{"url":"`+want.URL+`/.checkstack/health"}` {
			t.Errorf("the configurations are %+v, want one of %s", list, want.URL)
		}
	}
	guest := servertest.Start(t, demo)
	pointsAt(guest, owner)
	guest.Stop(t)
	owner.Stop(t)
	without := servertest.Start(t, servertest.Config{Database: url}) // that is -demo=false
	pointsAt(without, owner)
	heir := servertest.Start(t, demo)
	pointsAt(heir, heir)
	pointsAt(without, heir)
}

func TestThereIsNoExampleWhereSomethingIsWatchedAlready(t *testing.T) {
	_, url := postgrestest.New(t)
	first := servertest.Start(t, servertest.Config{Database: url})
	sys := system(t, first, "Mine")
	first.Stop(t)
	demo := servertest.Config{Database: url, Args: []string{"-demo=true"}}
	second := servertest.Start(t, demo)
	second.Do(t, "DELETE", "/api/catalog/systems/"+sys, second.Token(t, "editor"), nil).Has(t, 204)
	second.Stop(t)
	third := servertest.Start(t, demo)
	third.Do(t, "GET", "/api/catalog/systems", "", nil).Is(t, 200, `{"items":[],"total":0}`)
}
