// How everything is for Prometheus: the state of this moment, one sample for each thing, in the text format, version 0.0.4. What was
// before is Prometheus' own to keep. A status is a label, so that an alert is written in words:
//
//	checkstack_check_status{system="Shop",check="Front page",type="http",status="unhealthy"} 1
//
// These are figures of what is watched, and so are not for everybody, as those of the server itself are at /.checkstack/metrics.

package healthcheck

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"checkstack/plugins"
)

//go:embed sql/metrics.sql
var metricsSQL string

// maxSlices is how many slices are told of at once: more than a server can check every minute.
const maxSlices = 100_000

// slice is a check as one source makes it, for the figures.
type slice struct {
	system, check, kind, configuration string
	status                             plugins.Status
	since                              time.Time
	source                             *string
	latency                            *int32
	lastRun                            *time.Time
	blocked                            bool
}

// metrics answers with the figures of all checks and systems.
func (h *Healthcheck) metrics(w http.ResponseWriter, r *http.Request) {
	all, err := plugins.Rows(r.Context(), h.host.DB, func(row plugins.Row) (s slice, err error) {
		err = row.Scan(&s.system, &s.check, &s.kind, &s.status, &s.configuration, &s.since, &s.source, &s.latency, &s.lastRun, &s.blocked)
		return s, err
	}, metricsSQL, maxSlices)
	if err != nil {
		plugins.WriteError(w, r, fmt.Errorf("read the figures of checks: %w", err))
		return
	}
	left := 0.0
	if len(all) == maxSlices { // the last system may not be whole
		last := all[maxSlices-1].system
		all, left = slices.DeleteFunc(all, func(s slice) bool { return s.system == last }), 1
	}
	names, err := h.catalog.SystemNames(r.Context(), systemsOf(all))
	if err != nil {
		plugins.WriteError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	rest := family{name: "checks_left_out", help: "Whether there are more checks than are told of here: 1 there are."}
	rest.add(left)
	w.Write(append(exposition(all, names), rest.text()...)) // an error means that the client is gone
}

// systemsOf lists the systems of slices, which come in their order.
func systemsOf(all []slice) (ids []string) {
	for _, s := range all {
		ids = append(ids, s.system)
	}
	return slices.Compact(ids)
}

// exposition writes the figures of slices in the order of their systems and checks. names are those of the systems.
func exposition(all []slice, names map[string]string) []byte {
	systems := family{name: "system_status", help: "The status that a system has: 1."}
	checks := family{name: "check_status", help: "The status that a check of a system has: 1."}
	latency := family{name: "check_latency_seconds", help: "How long the last run from a source took; none where that has told nothing of late."}
	lastRun := family{name: "check_last_run_timestamp_seconds", help: "When a source made the last run, Unix time."}
	blocked := family{name: "check_blocked", help: "Whether a check cannot be made from a source because of Checkstack itself: 1 it cannot."}
	var system ShortStatus
	for i, s := range all {
		name := names[s.system]
		if name == "" { // deleted meanwhile
			continue
		}
		newSystem := i == 0 || all[i-1].system != s.system
		if newSystem {
			system = ShortStatus{Status: unknown, Checks: map[plugins.Status]int{}}
		}
		if newSystem || all[i-1].configuration != s.configuration {
			checks.add(1, "system", name, "check", s.check, "type", s.kind, "status", string(s.status))
			system.count(ShortCheck{Status: s.status, Since: s.since})
		}
		if s.source != nil {
			labels := []string{"system", name, "check", s.check, "source", *s.source}
			if s.latency != nil {
				latency.add(float64(*s.latency)/1000, labels...)
			}
			if s.lastRun != nil {
				lastRun.add(float64(s.lastRun.UnixMilli())/1000, labels...)
			}
			blocked.add(map[bool]float64{true: 1}[s.blocked], labels...)
		}
		if i == len(all)-1 || all[i+1].system != s.system {
			systems.add(1, "system", name, "status", string(system.Status))
		}
	}
	return slices.Concat(systems.text(), checks.text(), latency.text(), lastRun.text(), blocked.text())
}

// family is the samples of one metric, a gauge.
type family struct {
	name, help string
	samples    bytes.Buffer
}

// labelValue escapes what cannot stand in the value of a label.
var labelValue = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// add adds a sample with labels, which are names and values by turns.
func (f *family) add(value float64, labels ...string) {
	f.samples.WriteString("checkstack_" + f.name)
	between := byte('{')
	for i := 0; i < len(labels); i += 2 {
		f.samples.WriteByte(between)
		f.samples.WriteString(labels[i] + `="`)
		labelValue.WriteString(&f.samples, labels[i+1]) // a Buffer takes all
		f.samples.WriteByte('"')
		between = ','
	}
	if len(labels) > 0 {
		f.samples.WriteByte('}')
	}
	fmt.Fprintf(&f.samples, " %v\n", value)
}

// text is the family with its head.
func (f *family) text() []byte {
	head := fmt.Sprintf("# HELP checkstack_%s %s\n# TYPE checkstack_%s gauge\n", f.name, f.help, f.name)
	return append([]byte(head), f.samples.Bytes()...)
}
