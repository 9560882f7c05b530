package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/checks"
)

func TestACheckTypeNeedsANameOfItsOwn(t *testing.T) {
	r := &registry{}
	for _, test := range []struct{ name, want string }{
		{"http", ""}, {"a", ""}, {"dns-over-tls2", ""},
		{"http", `register check type "http": there is one already`},
		{"", "expected 1 to 40 lower case letters"}, {"HTTP", "expected 1 to 40"}, {"2a", "expected 1 to 40"}, {"-a", "expected 1 to 40"},
		{"a b", "expected 1 to 40"}, {strings.Repeat("a", 41), "expected 1 to 40"},
	} {
		_, err := r.add(kind{test.name, fine})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: got %v, want %q", test.name, err, test.want)
		}
	}
	if names := strings.Join(r.names(), " "); names != "a dns-over-tls2 http" {
		t.Errorf("the names are %q", names)
	}
}

func TestTakingACheckTypeBackCutsItsRunsShortAndWaitsForThem(t *testing.T) {
	r := &registry{}
	started, hold := make(chan struct{}), make(chan struct{})
	remove, err := r.add(kind{"slow", func(ctx context.Context, _ json.RawMessage) Outcome {
		close(started)
		<-ctx.Done()
		<-hold
		return Outcome{Status: plugins.Healthy}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := r.run(context.WithoutCancel(t.Context()), check{kind: "slow", timeout: time.Minute})
		ended <- err
	}()
	<-started
	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := remove(impatient); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "wait for runs of check type slow: ") {
		t.Errorf("while a run holds on: %v", err)
	}
	close(hold)
	if err := remove(t.Context()); err != nil {
		t.Errorf("after it has let go: %v", err)
	}
	if err := <-ended; !errors.Is(err, errTypeRemoved) {
		t.Errorf("the run ended with %v", err)
	}
	if _, err := r.run(t.Context(), check{kind: "slow", timeout: time.Minute}); !errors.Is(err, ErrNoType) {
		t.Errorf("a run after that: %v", err)
	}
	if _, err := r.add(kind{"slow", fine}); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
}

func TestNothingThatACheckTypeSaysIsTakenOnTrust(t *testing.T) {
	var log lines
	r := &registry{log: slog.New(slog.NewTextHandler(&log, nil))}
	measured := func(n any) Outcome {
		out := Outcome{Status: plugins.Healthy}
		out.Measured.Set("n", n)
		return out
	}
	for name, out := range map[string]Outcome{
		"status":   {Status: "great"},
		"message":  {Status: plugins.Healthy, Message: "a\x00\xffä" + strings.Repeat("ö", 1000)},
		"negative": {Status: plugins.Healthy, Latency: new(-time.Second)},
		"endless":  {Status: plugins.Healthy, Latency: new(1000 * time.Hour)},
		"nothing":  {Status: plugins.Healthy},
		"result":   measured(json.RawMessage(`{`)),
		"null":     measured("a\x00b"),
		"huge":     measured(strings.Repeat("a", 16<<10)),
		"fault":    {Status: plugins.Healthy, Fault: errors.New("not\x00here" + strings.Repeat("ö", 1000))},
	} {
		if _, err := r.add(kind{name, func(context.Context, json.RawMessage) Outcome { return out }}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.add(kind{"panic", func(context.Context, json.RawMessage) Outcome { panic("oh") }}); err != nil {
		t.Fatal(err)
	}
	fault := func(name string) string {
		got, err := r.run(t.Context(), check{systemID: "s", configurationID: "c", kind: name, timeout: time.Minute})
		if err != nil || got.run != nil || got.report.At.IsZero() {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		return got.fault
	}
	run := func(name string) plugins.Run {
		made, err := r.run(t.Context(), check{systemID: "s", configurationID: "c", kind: name, timeout: time.Minute})
		if err != nil || made.run == nil || made.fault != "" {
			t.Fatalf("%s: %+v, %v", name, made, err)
		}
		got := *made.run
		if !plugins.IsID(got.ID) || got.SystemID != "s" || got.ConfigurationID != "c" || got.SourceID != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if got.ExecutedAt.Location() != time.UTC || got.ExecutedAt.Nanosecond()%1000 != 0 || time.Since(got.ExecutedAt) > time.Minute {
			t.Errorf("%s: executed at %s", name, got.ExecutedAt)
		}
		return got
	}
	if got := fault("status"); got != "the check type status gave no valid status" {
		t.Errorf("a status that is none: %q", got)
	}
	if got := fault("fault"); !strings.HasPrefix(got, "not�hereö") || utf8.RuneCountInString(got) != 500 {
		t.Errorf("a long fault of anything: %q", got)
	}
	if got := run("message"); !strings.HasPrefix(got.Message, "a��äö") || utf8.RuneCountInString(got.Message) != 500 {
		t.Errorf("a long message of anything: %q", got.Message)
	}
	if got := run("negative"); got.LatencyMs == nil || *got.LatencyMs != 0 {
		t.Errorf("a negative latency: %v", got.LatencyMs)
	}
	if got := run("endless"); got.LatencyMs == nil || *got.LatencyMs != 1<<31-1 {
		t.Errorf("a latency of weeks: %v", got.LatencyMs)
	}
	for name, want := range map[string]string{"nothing": `{}`, "result": `{"n":null}`, "null": `{"n":"a\ufffdb"}`,
		"huge": `{"n":"` + strings.Repeat("a", 500) + `"}`} {
		if got := run(name); string(got.Result) != want {
			t.Errorf("%s: %.50s", name, got.Result)
		}
	}
	if got := fault("panic"); got != "the check itself failed" {
		t.Errorf("a panic: %q", got)
	}
	log.await(t, "check type panicked", 1)
}

func TestTheTimeOfARunIsLimited(t *testing.T) {
	r := &registry{}
	if _, err := r.add(kind{"slow", func(ctx context.Context, _ json.RawMessage) Outcome {
		<-ctx.Done()
		return Outcome{Status: plugins.Unhealthy, Message: context.Cause(ctx).Error()}
	}}); err != nil {
		t.Fatal(err)
	}
	got, err := r.run(t.Context(), check{kind: "slow", timeout: 150 * time.Millisecond})
	if err != nil || got.run == nil || got.run.Message != "timed out after 150ms" || !got.report.TimedOut {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAConfigIsValidatedByItsType(t *testing.T) {
	r := &registry{}
	for _, name := range []string{"one", "two"} {
		if _, err := r.add(kind{name, fine}); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ kind, config, field, message string }{
		{"three", `{}`, "type", "expected a check type: one, two"},
		{"", `{}`, "type", "expected a check type: one, two"},
		{"one", ``, "config", "expected an object"},
		{"one", `null`, "config", "expected an object"},
		{"one", `[]`, "config", "expected an object"},
		{"one", `{"bad":true}`, "config.bad", "expected false"},
		{"one", `{}`, "", ""},
	} {
		normal, err := r.validate(ConfigurationInput{Type: test.kind, Config: json.RawMessage(test.config)})
		if err == nil && string(normal) != `{"normal":true}` {
			t.Errorf("%+v: the normal form is %s", test, normal)
		}
		e, _ := errors.AsType[*plugins.Error](err)
		switch {
		case test.message == "" && err != nil:
			t.Errorf("%+v: %v", test, err)
		case test.message != "" && (e == nil || e.Status != http.StatusBadRequest || e.Field != test.field || e.Message != test.message):
			t.Errorf("%+v: got %#v", test, err)
		}
	}
	for _, config := range []string{`{"broken":true}`, `{"nothing":true}`} {
		_, err := r.validate(ConfigurationInput{Type: "one", Config: json.RawMessage(config)})
		if err == nil || err.Error() != "validate a config of type one: its normal form is not an object" {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestTheBuiltInTypesRunWithoutAServer(t *testing.T) {
	st := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
		}
	}))
	defer st.Close()
	policy := &Policy{}
	types := NewTypes(policy, slog.New(slog.NewTextHandler(t.Output(), nil)))
	var want []string
	for _, t := range checks.BuiltIn(policy) {
		want = append(want, t.Type())
	}
	slices.Sort(want)
	if names := types.Names(); fmt.Sprint(names) != fmt.Sprint(want) || !slices.Contains(names, "http") || slices.Contains(names, heartbeat) {
		t.Errorf("the names are %s, want %s", names, want)
	}
	c := SourceCheck{SystemID: "s", ConfigurationID: someID, Type: "http", Config: json.RawMessage(`{"url":"` + st.URL + `"}`), TimeoutMs: 10_000}
	run, err := types.Run(t.Context(), c)
	if err != nil || run.Status != plugins.Healthy || run.SystemID != "s" || run.ConfigurationID != someID || run.SourceID != "" ||
		!plugins.IsID(run.ID) || run.LatencyMs == nil || run.Message != "status 200" || run.ExecutedAt.IsZero() {
		t.Errorf("got %+v, %v", run, err)
	}
	c.Config, c.TimeoutMs = json.RawMessage(`{"url":"`+st.URL+`/hang"}`), 150
	if run, err = types.Run(t.Context(), c); err != nil || run.Status != plugins.Unhealthy || run.Message != "timed out after 150ms" {
		t.Errorf("one that hangs: %+v, %v", run, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if run, err = types.Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("when it stops: %+v, %v", run, err)
	}
	c.Config = json.RawMessage(`{"new":true}`) // of a server that knows more
	const message = "the configuration cannot be run: Invalid input: there is no such field"
	if run, err = types.Run(t.Context(), c); err == nil || !strings.HasPrefix(err.Error(), message+"; the fields are url, ") {
		t.Errorf("a config it does not know: %+v, %v", run, err)
	}
	c.Type = "gopher"
	if run, err = types.Run(t.Context(), c); !errors.Is(err, ErrNoType) {
		t.Errorf("a type it does not know: %+v, %v", run, err)
	}
}
