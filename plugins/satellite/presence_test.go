package satellite_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/satellite"
	"checkstack/plugins/satellite/wire"
)

// beat is a heartbeat with nothing in it but the time it was sent.
func beat(sent time.Time) string {
	body, _ := json.Marshal(wire.Heartbeat{Version: "v1", StartedAt: sent.Add(-time.Hour), SentAt: sent}) // it has nothing that fails
	return string(body)
}

// alive sends a heartbeat.
func alive(t testing.TB, s *servertest.Server, sat registered) {
	t.Helper()
	s.Do(t, "POST", base+"/heartbeat", sat.Token, beat(time.Now())).Has(t, 200)
}

// silentFor makes it so that a satellite was last heard of some time ago.
func silentFor(t testing.TB, s *servertest.Server, sat registered, seconds int) {
	t.Helper()
	exec(t, s, `update satellite.satellites set last_seen_at = now() - make_interval(secs => $2) where id = $1`, sat.ID, seconds)
}

// events returns the names of the signals about a satellite, in the order they were published.
func events(t testing.TB, s *servertest.Server, sat registered) string {
	t.Helper()
	var names string
	err := s.DB.QueryRowContext(t.Context(), `select coalesce(string_agg(name, ' ' order by id), '') from signals.events
		where data ->> 'id' = $1`, sat.ID).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(names, "satellite.", "")
}

// until reads a satellite again and again until it is as wanted.
func until(t testing.TB, s *servertest.Server, id string, ok func(satellite.Satellite) bool) satellite.Satellite {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		sat := read(t, s, id)
		if ok(sat) {
			return sat
		}
		if time.Now().After(deadline) {
			t.Fatalf("the satellite is still %+v", sat)
		}
	}
}

func offline(s satellite.Satellite) bool { return s.Offline }

// TestPresence shows how satellites come and go, on three servers that share a database.
func TestPresence(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	for range 2 {
		servertest.Start(t, servertest.Config{Database: s.Database})
	}
	t.Run("a heartbeat shows how a satellite is", func(t *testing.T) { heartbeat(t, s) })
	t.Run("a heartbeat that is not as it must be changes nothing", func(t *testing.T) { badHeartbeat(t, s) })
	t.Run("a wrong clock is measured and shown", func(t *testing.T) { clock(t, s) })
	t.Run("two heartbeats of a satellite are noted at once, and no more", func(t *testing.T) { pressing(t, s) })
	t.Run("a token is asked for before the body", func(t *testing.T) {
		s.Do(t, "POST", base+"/heartbeat", "sat_", `{`).Is(t, 401, badToken)
	})
	t.Run("silence is told once, and its end", func(t *testing.T) { silence(t, s) })
	t.Run("each satellite may be silent for its own time", func(t *testing.T) { patience(t, s) })
	t.Run("many that fall silent at once are each told once", func(t *testing.T) { many(t, s) })
	t.Run("a check of an offline satellite is unknown", func(t *testing.T) { unknown(t, s) })
	if log := s.Log(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the log has errors:\n%s", log)
	}
}

func heartbeat(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Heartbeat")
	started := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	before := time.Now()
	res := s.Do(t, "POST", base+"/heartbeat", sat.Token, wire.Heartbeat{
		Version: "v1.2.3", StartedAt: started, SentAt: before, Checks: 7, PendingRuns: 1 << 40, PendingBytes: 1 << 50, Dropped: 3,
	})
	got := servertest.Decode[wire.HeartbeatAnswer](t, res, 200)
	if got.ServerTime.Before(before.Add(-time.Millisecond)) || got.ServerTime.After(time.Now()) || got.SkewMs > 0 || got.SkewMs < -10_000 {
		t.Errorf("a heartbeat of %v is answered with %s", before, res.Body)
	}
	shown := read(t, s, sat.ID)
	if shown.LastSeenAt == nil || shown.LastSeenAt.Before(before.Add(-time.Millisecond)) || shown.StartedAt == nil || !shown.StartedAt.Equal(started) {
		t.Errorf("it is shown as %+v", shown)
	}
	text := fmt.Sprintln(shown.Offline, shown.OfflineSince, shown.Version, *shown.SkewMs == got.SkewMs, shown.ClockSkewed, shown.Checks, shown.PendingRuns, shown.PendingBytes, shown.Dropped)
	if text != "false <nil> v1.2.3 true false 7 1099511627776 1125899906842624 3\n" {
		t.Errorf("it is shown as %s", text)
	}
	if !strings.Contains(s.Log(), `"msg":"a satellite had no room for runs and dropped them"`) {
		t.Error("the log does not say that runs were dropped")
	}
	// What it does not say of itself is not shown from before.
	s.Do(t, "POST", base+"/heartbeat", sat.Token, `{"sentAt":"`+time.Now().Format(time.RFC3339Nano)+`"}`).Has(t, 200)
	if shown := read(t, s, sat.ID); shown.StartedAt != nil || shown.Version != "" || shown.Dropped != 0 {
		t.Errorf("after an empty heartbeat it is shown as %+v", shown)
	}
}

