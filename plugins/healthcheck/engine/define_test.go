package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"checkstack/plugins"
)

var update = flag.Bool("update", false, "write the golden files")

// everything is a configuration with a field of each kind.
type everything struct {
	Text    string            `json:"text" doc:"a text" limit:"1-10" required:"true"`
	Free    string            `json:"free"`
	Mode    string            `json:"mode" doc:"a word" enum:"fast,slow"`
	Count   int               `json:"count" limit:"-5-10"`
	Port    uint16            `json:"port"`
	Ratio   float64           `json:"ratio" limit:"0-1"`
	On      bool              `json:"on"`
	List    []string          `json:"list" limit:"0-3"`
	Map     map[string]string `json:"map"`
	TLS     *TLS              `json:"tls" doc:"speak TLS"`
	Inner   inner             `json:"inner"`
	Inners  []inner           `json:"inners"`
	ByName  map[string]inner  `json:"byName"`
	Own     own               `json:"own" doc:"reads itself"`
	Token   string            `json:"token,omitempty"`
	Skipped string            `json:"-"`
	Untagged
	hidden string
}

// Untagged is embedded, so that its fields are those of the whole.
type Untagged struct {
	Embedded string `json:"embedded" limit:"0-3"`
	NoTag    string
}

type inner struct {
	A string `json:"a" limit:"0-3" required:"true"`
	B []int  `json:"b"`
}

// own is a number that is written as a text.
type own struct{ n int }

func (o *own) UnmarshalJSON(data []byte) (err error) {
	if o.n, err = strconv.Atoi(strings.Trim(string(data), `"`)); err != nil {
		return plugins.Invalid("own", "expected a number as a text")
	}
	return nil
}
func (o own) MarshalJSON() ([]byte, error) { return []byte(`"` + strconv.Itoa(o.n) + `"`), nil }
func (o own) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": "^[0-9]+$"}
}
func (e *everything) Validate() error {
	e.Skipped = "validated"
	e.hidden = "h"
	return e.TLS.Compile("tls")
}
func (e *everything) Target() string              { return e.Text }
func (e *everything) Run(context.Context) Outcome { return Outcome{Status: plugins.Healthy} }

func everythingType() Type {
	return New("everything", nil, func() Config {
		return &everything{Mode: "slow", List: []string{"default"}, Map: map[string]string{"default": "d"}, Own: own{7}, TLS: &TLS{ServerName: "default"}}
	})
}

