package engine

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// assertion reads one in JSON.
func assertion(t *testing.T, text string) Assertion {
	t.Helper()
	var a Assertion
	if err := plugins.Decode([]byte(text), &a); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

func TestABadAssertionIsRefusedByField(t *testing.T) {
	const all = "eq, ne, lt, le, gt, ge, in, contains, matches, exists, empty"
	const known = "expected one of status, banner, open, names, header.*, json.*, body, rows.*, reply, latencyMs"
	fits := func(ops, kind string) string {
		return "op: expected one of " + ops + " for this path, whose values are of the kind " + kind + ", not "
	}
	for _, test := range []struct{ assertion, refused string }{
		{`{"op":"eq","value":1}`, "path: " + known + `, not ""`},
		{`{"path":"Status","op":"eq","value":1}`, "path: " + known + `, not "Status"`},
		{`{"path":"status.x","op":"eq","value":1}`, "path: " + known + `, not "status.x"`},
		{`{"path":"header","op":"exists"}`, "path: " + known + `, not "header"`},
		{`{"path":"header.","op":"exists"}`, "path: expected a name of at most 500 characters without spaces after header."},
		{`{"path":"header.a b","op":"exists"}`, "path: expected a name of at most 500 characters without spaces after header."},
		{`{"path":"json.a","op":"exists"}`, "path: expected a JSON path such as $.items[0].name"},
		{`{"path":"json.$.a..b","op":"exists"}`, "path: expected .name, ['name'], [0], [-1], .* or [*] at character 4 of the JSON path"},
		{`{"path":"status"}`, "op: expected one of " + all + `, not ""`},
		{`{"path":"status","op":"=","value":1}`, "op: expected one of " + all + `, not "="`},
		{`{"path":"status","op":"contains","value":1}`, fits("eq, ne, lt, le, gt, ge, in, exists", "number") + `"contains"`},
		{`{"path":"latencyMs","op":"matches","value":"1"}`, fits("eq, ne, lt, le, gt, ge, in, exists", "number") + `"matches"`},
		{`{"path":"banner","op":"lt","value":1}`, fits("eq, ne, in, contains, matches, exists, empty", "string") + `"lt"`},
		{`{"path":"open","op":"empty"}`, fits("eq, ne, in, exists", "boolean") + `"empty"`},
		{`{"path":"names","op":"in","value":["a"]}`, fits("eq, ne, contains, matches, exists, empty", "strings") + `"in"`},
		{`{"path":"rows.a","op":"matches","value":"1"}`, fits("eq, ne, lt, le, gt, ge, in, exists", "number") + `"matches"`},
		{`{"path":"status","op":"eq"}`, "value: expected a value to compare with, but it is missing"},
		{`{"path":"status","op":"eq","value":null}`, `value: expected a number, not null`},
		{`{"path":"status","op":"eq","value":"a"}`, `value: expected a number, not "a"`},
		{`{"path":"status","op":"lt","value":[1]}`, `value: expected a number, not [1]`},
		{`{"path":"reply","op":"ge","value":"1 ms"}`, `value: expected a number, not "1 ms"`},
		{`{"path":"status","op":"in","value":200}`, "value: expected a list of 1 to 100 values such as [200,204], not 200"},
		{`{"path":"status","op":"in","value":[]}`, "value: expected a list of 1 to 100 values, not of 0"},
		{`{"path":"status","op":"in","value":[` + strings.Repeat("1,", 100) + `1]}`, "value: expected a list of 1 to 100 values, not of 101"},
		{`{"path":"status","op":"in","value":[200,"a"]}`, `value[1]: expected a number, not "a"`},
		{`{"path":"banner","op":"eq","value":true}`, `value: expected a text or a number, not true`},
		{`{"path":"open","op":"eq","value":"true"}`, `value: expected true or false, not "true"`},
		{`{"path":"names","op":"eq","value":"a"}`, `value: expected a list of texts, not "a"`},
		{`{"path":"names","op":"ne","value":["a",1]}`, `value: expected a list of texts, not ["a",1]`},
		{`{"path":"banner","op":"contains","value":""}`, "value: expected a text that is not empty"},
		{`{"path":"banner","op":"contains","value":1}`, "value: expected a text that is not empty"},
		{`{"path":"names","op":"contains","value":["a"]}`, "value: expected a text that is not empty"},
		{`{"path":"banner","op":"matches","value":1}`, "value: expected a regular expression of 1 to 1000 characters"},
		{`{"path":"banner","op":"matches","value":""}`, "value: expected a regular expression of 1 to 1000 characters"},
		{`{"path":"banner","op":"matches","value":"` + strings.Repeat("é", 1001) + `"}`, "value: expected a regular expression of 1 to 1000 characters"},
		{`{"path":"banner","op":"matches","value":"a(b"}`, "value: expected a regular expression as RE2 has them: missing closing )"},
		{`{"path":"banner","op":"matches","value":"(?=a)"}`, "value: expected a regular expression as RE2 has them: invalid or unsupported Perl syntax"},
		{`{"path":"banner","op":"matches","value":"a{1001}"}`, "value: expected a regular expression as RE2 has them: invalid repeat count"},
		{`{"path":"banner","op":"matches","value":"[a-z]{999}[0-9]{999}x{50}"}`, "value: expected a regular expression with fewer repetitions"},
		{`{"path":"banner","op":"exists","value":"yes"}`, `value: expected true, false or nothing, not "yes"`},
		{`{"path":"banner","op":"empty","value":null}`, `value: expected true, false or nothing, not null`},
		{`{"path":"banner","op":"eq","value":"\u0000"}`, "value: expected a text without the character U+0000"},
		{`{"path":"reply","op":"eq","value":{"a":["\u0000"]}}`, "value: expected a text without the character U+0000"},
		{`{"path":"reply","op":"eq","value":"` + strings.Repeat("a", 4095) + `"}`, "value: expected at most 4096 bytes, not 4097"},
		{`{"path":"status","op":"exists","severity":"Degraded"}`, `severity: expected degraded or unhealthy, not "Degraded"`},
	} {
		good := Assertion{Path: "status", Op: "exists"}
		_, err := CompileAssertions(probePaths, []Assertion{good, good, assertion(t, test.assertion)})
		if got := refusal(t, err); got != "assertions[2]."+test.refused {
			t.Errorf("%s: got %s", test.assertion, got)
		}
	}
	_, err := CompileAssertions(probePaths, make([]Assertion, 51))
	if refusal(t, err) != "assertions: expected at most 50 assertions, not 51" {
		t.Errorf("51: got %v", err)
	}
}

func TestAssertionsSayWhatIsSo(t *testing.T) {
	var m Measured
	m.Set("status", 200)
	m.Set("banner", "220 ready")
	m.Set("open", true)
	m.Set("names", []string{"a", "b"})
	m.Set("rows.a", 2.5)
	m.Set("reply", "17")
	m.Header = http.Header{"Content-Length": {"12", "13"}, "X-State": {"up"}, "X-Empty": {""}}
	m.Body = []byte(`{"n":12,"s":"12","big":9007199254740993,"f":1.50,"t":true,"z":null,"l":[1,"x",{"a":1.0}],"o":{"a":[1],"b":"c"},"e":"","el":[],"eo":{}}`)
	const yes, no, absent = "ok", "no", "no: there is no such value"
	for _, test := range []struct{ assertion, want string }{
		{`status eq 200`, yes}, {`status eq 2e2`, yes}, {`status eq "200"`, yes}, {`status eq 201`, no}, {`status ne 201`, yes}, {`status ne 200.0`, no},
		{`status lt 200`, no}, {`status le 200`, yes}, {`status gt 199.9`, yes}, {`status ge 201`, no}, {`status in [201,200]`, yes}, {`status in [201]`, no},
		{`status exists`, yes}, {`status exists false`, no},
		{`latencyMs eq 13`, yes}, {`latencyMs lt 13`, no}, // 12.6 ms
		{`banner eq "220 ready"`, yes}, {`banner contains 220`, yes}, {`banner contains READY`, no}, {`banner matches ^220\b`, yes}, {`banner matches ^ready`, no}, {`banner empty`, no},
		{`banner empty false`, yes}, {`banner eq 220`, no}, {`banner ne 220`, yes}, {`banner in ["a","220 ready"]`, yes},
		{`open eq true`, yes}, {`open ne true`, no}, {`open in [false]`, no},
		{`names eq ["a","b"]`, yes}, {`names eq ["b","a"]`, no}, {`names ne ["a"]`, yes}, {`names contains a`, yes}, {`names contains c`, no}, {`names matches ^[b-c]$`, yes},
		{`names matches ab`, no}, {`names empty`, no},
		{`rows.a eq 2.50`, yes}, {`rows.a gt 2.4999`, yes}, {`rows.b gt 0`, absent}, {`rows.b exists false`, yes},
		{`reply eq 17`, no}, {`reply eq "17"`, yes}, {`reply lt 18`, yes}, {`json.$.s contains 1`, `no: it is a text, which contains only texts`}, {`reply contains "7"`, yes},
		{`header.content-length eq 12`, yes}, {`header.CONTENT-LENGTH eq 12.0`, yes}, {`header.content-length lt 13`, yes}, {`header.content-length in [13,12]`, yes},
		{`header.content-length ne 12`, no}, {`header.x-state lt 1`, `no: it is not a number`}, {`header.x-state eq up`, yes}, {`header.x-state ne 5`, yes},
		{`header.x-empty empty`, yes}, {`header.x-empty exists`, yes}, {`header.x-none empty`, yes}, {`header.x-none exists`, no}, {`header.x-none exists false`, yes},
		{`header.x-none ne a`, absent}, {`header.x-none eq a`, absent}, {`header.x-none lt 1`, absent}, {`header.x-none in ["a"]`, absent}, {`header.x-none contains a`, absent},
		{`header.x-none matches .*`, absent}, {`header.x-none empty false`, no},
		{`body contains "big":9007199254740993`, yes}, {`body matches "^\\{"`, yes}, {`body empty`, no}, {`body gt 1`, `no: it is not a number`},
		{`json.$.n eq 12.0`, yes}, {`json.$.n eq "12"`, no}, {`json.$.s eq 12`, no}, {`json.$.s lt 13`, yes}, {`json.$.big eq 9007199254740992`, no}, {`json.$.big eq 9007199254740993`, yes},
		{`json.$.big gt 9007199254740992`, yes}, {`json.$.f eq 1.5`, yes}, {`json.$.t eq true`, yes}, {`json.$.t lt 1`, `no: it is not a number`}, {`json.$.t matches t`, `no: it is neither a text nor a list`},
		{`json.$.t contains t`, `no: it is neither a text nor a list`}, {`json.$.z eq null`, yes}, {`json.$.z ne 1`, yes}, {`json.$.z exists`, yes}, {`json.$.z empty`, yes}, {`json.$.z lt 1`, `no: it is not a number`},
		{`json.$.l contains 1.0`, yes}, {`json.$.l contains x`, yes}, {`json.$.l contains {"a":1}`, yes}, {`json.$.l contains {"a":2}`, no}, {`json.$.l matches x`, yes}, {`json.$.l matches 1`, no},
		{`json.$.o eq {"b":"c","a":[1.0]}`, yes}, {`json.$.o eq {"b":"c"}`, no}, {`json.$.o eq {"b":"c","a":[1],"d":1}`, no}, {`json.$.o ne {"b":"c","x":[1]}`, yes}, {`json.$.o in [1,{"a":[1],"b":"c"}]`, yes},
		{`json.$.e empty`, yes}, {`json.$.el empty`, yes}, {`json.$.eo empty`, yes}, {`json.$.n empty`, no}, {`json.$.x empty`, yes}, {`json.$.x eq null`, absent},
		{`json.$.l[*] contains 1`, yes}, {`json.$.l[*].b exists false`, yes}, {`json.$.l[*].a eq [1]`, yes}, {`json.$['s'] eq "12"`, yes},
	} {
		a, err := ParseAssertion(test.assertion)
		if err != nil {
			t.Errorf("%s: %v", test.assertion, err)
			continue
		}
		list, err := CompileAssertions(probePaths, []Assertion{a})
		if err != nil {
			t.Errorf("%s: %v", test.assertion, err)
			continue
		}
		results, worst, _ := list.Evaluate(&m, new(12600*time.Microsecond))
		got := no
		if results[0].OK {
			got = yes
		}
		if results[0].Error != "" {
			got += ": " + results[0].Error
		}
		if got != test.want || (worst == plugins.Healthy) != results[0].OK {
			t.Errorf("%s: got %s, %s; want %s", test.assertion, got, worst, test.want)
		}
	}
}

func TestNothingIsSoOfABodyThatIsNotJSON(t *testing.T) {
	for body, want := range map[string]string{"<html>": "the body is not JSON", `{"a":1}{}`: "the body is not JSON", `{"a":`: "the body is not JSON", "": "there is no body"} {
		for _, op := range []string{"exists", "exists false", "empty", "eq 1", "ne 1", "lt 1"} {
			a, err := ParseAssertion("json.$.error " + op)
			if err != nil {
				t.Fatal(err)
			}
			list, err := CompileAssertions(probePaths, []Assertion{a})
			if err != nil {
				t.Fatal(err)
			}
			results, worst, message := list.Evaluate(&Measured{Body: []byte(body)}, nil)
			if results[0].OK || results[0].Error != want || worst != plugins.Unhealthy || message != "expected json.$.error "+op+", but "+want {
				t.Errorf("%q %s: got %+v, %q", body, op, results[0], message)
			}
		}
	}
}

func TestAMessageHoldsNoTextOfTheOtherSide(t *testing.T) {
	var m Measured
	m.Set("status", 503)
	m.Set("banner", "sEcrEt")
	m.Set("names", []string{"sEcrEt"})
	m.Set("open", false)
	m.Header = http.Header{"X-Count": {"sEcrEt"}}
	m.Body = []byte(`{"db":"sEcrEt","o":{"sEcrEt":1},"n":1234567890123456789,"e":"","z":null,"l":["sEcrEt","sEcrEt"],"long":` + strings.Repeat("1", 101) + `}`)
	for _, test := range []struct{ assertion, want string }{
		{`status in [200,204]`, "expected status in [200,204], got 503"},
		{`json.$.db eq "up"`, `expected json.$.db eq "up", got another text`},
		{`json.$.db ne sEcrEt`, `expected json.$.db ne "sEcrEt", got this text`},
		{`json.$.db lt 5`, "expected json.$.db lt 5, but it is not a number"},
		{`json.$.db exists false`, "expected json.$.db exists false, got a text"},
		{`json.$.o eq 1`, "expected json.$.o eq 1, got an object"},
		{`json.$.n lt 5`, "expected json.$.n lt 5, got 1234567890123456789"},
		{`json.$.long lt 5`, "expected json.$.long lt 5, got another number"},
		{`json.$.e eq "up"`, `expected json.$.e eq "up", got an empty text`},
		{`json.$.z eq "up"`, `expected json.$.z eq "up", got null`},
		{`json.$.l empty`, "expected json.$.l empty, got a list of 2"},
		{`json.$.x eq 1`, "expected json.$.x eq 1, got nothing"},
		{`json.$.x exists`, "expected json.$.x exists, got nothing"},
		{`banner matches ^220`, `expected banner matches "^220", got another text`},
		{`names contains a`, `expected names contains "a", got a list of 1`},
		{`open eq true`, "expected open eq true, got false"},
		{`header.x-count lt 5`, "expected header.x-count lt 5, but it is not a number"},
		{`body contains ok`, `expected body contains "ok", got another text`},
		{`latencyMs lt 5`, "expected latencyMs lt 5, got nothing"},
		{`body contains ` + strings.Repeat("é", 300), `expected body contains "` + strings.Repeat("é", 99) + `, got another text`},
	} {
		a, err := ParseAssertion(test.assertion)
		if err != nil {
			t.Fatal(err)
		}
		list, err := CompileAssertions(probePaths, []Assertion{a})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, got := list.Evaluate(&m, nil); got != test.want {
			t.Errorf("%s: got %q, want %q", test.assertion, got, test.want)
		}
	}
}

func TestTheWorstThatFailedFirstIsTheMessage(t *testing.T) {
	var m Measured
	m.Set("status", 503)
	for _, test := range []struct {
		list    []string
		worst   plugins.Status
		message string
	}{
		{nil, plugins.Healthy, ""},
		{[]string{"status exists", "status gt 500"}, plugins.Healthy, ""},
		{[]string{"status lt 1 degraded", "status exists", "status lt 2 degraded"}, plugins.Degraded, "expected status lt 1, got 503 (and 1 more)"},
		{[]string{"status lt 1 degraded", "status lt 2", "status lt 3 unhealthy", "status lt 4 degraded"}, plugins.Unhealthy, "expected status lt 2, got 503 (and 3 more)"},
	} {
		var given []Assertion
		for _, text := range test.list {
			a, err := ParseAssertion(text)
			if err != nil {
				t.Fatal(err)
			}
			given = append(given, a)
		}
		list, err := CompileAssertions(probePaths, given)
		if err != nil {
			t.Fatal(err)
		}
		results, worst, message := list.Evaluate(&m, nil)
		if worst != test.worst || message != test.message || len(results) != len(test.list) {
			t.Errorf("%q: got %s, %q, %d results", test.list, worst, message, len(results))
		}
	}
}

func TestAResultHoldsNotMoreOfWhatWasMeasuredThanHasToBe(t *testing.T) {
	var m Measured
	m.Set("banner", strings.Repeat("😀", 300))
	m.Set("names", []string{strings.Repeat("a", 600)})
	m.Set("reply", []string{"a", "b\x00"})
	m.Body = []byte(`{"o":{"a":[1.50]},"n":` + strings.Repeat("1", 300) + `}`)
	list, err := CompileAssertions(probePaths, []Assertion{{Path: "banner", Op: "exists"}, {Path: "names", Op: "exists"}, {Path: "reply", Op: "exists"},
		{Path: "json.$.o", Op: "exists"}, {Path: "json.$.n", Op: "exists"}, {Path: "status", Op: "exists"}})
	if err != nil {
		t.Fatal(err)
	}
	results, _, _ := list.Evaluate(&m, nil)
	for i, want := range []string{`"` + strings.Repeat("😀", 199) + `…"`, `"[\"` + strings.Repeat("a", 197) + `…"`, `["a","b\u0000"]`, `{"a":[1.50]}`, `"` + strings.Repeat("1", 199) + `…"`, `null`} {
		if got := asJSON(t, results[i].Actual); got != want {
			t.Errorf("%s: got %s, want %s", results[i].Path, got, want)
		}
	}
}

func TestNoAssertionsCostNothing(t *testing.T) {
	var m Measured
	list, err := CompileAssertions(probePaths, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { list.Evaluate(&m, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAnAssertionIsReadFromALine(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"status in [200,204]", `{"path":"status","op":"in","value":[200,204]}`},
		{"  latencyMs   lt  500   degraded ", `{"path":"latencyMs","op":"lt","value":500,"severity":"degraded"}`},
		{"body contains ok", `{"path":"body","op":"contains","value":"ok"}`},
		{"body contains 200", `{"path":"body","op":"contains","value":"200"}`},
		{`body contains "a b"`, `{"path":"body","op":"contains","value":"a b"}`},
		{`body contains a "b`, `{"path":"body","op":"contains","value":"a \"b"}`},
		{"json.$.ids contains 200", `{"path":"json.$.ids","op":"contains","value":200}`},
		{"body contains degraded", `{"path":"body","op":"contains","value":"degraded"}`},
		{"body contains is degraded", `{"path":"body","op":"contains","value":"is","severity":"degraded"}`},
		{`body contains "is degraded"`, `{"path":"body","op":"contains","value":"is degraded"}`},
		{"body contains notdegraded", `{"path":"body","op":"contains","value":"notdegraded"}`},
		{"body matches ^[0-9]+$ unhealthy", `{"path":"body","op":"matches","value":"^[0-9]+$","severity":"unhealthy"}`},
		{"body matches 12", `{"path":"body","op":"matches","value":"12"}`},
		{"header.x exists", `{"path":"header.x","op":"exists"}`},
		{"header.x exists false", `{"path":"header.x","op":"exists","value":false}`},
		{"header.x empty degraded", `{"path":"header.x","op":"empty","severity":"degraded"}`},
		{"header.x empty true degraded", `{"path":"header.x","op":"empty","value":true,"severity":"degraded"}`},
		{"json.$.a eq null", `{"path":"json.$.a","op":"eq","value":null}`},
		{"json.$.a eq 007", `{"path":"json.$.a","op":"eq","value":"007"}`},
		{`json.$['a eq b']["c \" d"].e eq {"f": 1}`, `{"path":"json.$['a eq b'][\"c \\\" d\"].e","op":"eq","value":{"f":1}}`},
	} {
		got, err := ParseAssertion(test.line)
		if err != nil || asJSON(t, got) != test.want {
			t.Errorf("%q: got %s, %v", test.line, asJSON(t, got), err)
		}
	}
	const unknown = "expected one of eq ne lt le gt ge in contains matches exists empty after "
	const form = "expected a path, one of eq ne lt le gt ge in contains matches exists empty, and a value, such as status in [200,204]"
	for line, want := range map[string]string{
		"": form, "status": form, "status = 200": unknown + `status, not "="`, "eq 200": unknown + `eq, not "200"`, "stats  is 1": unknown + `stats, not "is"`, "status eq": "expected a value after status eq",
		"status exists maybe": `expected true, false or nothing after status exists, and then perhaps degraded or unhealthy, not "maybe"`, "json.$['a eq 1": form,
	} {
		if _, err := ParseAssertion(line); err == nil || err.Error() != want {
			t.Errorf("%q: got %v", line, err)
		}
	}
}

func TestTheSchemaOfAssertionsIsWhatTheyAre(t *testing.T) {
	var schema struct {
		Type     string
		MaxItems int
		Items    struct {
			Required   []string
			Properties map[string]struct {
				Enum []string
			}
		}
	}
	if err := json.Unmarshal(AssertionSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Type != "array" || schema.MaxItems != 50 || len(schema.Items.Properties) != 4 || len(schema.Items.Properties["op"].Enum) != 11 {
		t.Errorf("got %+v", schema)
	}
}

// FuzzAssertions: whatever is compiled can be evaluated over whatever was answered, and gives a message and a result of valid JSON.
func FuzzAssertions(f *testing.F) {
	for _, line := range []string{"status in [200,204]", "json.$.a[*] contains 1 degraded", `json.$['a b'] eq {"c":[1.0]}`, "body matches ^a|b$", "header.x lt 1e3", "names eq [\"a\"]"} {
		f.Add(line, `{"a":[1,2],"a b":{"c":[1]}}`)
	}
	f.Fuzz(func(t *testing.T, line, body string) {
		a, err := ParseAssertion(line)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "expected ") {
				t.Fatal(err)
			}
			return
		}
		list, err := CompileAssertions(probePaths, []Assertion{a})
		if err != nil {
			if !strings.HasPrefix(refusal(t, err), "assertions[0].") {
				t.Fatal(err)
			}
			return
		}
		m := Measured{Body: []byte(body), Header: http.Header{"X": {body}}}
		m.Set("status", len(body))
		m.Set("reply", body)
		results, worst, message := list.Evaluate(&m, new(time.Second))
		if (message == "") != results[0].OK || (worst == plugins.Healthy) != results[0].OK || !json.Valid(result(m, results)) {
			t.Errorf("%s of %q: got %+v, %s, %q", line, body, results, worst, message)
		}
	})
}
