// What the history holds of a system: single runs for days, sums over time for years. The history belongs to the server; here
// the questions are read and checked.

package healthcheck

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"checkstack/plugins"
)

// listRuns answers with a page of runs, the newest first, and how many there are, counted as far as 100,000. The cursor of the
// next page, which may be empty, is absent on the last.
func (h *Healthcheck) listRuns(r *http.Request, _ plugins.None) (list plugins.List[plugins.Run], err error) {
	query, err := historyQuery(r)
	if err != nil {
		return list, err
	}
	q, err := runsQuery(query)
	if err != nil {
		return list, err
	}
	if q.SystemID, err = h.systemOf(r); err != nil {
		return list, err
	}
	if list.Items, err = h.host.History.Runs(r.Context(), q); err != nil {
		return list, err
	}
	if len(list.Items) == q.Limit {
		last := list.Items[q.Limit-1]
		list.Next = cursor{last.ExecutedAt, last.ID}.String()
	}
	list.Total, err = h.host.History.CountRuns(r.Context(), q)
	return list, err
}

// readRun answers with one run, also with what its assertions expected and found.
func (h *Healthcheck) readRun(r *http.Request, _ plugins.None) (plugins.Run, error) {
	system, err := h.systemOf(r)
	if err != nil {
		return plugins.Run{}, err
	}
	id, err := plugins.PathID(r, "runId", "run")
	if err != nil {
		return plugins.Run{}, err
	}
	return h.host.History.Run(r.Context(), system, id)
}

// runsQuery reads configurationId, sourceId, status, from, to, limit and cursor.
func runsQuery(query url.Values) (q plugins.RunsQuery, err error) {
	if q.ConfigurationID, err = configurationParam(query); err != nil {
		return q, err
	}
	if q.SourceID, err = sourceParam(query); err != nil {
		return q, err
	}
	if q.Limit, err = plugins.Number(query, "limit", 100, 1, 500); err != nil {
		return q, err
	}
	for _, s := range query["status"] {
		switch status := plugins.Status(s); status {
		case plugins.Healthy, plugins.Degraded, plugins.Unhealthy:
			q.Statuses = append(q.Statuses, status)
		default:
			return q, plugins.Invalid("status", "expected healthy, degraded or unhealthy")
		}
	}
	if q.From, err = timeParam(query, "from", time.Time{}); err != nil {
		return q, err
	}
	if q.To, err = timeParam(query, "to", time.Time{}); err != nil {
		return q, err
	}
	if s := query.Get("cursor"); s != "" {
		c, ok := parseCursor(s)
		if !ok {
			return q, plugins.Invalid("cursor", "expected the next of a page of runs")
		}
		q.Before, q.BeforeID = c.time, c.id
	}
	return q, nil
}

// cursor is a place in a list of runs: after the run it names.
type cursor struct {
	time time.Time
	id   string
}

// String writes the cursor so that nobody is tempted to read it.
func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(c.time.UTC().Format(time.RFC3339Nano) + " " + c.id))
}

func parseCursor(s string) (c cursor, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return c, false
	}
	at, id, _ := strings.Cut(string(text), " ")
	t, ok := parseTime(at)
	return cursor{t, id}, ok && plugins.IsID(id)
}

const (
	defaultRange  = 24 * time.Hour
	maxRange      = 4000 * 24 * time.Hour // more than the history is ever kept for
	defaultPoints = 200
	maxPoints     = 2000
)

func (h *Healthcheck) series(r *http.Request, _ plugins.None) (plugins.List[plugins.Bucket], error) {
	query, err := historyQuery(r)
	if err != nil {
		return plugins.List[plugins.Bucket]{}, err
	}
	q, err := seriesQuery(query, time.Now())
	if err != nil {
		return plugins.List[plugins.Bucket]{}, err
	}
	if q.SystemID, err = h.systemOf(r); err != nil {
		return plugins.List[plugins.Bucket]{}, err
	}
	buckets, err := h.host.History.Series(r.Context(), q)
	return plugins.List[plugins.Bucket]{Items: buckets, Total: len(buckets)}, err
}

// seriesQuery reads configurationId, sourceId, from, to and points; without a range it is the 24 hours before now. The history itself
// refuses a range that, widened to whole hours, ends after the year 9999.
func seriesQuery(query url.Values, now time.Time) (q plugins.SeriesQuery, err error) {
	if q.ConfigurationID, err = configurationParam(query); err != nil {
		return q, err
	}
	if q.ConfigurationID == "" {
		return q, plugins.Invalid("configurationId", "expected the ID of a configuration")
	}
	if q.SourceID, err = sourceParam(query); err != nil {
		return q, err
	}
	if q.Points, err = plugins.Number(query, "points", defaultPoints, 1, maxPoints); err != nil {
		return q, err
	}
	if q.To, err = timeParam(query, "to", now); err != nil {
		return q, err
	}
	if q.From, err = timeParam(query, "from", q.To.Add(-defaultRange)); err != nil {
		return q, err
	}
	if !q.From.Before(q.To) {
		return q, plugins.Invalid("from", "expected a time before to")
	}
	if q.To.Sub(q.From) > maxRange {
		return q, plugins.Invalid("from", "expected a time at most %d days before to", int(maxRange.Hours()/24))
	}
	return q, nil
}

func timeParam(query url.Values, name string, def time.Time) (time.Time, error) {
	s := query.Get(name)
	if s == "" {
		return def.UTC(), nil
	}
	t, ok := parseTime(s)
	if !ok {
		return time.Time{}, plugins.Invalid(name, "expected a time such as 2026-01-31T12:00:00Z, in the years 2000 to 9999")
	}
	return t, nil
}

// parseTime reads a time of RFC 3339 whose year in UTC is one of 2000 to 9999.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	t = t.UTC()
	return t, err == nil && t.Year() >= 2000 && t.Year() <= 9999
}

// configurationParam reads an optional configurationId.
func configurationParam(query url.Values) (string, error) {
	id := strings.ToLower(query.Get("configurationId"))
	if id != "" && !plugins.IsID(id) {
		return "", plugins.Invalid("configurationId", "expected the ID of a configuration")
	}
	return id, nil
}

// historyQuery reads the parameters of a request. What cannot be decoded is left out, as everywhere, apart from the
// source: without it the answer would be of all.
func historyQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil && !query.Has("sourceId") && strings.Contains(r.URL.RawQuery, "sourceId=") {
		return nil, badSource()
	}
	return query, nil
}

// sourceParam reads an optional sourceId: "local", or the ID of a satellite as assignments have it, also of one that is
// gone, because its runs are not. An empty one is refused, because nobody can tell whether it means this server or all.
func sourceParam(query url.Values) (*string, error) {
	if !query.Has("sourceId") {
		return nil, nil
	}
	given := query["sourceId"]
	id, err := plugins.Name("sourceId", given[0])
	switch {
	case err != nil || id != given[0] || len(given) > 1:
		return nil, badSource()
	case id == local:
		return new(""), nil // as the history calls it
	}
	return &id, nil
}

func badSource() error {
	return plugins.Invalid("sourceId", "expected %q or the ID of a satellite, once", local)
}
