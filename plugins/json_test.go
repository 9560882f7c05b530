package plugins_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

type order struct {
	Name  string         `json:"name"`
	Count int8           `json:"count"`
	Big   uint32         `json:"big"`
	Size  float64        `json:"size"`
	Sure  bool           `json:"sure"`
	At    time.Time      `json:"at"`
	Kind  kindOfOrder    `json:"kind"`
	Lines []orderLine    `json:"lines"`
	Extra map[string]int `json:"extra"`
	Note  *string        `json:"note"`
}

type orderLine struct {
	Weight int64 `json:"weight"`
}

// Validate is called with the decoded body.
func (o *order) Validate() error {
	if o.Name == "" {
		return plugins.Invalid("name", "expected a name")
	}
	return nil
}

// kindOfOrder reads itself, and names its field.
type kindOfOrder string

func (k *kindOfOrder) UnmarshalJSON(data []byte) error {
	if string(data) != `"express"` {
		return plugins.Invalid("kind", "expected express, not %s", data)
	}
	*k = "express"
	return nil
}

// serve answers requests over a socket with a handler; the function returned makes one, and gives status, headers and
// body.
func serve(t *testing.T, h http.Handler) func(contentType, body string) (*http.Response, string) {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return func(contentType, body string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		answer, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		return w, string(answer)
	}
}

func TestJSONRefusesABodyThatIsNotAsItMustBeBeforeTheHandlerRuns(t *testing.T) {
	send := serve(t, plugins.JSON(func(_ *http.Request, o order) (plugins.None, error) {
		t.Errorf("the handler got %+v", o)
		return plugins.None{}, nil
	}))
	const media = "application/json"
	long := strings.Repeat("9", 300)
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		want                    string // field: message
	}{
		{"no content type", "", `{"name":"a"}`, 415, ": the body must be JSON, with Content-Type: application/json"},
		{"a form", "application/x-www-form-urlencoded", "name=a", 415, ": the body must be JSON, with Content-Type: application/json"},
		{"text that is JSON", "text/plain", `{"name":"a"}`, 415, ": the body must be JSON, with Content-Type: application/json"},
		{"a malformed content type", "application/json; charset", `{"name":"a"}`, 415, ": the body must be JSON, with Content-Type: application/json"},
		{"a byte too much", media, `"` + strings.Repeat("x", plugins.MaxBody-1) + `"`, 413, ": the body may have at most 1048576 bytes"},
		{"much too much", media, strings.Repeat(" ", 3*plugins.MaxBody), 413, ": the body may have at most 1048576 bytes"},
		{"empty", media, "", 400, ": expected a JSON value, not an empty body"},
		{"blank", media, " \n", 400, ": expected a JSON value, not an empty body"},
		{"cut off", media, `{"name":`, 400, ": the JSON value ends too early"},
		{"not JSON", media, `{name:"a"}`, 400, ": not valid JSON at byte 2"},
		{"two values", media, `{"name":"a"} {"name":"b"}`, 400, ": there is more than one JSON value"},
		{"something behind it", media, `{"name":"a"}]`, 400, ": there is more than one JSON value"},
		{"too deep", media, strings.Repeat(`{"lines":[`, 6000), 400, ": not valid JSON at byte 50001"},
		{"an unknown field", media, `{"name":"a","nmae":"b"}`, 400, "nmae: there is no such field"},
		{"an unknown field with a long name", media, `{"` + strings.Repeat("é", 200) + `":1}`, 400, strings.Repeat("é", 51) + "…: there is no such field"},
		{"an array", media, `[]`, 400, ": expected an object, not array"},
		{"a string for a number", media, `{"size":"1"}`, 400, "size: expected a number, not string"},
		{"a number for a string", media, `{"name":1}`, 400, "name: expected a string, not number"},
		{"a number for a flag", media, `{"sure":1}`, 400, "sure: expected true or false, not number"},
		{"a fraction", media, `{"big":1.5}`, 400, "big: expected a whole number from 0 to 4294967295, not number 1.5"},
		{"too great a number", media, `{"count":128}`, 400, "count: expected a whole number from -128 to 127, not number 128"},
		{"a very long number", media, `{"count":` + long + `}`, 400,
			"count: expected a whole number from -128 to 127, not number " + long[:94] + "…"},
		{"an object for an array", media, `{"lines":{}}`, 400, "lines: expected an array, not object"},
		{"inside an array", media, `{"lines":[{"weight":1},{"weight":"x"}]}`, 400, "lines.weight: expected a whole number, not string"},
		{"an array for an object", media, `{"extra":[]}`, 400, "extra: expected an object, not array"},
		{"through a pointer", media, `{"note":{}}`, 400, "note: expected a string, not object"},
		{"no time", media, `{"name":"a","at":"tomorrow"}`, 400, "at: expected a time such as 2026-01-31T23:59:59Z (RFC 3339), not tomorrow"},
		{"a number for a time", media, `{"name":"a","at":5}`, 400, "at: a value does not have the form its field needs"},
		{"a type that reads itself", media, `{"name":"a","kind":"slow"}`, 400, `kind: expected express, not "slow"`},
		{"refused by Validate", media, `{"count":1}`, 400, "name: expected a name"},
		{"null", media, `null`, 400, "name: expected a name"},
	} {
		w, body := send(test.contentType, test.body)
		var e struct{ Error, Message, Field string }
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			t.Errorf("%s: %v in %s", test.name, err, body)
		}
		if got := e.Field + ": " + e.Message; w.StatusCode != test.status || got != test.want {
			t.Errorf("%s:\ngot  %d %s\nwant %d %s", test.name, w.StatusCode, got, test.status, test.want)
		}
		if title := map[int]string{400: "Invalid input", 413: "Body too large", 415: "Unsupported Media Type"}[test.status]; e.Error != title {
			t.Errorf("%s: the title is %q, want %q", test.name, e.Error, title)
		}
	}
}

