package soak

// What checks cost. Each benchmark is one stretch of time under load, whatever b.N is: run them with -benchtime 1x. The server and
// PostgreSQL are measured as processes; the targets run beside them and are not counted.
//
//	go test -run '^$' -bench . -benchtime 1x ./plugins/healthcheck/soak [-args -long]

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
)

// meter measures what a server and its database do between two moments.
type meter struct {
	s       *servertest.Server
	at      time.Time
	cpu, pg time.Duration
	runs    int
}

func measure(t testing.TB, s *servertest.Server) *meter {
	t.Helper()
	return &meter{s: s, cpu: cpuOf(t, s.PID()), pg: cpuOfPostgres(t, s.DB), at: time.Now(), runs: stored(t, s)}
}

func stored(t testing.TB, s *servertest.Server) int {
	t.Helper()
	return value[int](t, s.DB, `select coalesce(sum(run_count), 0) from checkstack.health_check_aggregates`)
}

// report says how many runs were stored each second, and what CPU time 1,000 of them took.
func (m *meter) report(b *testing.B) (perSecond, cpu float64) {
	end := measure(b, m.s)
	runs, seconds := float64(end.runs-m.runs), end.at.Sub(m.at).Seconds()
	server, pg := (end.cpu-m.cpu).Seconds()/runs*1000, (end.pg-m.pg).Seconds()/runs*1000
	b.ReportMetric(runs/seconds, "checks/s")
	b.ReportMetric(server, "server-cpu-s/1000")
	b.ReportMetric(pg, "postgres-cpu-s/1000")
	b.ReportMetric(server+pg, "cpu-s/1000")
	b.ReportMetric(0, "ns/op") // it is as long as it is said to be
	return runs / seconds, server + pg
}

