package soak

import (
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
)

// gaps is, for each two runs of a slice one after the other, how far apart they were, in seconds.
const gaps = `select coalesce(extract(epoch from executed_at - lag(executed_at) over (partition by system_id order by executed_at)), -1)::float8 as gap,
	system_id, executed_at
	from checkstack.health_check_runs`

func TestTwoServersShareTheChecksAndOneIsKilled(t *testing.T) {
	t.Parallel()
	slices, half := 1000, 18*time.Second
	if *long {
		slices, half = 5000, 90*time.Second
	}
	const interval = 10 * time.Second
	answering, _ := targets(t)
	first := servertest.Start(t, servertest.Config{})
	second := servertest.Start(t, servertest.Config{Database: first.Database})
	assign(t, first, configure(t, first, "shared", answering, interval, 2*time.Second), slices)
	pass(t, half)
	killed := time.Now()
	second.Kill(t)
	pass(t, half+interval/2)
	first.Stop(t)

	db := first.DB
	if n := value[int](t, db, `select count(distinct system_id) from checkstack.health_check_runs`); n != slices {
		t.Errorf("%d of %d slices ran", n, slices)
	}
	if n := value[int](t, db, `select count(*) from (`+gaps+`) g where gap >= 0 and gap < $1`, interval.Seconds()/2); n != 0 {
		t.Errorf("%d runs were closer to the one before than half an interval", n)
	}
	// A slice may miss one slot, around the kill: what the killed server had claimed is due again when its lease ends.
	const late = 1.0
	if n := value[int](t, db, `select count(*) from (`+gaps+`) g where gap > $1 and not (executed_at > $2
		and executed_at - make_interval(secs => gap) < $2::timestamptz + make_interval(secs => $3::float8))`, interval.Seconds()+late, killed, late); n != 0 {
		t.Errorf("%d runs were late that have nothing to do with the kill", n)
	}
	if n := value[int](t, db, `select count(*) from (`+gaps+`) g where gap > $1`, 2*interval.Seconds()+late); n != 0 {
		t.Errorf("%d times a slice missed more than one interval", n)
	}
	if n := value[int](t, db, `select count(*) from (select from (`+gaps+`) g where gap > $1 group by system_id having count(*) > 1) s`, interval.Seconds()+late); n != 0 {
		t.Errorf("%d slices missed an interval more than once", n)
	}
	if n := value[int](t, db, `select count(*) from (select max(executed_at) as last from checkstack.health_check_runs group by system_id) s
		where last < (select max(executed_at) from checkstack.health_check_runs) - make_interval(secs => $1::float8)`, interval.Seconds()+late); n != 0 {
		t.Errorf("%d slices did not run at the end", n)
	}
	if n := value[int](t, db, `select count(*) from checkstack.health_check_runs where status <> 'healthy'`); n != 0 {
		t.Errorf("%d runs were not healthy", n)
	}
}

func TestTargetsThatDoNotAnswerDoNotDelayTheOthers(t *testing.T) {
	t.Parallel()
	slices, duration := 1000, 22*time.Second
	if *long {
		slices, duration = 5000, 3*time.Minute
	}
	const interval, timeout = 10 * time.Second, 5 * time.Second
	answering, silent := targets(t)
	s := servertest.Start(t, servertest.Config{})
	healthy := configure(t, s, "answering", answering, interval, timeout)
	assign(t, s, healthy, slices*4/5)
	assign(t, s, configure(t, s, "silent", silent, interval, timeout), slices/5)
	pass(t, duration)
	s.Stop(t)

	p99 := value[float64](t, s.DB, `select percentile_disc(0.99) within group (order by delay) from (
		select mod(extract(epoch from r.executed_at - a.slot_at)::numeric, c.interval_seconds)::float8 - r.latency_ms / 1000.0 as delay
		from checkstack.health_check_runs r
		join healthcheck.assignments a on a.system_id = r.system_id and a.configuration_id = r.configuration_id
		join healthcheck.configurations c on c.id = a.configuration_id
		where c.id = $1::uuid) d`, healthy)
	runs := value[int](t, s.DB, `select count(*) from checkstack.health_check_runs where configuration_id = $1::uuid and status = 'healthy'`, healthy)
	t.Logf("%d healthy runs, 99 of 100 began less than %.3f s after their slot", runs, p99)
	if p99 >= 1 {
		t.Errorf("1 in 100 runs of targets that answer began %.3f s or more after its slot", p99)
	}
	if want := slices * 4 / 5 * int((duration-interval)/interval); runs < want {
		t.Errorf("%d healthy runs, want at least %d", runs, want)
	}
	if n := value[int](t, s.DB, `select count(*) from (select system_id from checkstack.health_check_runs where configuration_id <> $1::uuid
		and message = 'timed out after 5s' group by system_id) s`, healthy); n != slices/5 {
		t.Errorf("%d of %d silent targets were found", n, slices/5)
	}
}
