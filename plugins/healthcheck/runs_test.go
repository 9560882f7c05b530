package healthcheck

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

const someID = "0198c0de-0000-4000-8000-00000000000a"

func TestEveryBadParameterOfTheHistoryIsRefusedByName(t *testing.T) {
	runs := func(q url.Values) error { _, err := runsQuery(q); return err }
	series := func(q url.Values) error { _, err := seriesQuery(q, start); return err }
	const source = `expected "local" or the ID of a satellite, once`
	const when = "expected a time such as 2026-01-31T12:00:00Z, in the years 2000 to 9999"
	for _, test := range []struct {
		parse                 func(url.Values) error
		query, field, message string
	}{
		{runs, "configurationId=x", "configurationId", "expected the ID of a configuration"},
		{runs, "limit=0", "limit", "expected a whole number from 1 to 500"},
		{runs, "limit=501", "limit", "expected a whole number from 1 to 500"},
		{runs, "cursor=x", "cursor", "expected the next of a page of runs"},
		{runs, "cursor=MjAyNi0wMS0wMVQwMDowMDowMFogeA", "cursor", "expected the next of a page of runs"}, // 2026-01-01T00:00:00Z x
		{runs, "sourceId=", "sourceId", source},
		{runs, "sourceId=%20", "sourceId", source},
		{runs, "sourceId=local%20", "sourceId", source},
		{runs, "sourceId=a%00b", "sourceId", source},
		{runs, "sourceId=%ff", "sourceId", source},
		{runs, "sourceId=" + strings.Repeat("a", 201), "sourceId", source},
		{runs, "sourceId=local&sourceId=local", "sourceId", source},
		{series, "", "configurationId", "expected the ID of a configuration"},
		{series, "configurationId=" + someID + "&sourceId=", "sourceId", source},
		{series, "configurationId=x", "configurationId", "expected the ID of a configuration"},
		{series, "configurationId=" + someID + "&points=0", "points", "expected a whole number from 1 to 2000"},
		{series, "configurationId=" + someID + "&points=2001", "points", "expected a whole number from 1 to 2000"},
		{series, "configurationId=" + someID + "&from=yesterday", "from", when},
		{series, "configurationId=" + someID + "&to=1999-12-31T00:00:00Z", "to", when},
		{series, "configurationId=" + someID + "&to=9999-12-31T23:59:59-00:01", "to", when}, // the year 10000 in UTC
		{series, "configurationId=" + someID + "&to=10000-01-01T00:00:00Z", "to", when},
		{series, "configurationId=" + someID + "&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from", "expected a time before to"},
		{series, "configurationId=" + someID + "&from=2000-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from", "expected a time at most 4000 days before to"},
	} {
		q, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := errors.AsType[*plugins.Error](test.parse(q))
		if e == nil || e.Status != 400 || e.Field != test.field || e.Message != test.message {
			t.Errorf("%s: got %#v", test.query, e)
		}
	}
}

func TestASeriesIsOfTheLastDayUnlessARangeIsGiven(t *testing.T) {
	utc := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC()
	}
	for _, test := range []struct{ query, from, to string }{
		{"", "2026-03-28T00:30:00Z", "2026-03-29T00:30:00Z"},
		{"&to=2026-01-02T12:00:00%2B02:00", "2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z"},
		{"&from=2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-29T00:30:00Z"},
	} {
		values, _ := url.ParseQuery("configurationId=" + someID + test.query)
		got, err := seriesQuery(values, start.In(time.FixedZone("", 3600)))
		want := plugins.SeriesQuery{ConfigurationID: someID, From: utc(test.from), To: utc(test.to), Points: 200}
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", test.query, got, err, want)
		}
	}
}

func TestASourceIsNamedAsAssignmentsNameIt(t *testing.T) {
	longest := strings.Repeat("ä", 200)
	for _, test := range []struct {
		query string
		want  *string
	}{
		{"", nil},
		{"sourceid=x", nil}, // there is no such parameter
		{"sourceId=local", new("")},
		{"sourceId=Local", new("Local")},
		{"sourceId=" + someID, new(someID)},
		{"sourceId=" + url.QueryEscape(longest), &longest},
	} {
		q, err := url.ParseQuery("configurationId=" + someID + "&" + test.query)
		if err != nil {
			t.Fatal(err)
		}
		runs, first := runsQuery(q)
		series, second := seriesQuery(q, start)
		for _, got := range []*string{runs.SourceID, series.SourceID} {
			if first != nil || second != nil || (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("%s: got %v, %v, %v", test.query, got, first, second)
			}
		}
	}
}

func TestASourceThatCannotBeDecodedIsNotTakenForAll(t *testing.T) {
	for query, refused := range map[string]bool{
		"sourceId=%zz": true, "sourceId=a;b": true, "limit=1&sourceId=%": true,
		"x=%zz": false, "x=%zz&sourceId=local": false, "sourceId=local": false, "": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = query
		_, err := historyQuery(r)
		if e, _ := errors.AsType[*plugins.Error](err); refused != (e != nil && e.Status == 400 && e.Field == "sourceId") {
			t.Errorf("%s: got %v", query, err)
		}
	}
}

// FuzzCursor: what is read as a cursor is written the same again, as far as it means the same.
func FuzzCursor(f *testing.F) {
	f.Add(cursor{start.Add(123456 * time.Microsecond), someID}.String())
	f.Add("MjAyNi0wMS0wMVQwMDowMDowMFogeA")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseCursor(s)
		if !ok {
			return
		}
		again, ok := parseCursor(c.String())
		if !ok || !again.time.Equal(c.time) || again.id != c.id {
			t.Errorf("%q is %+v, and that is %+v", s, c, again)
		}
	})
}
