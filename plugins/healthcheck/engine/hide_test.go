package engine

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"checkstack/plugins"
)

func TestWhatATargetRepeatsOfASecretIsHidden(t *testing.T) {
	kind := probeType(func(_ context.Context, p *probe) Outcome {
		out := Outcome{Status: plugins.Healthy, Message: "said " + p.Token}
		out.Measured.Set("note", "you are "+p.Headers["Authorization"]+", and "+p.Address)
		out.Measured.Set("cut", strings.Repeat("a", 10)+p.Address[:8]+"…")
		out.Measured.Set("list", []string{"a", p.Token + p.Token})
		out.Measured.Body = []byte(`{"a":["` + p.Token + `",{"b":"x` + p.Headers["Authorization"] + `"}],"c":"` + p.Headers["X"] + `"}`)
		return out
	})
	plan, err := Compile(Spec{Type: kind, Policy: env(map[string]string{"TOKEN": "from-the-environment"}),
		Config: json.RawMessage(`{"address":"${ENV:TOKEN}","token":"hunter2","headers":{"Authorization":"Basic hunter2!","X":"short"}}`),
		Assertions: []Assertion{
			{Path: "json.$.a", Op: "exists"}, {Path: "body", Op: "contains", Value: json.RawMessage(`"nothing"`)},
			{Path: "json.$.c", Op: "eq", Value: json.RawMessage(`"short"`)},
		}})
	if err != nil {
		t.Fatal(err)
	}
	report := plan.Run(t.Context())
	all, err := json.Marshal(report.Assertions)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{report.Message, string(report.Result), string(all)} {
		for _, secret := range []string{"hunter2", "Basic", "from-the"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s is in %s", secret, shown)
			}
		}
	}
	for _, want := range []string{`"note":"you are ********, and ********"`, `"list":["a","****************"]`, `"actual":"short"`} {
		if !strings.Contains(string(report.Result), want) {
			t.Errorf("%s is not in %s", want, report.Result)
		}
	}
	if report.Assertions[0].OK != true || report.Assertions[2].OK != true {
		t.Errorf("assertions see what was hidden: %s", all)
	}
}