func TestJSONTakesABodyOfTheGreatestSize(t *testing.T) {
	send := serve(t, plugins.JSON(func(_ *http.Request, s string) (int, error) { return len(s), nil }))
	w, body := send("application/json; charset=utf-8", `"`+strings.Repeat("x", plugins.MaxBody-2)+`"`)
	if w.StatusCode != 200 || body != "1048574" {
		t.Errorf("got %d %s", w.StatusCode, body)
	}
}

func TestJSONUpToHasABoundOfItsOwn(t *testing.T) {
	length := func(_ *http.Request, s string) (int, error) { return len(s), nil }
	for _, max := range []int64{10, 2 * plugins.MaxBody} {
		send := serve(t, plugins.JSONUpTo(max, length))
		if w, body := send("application/json", `"`+strings.Repeat("x", int(max)-2)+`"`); w.StatusCode != 200 || body != fmt.Sprint(max-2) {
			t.Errorf("%d bytes: got %d %s", max, w.StatusCode, body)
		}
		want := fmt.Sprintf(`{"error":"Body too large","message":"the body may have at most %d bytes"}`, max)
		if w, body := send("application/json", `"`+strings.Repeat("x", int(max)-1)+`"`); w.StatusCode != 413 || body != want {
			t.Errorf("%d bytes: got %d %s", max+1, w.StatusCode, body)
		}
	}
}

func TestJSONGivesTheHandlerTheDecodedBody(t *testing.T) {
	send := serve(t, plugins.JSON(func(_ *http.Request, o order) (order, error) { return o, nil }))
	sent := `{"name":"a","count":-128,"big":4294967295,"size":0.5,"sure":true,"at":"2026-01-31T23:59:59+01:00",` +
		`"kind":"express","lines":[{"weight":9007199254740993}],"extra":{"k":1},"note":null}`
	w, body := send("application/json", sent)
	if w.StatusCode != 200 || body != sent {
		t.Errorf("got %d\n%s\nfor\n%s", w.StatusCode, body, sent)
	}
	if got := w.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("the content type is %s", got)
	}
}

