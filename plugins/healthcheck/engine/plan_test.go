package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

// measuredOutcome is what a run of an HTTP-like type could measure.
func measuredOutcome() Outcome {
	out := Outcome{Status: plugins.Healthy, Latency: new(12400 * time.Microsecond), Message: "it answered"}
	out.Measured.Set("status", 503)
	out.Measured.Set("names", []string{"a", "b"})
	out.Measured.Header = http.Header{"Content-Length": {"12"}}
	out.Measured.Body = []byte(`{"db":"down"}`)
	return out
}

func TestAPlanExpandsCompilesRunsAndAsserts(t *testing.T) {
	var ran *probe
	plan, err := Compile(Spec{
		Type: probeType(func(_ context.Context, p *probe) Outcome {
			ran = p
			return measuredOutcome()
		}),
		Config: json.RawMessage(`{"address":"${system.metadata.host}:81","headers":{"Authorization":"Bearer ${ENV:TOKEN}"}}`),
		Assertions: []Assertion{
			{Path: "status", Op: "in", Value: json.RawMessage(`[ 200, 204 ]`), Severity: "degraded"},
			{Path: "json.$.db", Op: "eq", Value: json.RawMessage(`"${system.metadata.db}"`)},
			{Path: "latencyMs", Op: "le", Value: json.RawMessage(`"${system.metadata.max}"`)},
		},
		Timeout: time.Second,
		Values:  map[string]string{"system.metadata.host": "example.org", "system.metadata.db": "up", "system.metadata.max": "12"},
		Policy:  env(map[string]string{"TOKEN": `"t`}),
	})
	if err != nil {
		t.Fatal(err)
	}
	report := plan.Run(t.Context())
	if ran.Headers["Authorization"] != `Bearer "t` || ran.Address != "example.org:81" || plan.Target() != "example.org:81" {
		t.Errorf("it ran %+v against %s", ran, plan.Target())
	}
	if report.Status != plugins.Unhealthy || report.Message != `expected json.$.db eq "${system.metadata.db}", got another text (and 1 more)` {
		t.Errorf("it is %s: %s", report.Status, report.Message)
	}
	const want = `{"status":503,"names":["a","b"],"assertions":[` +
		`{"path":"status","op":"in","value":[200,204],"severity":"degraded","ok":false,"actual":503},` +
		`{"path":"json.$.db","op":"eq","value":"${system.metadata.db}","ok":false,"actual":"down"},` +
		`{"path":"latencyMs","op":"le","value":"${system.metadata.max}","ok":true,"actual":12}]}`
	if string(report.Result) != want {
		t.Errorf("got  %s\nwant %s", report.Result, want)
	}
	if report.Fault != nil || report.TimedOut || *report.Latency != 12400*time.Microsecond || report.Measured.Body != nil {
		t.Errorf("got %+v", report)
	}
}

func TestAssertionsMakeAStatusOnlyWorse(t *testing.T) {
	const degraded, failed = "expected status eq 200, got 503", "expected status eq 200, got 503"
	for _, test := range []struct {
		status   plugins.Status
		severity string
		want     plugins.Status
		message  string
	}{
		{plugins.Healthy, "degraded", plugins.Degraded, degraded},
		{plugins.Healthy, "unhealthy", plugins.Unhealthy, failed},
		{plugins.Degraded, "degraded", plugins.Degraded, "it answered"},
		{plugins.Degraded, "", plugins.Unhealthy, failed},
		{plugins.Unhealthy, "degraded", plugins.Unhealthy, "it answered"},
		{plugins.Unhealthy, "unhealthy", plugins.Unhealthy, "it answered"},
	} {
		plan, err := Compile(Spec{Type: probeType(func(context.Context, *probe) Outcome {
			out := measuredOutcome()
			out.Status = test.status
			return out
		}), Config: json.RawMessage(`{"address":"a"}`), Assertions: []Assertion{{Path: "status", Op: "eq", Value: json.RawMessage("200"), Severity: test.severity}}})
		if err != nil {
			t.Fatal(err)
		}
		report := plan.Run(t.Context())
		if report.Status != test.want || report.Message != test.message || len(report.Assertions) != 1 {
			t.Errorf("%s and %q: got %s, %q, %d results", test.status, test.severity, report.Status, report.Message, len(report.Assertions))
		}
	}
}

