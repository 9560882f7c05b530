// Package series reads the history: single runs, sums over time, and how available systems were.
//
// What is read adds up rows of two sizes. An hour that was rolled up is in its day, and in no other row; an hour that
// was not is in a row of its own, also when it came late and its day is there already. So a bucket is the sum of all
// rows that begin in it, whatever their size, and nothing is ever read twice or left out while hours become days.
//
// What belongs together is read by one statement, because only one statement sees the history as it was at one moment:
// between two, an hour may have moved into its day.
package series

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"checkstack/plugins"
)

//go:embed series.sql
var seriesSQL string

// The limits of what is asked for.
const (
	MaxRuns    = 500  // runs in a list
	MaxPoints  = 2000 // buckets of a series
	MaxSystems = 500  // systems whose availability is asked for at once
	MaxID      = 200  // characters of the ID of a system or a source
)

// Reader implements the part of [plugins.History] that reads.
type Reader struct{ DB *sql.DB }

// Series implements [plugins.History]. Its buckets follow each other without a gap, also those without a run, and each
// is the sum of all that was executed from its start to its end. Below a day they are as long as the fewest whole hours
// that keep to Points, except that a day that is kept only as a day is a bucket of its own; else all are as many whole
// days long as it takes. The range is widened to whole hours, and where it begins or ends in a day that is kept only as
// a day, to that day. The days kept so are those of all sources together, so that the series of one source has the same
// buckets as that of another.
//
// The distributions of latencies are added up here and not in the database, which takes a third of the time.
func (r *Reader) Series(ctx context.Context, q plugins.SeriesQuery) ([]plugins.Bucket, error) {
	q.Points = cmp.Or(q.Points, 200)
	switch {
	case !IsUUID(q.ConfigurationID):
		return nil, plugins.Invalid("configurationId", "expected a UUID")
	case q.SystemID == "" || !IsKey(q.SystemID):
		return nil, plugins.Invalid("systemId", "expected a text of 1 to %d characters", MaxID)
	case !isSource(q.SourceID):
		return nil, errSource()
	case !IsTime(q.From):
		return nil, plugins.Invalid("from", "expected a time in the years 1 to 9999")
	case !IsTime(q.To.Add(24 * time.Hour)): // the last bucket ends less than a day after it
		return nil, plugins.Invalid("to", "expected a time before 9999-12-31T00:00:00Z")
	case !q.From.Before(q.To):
		return nil, plugins.Invalid("to", "expected a time after from")
	case q.Points < 1 || q.Points > MaxPoints:
		return nil, plugins.Invalid("points", "expected a whole number from 1 to %d", MaxPoints)
	}
	lo, hi := hourOf(q.From), hourOf(q.To.Add(time.Hour-1))
	rows, err := r.DB.QueryContext(ctx, seriesSQL, q.SystemID, q.ConfigurationID,
		Timestamp(lo.time()), Timestamp(hi.time()), Timestamp(q.From.UTC().Truncate(24*time.Hour)), q.SourceID)
	if err != nil {
		return nil, fmt.Errorf("read a series: %w", err)
	}
	defer rows.Close() // does nothing once Next has returned false
	var s *sums
	var a aggregate
	for rows.Next() {
		if err := a.scan(rows); err != nil {
			return nil, fmt.Errorf("read a series: %w", err)
		}
		if s == nil { // there is a row at least, and each tells the same newest day
			s = newSums(shapeOf(lo, hi, a.newest, q.Points))
		}
		s.add(&a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read a series: %w", err)
	}
	return s.all(), nil
}

// IsUUID reports whether s is a UUID, in upper or lower case.
func IsUUID(s string) bool { return plugins.IsID(strings.ToLower(s)) }

// IsKey reports whether s can be the ID of a system or a source.
func IsKey(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= MaxID && !strings.ContainsRune(s, 0)
}

// isSource reports whether id is nil, for all sources, or can be the ID of one.
func isSource(id *string) bool { return id == nil || IsKey(*id) }

func errSource() error {
	return plugins.Invalid("sourceId", "expected a text of at most %d characters", MaxID)
}

// IsTime reports whether the database and RFC 3339 can both hold t.
func IsTime(t time.Time) bool { return t.UTC().Year() >= 1 && t.UTC().Year() <= 9999 }

// Timestamp writes a time to the microsecond, as the database keeps it, and never a later one.
func Timestamp(t time.Time) string {
	return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}
