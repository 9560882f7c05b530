package webhook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// configs are configurations, without their braces, each with what is wrong with it.
var configs = []struct {
	config, wrong string
	schema        bool // whether the schema can tell
}{
	{`"url":"http://example.org"`, "", false},
	{`"url":"https://user:pass@example.org:65535/a?b=c","format":"message","headers":{},"secret":""`, "", false},
	{`"url":"http://[fe80::1%25eth0]:1/","format":"text","token":""`, "", false},
	{`"url":"https://xn--bcher-kva.example/","headers":{"X-A":""," ":""}`, "headers: expected names of 1 to 100 letters, digits and dashes", true},
	{`"url":"http://h/` + strings.Repeat("a", 1991) + `"`, "", false},
	{`"url":"http://h/","secret":"whsec_` + b64(24) + `"`, "", false},
	{`"url":"http://h/","secret":"whsec_` + b64(64) + `"`, "", false},
	{`"url":"http://h/","token":"` + strings.Repeat("t", 4000) + `"`, "", false},

	{``, "url: expected this field, an address such as https://example.org/hook", true},
	{`"url":""`, "url: expected this field, an address such as https://example.org/hook", true},
	{`"url":7`, "url: expected a string, not number", true},
	{`"url":null`, "url: expected a value, not null", true},
	{`"url":"http://h/` + strings.Repeat("a", 1992) + `"`, "url: expected at most 2000 bytes, not 2001", true},
	{`"url":"http://h/` + strings.Repeat("ü", 996) + `"`, "url: expected at most 2000 bytes, not 2001", false},
	{`"url":"example.org/hook"`, badURL, false},
	{`"url":"//example.org"`, badURL, false},
	{`"url":"ftp://example.org"`, badURL, false},
	{`"url":"http:example.org"`, badURL, false},
	{`"url":"http:///hook"`, badURL, false},
	{`"url":"http://:80/"`, badURL, false},
	{`"url":"http://user@/"`, badURL, false},
	{`"url":" http://example.org"`, badURL, false},
	{`"url":"http://exa mple.org"`, badURL, false},
	{`"url":"http://example.org/\r\nX-A: b"`, badURL, false},
	{`"url":"http://example.org/\u0000"`, badURL, false},
	{`"url":"http://example.org/%zz"`, badURL, false},
	{`"url":"http://example.org/#part"`, badURL, false},
	{`"url":"http://h:port/"`, badURL, false},
	{`"url":"http://[::1"`, badURL, false},
	{`"url":"http://[fe80::1%25a b]/"`, badURL, false},
	{`"url":"http://h:/"`, "url: expected a port from 1 to 65535", false},
	{`"url":"http://h:0/"`, "url: expected a port from 1 to 65535", false},
	{`"url":"http://h:65536/"`, "url: expected a port from 1 to 65535", false},
	{`"url":"http://h/?a b"`, badQuery, false},
	{`"url":"http://h/?a=ü"`, badQuery, false},
	{`"url":"http://%ff.example/"`, badURL, false},
	{`"url":"http://%e2%80%aeexample.org/"`, badURL, false},
	{`"url":"http://a\u00a0b/"`, badURL, false},

	{`"url":"http://h/","format":""`, "format: expected message or text", true},
	{`"url":"http://h/","format":"Text"`, "format: expected message or text", true},
	{`"url":"http://h/","format":true`, "format: expected a string, not bool", true},

	{`"url":"http://h/","token":"` + strings.Repeat("t", 4001) + `"`, badValue("token"), true},
	{`"url":"http://h/","token":"s3cret\r\nX-A: b"`, badValue("token"), false},
	{`"url":"http://h/","token":"s3cret "`, badValue("token"), false},
	{`"url":"http://h/","token":"s3crét"`, badValue("token"), false},
	{`"url":"http://h/","token":null`, "token: expected a value, not null", true},
	{`"url":"http://h/","token":"s3cret","headers":{"authorization":"x"}`, "token: expected a token or the header Authorization, and not both", false},
	{`"url":"http://h/","token":"s3cret","headers":{"Authorization":""}`, "token: expected a token or the header Authorization, and not both", false},
	{`"url":"http://u:s3cret@h/","token":"s3cret"`, "url: expected no user beside a token or the header Authorization", false},
	{`"url":"http://u:s3cret@h/","headers":{"AUTHORIZATION":""}`, "url: expected no user beside a token or the header Authorization", false},

	{`"url":"http://h/","headers":[]`, "headers: expected an object, not array", true},
	{`"url":"http://h/","headers":null`, "headers: expected a value, not null", true},
	{`"url":"http://h/","headers":{` + many(21) + `}`, "headers: expected at most 20, not 21", true},
	{`"url":"http://h/","headers":{"":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"X A":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"X-A:":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"X-A\r\nX-B":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"X-Ä":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"X-\u212a":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"` + strings.Repeat("X", 101) + `":"v"}`, badName, true},
	{`"url":"http://h/","headers":{"X-A":7}`, "headers: expected a string, not number", true},
	{`"url":"http://h/","headers":{"X-A":null}`, badValue("headers.X-A"), true},
	{`"url":"http://h/","headers":{"X-A":"s3cret\r\nX-B: b"}`, badValue("headers.X-A"), false},
	{`"url":"http://h/","headers":{"X-A":"s3cret\u0000"}`, badValue("headers.X-A"), false},
	{`"url":"http://h/","headers":{"X-A":"s3cret\u007f"}`, badValue("headers.X-A"), false},
	{`"url":"http://h/","headers":{"X-A":" s3cret"}`, badValue("headers.X-A"), false},
	{`"url":"http://h/","headers":{"X-A":"🔑"}`, badValue("headers.X-A"), false},
	{`"url":"http://h/","headers":{"X-A":"` + strings.Repeat("v", 4001) + `"}`, badValue("headers.X-A"), true},
	{`"url":"http://h/","headers":{"X-A":"s3cret","x-b":"c","x-a":"s3cret"}`, "headers.x-a: expected each header once; case does not distinguish them", false},

	{`"url":"http://h/","secret":"` + b64(32) + `"`, badSecret, false},
	{`"url":"http://h/","secret":"WHSEC_` + b64(32) + `"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_s3cret"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_` + b64(23) + `"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_` + b64(65) + `"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_` + strings.TrimRight(b64(25), "=") + `"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_` + strings.Repeat("_-", 16) + `"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_\n` + b64(32) + `"`, badSecret, false},
	{`"url":"http://h/","secret":"whsec_` + b64(32) + strings.Repeat(`\n`, 4000) + `"`, badSecret, true},

	{`"url":"http://h/","method":"PUT"`, "method: there is no such field", true},
	{`"URL":"http://h/"`, "URL: there is no such field", true},
	{`"url":"http://h/","to\u212aen":"s3cret"`, "to\u212aen: there is no such field", true},
}