// runOf makes one run of a type with an assertion and a limit of 5 s.
func runOf(t *testing.T, ctx context.Context, f func(context.Context, *probe) Outcome) Report {
	t.Helper()
	plan, err := Compile(Spec{Type: probeType(f), Config: json.RawMessage(`{"address":"a"}`), Timeout: 5 * time.Second,
		Assertions: []Assertion{{Path: "status", Op: "exists"}}})
	if err != nil {
		t.Fatal(err)
	}
	return plan.Run(ctx)
}

func TestARunThatTakesAllOfItsTimeSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		report := runOf(t, t.Context(), func(ctx context.Context, _ *probe) Outcome {
			<-ctx.Done()
			return Failed(ctx, ctx.Err(), Measured{})
		})
		if report.Status != plugins.Unhealthy || report.Message != "timed out after 5s" || !report.TimedOut || report.Fault != nil || report.Assertions != nil ||
			string(report.Result) != "{}" || time.Since(begin) != 5*time.Second || report.At != time.Now().UTC() {
			t.Errorf("got %+v after %s", report, time.Since(begin))
		}
	})
}

func TestARunThatItsCallerCutsShortIsNotOneThatTimedOut(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	report := runOf(t, ctx, func(ctx context.Context, _ *probe) Outcome {
		stop(errors.New("the server stops"))
		return Failed(ctx, ctx.Err(), Measured{})
	})
	if report.TimedOut || report.Message != "the server stops" {
		t.Errorf("got %+v", report)
	}
}

func TestATypeThatPanicsOrSaysNothingIsAFault(t *testing.T) {
	report := runOf(t, t.Context(), func(context.Context, *probe) Outcome { panic("boom") })
	if f, ok := errors.AsType[*Fault](report.Fault); !ok || f.Reason != "the check itself failed" || report.Panic == nil || report.Panic.Value != "boom" ||
		!strings.Contains(string(report.Panic.Stack), "plan_test.go") || report.Status != "" || report.Message != "the check itself failed" {
		t.Errorf("got %+v", report)
	}
	for _, status := range []plugins.Status{"", "fine"} {
		report := runOf(t, t.Context(), func(context.Context, *probe) Outcome { return Outcome{Status: status} })
		if report.Message != "the check type probe gave no valid status" || report.Fault == nil || report.Status != "" {
			t.Errorf("%q: got %+v", status, report)
		}
	}
}

func TestAFaultIsNotAsserted(t *testing.T) {
	report := runOf(t, t.Context(), func(context.Context, *probe) Outcome {
		out := measuredOutcome()
		out.Fault = &Fault{Reason: "this server has no free file descriptors"}
		return out
	})
	if report.Status != "" || report.Message != "this server has no free file descriptors" || report.Assertions != nil ||
		string(report.Result) != `{"status":503,"names":["a","b"]}` {
		t.Errorf("got %+v", report)
	}
}

func TestARunThatFailedBeforeItMeasuredIsNotAsserted(t *testing.T) {
	report := runOf(t, t.Context(), func(ctx context.Context, _ *probe) Outcome {
		return Failed(ctx, errors.New("connection refused by 192.0.2.1"), Measured{})
	})
	if report.Assertions != nil || report.Message != "there was no valid answer" || string(report.Result) != `{"error":"connection refused by 192.0.2.1"}` {
		t.Errorf("got %+v", report)
	}
	for _, test := range []struct {
		paths    []string
		asserted bool
	}{
		{[]string{"phases.dnsMs"}, false}, // a name was looked up, where an address needs none
		{[]string{"phases.dnsMs", "phases.connectMs", "address"}, false},
		{[]string{"address", "status"}, true},
		{[]string{"phases.connectMs", "phase"}, true},
	} {
		report := runOf(t, t.Context(), func(ctx context.Context, _ *probe) Outcome {
			var m Measured
			for _, path := range test.paths {
				m.Set(path, 1)
			}
			return Failed(ctx, errors.New("connection refused"), m)
		})
		if (report.Assertions != nil) != test.asserted || report.Message != "there was no valid answer" {
			t.Errorf("%q: got %+v", test.paths, report)
		}
	}
}