// bare is the CPU time that 1,000 plain requests of net/http take in this process, each with a connection of its own.
func bare(b *testing.B, url string) float64 {
	b.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	before := ownCPU(b)
	const n = 1000
	for range n {
		resp, err := client.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return (ownCPU(b) - before).Seconds() / n * 1000
}

// BenchmarkSustained has 15,000 checks of 10 s made for 20 s, or for 10 minutes with -long: 1,500 a second. late is how many
// runs in 1,000 were not made within their interval, x-bare the CPU of server and database over that of a plain request, and
// MiB-growth what the server's memory has grown by from the first half to the end.
func BenchmarkSustained(b *testing.B) {
	duration := 20 * time.Second
	if *long {
		duration = 10 * time.Minute
	}
	const interval = 10 * time.Second
	answering, _ := targets(b)
	s := servertest.Start(b, servertest.Config{})
	assign(b, s, configure(b, s, "sustained", answering, interval, 5*time.Second), 15_000)
	pass(b, interval+interval/2)
	m, from := measure(b, s), time.Now()
	pass(b, duration/2)
	half := resident(b, s.PID())
	pass(b, duration/2)
	_, cpu := m.report(b)
	b.ReportMetric(resident(b, s.PID())-half, "MiB-growth")
	b.ReportMetric(resident(b, s.PID()), "MiB")
	b.ReportMetric(cpu/bare(b, answering), "x-bare")
	late := value[float64](b, s.DB, `select 1000.0 * count(*) filter (where gap > $1) / count(*) from (`+gaps+`) g where gap >= 0 and executed_at > $2`,
		interval.Seconds()+1, from)
	b.ReportMetric(late, "late/1000")
	if n := value[int](b, s.DB, `select count(*) from checkstack.health_check_runs where status <> 'healthy'`); n != 0 {
		b.Errorf("%d runs were not healthy", n)
	}
}

// BenchmarkSilentTargets has a fifth of 5,000 checks of 10 s accept and never answer, from the first moment on, and says how
// many of the runs that were due of the others were made, in percent: for 30 s, or 5 minutes with -long.
func BenchmarkSilentTargets(b *testing.B) {
	duration := 30 * time.Second
	if *long {
		duration = 5 * time.Minute
	}
	const interval, slices = 10 * time.Second, 5000
	answering, silent := targets(b)
	s := servertest.Start(b, servertest.Config{})
	healthy := configure(b, s, "answering", answering, interval, 5*time.Second)
	assign(b, s, configure(b, s, "silent", silent, interval, 5*time.Second), slices/5)
	assign(b, s, healthy, slices*4/5)
	from := time.Now()
	pass(b, duration)
	until := time.Now()
	m := value[float64](b, s.DB, `select count(*) from checkstack.health_check_runs
		where configuration_id = $1::uuid and status = 'healthy' and executed_at between $2 and $3`, healthy, from.Add(interval), until)
	due := float64(slices*4/5) * until.Sub(from.Add(interval)).Seconds() / interval.Seconds()
	b.ReportMetric(100*m/due, "%-of-rate")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdle has 10,000 checks of 60 s, and says what share of one core the server takes for them, in percent.
func BenchmarkIdle(b *testing.B) {
	duration := 20 * time.Second
	if *long {
		duration = 3 * time.Minute
	}
	answering, _ := targets(b)
	s := servertest.Start(b, servertest.Config{})
	assign(b, s, configure(b, s, "idle", answering, time.Minute, 5*time.Second), 10_000)
	pass(b, 5*time.Second)
	m := measure(b, s)
	pass(b, duration)
	b.ReportMetric(float64(stored(b, s)-m.runs)/time.Since(m.at).Seconds(), "checks/s")
	b.ReportMetric(100*(cpuOf(b, s.PID())-m.cpu).Seconds()/time.Since(m.at).Seconds(), "%-of-a-core")
	b.ReportMetric(100*(cpuOfPostgres(b, s.DB)-m.pg).Seconds()/time.Since(m.at).Seconds(), "postgres-%-of-a-core")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFirstRuns boots a server that finds 1,000 checks of 60 s due, and says how long after it is ready the last of them
// has had its first run.
func BenchmarkFirstRuns(b *testing.B) {
	answering, _ := targets(b)
	before := servertest.Start(b, servertest.Config{})
	assign(b, before, configure(b, before, "first", answering, time.Minute, 5*time.Second), 1000)
	before.Stop(b)
	for _, statement := range []string{`delete from checkstack.health_check_runs`,
		`update healthcheck.assignments set due_at = now() - interval '1 hour', next_run_at = now() - interval '1 hour', lease_id = null`} {
		if _, err := before.DB.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	began := time.Now()
	servertest.Start(b, servertest.Config{Database: before.Database})
	for value[int](b, before.DB, `select count(distinct system_id) from checkstack.health_check_runs`) < 1000 {
		if time.Since(began) > time.Minute {
			b.Fatal("after a minute not every check has run")
		}
	}
	b.ReportMetric(time.Since(began).Seconds(), "s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStatus reads the status of 1,000 systems with 3 checks each in one call, after a stretch of runs.
func BenchmarkStatus(b *testing.B) {
	answering, _ := targets(b)
	s := servertest.Start(b, servertest.Config{})
	first := configure(b, s, "one", answering, 10*time.Second, time.Second)
	assign(b, s, first, 1000)
	for _, name := range []string{"two", "three"} {
		if _, err := s.DB.ExecContext(b.Context(), `insert into healthcheck.assignments (system_id, configuration_id, enabled)
			select system_id, $2::uuid, true from healthcheck.assignments where configuration_id = $1::uuid`,
			first, configure(b, s, name, answering, 10*time.Second, time.Second)); err != nil {
			b.Fatal(err)
		}
	}
	duration := 15 * time.Second
	if *long {
		duration = 10 * time.Minute
	}
	pass(b, duration)
	if _, err := s.DB.ExecContext(b.Context(), `update healthcheck.assignments set enabled = false`); err != nil { // nothing runs beside it
		b.Fatal(err)
	}
	if _, err := s.DB.ExecContext(b.Context(), `update healthcheck.assignments set enabled = true, due_at = 'infinity'`); err != nil {
		b.Fatal(err)
	}
	size := 0
	for b.Loop() {
		r := s.Do(b, "GET", "/api/healthcheck/status?limit=1000", "", nil)
		r.Has(b, 200)
		size = len(r.Body)
	}
	b.ReportMetric(float64(size)/1000, "kB")
}
