package satellite

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

func TestRunsAreCountedAsTheyAreDecoded(t *testing.T) {
	for text, want := range map[string]int{
		`[]`: 0, `[ ]`: 0, `[{}]`: 1, `[{},{}]`: 2, `[[1,2],{"a":1,"b":[2,3]}]`: 2, `[",\\\",",",[","]"]`: 3, `["\\",{"\"":","},null]`: 3,
	} {
		for max := 1; max < 5; max++ {
			if got := moreThan(max, []byte(text)); got != (want > max) {
				t.Errorf("%s has %d elements; that these are more than %d is said to be %v", text, want, max, got)
			}
		}
	}
}

// FuzzBatch compares the decoder, which stops early, with the one that reads everything.
func FuzzBatch(f *testing.F) {
	for _, seed := range []string{
		`{"runs":[]}`, `{"batch":7,"journal":"5b9f0c1e-6f55-4f0f-9d39-0f6c2b1d7a10","runs":[{"runId":"a","latencyMs":5,"result":null}]}`,
		`{"runs":[{"result":{"a":[1,2,{"b":null}]},"executedAt":"2026-01-31T23:59:59.123456+02:00"},{"status":"healthy"}]}`,
		`{"runs":[null,{}]}`, `{"runs":[5]}`, `{"runs":[{}],"runs":[{},{}]}`, `{"RUNS":[{}]}`, `{"runs":[{"x":1}]}`, `[`, `{"runs":[{}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeBatch(body)
		var want wire.Batch
		wantErr := plugins.Decode(body, &want)
		if wantErr == nil {
			wantErr = want.Validate()
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, want %v", body, err, wantErr)
		}
		if err != nil {
			if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != 400 || e.Message == "" {
				t.Errorf("%q: the error is %#v", body, err)
			}
			return
		}
		for i := range want.Runs {
			if string(want.Runs[i].Result) == "null" {
				want.Runs[i].Result = nil
			}
		}
		if !reflect.DeepEqual(got, want) {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			t.Errorf("%q is read as\n%s\nand not\n%s", body, a, b)
		}
	})
}
