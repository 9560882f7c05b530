package series_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/series"
)

func TestExportWritesHoursAndDaysAsTheyAre(t *testing.T) {
	b := newBook(t)
	b.record(
		aRun("shop", 1, "", plugins.Healthy, 100, past.Add(time.Hour)), aRun("shop", 1, "", plugins.Degraded, 201, past.Add(3*time.Hour)),
		aRun("shop", 1, "", plugins.Unhealthy, -1, past.Add(3*time.Hour)))
	b.roll(past, "", "z")
	b.record(
		aRun("shop", 1, "", plugins.Unhealthy, 7, past.Add(5*time.Hour)), // late
		aRun(`a "b", <c>`, 2, "oslo", plugins.Unhealthy, -1, past.Add(day-1)),
		aRun("shop", 0, "", plugins.Healthy, 5, past.Add(-time.Hour)), aRun("shop", 0, "", plugins.Healthy, 5, past.Add(day)))
	const check = "00000000-0000-4000-8000-00000000000"
	wantCSV := `bucketStart,bucketSize,systemId,configurationId,sourceId,runs,healthy,degraded,unhealthy,availability,latencyCount,latencySumMs,averageMs,minMs,maxMs,p95Ms
2026-01-10T23:00:00Z,hourly,"a ""b"", <c>",` + check + `2,oslo,1,0,0,1,0,0,0,,,,
2026-01-10T00:00:00Z,daily,shop,` + check + `1,,3,1,1,1,0.6666666666666666,2,301,150.5,100,201,199
2026-01-10T05:00:00Z,hourly,shop,` + check + `1,,1,0,0,1,0,1,7,7,7,7,7
`
	wantJSON := `{"bucketStart":"2026-01-10T23:00:00Z","bucketSize":"hourly","systemId":"a \"b\", <c>","configurationId":"` + check + `2","sourceId":"oslo","runs":1,"healthy":0,"degraded":0,"unhealthy":1,"availability":0,"latencyCount":0,"latencySumMs":0,"averageMs":null,"minMs":null,"maxMs":null,"p95Ms":null}
{"bucketStart":"2026-01-10T00:00:00Z","bucketSize":"daily","systemId":"shop","configurationId":"` + check + `1","sourceId":"","runs":3,"healthy":1,"degraded":1,"unhealthy":1,"availability":0.6666666666666666,"latencyCount":2,"latencySumMs":301,"averageMs":150.5,"minMs":100,"maxMs":201,"p95Ms":199}
{"bucketStart":"2026-01-10T05:00:00Z","bucketSize":"hourly","systemId":"shop","configurationId":"` + check + `1","sourceId":"","runs":1,"healthy":0,"degraded":0,"unhealthy":1,"availability":0,"latencyCount":1,"latencySumMs":7,"averageMs":7,"minMs":7,"maxMs":7,"p95Ms":7}
`
	for _, reader := range []*book{b, b.in("America/St_Johns")} {
		for format, want := range map[series.Format]string{series.CSV: wantCSV, series.JSON: wantJSON} {
			var out bytes.Buffer
			n, err := series.Export(t.Context(), reader.DB, &out, past, past.Add(day), format)
			if err != nil || n != 3 || out.String() != want {
				t.Errorf("%s: %d rows, %v\n got %s\nwant %s", format, n, err, &out, want)
			}
		}
	}
	var out bytes.Buffer
	n, err := series.Export(t.Context(), b.DB, &out, past.AddDate(1, 0, 0), past.AddDate(2, 0, 0), series.CSV)
	if header, _, _ := strings.Cut(wantCSV, "\n"); n != 0 || err != nil || out.String() != header+"\n" {
		t.Errorf("of nothing: %d rows, %v: %s", n, err, &out)
	}
}

func TestExportHasEveryRunInTheRangeOnce(t *testing.T) {
	b := newBook(t)
	b.record(b.random(4000, past, 20*day)...)
	for d := range 12 {
		b.roll(past.Add(time.Duration(d)*day), "", "mail")
	}
	b.record(b.random(200, past, 20*day)...)
	from, to := past.Add(2*day), past.Add(18*day)
	var out bytes.Buffer
	if _, err := series.Export(t.Context(), b.DB, &out, from, to, series.CSV); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(records[1:], func(a, b []string) int {
		return slices.Compare([]string{a[2], a[3], a[1], a[0], a[4]}, []string{b[2], b[3], b[1], b[0], b[4]})
	}) {
		t.Error("not in the order of the key")
	}
	out.Reset()
	if _, err := series.Export(t.Context(), b.DB, &out, from, to, series.JSON); err != nil {
		t.Fatal(err)
	}
	var got, want struct{ Runs, Healthy, Degraded, Unhealthy, LatencyCount, LatencySumMs int64 }
	lines := 0
	for d := json.NewDecoder(&out); ; lines++ {
		row := got
		if err := d.Decode(&row); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got.Runs += row.Runs
		got.Healthy += row.Healthy
		got.Degraded += row.Degraded
		got.Unhealthy += row.Unhealthy
		got.LatencyCount += row.LatencyCount
		got.LatencySumMs += row.LatencySumMs
	}
	var s sum
	for _, r := range b.runs {
		if !r.ExecutedAt.Before(from) && r.ExecutedAt.Before(to) {
			s.add(&r)
		}
	}
	want.Runs, want.Healthy, want.Degraded, want.Unhealthy = s.runs, s.healthy, s.degraded, s.unhealthy
	want.LatencyCount, want.LatencySumMs = int64(len(s.latencies)), s.latencySum
	if got != want || lines != len(records)-1 {
		t.Errorf("%d lines: %+v\n%d records, want %+v", lines, got, len(records)-1, want)
	}
}

