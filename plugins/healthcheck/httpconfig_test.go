package healthcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"checkstack/plugins"
)

func TestAConfigurationOfAnHTTPCheckNeedsOnlyAURL(t *testing.T) {
	got, err := parseHTTPConfig(json.RawMessage(`{"url":"https://example.org/health"}`))
	want := httpConfig{URL: "https://example.org/health", Method: "GET", ExpectStatus: expectedStatus{{200, 299}},
		FollowRedirects: true, TLSVerify: true}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestAConfigurationOfAnHTTPCheckIsTakenAsItIsWritten(t *testing.T) {
	got, err := parseHTTPConfig(json.RawMessage(`{"url":"http://[::1]:8080/a?b=c","method":"POST","headers":{"X-Key":"k","Host":"example.org:81"},
		"body":"{}","expectStatus":[200,"3xx",404],"expectBody":"ok","followRedirects":false,"tlsVerify":false}`))
	want := httpConfig{URL: "http://[::1]:8080/a?b=c", Method: "POST", Headers: map[string]string{"X-Key": "k", "Host": "example.org:81"},
		Body: "{}", ExpectStatus: expectedStatus{{200, 200}, {300, 399}, {404, 404}}, ExpectBody: "ok"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	if got.ExpectStatus.String() != "200, 3xx, 404" {
		t.Errorf("the expected codes are written %q", got.ExpectStatus)
	}
}

func TestEveryBadFieldOfAnHTTPCheckIsRefusedByName(t *testing.T) {
	many := func(n int, entry func(i int) string) string {
		entries := make([]string, n)
		for i := range entries {
			entries[i] = entry(i)
		}
		return strings.Join(entries, ",")
	}
	const status = `expected an array of 1 to 50 codes from 100 to 599 or classes such as "2xx"`
	const absolute = "expected an absolute URL such as https://example.org/health"
	for _, test := range []struct{ fields, field, message string }{
		{`"url":""`, "url", absolute},
		{`"url":null`, "url", absolute},
		{`"url":"/health"`, "url", absolute},
		{`"url":"example.org"`, "url", absolute},
		{`"url":"ftp://example.org"`, "url", absolute},
		{`"url":"http:example.org"`, "url", absolute},
		{`"url":"http://"`, "url", absolute},
		{`"url":"http://:80/"`, "url", absolute},
		{`"url":"http://exam ple.org/"`, "url", absolute},
		{`"url":"http://example.org/\n"`, "url", absolute},
		{`"url":"http://[::1/"`, "url", absolute},
		{`"url":"http://example.org:0/"`, "url", "expected a port from 1 to 65535"},
		{`"url":"http://example.org:65536/"`, "url", "expected a port from 1 to 65535"},
		{`"url":"http://example.org:/"`, "url", "expected a port from 1 to 65535"},
		{`"url":"http://user:secret@example.org/"`, "url", "expected a URL without user name and password; the header Authorization can carry them"},
		{`"url":"http://example.org/` + strings.Repeat("a", 2000) + `"`, "url", "expected a text of at most 2000 characters, not 2019"},
		{`"url":7`, "url", "expected a string, not number"},
		{`"method":""`, "method", "expected a method in capital letters, such as GET"},
		{`"method":"get"`, "method", "expected a method in capital letters, such as GET"},
		{`"method":"GET /"`, "method", "expected a method in capital letters, such as GET"},
		{`"method":"ABCDEFGHIJKLMNOPQRSTU"`, "method", "expected a method in capital letters, such as GET"},
		{`"method":"CONNECT"`, "method", "expected a method that gets an answer; CONNECT opens a tunnel"},
		{`"headers":["a"]`, "headers", "expected an object, not array"},
		{`"headers":{"X-A":7}`, "headers", "expected a string, not number"},
		{`"headers":{"":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"X A":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"X-Ä":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"` + strings.Repeat("a", 201) + `":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"X-A":"a\r\nX-B: b"}`, "headers.X-A", "expected a value without line breaks and other control characters"},
		{`"headers":{"X-A":"` + strings.Repeat("a", 4097) + `"}`, "headers.X-A", "expected a value of at most 4096 bytes, not 4097"},
		{`"headers":{"content-length":"7"}`, "headers.content-length", "expected a header that belongs to the request; this one belongs to the connection"},
		{`"headers":{"Transfer-Encoding":"chunked"}`, "headers.Transfer-Encoding", "expected a header that belongs to the request; this one belongs to the connection"},
		{`"headers":{"Host":"a/b"}`, "headers.Host", "expected a host, or a host and a port"},
		{`"headers":{` + many(51, func(i int) string { return `"X-` + strconv.Itoa(i) + `":""` }) + `}`, "headers", "expected at most 50 headers, not 51"},
		{`"body":"` + strings.Repeat("a", 65537) + `"`, "body", "expected at most 65536 bytes, not 65537"},
		{`"body":"\u0000"`, "body", "expected a text without the character U+0000"},
		{`"expectStatus":[]`, "expectStatus", status},
		{`"expectStatus":200`, "expectStatus", status},
		{`"expectStatus":[99]`, "expectStatus", status},
		{`"expectStatus":[600]`, "expectStatus", status},
		{`"expectStatus":[200.5]`, "expectStatus", status},
		{`"expectStatus":["200"]`, "expectStatus", status},
		{`"expectStatus":["0xx"]`, "expectStatus", status},
		{`"expectStatus":["6xx"]`, "expectStatus", status},
		{`"expectStatus":["2XX"]`, "expectStatus", status},
		{`"expectStatus":[null]`, "expectStatus", status},
		{`"expectStatus":[` + many(51, func(int) string { return "200" }) + `]`, "expectStatus", status},
		{`"expectBody":"` + strings.Repeat("ä", 10001) + `"`, "expectBody", "expected a text of at most 10000 characters, not 10001"},
		{`"method":"HEAD","expectBody":"ok"`, "expectBody", "expected none with the method HEAD, whose answers have no body"},
		{`"followRedirects":"yes"`, "followRedirects", "expected true or false, not string"},
		{`"tlsVerify":0`, "tlsVerify", "expected true or false, not number"},
		{`"timeout":5`, "timeout", "there is no such field"},
		{`"URL":"http://example.org"`, "URL", "there is no such field"},
		{`"url":"ftp://example.org","URL":"http://example.org"`, "URL", "there is no such field"},
		{`"tl\u017fVerify":false`, "tlſVerify", "there is no such field"}, // a letter that folds to s
		{`"Method":7`, "Method", "there is no such field"},
		{`"url":"ftp://example.org","url":"http://example.org"`, "url", "expected this field once"},
		{`"method":"GET","method":null`, "method", "expected this field once"},
	} {
		config := "{" + test.fields + "}"
		if !strings.HasPrefix(test.fields, `"url"`) {
			config = `{"url":"http://example.org",` + test.fields + "}"
		}
		_, err := parseHTTPConfig(json.RawMessage(config))
		e, ok := errors.AsType[*plugins.Error](err)
		if !ok || e.Status != http.StatusBadRequest || e.Field != test.field || e.Message != test.message {
			t.Errorf("%.100s: got %#v; want field %q: %s", test.fields, err, test.field, test.message)
		}
	}
	_, err := parseHTTPConfig(json.RawMessage(`{"url":"http://example.org","headers":{"X-A":"1","x-a":"2"}}`))
	if e, ok := errors.AsType[*plugins.Error](err); !ok || !strings.EqualFold(e.Field, "headers.x-a") {
		t.Errorf("a header given twice: %v", err)
	}
}

func TestTheNormalFormOfAnHTTPCheckIsWhatWasUnderstood(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{"url":"http://a"}`, `{"url":"http://a"}`},
		{` { "url" : "http:\/\/\u0061" , "method":null, "headers":null, "expectStatus":null, "tlsVerify":null } `, `{"url":"http://a"}`},
		{`{"url":"http://a","method":"GET","body":"","headers":{},"followRedirects":true}`,
			`{"body":"","followRedirects":true,"headers":{},"method":"GET","url":"http://a"}`},
		{`{"expectStatus":["2xx",200,"5xx"],"tlsVerify":false,"headers":{"X-A":"1","X-A":"2"},"url":"http://a"}`,
			`{"expectStatus":["2xx",200,"5xx"],"headers":{"X-A":"2"},"tlsVerify":false,"url":"http://a"}`},
		{`{"url":"http://a","expectBody":"\ud800"}`, `{"expectBody":"�","url":"http://a"}`}, // half a character, which no database takes
	} {
		if got, err := newHTTPCheck().Validate(json.RawMessage(test.config)); err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.config, got, err, test.want)
		}
	}
}

// FuzzHTTPConfig: whatever is accepted makes a request that can be sent, keeps to the limits, and means the same in its
// normal form, which is accepted and its own normal form.
func FuzzHTTPConfig(f *testing.F) {
	for _, seed := range []string{
		`{"url":"https://example.org/health"}`,
		`{"url":"http://[::1]:80/?q#f","method":"POST","headers":{"Host":"a:1","X-Y":"z"},"body":"{}","expectStatus":[200,"3xx"],"expectBody":"a"}`,
		`{"url":"http://a.example","headers":{"x":"\t"},"method":"A-B","tlsVerify":false,"followRedirects":false}`,
		`{"url":"http://ä.example/ü"}`, `{"url":"http://a","URL":"http://b"}`, `{"url":"http://a","headers":null,"body":"<\u2028"}`, `{"url":"http://a%41/"}`, `null`, `[]`, `{"expectStatus":["2xx"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseHTTPConfig(data)
		if err != nil {
			if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != http.StatusBadRequest || e.Message == "" {
				t.Fatalf("not an error a caller could use: %#v", err)
			}
			return
		}
		normal, err := c.normal(data)
		if err != nil {
			t.Fatalf("accepted, but has no normal form: %v", err)
		}
		if again, err := parseHTTPConfig(normal); err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%s is %+v, %v; it was %+v", normal, again, err, c)
		}
		if again, err := newHTTPCheck().Validate(normal); err != nil || !bytes.Equal(again, normal) {
			t.Fatalf("the normal form of %s is %s, %v", normal, again, err)
		}
		req, err := c.request(t.Context())
		if err != nil {
			t.Fatalf("accepted, but makes no request: %v", err)
		}
		if err := req.Write(io.Discard); err != nil {
			t.Fatalf("accepted, but cannot be sent: %v", err)
		}
		if len(c.ExpectStatus) == 0 || len(c.ExpectStatus) > maxExpectStatus || len(c.Body) > maxRequestBody || len(c.Headers) > maxHeaders {
			t.Fatalf("accepted beyond its limits: %+v", c)
		}
		for _, r := range c.ExpectStatus {
			if r.low < 100 || r.high > 599 || r.low > r.high {
				t.Fatalf("accepted the codes %d to %d", r.low, r.high)
			}
		}
	})
}
