package satellite_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/internal/servertest"
)

// BenchmarkRuns sends batches of 1,000 and 5,000 new runs of one satellite with 100 checks, compressed, to a server
// with its database on the same machine.
func BenchmarkRuns(b *testing.B) {
	s := servertest.Start(b, servertest.Config{})
	p := place{registered: register(b, s, "Bench"), configuration: configure(b, s, "Bench")}
	systems := make([]string, 100)
	for i := range systems {
		systems[i] = system(b, s, fmt.Sprint("Bench ", i))
		assign(b, s, systems[i], p.configuration, p.ID)
	}
	number := int64(0)
	for _, size := range []int{1000, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			sent := 0
			for b.Loop() {
				b.StopTimer()
				list := runsAt(time.Now().UTC(), size, "", p.configuration)
				for i := range list {
					list[i].RunID, list[i].SystemID = plugins.NewID(), systems[i%len(systems)]
				}
				number++
				body, err := json.Marshal(batch{number: number, runs: list})
				if err != nil {
					b.Fatal(err)
				}
				body = zip(b, body)
				b.StartTimer()
				if res := compressed(b, s, p.Token, "gzip", body); res.Status != http.StatusOK {
					b.Fatal(res)
				}
				sent += size
			}
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "runs/s")
		})
	}
}