func TestALatencyIsWhatHistoryCanHold(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{-time.Second: 0, 0: 0, 1500 * time.Microsecond: 1500 * time.Microsecond, 1 << 62: 2147483647 * time.Millisecond} {
		report := runOf(t, t.Context(), func(context.Context, *probe) Outcome { return Outcome{Status: plugins.Healthy, Latency: &given} })
		if *report.Latency != want {
			t.Errorf("%s: got %s", given, *report.Latency)
		}
	}
}

func TestErrorsOfAPlanNameTheField(t *testing.T) {
	for _, test := range []struct{ config, assertion, refused string }{
		{`{}`, ``, "config.address: expected this field, but it is missing"},
		{`{"address":"a b"}`, ``, "config.address: expected a host and a port such as example.org:80"},
		{`{"address":"a","headers":{"X.Y":7}}`, ``, "config.headers: expected a string, not number"},
		{`[]`, ``, "config: expected an object, not array"},
		{`{"address":"${system.name}"}`, ``, "config.address: expected no placeholder such as ${system.name} in a check that is not a template"},
		{`{"address":"a","headers":{"X":"${system.nam}"}}`, ``, "config.headers.X: expected ${system.name}, ${system.id}, ${system.metadata.KEY} or ${ENV:NAME}, not ${system.nam}"},
		{`{"address":"a"}`, `{"path":"stat","op":"eq","value":1}`, "assertions[0].path: expected one of status, banner, open, names, header.*, json.*, body, rows.*, reply, latencyMs, not \"stat\""},
		{`{"address":"a"}`, `{"path":"banner","op":"eq","value":"${x"}`, "assertions[0].value: expected a placeholder such as ${system.name}, or $${ for ${ itself"},
		{`{"address":"a"}`, `{"path":"banner","op":"in","value":["a","${system.id}"]}`, "assertions[0].value[1]: expected no placeholder such as ${system.id} in a check that is not a template"},
	} {
		spec := Spec{Type: probeType(nil), Config: json.RawMessage(test.config)}
		if test.assertion != "" {
			spec.Assertions = make([]Assertion, 1)
			if err := json.Unmarshal([]byte(test.assertion), &spec.Assertions[0]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Compile(spec); refusal(t, err) != test.refused {
			t.Errorf("%s %s: got %v", test.config, test.assertion, err)
		}
		if _, err := Validate(spec); refusal(t, err) != test.refused {
			t.Errorf("%s %s to be saved: got %v", test.config, test.assertion, err)
		}
	}
}

func TestAVariableThatCannotBeReadIsAFaultOfARun(t *testing.T) {
	spec := Spec{Type: probeType(nil), Config: json.RawMessage(`{"address":"a","token":"${ENV:TOKEN}"}`), Policy: env(map[string]string{"TOKEN": ""})}
	_, err := Compile(spec)
	if f, ok := errors.AsType[*Fault](err); !ok || f.Reason != "the variable TOKEN is not set" {
		t.Errorf("got %v", err)
	}
	if normal, err := Validate(spec); err != nil || string(normal) != `{"address":"a","token":"${ENV:TOKEN}"}` {
		t.Errorf("to be saved: got %s, %v", normal, err)
	}
	spec.Policy = nil
	const refused = "the variable TOKEN is not one that configurations may refer to (-env-allow)"
	_, err = Compile(spec)
	if f, ok := errors.AsType[*Fault](err); !ok || f.Reason != refused {
		t.Errorf("got %v", err)
	}
	if _, err := Validate(spec); refusal(t, err) != "config.token: "+refused {
		t.Errorf("to be saved: got %v", err)
	}
}

func TestAnErrorOfAnAssertionRepeatsThePlaceholderAndNotWhatItStandsFor(t *testing.T) {
	spec := Spec{Type: probeType(nil), Config: json.RawMessage(`{"address":"a"}`), Policy: env(map[string]string{"TOKEN": "sEcrEt"})}
	for value, want := range map[string]string{
		`"${ENV:TOKEN}"`:       `assertions[0].value: expected a number, not "${ENV:TOKEN}"`,
		`["1","${ENV:TOKEN}"]`: `assertions[0].value[1]: expected a number, not "${ENV:TOKEN}"`,
	} {
		spec.Assertions = []Assertion{{Path: "status", Op: map[bool]string{true: "in", false: "eq"}[value[0] == '['], Value: json.RawMessage(value)}}
		if _, err := Compile(spec); refusal(t, err) != want {
			t.Errorf("%s: got %v", value, err)
		}
	}
}

func TestATemplateIsSavedWithItsPlaceholders(t *testing.T) {
	for _, test := range []struct{ config, assertions, want, refused string }{
		{config: `{"port":81,"address":"${system.metadata.host}:${system.metadata.port}","token":null}`,
			want: `{"address":"${system.metadata.host}:${system.metadata.port}","port":81}`},
		{config: `{"address":"${system.metadata.address}","headers":{"a.b":"$${x}","c":"d"}}`,
			want: `{"address":"${system.metadata.address}","headers":{"a.b":"$${x}","c":"d"}}`},
		{config: `{"address":"a","port":90071992547409930}`, refused: "config.port: expected a whole number from 1 to 65535, not 90071992547409930"},
		{config: `{"address":"a/${system.name}"}`, refused: "config.address: expected a host and a port such as example.org:80"},
		{config: `{"address":"${system.names}"}`, refused: "config.address: expected ${system.name}, ${system.id}, ${system.metadata.KEY} or ${ENV:NAME}, not ${system.names}"},
		{config: `{"address":"${system.metadata.}"}`, refused: "config.address: expected ${system.name}, ${system.id}, ${system.metadata.KEY} or ${ENV:NAME}, not ${system.metadata.}"},
		{config: `{"address":"${system.id}"}`, assertions: `[{"path":"status","op":"lt","value":"${system.metadata.max}"},{"path":"banner","op":"eq","value":"${system.name}"}]`,
			want: `{"address":"${system.id}"}`},
		{config: `{"address":"${system.id}"}`, assertions: `[{"path":"status","op":"lt","value":"x${system.metadata.max}"}]`,
			refused: `assertions[0].value: expected a number, not "x${system.metadata.max}"`},
	} {
		spec := Spec{Type: probeType(nil), Config: json.RawMessage(test.config), Template: true}
		if test.assertions != "" {
			if err := json.Unmarshal([]byte(test.assertions), &spec.Assertions); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Validate(spec)
		if string(got) != test.want || refusal(t, err) != test.refused {
			t.Errorf("%s: got %s, %v", test.config, got, err)
		}
	}
}

func TestPlaceholdersAreKeptInWhatTheTypeUnderstood(t *testing.T) {
	for _, test := range []struct{ normal, given, want string }{
		{`{"a":1}`, `{"a":1.0}`, `{"a":1}`},
		{`{"a":"sample","b":2}`, `{"b":2.0,"a":"x${y}","c":null}`, `{"a":"x${y}","b":2}`},
		{`{"a":["s",1,{"b":"s","c":12345678901234567890}]}`, `{"a":["${x}",1e0,{"c":12345678901234567890,"b":"${y}"}]}`, `{"a":["${x}",1,{"b":"${y}","c":12345678901234567890}]}`},
		{`{"a":["s"]}`, `{"a":["${x}","y"]}`, `{"a":["${x}","y"]}`},                                                     // a list of another length
		{`{"a":"s"}`, `{"a":{"b":"${x}"}}`, `{"a":{"b":"${x}"}}`},                                                       // another form
		{`{"a":{"b":"s"}}`, `{"a":["${x}"]}`, `{"a":["${x}"]}`},                                                         // another form
		{`{"headers":{"X-A":"s","B":"c"}}`, `{"headers":{"x-a":"${x}","b":"c"}}`, `{"headers":{"b":"c","x-a":"${x}"}}`}, // another name
		{`{"a":"\u003c","b":"s"}`, `{"a":"<","b":"\u0024{x}"}`, `{"a":"\u003c","b":"${x}"}`},
	} {
		got, err := withPlaceholders(json.RawMessage(test.normal), json.RawMessage(test.given))
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.given, got, err, test.want)
		}
	}
}

func TestAConfigurationIsSavedSealedAndRunsOpened(t *testing.T) {
	const id = "c0ffee"
	var given string
	spec := Spec{Type: probeType(func(_ context.Context, p *probe) Outcome {
		given = p.Token + " " + p.Headers["Authorization"]
		return Outcome{Status: plugins.Healthy, Message: given}
	}), Policy: env(map[string]string{"TOKEN": "t"}), Template: true}
	var stored json.RawMessage
	for _, given := range []string{ // as it is made, and as it is changed with what was shown
		`{"address":"${system.name}","token":"${ENV:TOKEN}","headers":{"Authorization":"Basic ${system.name}"}}`,
		`{"address":"${system.name}","token":"${ENV:TOKEN}","headers":{"Authorization":"********"}}`,
	} {
		plain, err := KeepSecrets(json.RawMessage(given), stored, id, glass{})
		if err != nil {
			t.Fatal(err)
		}
		if spec.Config, err = Validate(withConfig(spec, plain)); err != nil {
			t.Fatal(err)
		}
		if stored, err = SealSecrets(spec.Config, id, glass{}); err != nil {
			t.Fatal(err)
		}
	}
	shown, err := MaskSecrets(stored)
	if err != nil || string(shown) != `{"address":"${system.name}","headers":{"Authorization":"********"},"token":"${ENV:TOKEN}"}` {
		t.Errorf("shown: %s, %v", shown, err)
	}
	opened, err := OpenSecrets(stored, id, glass{})
	if err != nil {
		t.Fatal(err)
	}
	spec.Values = map[string]string{"system.name": "shop"}
	plan, err := Compile(withConfig(spec, opened))
	if err != nil {
		t.Fatal(err)
	}
	if report := plan.Run(t.Context()); given != "t Basic shop" || report.Message != "t ********" || plan.Target() != "shop:80" {
		t.Errorf("it was given %q, and said %+v", given, report)
	}
}

func withConfig(s Spec, config json.RawMessage) Spec {
	s.Config = config
	return s
}

func TestAPlanIsUsedByManyAtOnce(t *testing.T) {
	plan, err := Compile(Spec{Type: probeType(func(context.Context, *probe) Outcome { return measuredOutcome() }), Config: json.RawMessage(`{"address":"a"}`), Assertions: []Assertion{
		{Path: "json.$.*", Op: "matches", Value: json.RawMessage(`"^d"`)}, {Path: "body", Op: "contains", Value: json.RawMessage(`"down"`)}, {Path: "header.content-length", Op: "in", Value: json.RawMessage(`[12]`)}}})
	if err != nil {
		t.Fatal(err)
	}
	want := string(plan.Run(t.Context()).Result)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if report := plan.Run(t.Context()); report.Status != plugins.Healthy || string(report.Result) != want {
					t.Errorf("got %s: %s", report.Status, report.Result)
				}
			}
		})
	}
	all.Wait()
}