func TestABodyMayBeLeftOutWhereTheInputIsAPointerAndIsCheckedWhereItIsNot(t *testing.T) {
	send := serve(t, plugins.JSON(func(_ *http.Request, o *order) (string, error) {
		if o == nil {
			return "none", nil
		}
		return o.Name, nil
	}))
	for _, c := range []struct{ contentType, body, want string }{
		{"", "", `200 "none"`},
		{"application/json", "", `200 "none"`},
		{"application/json", `null`, `200 "none"`},
		{"application/json", `{"name":"a"}`, `200 "a"`},
		{"application/json", `{"name":""}`, `400 {"error":"Invalid input","message":"expected a name","field":"name"}`},
		{"text/plain", `{"name":"a"}`, `415 {"error":"Unsupported Media Type","message":"the body must be JSON, with Content-Type: application/json"}`},
	} {
		w, body := send(c.contentType, c.body)
		if got := fmt.Sprint(w.StatusCode, " ", body); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.contentType, c.body, got, c.want)
		}
	}
}

func TestWhereNoBodyIsExpectedNothingButAnEmptyObjectIsTaken(t *testing.T) {
	send := serve(t, plugins.JSON(func(_ *http.Request, n plugins.None) (plugins.None, error) { return n, nil }))
	const (
		unexpected = `400 {"error":"Invalid input","message":"expected no body, or {}"}`
		tooLarge   = `413 {"error":"Body too large","message":"the body may have at most 1048576 bytes"}`
	)
	for body, want := range map[string]string{
		"": "204 ", " \n": "204 ", "{}": "204 ", " { }\n": "204 ", // as curl -d '{}' sends it, with another Content-Type
		`{"x":1}`: unexpected, "[]": unexpected, "null": unexpected, "0": unexpected, "{} {}": unexpected, "not JSON": unexpected,
		strings.Repeat("x", 2*plugins.MaxBody): tooLarge,
	} {
		w, got := send("", body)
		if answer := fmt.Sprint(w.StatusCode, " ", got); answer != want {
			t.Errorf("%.20q: got %s, want %s", body, answer, want)
		}
	}
	if w, got := send("", ""); w.StatusCode != 204 || w.Header.Get("Content-Type") != "" {
		t.Errorf("got %d %q with %v", w.StatusCode, got, w.Header)
	}
}

func TestAGuardIsAskedBeforeTheBodyIsReadAndLeftAfterTheAnswer(t *testing.T) {
	var trace []string
	var refusal error
	h := plugins.JSON(func(_ *http.Request, o orderLine) (int64, error) {
		trace = append(trace, "handle")
		return o.Weight, nil
	})
	guarded := plugins.Guard(h, func(*http.Request) (func(), error) {
		trace = append(trace, "enter")
		return func() { trace = append(trace, "leave") }, refusal
	})
	send := serve(t, guarded)
	for _, test := range []struct {
		body    string
		refusal error
		want    string
	}{
		{`{"weight":3}`, nil, "200 3 [enter handle leave]"},
		{`{`, nil, `400 {"error":"Invalid input","message":"the JSON value ends too early"} [enter leave]`},
		{`{`, plugins.NotFound("order"), `404 {"error":"Not Found","message":"no such order"} [enter]`},
	} {
		trace, refusal = nil, test.refusal
		w, got := send("application/json", test.body)
		if answer := fmt.Sprint(w.StatusCode, " ", got, " ", trace); answer != test.want {
			t.Errorf("%s: %s, want %s", test.body, answer, test.want)
		}
	}
	described := func(h http.Handler) string {
		document, err := plugins.OpenAPI("a", "1", []plugins.Route{{Pattern: "POST /api/shop/orders", Handler: h}})
		if err != nil {
			t.Fatal(err)
		}
		return string(document)
	}
	if got, want := described(guarded), described(h); got != want || !strings.Contains(got, "weight") {
		t.Errorf("it is described as\n%s\nand not\n%s", got, want)
	}
}

func TestCreatedAnswersWithTheLocation(t *testing.T) {
	send := serve(t, plugins.JSON(func(*http.Request, plugins.None) (plugins.Created[orderLine], error) {
		return plugins.Created[orderLine]{Location: "/api/shop/orders/7", Value: orderLine{3}}, nil
	}))
	w, body := send("", "")
	if w.StatusCode != 201 || w.Header.Get("Location") != "/api/shop/orders/7" || body != `{"weight":3}` {
		t.Errorf("got %d %s with %v", w.StatusCode, body, w.Header)
	}
}

