package healthcheck

import (
	"testing"
	"time"

	"checkstack/plugins"
)

// A satellite whose clock was fast, and was put right, would hide every failure for as long as it was ahead.
func TestARunThatIsAheadOfTheClockDoesNotHideWhatComesAfterIt(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east")
	id := configure(t, db, "test", time.Hour, time.Second, start)
	give(t, db, "shop", id, "east")
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	h.record(t, "east", false, report("shop", id, plugins.Healthy, time.Now().Add(290*time.Second)))
	if got := value[bool](t, db, `select last_run_at <= now() and since = last_run_at from healthcheck.states`); !got {
		t.Error("the state is ahead of the clock")
	}
	h.record(t, "east", false, report("shop", id, plugins.Unhealthy, time.Now()))
	if got := value[string](t, db, `select status from healthcheck.states`); got != "unhealthy" {
		t.Errorf("the state is %s", got)
	}
}