const (
	badURL    = "url: expected an address that begins with http:// or https:// and has a host"
	badQuery  = "url: expected a query of visible ASCII characters; others are written as %20"
	badName   = "headers: expected names of 1 to 100 letters, digits and dashes"
	badSecret = "secret: expected whsec_ and 24 to 64 bytes in base64"
)

func badValue(field string) string {
	return field + ": expected a text of at most 4000 visible ASCII characters"
}

// b64 is a number of bytes in base64.
func b64(bytes int) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xfe", bytes)))
}

// many is a number of headers.
func many(headers int) string {
	var all []string
	for i := range headers {
		all = append(all, fmt.Sprintf(`"X-%d":"v"`, i))
	}
	return strings.Join(all, ",")
}

func TestWhatIsWrongWithAConfigurationIsToldByField(t *testing.T) {
	p := plugin(t, nil)
	for _, test := range configs {
		s, err := p.open(json.RawMessage("{" + test.config + "}"))
		if got := refusal(t, err); got != test.wrong || (s == nil) != (err != nil) {
			t.Errorf("%.200s: got %q, want %q", test.config, got, test.wrong)
		}
		if err != nil && strings.Contains(err.Error(), "s3c") {
			t.Errorf("%.200s: %v tells a secret", test.config, err)
		}
	}
	for config, want := range map[string]string{
		`[]`:                         ": expected an object, not array",
		`{"url":"http://h/"} {}`:     ": there is more than one JSON value",
		`{"url":"http://h/"`:         ": the JSON value ends too early",
		"{\"url\":\"http://h/\xff\"": ": expected JSON in UTF-8",
	} {
		if _, err := p.open(json.RawMessage(config)); refusal(t, err) != want {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

// TestOfSeveralWrongHeadersAlwaysTheSameIsTold does so often, because the order of a map is not always another.
func TestOfSeveralWrongHeadersAlwaysTheSameIsTold(t *testing.T) {
	p := plugin(t, nil)
	for range 100 {
		_, err := p.open(json.RawMessage(`{"url":"http://h/","headers":{"host":"x","X-A":"\n","X-B":"\n","te":"x","x-b":""}}`))
		if got := refusal(t, err); got != badValue("headers.X-A") {
			t.Fatalf("got %q", got)
		}
	}
}

func TestAConfigurationCannotSetWhatTheChannelSets(t *testing.T) {
	p := plugin(t, nil)
	for _, name := range []string{"Connection", "Content-Length", "content-type", "HOST", "Keep-Alive", "TE", "Trailer", "transfer-encoding", "Upgrade",
		"webhook-id", "Webhook-Signature", "webhook-Timestamp"} {
		_, err := p.open(json.RawMessage(`{"url":"http://h/","headers":{"` + name + `":"7"}}`))
		if got := refusal(t, err); got != "headers."+name+": expected no header that the channel sets itself" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestVariablesAreReadIfTheyMayBe(t *testing.T) {
	s, got := receiver(t, nil)
	env := map[string]string{"HOOK": s.URL + "/T0?k=" + `%22`, "TOKEN": `s3"cret${ENV:HOOK}`, "KEY": "whsec_" + b64(32), "OTHER": "s3cret", "LINES": "s3cret\n", "TEXT": "text", "NO_URL": "s3cret"}
	p := plugin(t, env, "-env-allow=HOOK,TOKEN,KEY,LINES,TEXT,NO_URL,UNSET")
	config := `{"url":"${ENV:HOOK}","format":"${ENV:TEXT}","token":"${ENV:TOKEN}","headers":{"X-Key":"$${a ${ENV:TEXT}"},"secret":"${ENV:KEY}"}`
	sender := open(t, p, config)
	if err := sender.Send(t.Context(), down); err != nil || sender.Destination() != s.URL {
		t.Errorf("%v, to %s", err, sender.Destination())
	}
	r := next(t, got)
	if r.uri != "/T0?k=%22" || r.header.Get("Authorization") != `Bearer s3"cret${ENV:HOOK}` || r.header.Get("X-Key") != "${a text" ||
		r.header.Get("Webhook-Signature") == "" || !strings.HasPrefix(r.body, `{"text":`) {
		t.Errorf("got %+v", r)
	}
	for config, want := range map[string]string{
		`{"url":"http://h/","token":"${ENV:OTHER}"}`:             "token: the variable OTHER is not one that configurations may refer to (-env-allow)",
		`{"url":"http://h/","headers":{"X-A":"a ${ENV:UNSET}"}}`: "headers.X-A: the variable UNSET is not set",
		`{"url":"http://h/","token":"${ENV:LINES}"}`:             badValue("token"),
		`{"url":"${ENV:NO_URL}"}`:                                badURL,
		`{"url":"http://h/","secret":"${ENV:TOKEN}"}`:            badSecret,
		`{"url":"http://${system.name}/"}`:                       "url: expected ${ENV:NAME}, not ${system.name}",
		`{"url":"http://h/","headers":{"${ENV:TEXT}":"v"}}`:      badName,
	} {
		_, err := p.open(json.RawMessage(config))
		if got := refusal(t, err); got != want || strings.Contains(got, "s3cret") {
			t.Errorf("%s: got %q, want %q", config, got, want)
		}
	}
}

// fits reports whether a value is as a JSON schema (2020-12) has it, as far as the schema of this plugin needs it.
func fits(t *testing.T, schema map[string]any, value any) bool {
	object, isObject := value.(map[string]any)
	text, isText := value.(string)
	limit := func(keyword string) int { n, _ := schema[keyword].(float64); return int(n) }
	for keyword, want := range schema {
		ok := true
		switch keyword {
		case "description", "default":
		case "type":
			ok = want == "object" && isObject || want == "string" && isText
		case "enum":
			ok = slices.Contains(want.([]any), value)
		case "required":
			for _, name := range want.([]any) {
				_, has := object[name.(string)]
				ok = ok && has
			}
		case "minLength":
			ok = utf8.RuneCountInString(text) >= limit(keyword)
		case "maxLength":
			ok = utf8.RuneCountInString(text) <= limit(keyword)
		case "maxProperties":
			ok = len(object) <= limit(keyword)
		case "propertyNames":
			for name := range object {
				ok = ok && fits(t, want.(map[string]any), name)
			}
		case "pattern":
			ok = regexp.MustCompile(want.(string)).MatchString(text)
		case "properties":
			for name, inner := range want.(map[string]any) {
				if part, has := object[name]; has {
					ok = ok && fits(t, inner.(map[string]any), part)
				}
			}
		case "additionalProperties":
			known, _ := schema["properties"].(map[string]any)
			inner, isSchema := want.(map[string]any)
			for name, part := range object {
				if _, is := known[name]; !is {
					ok = ok && isSchema && fits(t, inner, part)
				}
			}
		default:
			t.Fatalf("the keyword %s is not known", keyword)
		}
		if !ok {
			return false
		}
	}
	return true
}

// TestTheSchemaAgreesWithWhatIsAccepted: what is accepted fits the schema, and so does only what the schema cannot tell.
func TestTheSchemaAgreesWithWhatIsAccepted(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	for _, test := range configs {
		var value any
		if err := json.Unmarshal([]byte("{"+test.config+"}"), &value); err != nil {
			t.Fatalf("%s: %v", test.config, err)
		}
		if got := fits(t, s, value); got == test.schema {
			t.Errorf("%.200s fits the schema: %v; %q", test.config, got, test.wrong)
		}
	}
	known := s["properties"].(map[string]any)
	for _, name := range fields {
		if _, ok := known[name]; !ok {
			t.Errorf("the schema has no field %s", name)
		}
	}
	if n := reflect.TypeFor[config]().NumField(); len(known) != len(fields) || n != len(fields) {
		t.Errorf("the schema has %d fields, a configuration %d, and %d are known", len(known), n, len(fields))
	}
}

// FuzzConfig: what is accepted can be sent, by what net/http itself says of requests, and is what is sent.
func FuzzConfig(f *testing.F) {
	for _, c := range configs {
		if len(c.config) < 500 {
			f.Add([]byte("{" + c.config + "}"))
		}
	}
	dialled := errors.New("dialled")
	p := plugin(f, map[string]string{"A": "http://example.org/"}, "-env-allow=A")
	p.transport = newTransport(func(context.Context, string, string) (net.Conn, error) { return nil, dialled })
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := p.open(data)
		if err != nil {
			refusal(t, err)
			return
		}
		e := s.(*endpoint)
		if d := e.Destination(); !utf8.ValidString(d) || strings.ContainsFunc(d, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the destination is %q", d)
		}
		r, err := http.NewRequest("POST", e.url.String(), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = e.header.Clone()
		if _, err := e.transport.RoundTrip(r); !errors.Is(err, dialled) {
			t.Fatalf("it cannot be sent: %v", err)
		}
		var wire bytes.Buffer
		r, _ = http.NewRequest("POST", e.url.String(), strings.NewReader("{}"))
		r.Header = e.header.Clone()
		if err := r.Write(&wire); err != nil {
			t.Fatal(err)
		}
		read, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Fatalf("what is written is no request: %v", err)
		}
		read.Header.Del("Content-Length")
		want := e.header.Clone()
		if want.Get("User-Agent") == "" { // net/http leaves it out
			want.Del("User-Agent")
		}
		if read.RequestURI != e.url.RequestURI() || read.Host == "" || read.ContentLength != 2 || !reflect.DeepEqual(read.Header, want) {
			t.Errorf("got %s %s %v, want %s %v", read.Host, read.RequestURI, read.Header, e.url.RequestURI(), want)
		}
	})
}