func TestADefinitionRefusesWhatItsTagsDoNotAllow(t *testing.T) {
	kind := everythingType()
	const fields = "; the fields are text, free, mode, count, port, ratio, on, list, map, tls, inner, inners, byName, own, token, embedded, NoTag"
	long := func(n int) string { return strings.Repeat("é", n) }
	for _, test := range []struct{ fields, refused string }{
		{`"text":""`, "text: expected a number of characters from 1 to 10, not 0"},
		{`"text":"` + long(11) + `"`, "text: expected a number of characters from 1 to 10, not 11"},
		{`"text":null`, "text: expected this field, but it is missing"},
		{`"free":"a"`, "text: expected this field, but it is missing"},
		{`"text":"a","free":"` + long(2001) + `"`, "free: expected a number of characters from 0 to 2000, not 2001"},
		{`"text":"a","free":"a\u0000"`, "free: expected a text without NUL characters"},
		{`"text":7`, "text: expected a string, not number"},
		{`"text":"a","mode":"Fast"`, "mode: expected one of fast, slow"},
		{`"text":"a","mode":""`, "mode: expected one of fast, slow"},
		{`"text":"a","count":11`, "count: expected a whole number from -5 to 10, not 11"},
		{`"text":"a","count":-6`, "count: expected a whole number from -5 to 10, not -6"},
		{`"text":"a","count":1.5`, "count: expected a whole number, not number 1.5"},
		{`"text":"a","port":65536`, "port: expected a whole number from 0 to 65535, not number 65536"},
		{`"text":"a","ratio":1.01`, "ratio: expected a number from 0 to 1, not 1.01"},
		{`"text":"a","on":1`, "on: expected true or false, not number"},
		{`"text":"a","list":["a","b","c","d"]`, "list: expected a number of entries from 0 to 3, not 4"},
		{`"text":"a","list":["a",null]`, "list[1]: expected a value, not null"},
		{`"text":"a","list":["` + long(2001) + `"]`, "list[0]: expected a number of characters from 0 to 2000, not 2001"},
		{`"text":"a","list":["\u0000"]`, "list[0]: expected a text without NUL characters"},
		{`"text":"a","list":"a"`, "list: expected an array, not string"},
		{`"text":"a","map":{"a.b":null}`, "map.a.b: expected a value, not null"},
		{`"text":"a","map":{"a":"1","a":"2"}`, "map.a: expected this field once"},
		{`"text":"a","map":{"a":"` + long(4097) + `"}`, "map.a: expected a number of characters from 0 to 4096, not 4097"},
		{`"text":"a","map":{"a":"\u0000"}`, "map.a: expected a text without NUL characters"},
		{`"text":"a","map":{"` + long(201) + `":"a"}`, "map." + long(100) + ": expected a name of at most 200 characters, none of them NUL"},
		{`"text":"a","map":{"\u0000":"a"}`, "map.\ufffd: expected a name of at most 200 characters, none of them NUL"},
		{`"text":"a","map":{` + many(51) + `}`, "map: expected a number of entries from 0 to 50, not 51"},
		{`"text":"a","map":["a"]`, "map: expected an object, not array"},
		{`"text":"a","Text":"b"`, "Text: there is no such field" + fields},
		{`"text":"a","text":"b"`, "text: expected this field once"},
		{`"text":"a","nothing":1`, "nothing: there is no such field" + fields},
		{`"text":"a","skipped":"b"`, "skipped: there is no such field" + fields},
		{`"text":"a","Skipped":"b"`, "Skipped: there is no such field" + fields},
		{`"text":"a","hidden":"b"`, "hidden: there is no such field" + fields},
		{`"text":"a","untagged":{}`, "untagged: there is no such field" + fields},
		{`"text":"a","tls":{"Verify":true}`, "tls.Verify: there is no such field; the fields are verify, serverName, ca, certificate, key"},
		{`"text":"a","tls":{"verify":true,"verify":true}`, "tls.verify: expected this field once"},
		{`"text":"a","tls":{"nothing":1}`, "tls.nothing: there is no such field; the fields are verify, serverName, ca, certificate, key"},
		{`"text":"a","tls":{"serverName":"` + long(254) + `"}`, "tls.serverName: expected a number of characters from 0 to 253, not 254"},
		{`"text":"a","tls":true`, "tls: expected an object, not bool"},
		{`"text":"a","tls":{"ca":"x"}`, "tls.ca: expected certificates in PEM"},
		{`"text":"a","inner":{}`, "inner.a: expected this field, but it is missing"},
		{`"text":"a","inner":{"a":"long"}`, "inner.a: expected a number of characters from 0 to 3, not 4"},
		{`"text":"a","inner":{"a":"","b":[-1]}`, "inner.b[0]: expected a whole number from 0 to 2147483647, not -1"},
		{`"text":"a","inners":[{"a":"b"},{"b":[]}]`, "inners[1].a: expected this field, but it is missing"},
		{`"text":"a","inners":[{"A":"b"}]`, "inners[0].A: there is no such field; the fields are a, b"},
		{`"text":"a","byName":{"x":{"a":"long"}}`, "byName.x.a: expected a number of characters from 0 to 3, not 4"},
		{`"text":"a","byName":{"x":{"a":"b","a":"c"}}`, "byName.x.a: expected this field once"},
		{`"text":"a","own":"x"`, "own: expected a number as a text"},
		{`"text":"a","embedded":"long"`, "embedded: expected a number of characters from 0 to 3, not 4"},
		{`"text":"a","Embedded":"b"`, "Embedded: there is no such field" + fields},
		{`"text":"a","notag":"b"`, "notag: there is no such field" + fields},
		{`"text":"a","NoTag":"` + long(2001) + `"`, "NoTag: expected a number of characters from 0 to 2000, not 2001"},
		{`"text":"` + "\xff" + `"`, ": expected JSON in UTF-8"},
		{`"text":"a"} {`, ": there is more than one JSON value"},
		{`"text":`, ": not valid JSON at byte 9"},
	} {
		if check, err := kind.Compile(json.RawMessage("{" + test.fields + "}")); check != nil || refusal(t, err) != test.refused {
			t.Errorf("{%.100s}: got %v, want %s", test.fields, err, test.refused)
		}
	}
	for config, refused := range map[string]string{
		"": ": expected a JSON value, not an empty body", "null": ": expected an object, not null", " null ": ": expected an object, not null", "[]": ": expected an object, not array",
		"7": ": expected an object, not number", `{"text":"a"`: ": the JSON value ends too early",
		`{"text":"a","free":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`: ": not valid JSON at byte 10019",
	} {
		if check, err := kind.Compile(json.RawMessage(config)); check != nil || refusal(t, err) != refused {
			t.Errorf("%.50s: got %v, want %s", config, err, refused)
		}
	}
}

func TestAFieldThatATypeDoesNotHaveIsAnsweredWithThoseThatItHas(t *testing.T) {
	for want, kind := range map[string]Type{
		"x: there is no such field":                                               New("none", nil, func() Config { return &nothing{} }),
		"x: there is no such field; the only field is a":                          New("one", nil, func() Config { return &only{} }),
		"x: there is no such field; the fields are address, port, token, headers": probeType(nil),
	} {
		if _, err := kind.Compile(json.RawMessage(`{"x":1}`)); refusal(t, err) != want {
			t.Errorf("%s: got %v, want %s", kind.Type(), err, want)
		}
	}
}

func many(n int) string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = `"` + strconv.Itoa(i) + `":""`
	}
	return strings.Join(entries, ",")
}

