package series

import (
	"bufio"
	"context"
	"database/sql"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"checkstack/plugins"
)

var (
	//go:embed export_begin.sql
	exportBeginSQL string
	//go:embed export.sql
	exportSQL string
)

// Format is how an export is written.
type Format string

// The formats of an export: comma-separated values (RFC 4180) below a line of names, or one JSON object a line. What is
// not known is empty in the one and null in the other.
const (
	CSV  Format = "csv"
	JSON Format = "json"
)

// Export writes the hours and the days of all checks that begin at or after from and before to, and returns how many.
// They are as they are kept at one moment, in the order of system, configuration, size (days first) and time: a day may
// have a row of its own and rows of late hours beside it, which add up. Rows are written as they are read, so neither
// here nor in the database does memory grow with their number, and it may take any time until ctx ends. What was
// written before an error stays written.
func Export(ctx context.Context, db *sql.DB, w io.Writer, from, to time.Time, format Format) (n int64, err error) {
	switch {
	case format != CSV && format != JSON:
		return 0, plugins.Invalid("format", "expected %s or %s, not %q", CSV, JSON, format)
	case !IsTime(from):
		return 0, plugins.Invalid("from", "expected a time in the years 1 to 9999")
	case !IsTime(to):
		return 0, plugins.Invalid("to", "expected a time in the years 1 to 9999")
	case !from.Before(to):
		return 0, plugins.Invalid("to", "expected a time after from")
	}
	n, err = export(ctx, db, w, from, to, format)
	if ctx.Err() != nil && err != nil { // the database or the connection has words of its own for it
		err = context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("export: %w", err)
	}
	return n, err
}

func export(ctx context.Context, db *sql.DB, w io.Writer, from, to time.Time, format Format) (n int64, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, exportBeginSQL); err != nil {
		return 0, err
	}
	reading, cancel := context.WithCancel(ctx)
	rows, err := tx.QueryContext(reading, exportSQL, Timestamp(from), Timestamp(to))
	if err != nil {
		cancel()
		return 0, err
	}
	defer rows.Close()
	defer cancel() // comes first: else Close would read all rows that are left
	write, flush := format.writer(w)
	var r exported
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return n, err
		}
		if err := write(&r); err != nil {
			return n, err
		}
		n++
	}
	if err := rows.Err(); err != nil {
		return n, err
	}
	if err := flush(); err != nil {
		return n, err
	}
	return n, tx.Commit()
}

// exported is one row of an export.
type exported struct {
	BucketStart     time.Time `json:"bucketStart"`
	BucketSize      string    `json:"bucketSize"`
	SystemID        string    `json:"systemId"`
	ConfigurationID string    `json:"configurationId"`
	SourceID        string    `json:"sourceId"`
	Runs            int64     `json:"runs"`
	Healthy         int64     `json:"healthy"`
	Degraded        int64     `json:"degraded"`
	Unhealthy       int64     `json:"unhealthy"`
	Availability    *float64  `json:"availability"`
	LatencyCount    int64     `json:"latencyCount"`
	LatencySumMs    int64     `json:"latencySumMs"`
	AverageMs       *float64  `json:"averageMs"`
	MinMs           *int32    `json:"minMs"`
	MaxMs           *int32    `json:"maxMs"`
	P95Ms           *int32    `json:"p95Ms"`
}

func (e *exported) scan(row plugins.Row) error {
	err := row.Scan(&e.BucketStart, &e.BucketSize, &e.SystemID, &e.ConfigurationID, &e.SourceID,
		&e.Runs, &e.Healthy, &e.Degraded, &e.Unhealthy, &e.LatencyCount, &e.LatencySumMs, &e.MinMs, &e.MaxMs, &e.P95Ms)
	e.BucketStart = e.BucketStart.UTC()
	e.Availability = availability(e.Runs, e.Unhealthy)
	e.AverageMs = average(e.LatencySumMs, e.LatencyCount)
	return err
}

// writer returns how a row is written to w, by way of a buffer, and how the buffer is emptied in the end.
func (f Format) writer(w io.Writer) (write func(*exported) error, flush func() error) {
	buffer := bufio.NewWriterSize(w, 64<<10)
	if f == JSON {
		lines := json.NewEncoder(buffer)
		lines.SetEscapeHTML(false)
		return func(e *exported) error { return lines.Encode(e) }, buffer.Flush
	}
	records := csv.NewWriter(buffer)
	_ = records.Write([]string{"bucketStart", "bucketSize", "systemId", "configurationId", "sourceId", // the buffer remembers an error
		"runs", "healthy", "degraded", "unhealthy", "availability",
		"latencyCount", "latencySumMs", "averageMs", "minMs", "maxMs", "p95Ms"})
	return func(e *exported) error { return records.Write(e.record()) }, func() error {
		records.Flush()
		return errors.Join(records.Error(), buffer.Flush())
	}
}

// record is the row as the values of a line.
func (e *exported) record() []string {
	whole := func(n int64) string { return strconv.FormatInt(n, 10) }
	share := func(f *float64) string {
		if f == nil {
			return ""
		}
		return strconv.FormatFloat(*f, 'f', -1, 64)
	}
	latency := func(ms *int32) string {
		if ms == nil {
			return ""
		}
		return whole(int64(*ms))
	}
	return []string{e.BucketStart.Format(time.RFC3339), e.BucketSize, e.SystemID, e.ConfigurationID, e.SourceID,
		whole(e.Runs), whole(e.Healthy), whole(e.Degraded), whole(e.Unhealthy), share(e.Availability),
		whole(e.LatencyCount), whole(e.LatencySumMs), share(e.AverageMs), latency(e.MinMs), latency(e.MaxMs), latency(e.P95Ms)}
}
