package healthcheck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// keepFor is a retention as it is asked for.
func keepFor(r plugins.Retention) RetentionInput {
	return RetentionInput{RawDays: &r.RawDays, HourlyDays: &r.HourlyDays, DailyDays: &r.DailyDays}
}

func TestARetentionEndsWithItsAssignment(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	a, b := plugins.NewID(), plugins.NewID()
	var first, second string
	set := func(system, configuration string) {
		t.Helper()
		if _, err := h.writeRetention(checkRequest(t, system, configuration), keepFor(plugins.Retention{RawDays: 1, HourlyDays: 7, DailyDays: 30})); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		what string
		own  [][2]*string // whose retention is set: system and configuration
		end  func() error
		want [][2]*string // whose is the default afterwards
	}{
		{"reset", [][2]*string{{&a, &first}}, func() error {
			_, err := h.resetRetention(checkRequest(t, a, first), plugins.None{})
			return err
		}, [][2]*string{{&a, &first}}},
		{"unassign", [][2]*string{{&a, &first}, {&b, &first}}, func() error {
			_, err := h.unassign(checkRequest(t, a, first), plugins.None{})
			return err
		}, [][2]*string{{&a, &first}}},
		{"unassign another", [][2]*string{{&a, &first}}, func() error {
			_, err := h.unassign(checkRequest(t, a, second), plugins.None{})
			return err
		}, nil},
		{"forget the system", [][2]*string{{&a, &first}, {&a, &second}, {&b, &second}}, func() error {
			return plugins.Tx(t.Context(), db, func(tx *sql.Tx) error { return h.forgetSystem(t.Context(), tx, a) })
		}, [][2]*string{{&a, &first}, {&a, &second}}},
		{"delete the configuration", [][2]*string{{&a, &first}, {&a, &second}, {&b, &second}}, func() error {
			_, err := h.deleteConfiguration(checkRequest(t, "", second), plugins.None{})
			return err
		}, [][2]*string{{&a, &second}, {&b, &second}}},
	} {
		execute(t, db, `delete from healthcheck.configurations`)
		first = configure(t, db, "test", time.Hour, time.Second, start, a, b)
		second = configure(t, db, "test", time.Hour, time.Second, start, a, b)
		for _, k := range test.own {
			set(*k[0], *k[1])
		}
		for _, k := range test.own {
			const was = `select retention from retentions where system_id = $1 and configuration_id = $2`
			if got := value[string](t, db, was, *k[0], *k[1]); got != "&{1 7 30}" {
				t.Errorf("%s: set to %q", test.what, got)
			}
		}
		execute(t, db, `delete from retentions`)
		if err := test.end(); err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		if n := value[int](t, db, `select count(*) from retentions`); n != len(test.want) {
			t.Errorf("%s: %d retentions were set", test.what, n)
		}
		for _, k := range test.want {
			const reset = `select count(*) from retentions where system_id = $1 and configuration_id = $2 and retention = '<nil>'`
			if n := value[int](t, db, reset, *k[0], *k[1]); n != 1 {
				t.Errorf("%s: reset %d times", test.what, n)
			}
		}
	}
}

func TestARetentionIsOnlyThatOfAnAssignedCheck(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	id := configure(t, db, "test", time.Hour, time.Second, start)
	r := checkRequest(t, plugins.NewID(), id)
	_, read := h.readRetention(r, plugins.None{})
	_, write := h.writeRetention(r, keepFor(plugins.DefaultRetention()))
	_, reset := h.resetRetention(r, plugins.None{})
	for _, err := range []error{read, write, reset} {
		if e, _ := errors.AsType[*plugins.Error](err); e == nil || e.Status != 404 || e.Message != "no such assignment" {
			t.Errorf("got %v", err)
		}
	}
	if n := value[int](t, db, `select count(*) from retentions`); n != 0 {
		t.Errorf("%d retentions were set", n)
	}
}

// stubborn is a history that cannot set a retention.
type stubborn struct{ ledger }

func (stubborn) SetRetention(context.Context, *sql.Tx, string, string, *plugins.Retention) error {
	return errors.New("not now")
}

func TestARetentionThatCannotBeSetIsNotNoted(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.host.History = stubborn{}
	system := plugins.NewID()
	id := configure(t, db, "test", time.Hour, time.Second, start, system)
	if _, err := h.writeRetention(checkRequest(t, system, id), keepFor(plugins.DefaultRetention())); err == nil || err.Error() != "set retention: not now" {
		t.Errorf("got %v", err)
	}
	if value[bool](t, db, `select own_retention from healthcheck.assignments`) {
		t.Error("it is noted")
	}
}

func TestSystemsAreAskedForByTheirIDs(t *testing.T) {
	many := strings.Repeat("systemId="+someID+"&", maxSystems)
	const number, form = "expected 1 to 500 IDs of systems, not ", "expected the ID of a system"
	other := plugins.NewID()
	for _, test := range []struct{ query, want, message string }{
		{"", "", number + "0"},
		{"systemid=" + someID, "", number + "0"},
		{many + "systemId=" + someID, "", number + "501"},
		{"systemId=", "", form},
		{"systemId=" + someID + "&systemId=x", "", form},
		{"systemId=" + someID, fmt.Sprint([]string{someID}), ""},
		{"systemId=" + other + "&systemId=" + strings.ToUpper(someID) + "&systemId=" + other, fmt.Sprint([]string{other, someID}), ""},
		{many, fmt.Sprint([]string{someID}), ""},
	} {
		r := httptest.NewRequest("GET", (&url.URL{Path: "/", RawQuery: test.query}).String(), nil)
		ids, err := systemsParam(r, maxSystems)
		e, _ := errors.AsType[*plugins.Error](err)
		switch {
		case test.message == "" && (err != nil || fmt.Sprint(ids) != test.want):
			t.Errorf("%.80s: got %v, %v", test.query, ids, err)
		case test.message != "" && (e == nil || e.Status != 400 || e.Field != "systemId" || e.Message != test.message):
			t.Errorf("%.80s: got %#v", test.query, err)
		}
	}
}