func badHeartbeat(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Bad heartbeat")
	now := time.Now().Format(time.RFC3339)
	for _, test := range []struct{ body, field, message string }{
		{`{}`, "sentAt", "expected the time by the satellite's clock, RFC 3339"},
		{`{"sentAt":"now"}`, "sentAt", `expected a time such as 2026-01-31T23:59:59Z (RFC 3339), not now`},
		{`{"sentAt":"9999-12-31T23:59:59-12:00"}`, "sentAt", "expected a time in the years 1 to 9999, UTC"},
		{`{"sentAt":"` + now + `","startedAt":"0000-01-01T00:00:00Z"}`, "startedAt", "expected a time in the years 1 to 9999, UTC"},
		{`{"sentAt":"` + now + `","version":"` + strings.Repeat("v", 201) + `"}`, "version", "expected a text of at most 200 characters, not 201"},
		{`{"sentAt":"` + now + `","version":"\u0000"}`, "version", "expected a text without the character U+0000"},
		{`{"sentAt":"` + now + `","dropped":-1}`, "dropped", "expected a whole number from 0, not -1"},
		{`{"sentAt":"` + now + `","checks":1e3}`, "checks", "expected a whole number, not number 1e3"},
		{`{"sentAt":"` + now + `","pulse":1}`, "pulse", "there is no such field"},
	} {
		s.Do(t, "POST", base+"/heartbeat", sat.Token, test.body).IsInvalid(t, test.field, test.message)
	}
	if got := read(t, s, sat.ID); got.LastSeenAt != nil || !got.Offline {
		t.Errorf("the satellite is %+v", got)
	}
	for _, sent := range []string{"0001-01-01T00:00:01Z", "9999-12-31T23:59:59Z"} { // as wrong as a clock can be
		s.Do(t, "POST", base+"/heartbeat", sat.Token, `{"sentAt":"`+sent+`","startedAt":"`+sent+`"}`).Has(t, 200)
		if got := read(t, s, sat.ID); !got.ClockSkewed || got.StartedAt.Format(time.RFC3339) != sent {
			t.Errorf("the satellite is %+v", got)
		}
	}
}

// pressing holds the row that heartbeats wait for.
func pressing(t *testing.T, s *servertest.Server) {
	sat, other := register(t, s, "Pressing"), register(t, s, "Not pressing")
	tx, err := s.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `select from satellite.satellites where id = $1 for update`, sat.ID); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { s.Do(t, "POST", base+"/heartbeat", sat.Token, beat(time.Now())).Has(t, 200) })
	}
	waiting(t, s, "%token_hash = $1%for no key update%", 2)
	res := s.Do(t, "POST", base+"/heartbeat", sat.Token, beat(time.Now()))
	res.Is(t, 429, `{"error":"Too Many Requests","message":"2 heartbeats of this satellite are being noted already"}`)
	if got := res.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q", got)
	}
	alive(t, s, other)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	alive(t, s, sat)
}

func clock(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Clock")
	for _, test := range []struct {
		ahead  time.Duration
		skewed bool
	}{{0, false}, {25 * time.Second, false}, {45 * time.Second, true}, {-25 * time.Second, false}, {-45 * time.Second, true}, {-400 * 24 * time.Hour, true}, {0, false}} {
		res := s.Do(t, "POST", base+"/heartbeat", sat.Token, beat(time.Now().Add(test.ahead)))
		answer := servertest.Decode[wire.HeartbeatAnswer](t, res, 200)
		if off := answer.SkewMs - test.ahead.Milliseconds(); off > 0 || off < -4000 {
			t.Errorf("a clock that is %v ahead is measured as %d ms ahead", test.ahead, answer.SkewMs)
		}
		if got := read(t, s, sat.ID); got.SkewMs == nil || *got.SkewMs != answer.SkewMs || got.ClockSkewed != test.skewed {
			t.Errorf("a clock that is %v ahead is shown as %+v", test.ahead, got)
		}
	}
	for text, want := range map[string]int{"the clock of a satellite is wrong": 2, "the clock of a satellite is right again": 2} {
		n := 0
		for line := range strings.SplitSeq(s.Log(), "\n") {
			if strings.Contains(line, `"msg":"`+text+`"`) && strings.Contains(line, sat.ID) {
				n++
			}
		}
		if n != want {
			t.Errorf("the log says %d times that %s, want %d", n, text, want)
		}
	}
}