func TestAnEmptyListIsAnArrayNotNull(t *testing.T) {
	for _, test := range []struct {
		list any
		want string
	}{
		{plugins.List[orderLine]{}, `{"items":[],"total":0}`},
		{plugins.List[orderLine]{Items: []orderLine{}, Total: 4}, `{"items":[],"total":4}`},
		{plugins.List[orderLine]{Items: []orderLine{{1}}, Total: 4, Next: "c"}, `{"items":[{"weight":1}],"total":4,"next":"c"}`},
		{struct{ L *plugins.List[int] }{&plugins.List[int]{}}, `{"L":{"items":[],"total":0}}`},
	} {
		if got, err := json.Marshal(test.list); err != nil || string(got) != test.want {
			t.Errorf("got %s and error %v, want %s", got, err, test.want)
		}
	}
}

func TestAnErrorOfTheHandlerIsAnsweredWithNothingElse(t *testing.T) {
	send := serve(t, plugins.JSON(func(*http.Request, plugins.None) (plugins.Created[string], error) {
		return plugins.Created[string]{Location: "/nowhere", Value: "x"}, plugins.NotFound("order")
	}))
	w, body := send("", "")
	if w.StatusCode != 404 || body != `{"error":"Not Found","message":"no such order"}` || w.Header.Get("Location") != "" {
		t.Errorf("got %d %s with %v", w.StatusCode, body, w.Header)
	}
}

func TestAResultThatCannotBeEncodedIsAnInternalError(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"a value": plugins.JSON(func(*http.Request, plugins.None) (float64, error) { return math.NaN(), nil }),
		"a creation": plugins.JSON(func(*http.Request, plugins.None) (plugins.Created[float64], error) {
			return plugins.Created[float64]{Location: "/there", Value: math.Inf(1)}, nil
		}),
	} {
		w, body := serve(t, h)("", "")
		if w.StatusCode != 500 || body != `{"error":"Internal error","message":"the server's log has the details"}` {
			t.Errorf("%s: got %d %s", name, w.StatusCode, body)
		}
	}
}

// FuzzDecode: no input makes Decode panic, every error is one for the caller, of bounded size, and what is accepted is
// what encoding/json accepts.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a"}`, `{"name":1}`, `{"at":"x"}`, `{"at":"2026-01-31T23:59:59Z"}`, `{"lines":[{"weight":"x"}]}`, `{"x":1}`, `[]`, `null`,
		``, `{`, `{} {}`, "{\"\xff\":1}", `{"count":1e999}`, `{"kind":"slow"}`, `{"extra":{"k":"v"}}`, `{"NAME":"a","name":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var o, plain order
		err := plugins.Decode(data, &o)
		if err == nil {
			if err := json.Unmarshal(data, &plain); err != nil {
				t.Fatalf("accepted what is not JSON: %v", err)
			}
			return
		}
		e, ok := errors.AsType[*plugins.Error](err)
		if !ok || e.Status != 400 || e.Message == "" || e.Title != "Invalid input" {
			t.Fatalf("the error is %#v", err)
		}
		if len(e.Message)+len(e.Field) > 1000+2*len(data) {
			t.Fatalf("the error is longer than the input: %v", err)
		}
	})
}

func TestSameJSONComparesWhatIsSaid(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{`{"a":1,"b":[1,2]}`, ` { "b" : [1,2], "a":1}`, true},
		{`"\u0041"`, `"A"`, true},
		{`[1,2]`, `[2,1]`, false},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`1`, `1.0`, false}, // as it is written
		{`9007199254740993`, `9007199254740992`, false},
		{`1`, `"1"`, false},
		{`{`, `{`, true}, {`{`, `{}`, false}, // what is no JSON
	} {
		if got := plugins.SameJSON(json.RawMessage(test.a), json.RawMessage(test.b)); got != test.same {
			t.Errorf("%s and %s: %t", test.a, test.b, got)
		}
	}
	if plugins.SameJSON(nil, json.RawMessage("null")) || !plugins.SameJSON(nil, nil) {
		t.Error("what is absent is null")
	}
}