// fill makes hourly rows of 100 checks.
func (b *book) fill(rows int) {
	b.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, run_count,
			healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms, p95_latency_ms)
		select 'system-' || n % 20, md5((n % 100)::text)::uuid, 'hourly', $1::timestamptz + n / 100 * interval '1 hour',
			60, 59, 0, 1, 60, 6000, 90, 400, 200
		from generate_series(0, $2::integer - 1) n`, past, rows)
}

// probe is told how much was written after each write.
type probe func(written int) error

func (p *probed) Write(b []byte) (int, error) {
	p.written += len(b)
	if err := p.probe(p.written); err != nil {
		return 0, err
	}
	return len(b), nil
}

type probed struct {
	probe
	written int
}

func TestExportTakesTheSameMemoryHoweverMuchThereIs(t *testing.T) {
	b := newBook(t)
	b.fill(200_000)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for format, rows := range map[series.Format]int{series.CSV: 200_000, series.JSON: 50_000} {
		var least, most uint64
		next := 0
		w := &probed{probe: func(written int) error {
			if written >= next {
				next += 2 << 20
				h := heap()
				if least == 0 {
					least = h
				}
				least, most = min(least, h), max(most, h)
			}
			return nil
		}}
		n, err := series.Export(t.Context(), b.DB, w, past, past.Add(time.Duration(rows/100)*time.Hour), format)
		if n != int64(rows) || err != nil {
			t.Fatalf("%d rows, %v", n, err)
		}
		t.Logf("%s: %d MiB written, the heap grew by %d KiB", format, w.written>>20, (most-least)>>10)
		if most-least > 1<<20 || w.written < 10<<20 {
			t.Errorf("%s: from %d to %d bytes of heap while %d were written", format, least, most, w.written)
		}
	}
}

func TestExportEndsWithItsContextOrItsWriter(t *testing.T) {
	b := newBook(t)
	b.fill(60_000)
	b.DB.SetMaxOpenConns(1)
	session := func() (pid int) {
		if err := b.DB.QueryRowContext(t.Context(), `select pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	full := errors.New("no space left on device")
	gone := errors.New("the terminal was closed")
	for _, c := range []struct {
		name string
		fail func(cancel func()) error
		want error
	}{
		{"a write fails", func(func()) error { return full }, full},
		{"the context ends", func(cancel func()) error { cancel(); return nil }, gone},
	} {
		before := session()
		ctx, cancel := context.WithCancelCause(t.Context())
		w := &probed{probe: func(written int) error {
			if written > 1<<20 {
				return c.fail(func() { cancel(gone) })
			}
			return nil
		}}
		n, err := series.Export(ctx, b.DB, w, past, past.AddDate(10, 0, 0), series.CSV)
		if !errors.Is(err, c.want) || n == 0 || n > 40_000 {
			t.Errorf("%s: %d rows, %v", c.name, n, err)
		}
		cancel(nil)
		if session() == before {
			t.Errorf("%s: the connection was kept, so all rows that were left have been read", c.name)
		}
		for b.queries() > 0 { // what was cancelled ends by itself
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := series.Export(ctx, b.DB, io.Discard, past, past.AddDate(10, 0, 0), series.CSV); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %d rows, %v", n, err)
	}
}

// queries is how many statements others have under way in the database.
func (b *book) queries() (n int) {
	b.t.Helper()
	err := b.DB.QueryRowContext(b.t.Context(), `select count(*) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle' and backend_type = 'client backend'`).Scan(&n)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func TestExportNamesTheFieldThatIsWrong(t *testing.T) {
	var db *sql.DB // is not asked
	for _, c := range []struct {
		field    string
		from, to time.Time
		format   series.Format
	}{
		{"format", past, past.Add(1), "xml"},
		{"from", past.AddDate(-3000, 0, 0), past, series.CSV},
		{"to", past, past.AddDate(9000, 0, 0), series.CSV},
		{"to", past, past, series.JSON},
	} {
		_, err := series.Export(t.Context(), db, io.Discard, c.from, c.to, c.format)
		if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Field != c.field {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