func silence(t *testing.T, s *servertest.Server) {
	sat := register(t, s, "Silence")
	alive(t, s, sat)
	alive(t, s, sat)
	if got := events(t, s, sat); got != "online" {
		t.Errorf("after the first heartbeats: %s", got)
	}
	silentFor(t, s, sat, 40)
	alive(t, s, sat)
	for round := 2; round <= 4; round++ {
		silentFor(t, s, sat, 46)
		gone := until(t, s, sat.ID, offline)
		if !gone.OfflineSince.Equal(*gone.LastSeenAt) {
			t.Errorf("it is offline since %v and was last seen at %v", gone.OfflineSince, gone.LastSeenAt)
		}
		if round%2 == 0 {
			alive(t, s, sat)
		} else {
			send(t, s, sat.Token, `{"runs":[]}`).Is(t, 200, answer(0, 0))
		}
		back := read(t, s, sat.ID)
		if back.Offline || back.OfflineSince != nil || !back.LastSeenAt.After(*gone.LastSeenAt) {
			t.Errorf("after a sign of life it is %+v", back)
		}
		if got := events(t, s, sat); got != "online"+strings.Repeat(" offline online", round-1) {
			t.Errorf("in round %d: %s", round, got)
		}
	}
	s.Do(t, "DELETE", satellites+"/"+sat.ID, servertest.Admin, nil).Has(t, 204)
	if got := events(t, s, sat); !strings.HasSuffix(got, " online deleted") {
		t.Errorf("after it was deleted: %s", got)
	}
	if n := count(t, s, `select count(*) from signals.events where name = 'satellite.deleted' and data::jsonb = $1::jsonb`,
		fmt.Sprintf(`{"id":%q,"name":"Silence","region":""}`, sat.ID)); n != 1 {
		t.Errorf("%d signals tell of its end", n)
	}
	if n := count(t, s, `select count(*) from signals.events where data ->> 'id' = $1 and public`, sat.ID); n != 0 {
		t.Errorf("%d of the signals are for everybody", n)
	}
	for text, want := range map[string]int{`"msg":"satellite is online for the first time"`: 1, `"msg":"satellite is online again"`: 3, `"away":"`: 3} {
		n := 0
		for line := range strings.SplitSeq(s.Log(), "\n") {
			if strings.Contains(line, text) && strings.Contains(line, sat.ID) {
				n++
			}
		}
		if n != want {
			t.Errorf("the log has %d times %s, want %d", n, text, want)
		}
	}
}

func patience(t *testing.T, s *servertest.Server) {
	short, long := register(t, s, "Short"), register(t, s, "Long")
	s.Do(t, "PATCH", satellites+"/"+short.ID, servertest.Admin, `{"offlineAfterSeconds":30}`).Has(t, 200)
	s.Do(t, "PATCH", satellites+"/"+long.ID, servertest.Admin, `{"offlineAfterSeconds":86400}`).Has(t, 200)
	alive(t, s, short)
	alive(t, s, long)
	silentFor(t, s, long, 86400-60)
	silentFor(t, s, short, 31)
	until(t, s, short.ID, offline) // whoever found it has looked at the other too
	if read(t, s, long.ID).Offline {
		t.Error("a satellite is offline before its time")
	}
	silentFor(t, s, long, 86401)
	until(t, s, long.ID, offline)
}

