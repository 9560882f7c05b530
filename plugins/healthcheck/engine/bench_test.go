package engine

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"checkstack/plugins"
)

// BenchmarkRun measures what a plan adds to the type's own work, here next to nothing: ns/op in all, and times a bare call.
func BenchmarkRun(b *testing.B) {
	body, header := []byte(`{"status":"up","queues":[{"name":"a","length":3},{"name":"b","length":5}]}`), http.Header{"Content-Type": {"application/json"}}
	kind := probeType(func(context.Context, *probe) Outcome {
		out := Outcome{Status: plugins.Healthy, Latency: new(5 * time.Millisecond), Measured: Measured{Body: body, Header: header}}
		out.Measured.Set("status", 200)
		out.Measured.Set("banner", "220 ready")
		return out
	})
	five := []Assertion{
		{Path: "status", Op: "in", Value: json.RawMessage(`[200,204]`)}, {Path: "latencyMs", Op: "lt", Value: json.RawMessage(`500`)},
		{Path: "header.content-type", Op: "contains", Value: json.RawMessage(`"json"`)}, {Path: "json.$.status", Op: "eq", Value: json.RawMessage(`"up"`)},
		{Path: "json.$.queues[*].length", Op: "contains", Value: json.RawMessage(`5`)},
	}
	for name, list := range map[string][]Assertion{"assertions=0": nil, "assertions=5": five} {
		b.Run(name, func(b *testing.B) {
			plan, err := Compile(Spec{Type: kind, Config: json.RawMessage(`{"address":"a"}`), Assertions: list, Timeout: time.Second})
			if err != nil {
				b.Fatal(err)
			}
			if report := plan.Run(b.Context()); report.Status != plugins.Healthy || len(report.Assertions) != len(list) {
				b.Fatalf("%+v", report)
			}
			const calls = 100_000
			begin := time.Now()
			for range calls {
				plan.check.Run(b.Context())
			}
			bare := float64(time.Since(begin)) / calls
			b.ReportAllocs()
			for b.Loop() {
				plan.Run(b.Context())
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/bare, "×bare")
		})
	}
}