func TestWhatIsStoredIsWhatWasGivenAndUnderstood(t *testing.T) {
	kind := everythingType()
	for _, test := range []struct{ given, normal string }{
		{`{"text":"a"}`, `{"text":"a"}`},
		{` { "free" : "" , "text" : "\u0061" } `, `{"free":"","text":"a"}`},
		{`{"text":"a","free":null,"mode":null,"list":null,"map":null,"tls":null,"inner":null,"inners":null,"own":null,"on":null,"NoTag":null}`, `{"text":"a"}`},
		{`{"text":"a","list":[],"map":{},"tls":{},"inners":[],"byName":{}}`, `{"byName":{},"inners":[],"list":[],"map":{},"text":"a","tls":{}}`},
		{`{"text":"a","list":["b"],"map":{"x.y":"1","a":"2"},"count":-5,"port":65535,"ratio":1.0,"on":false}`, `{"count":-5,"list":["b"],"map":{"a":"2","x.y":"1"},"on":false,"port":65535,"ratio":1,"text":"a"}`},
		{`{"text":"a","tls":{"verify":false,"serverName":null,"ca":""}}`, `{"text":"a","tls":{"verify":false}}`},
		{`{"text":"a","inner":{"b":null,"a":""},"inners":[{"a":"x"},{"a":"y","b":[1]}],"byName":{"k":{"a":"z","b":null}}}`,
			`{"byName":{"k":{"a":"z"}},"inner":{"a":""},"inners":[{"a":"x"},{"a":"y","b":[1]}],"text":"a"}`},
		{`{"text":"a","own":8,"embedded":"x","NoTag":"y","token":""}`, `{"NoTag":"y","embedded":"x","own":"8","text":"a"}`},
	} {
		check, err := kind.Compile(json.RawMessage(test.given))
		if err != nil || string(check.Normal()) != test.normal {
			t.Errorf("%s: got %s, %v; want %s", test.given, check.Normal(), err, test.normal)
			continue
		}
		again, err := kind.Compile(check.Normal())
		if err != nil || !bytes.Equal(again.Normal(), check.Normal()) || !reflect.DeepEqual(again, check) {
			t.Errorf("%s: again it is %+v, %v", test.given, again, err)
		}
	}
}

func TestWhatIsNullOrAbsentKeepsItsDefault(t *testing.T) {
	kind := everythingType()
	check, err := kind.Compile(json.RawMessage(`{"text":"a","mode":null,"list":null,"map":null,"tls":null,"own":null}`))
	if err != nil {
		t.Fatal(err)
	}
	got := check.(*compiled).Config.(*everything)
	if got.Mode != "slow" || !reflect.DeepEqual(got.List, []string{"default"}) || got.Map["default"] != "d" || got.TLS == nil || got.TLS.ServerName != "default" || got.Own.n != 7 || got.Skipped != "validated" {
		t.Errorf("got %+v", got)
	}
	if check.Target() != "a" || check.Run(t.Context()).Status != plugins.Healthy || kind.Type() != "everything" || kind.Paths() != nil {
		t.Errorf("got %+v", check)
	}
}

func TestTheSchemaSaysWhatIsChecked(t *testing.T) {
	var got bytes.Buffer
	if err := json.Indent(&got, everythingType().Schema(), "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	const file = "testdata/everything.schema.json"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%v; it is not that of %s, which -update writes:\n%s", err, file, &got)
	}
}

func TestALimitThatCannotBeReadPanics(t *testing.T) {
	for _, c := range []Config{&badLimit1{}, &badLimit2{}} {
		err := plugins.Protect(func() error { New("bad", nil, func() Config { return c }); return nil })
		if err == nil || !strings.HasPrefix(err.Error(), `panic: engine: the limit "`) {
			t.Errorf("%T: got %v", c, err)
		}
	}
}

type nothing struct{}

func (nothing) Validate() error             { return nil }
func (nothing) Target() string              { return "" }
func (nothing) Run(context.Context) Outcome { return Outcome{} }

type only struct {
	nothing
	A string `json:"a"`
}

type badLimit1 struct {
	nothing
	A string `json:"a" limit:"10"`
}

type badLimit2 struct {
	nothing
	A string `json:"a" limit:"10-1"`
}

// FuzzCompile: whatever is accepted is accepted again as it was understood, with the same meaning, and what is not is refused with words.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{`{"text":"a"}`, `{"text":"a","map":{"x":"y"},"list":["z"],"tls":{"verify":false},"inner":{"a":"b"}}`, `{"text":"a","inners":[{"a":"b","b":[1]}],"own":"7","ratio":1e-7}`,
		`{"text":"<\ud800>","NoTag":null,"byName":{"a.b":{"a":"\u2028"}}}`, `{"text":"a","text":"b"}`, `{"text":"a","tls":{"ca":null},"map":{"default":"x"}}`, `null`} {
		f.Add(seed)
	}
	kind := everythingType()
	f.Fuzz(func(t *testing.T, config string) {
		check, err := kind.Compile(json.RawMessage(config))
		if err != nil {
			refusal(t, err)
			return
		}
		again, err := kind.Compile(check.Normal())
		if err != nil || !bytes.Equal(again.Normal(), check.Normal()) || !reflect.DeepEqual(again, check) {
			t.Errorf("%s: understood as %s, and then as %+v, %v", config, check.Normal(), again, err)
		}
	})
}