// many has 250 satellites fall silent at once, which takes several transactions. The server that takes the first ones
// is held up, so that the others come to them too.
func many(t *testing.T, s *servertest.Server) {
	exec(t, s, `insert into satellite.satellites (id, name, name_key, region, offline_after_seconds, token_hash, last_seen_at, offline_since)
		select gen_random_uuid(), 'many ' || n, 'many ' || n, '', 45, sha256(n::text::bytea), now(), null from generate_series(1, 250) n`)
	exec(t, s, `insert into healthcheck.sources (id, name) select id::text, name from satellite.satellites where name like 'many %'`)
	tx, err := s.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `select from healthcheck.sources where name like 'many %' order by id limit 1 for update`); err != nil {
		t.Fatal(err)
	}
	exec(t, s, `update satellite.satellites set last_seen_at = now() - interval '1 minute' where name like 'many %'`)
	online := func(most int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); count(t, s, `select count(*) from satellite.satellites where name like 'many %' and offline_since is null`) > most; {
			if time.Now().After(deadline) {
				t.Fatalf("more than %d of them are still online", most)
			}
		}
	}
	online(100)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	online(0)
	if n := count(t, s, `select count(*) from signals.events e join satellite.satellites s on s.id::text = e.data ->> 'id' where s.name like 'many %'`); n != 250 {
		t.Errorf("%d signals for 250 satellites", n)
	}
	if n := count(t, s, `select count(*) from healthcheck.sources where name like 'many %' and offline_since is not null`); n != 250 {
		t.Errorf("%d of 250 sources are offline", n)
	}
}

func unknown(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Unknown")
	status := func() string {
		t.Helper()
		return servertest.Decode[struct{ Status string }](t, s.Do(t, "GET", "/api/healthcheck/systems/"+p.system+"/status", "", nil), 200).Status
	}
	if got := status(); got != "unknown" {
		t.Errorf("before the first run the system is %s", got)
	}
	send(t, s, p.Token, batch{number: 1, runs: p.runs(1)}).Is(t, 200, answer(1, 0))
	if got := status(); got != "healthy" {
		t.Errorf("after a run the system is %s", got)
	}
	becomes := func(want, when string) { // at once, but by the watch
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); status() != want; {
			if time.Now().After(deadline) {
				t.Fatalf("%s the system is %s, want %s", when, status(), want)
			}
		}
	}
	silentFor(t, s, p.registered, 46)
	until(t, s, p.ID, offline)
	becomes("unknown", "while its satellite is offline")
	alive(t, s, p.registered)
	becomes("healthy", "when its satellite is back")
}

// TestAProbeCountsTheSatellitesThatAreLost has five that were heard of, and one that never was.
func TestAProbeCountsTheSatellitesThatAreLost(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	register(t, s, "Never heard of")
	fleet := make([]registered, 5)
	for i := range fleet {
		fleet[i] = register(t, s, fmt.Sprint("Satellite ", i))
		alive(t, s, fleet[i])
	}
	probe := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; { // the result of a probe is reused for a second
			res := s.Do(t, "GET", "/.checkstack/ready/satellite.online", "", nil)
			if res.Has(t, 200); strings.Contains(res.Body, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the probe still says %s, want %s", res.Body, want)
			}
		}
	}
	probe(`"name":"satellite.online","critical":false,"ok":true,"durationMs":`)
	for i, want := range []string{"1 of 5 satellites is offline", "2 of 5 satellites are offline"} {
		silentFor(t, s, fleet[i], 46)
		probe(`"critical":false,"ok":false,"message":"` + want + `"`)
	}
	s.Do(t, "GET", "/.checkstack/ready", "", nil).Has(t, 200)
	alive(t, s, fleet[0])
	s.Do(t, "DELETE", satellites+"/"+fleet[1].ID, servertest.Admin, nil).Has(t, 204)
	probe(`"critical":false,"ok":true`)
}

// TestATimeWithoutAServerIsNotSilence stops the only server for what the database takes for an hour.
func TestATimeWithoutAServerIsNotSilence(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	kept, lost := register(t, s, "Kept"), register(t, s, "Lost")
	alive(t, s, kept)
	alive(t, s, lost)
	s.Stop(t)
	exec(t, s, `update satellite.watch set looked_at = looked_at - interval '1 hour'`)
	exec(t, s, `update satellite.satellites set last_seen_at = (select looked_at from satellite.watch) - make_interval(secs => case id when $1 then 10 else 50 end)`, kept.ID)
	again := servertest.Start(t, servertest.Config{Database: s.Database})
	until(t, again, lost.ID, offline) // it was overdue when the server stopped
	if got := read(t, again, kept.ID); got.Offline {
		t.Errorf("a satellite that nobody could hear is %+v", got)
	}
	exec(t, s, `update satellite.watch set away_until = away_until - interval '40 s', away_from = away_from - interval '40 s'`)
	exec(t, s, `update satellite.satellites set last_seen_at = last_seen_at - interval '40 s' where id = $1`, kept.ID)
	until(t, again, kept.ID, offline) // now somebody has listened for 40 s
}
