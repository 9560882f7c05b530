package engine

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestWhatWasMeasuredIsOneObject(t *testing.T) {
	for _, test := range []struct {
		set  []any // paths and values
		want string
	}{
		{nil, `{}`},
		{[]any{"b", 1, "a", "x", "c", true, "d", []string{"y"}, "e", 1.5}, `{"b":1,"a":"x","c":true,"d":["y"],"e":1.5}`},
		{[]any{"a", 1, "b", 2, "a", 3}, `{"a":3,"b":2}`},
		{[]any{"tls.version", "1.3", "status", 200, "tls.cipher", "x", "a.b.c", 1, "a.b.d", 2, "a.e", 3}, `{"tls":{"version":"1.3","cipher":"x"},"status":200,"a":{"b":{"c":1,"d":2},"e":3}}`},
		{[]any{"a", 1, "a.b", 2}, `{"a":1}`},
		{[]any{"a.b", 2, "a", 1}, `{"a":{"b":2}}`},
		{[]any{"a.", 1, ".b", 2, "", 3}, `{"a":{"":1},"":{"b":2}}`},
		{[]any{"n", math.NaN(), "i", math.Inf(1), "f", func() {}, "x", nil}, `{"n":null,"i":null,"f":null,"x":null}`},
		{[]any{"t", "a\x00b\xff", "a\"\x00", []string{"\x00"}}, `{"t":"a\ufffdb\ufffd","a\"\ufffd":["\ufffd"]}`},
		{[]any{"d", 1500 * time.Microsecond}, `{"d":1500000}`},
	} {
		var m Measured
		for i := 0; i < len(test.set); i += 2 {
			m.Set(test.set[i].(string), test.set[i+1])
		}
		if got := m.Object(); string(got) != test.want || !json.Valid(got) {
			t.Errorf("%v: got %s, want %s", test.set, got, test.want)
		}
	}
}

func TestWhatWasMeasuredIsFoundByItsPath(t *testing.T) {
	var m Measured
	m.Set("a.b", 1)
	m.Set("c", nil)
	m.Set("a.b", "x")
	if value, ok := m.Get("a.b"); value != "x" || !ok {
		t.Errorf("a.b is %v, %v", value, ok)
	}
	if value, ok := m.Get("c"); value != nil || !ok {
		t.Errorf("c is %v, %v", value, ok)
	}
	if value, ok := m.Get("a"); value != nil || ok {
		t.Errorf("a is %v, %v", value, ok)
	}
	var paths []string
	for path := range m.All() {
		paths = append(paths, path)
	}
	if !reflect.DeepEqual(paths, []string{"a.b", "c"}) {
		t.Errorf("got %q", paths)
	}
	for range m.All() {
		break
	}
}

// assertionsOf are n results of which every second passed.
func assertionsOf(n, valueLength, actualLength int) []AssertionResult {
	list := make([]AssertionResult, n)
	for i := range list {
		list[i] = AssertionResult{Assertion: Assertion{Path: "p", Op: "eq", Value: appendJSON(nil, strings.Repeat("v", valueLength))}, OK: i%2 == 0, Actual: strings.Repeat("a", actualLength)}
	}
	return list
}

func TestAResultThatIsTooLongLosesWhatIsNeededLeast(t *testing.T) {
	count := func(data json.RawMessage, s string) int { return strings.Count(string(data), s) }
	const actual, value, none = `"actual":"a`, `"value":"v`, `"actual":null`
	for _, test := range []struct {
		name                          string
		text                          int // characters of a measured text
		list                          []AssertionResult
		assertions, passed            int
		actuals, values, measuredText int
	}{
		{"short", 100, assertionsOf(4, 10, 10), 4, 2, 4, 4, 100},
		{"almost too long", 16<<10 - len(`{"banner":"","assertions":[{"path":"p","op":"eq","value":"","ok":true,"actual":""}]}`), assertionsOf(1, 0, 0), 1, 1, 0, 0,
			16<<10 - len(`{"banner":"","assertions":[{"path":"p","op":"eq","value":"","ok":true,"actual":""}]}`)},
		{"what passed", 10_000, assertionsOf(40, 100, 100), 40, 20, 20, 20, 10_000},
		{"a long text", 20_000, assertionsOf(4, 10, 10), 4, 2, 2, 2, 500},
		{"what failed", 500, assertionsOf(50, 500, 200), 50, 25, 0, 0, 500},
	} {
		var m Measured
		m.Set("banner", strings.Repeat("b", test.text))
		got := result(m, test.list)
		if len(got) > maxResult || !json.Valid(got) || count(got, `"path":`) != test.assertions || count(got, `"ok":true`) != test.passed || count(got, `bb`)*2 != test.measuredText/2*2 {
			t.Errorf("%s: got %d bytes with %d assertions of which %d passed, and %d characters: %.200s", test.name, len(got), count(got, `"path":`), count(got, `"ok":true`), count(got, "bb")*2, got)
		}
		if count(got, actual) != test.actuals || count(got, value) != test.values {
			t.Errorf("%s: got %d actual values of %d and %d expected ones of %d", test.name, count(got, actual), test.actuals, count(got, value), test.values)
		}
		if len(test.list) > 0 && test.list[0].Actual == nil {
			t.Errorf("%s: the list itself was changed", test.name)
		}
	}
}

func TestALongListInAResultIsCut(t *testing.T) {
	var m Measured
	names := make([]string, 40)
	for i := range names {
		names[i] = strings.Repeat("é", 600)
	}
	m.Set("names", names)
	m.Set("status", 200)
	want := `{"names":[` + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("é", 500)+`",`, 10), ",") + `],"status":200}`
	if got := result(m, nil); string(got) != want || len(names[0]) != 1200 {
		t.Errorf("got %d bytes: %.100s", len(got), got)
	}
}

func TestAResultWithTooManyLongPathsKeepsWhatFailed(t *testing.T) {
	var m Measured
	for i := range 40 {
		m.Set(strings.Repeat("m", i+1), strings.Repeat("b", 600))
	}
	list := assertionsOf(50, 10, 10)
	for i := range list {
		list[i].Path = "json.$." + strings.Repeat("é", 490)
	}
	got := result(m, list)
	var kept struct{ Assertions []AssertionResult }
	if err := json.Unmarshal(got, &kept); err != nil || len(got) > maxResult || len(got) < maxResult-1200 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i, a := range kept.Assertions {
		if a.OK {
			t.Errorf("%d passed and is there", i)
		}
	}
}

func TestATypeCannotMeasureAssertions(t *testing.T) {
	var m Measured
	m.Set("assertions.x", 1)
	m.Set("a", 2)
	m.Set("assertions", 3)
	if got := result(m, []AssertionResult{}); string(got) != `{"a":2,"assertions":[]}` {
		t.Errorf("got %s", got)
	}
	if got := result(m, nil); string(got) != `{"a":2}` {
		t.Errorf("got %s", got)
	}
}
