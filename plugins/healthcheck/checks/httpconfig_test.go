package checks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// httpParse makes a check of type http.
func httpParse(config string) (*httpCheck, []byte, error) {
	var made *httpCheck
	wire := newHTTPWire()
	kind := engine.New("http", nil, func() engine.Config {
		made = &httpCheck{Method: http.MethodGet, ExpectStatus: httpStatuses{{200, 299}}, FollowRedirects: true, MaxRedirects: 10, TLSVerify: true, wire: wire}
		return made
	})
	check, err := kind.Compile(json.RawMessage(config))
	if err != nil {
		return nil, nil, err
	}
	return made, check.Normal(), nil
}

func TestAConfigurationOfAnHTTPCheckNeedsOnlyAURL(t *testing.T) {
	check := httpCompile(t, HTTP(nil), `{"url":"https://example.org/health"}`)
	c, _, err := httpParse(`{"url":"https://example.org/health"}`)
	if err != nil || c.Method != "GET" || c.ExpectStatus.String() != "2xx" || !c.FollowRedirects || c.MaxRedirects != 10 || !c.TLSVerify {
		t.Errorf("got %+v, %v", c, err)
	}
	if check.Target() != "example.org:443" || string(check.Normal()) != `{"url":"https://example.org/health"}` {
		t.Errorf("the target is %q, the normal form %s", check.Target(), check.Normal())
	}
	const wire = "GET /health HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Checkstack\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n"
	if string(c.first.wire) != wire {
		t.Errorf("it sends %q", c.first.wire)
	}
}

func TestAConfigurationOfAnHTTPCheckIsTakenAsItIsWritten(t *testing.T) {
	c, _, err := httpParse(`{"url":"http://[::1]:8080/a?b=c","method":"POST","headers":{"X-Key":"k","Host":"example.org:81"},
		"body":"{}","expectStatus":[200,"3xx",404],"expectBody":"ok","followRedirects":false,"tlsVerify":false}`)
	if err != nil {
		t.Fatal(err)
	}
	const wire = "POST /a?b=c HTTP/1.1\r\nHost: example.org:81\r\nUser-Agent: Checkstack\r\nConnection: close\r\nContent-Length: 2\r\n" +
		"Accept-Encoding: gzip\r\nX-Key: k\r\n\r\n{}"
	if string(c.first.wire) != wire || c.Target() != "[::1]:8080" {
		t.Errorf("it sends %q to %s", c.first.wire, c.Target())
	}
	if c.ExpectStatus.String() != "200, 3xx, 404" || c.FollowRedirects || c.TLSVerify || c.ExpectBody != "ok" {
		t.Errorf("got %+v", c)
	}
}

func TestAHostIsLookedUpInASCII(t *testing.T) {
	for _, test := range []struct{ url, target string }{
		{"http://bücher.example/", "xn--bcher-kva.example:80"},
		{"https://bücher.example:444/", "xn--bcher-kva.example:444"},
		{"http://EXAMPLE.org/", "EXAMPLE.org:80"},
	} {
		if check := httpCompile(t, HTTP(nil), `{"url":"`+test.url+`"}`); check.Target() != test.target {
			t.Errorf("%s goes to %s, want %s", test.url, check.Target(), test.target)
		}
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
	const proxy = "expected the URL of a proxy such as http://proxy.example.org:3128, https:// or socks5://"
	const absolute = "expected an absolute URL such as https://example.org/health"
	const noField = "there is no such field; the fields are url, method, headers, body, auth, expectStatus, expectBody, followRedirects, maxRedirects, version, " +
		"ipVersion, tlsVerify, tls, proxy, proxyUsername, proxyPassword"
	for _, test := range []struct{ fields, field, message string }{
		{`"url":""`, "url", "expected a number of characters from 1 to 2000, not 0"},
		{`"url":null`, "url", "expected this field, but it is missing"},
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
		{`"url":"http://example.org/` + strings.Repeat("a", 2000) + `"`, "url", "expected a number of characters from 1 to 2000, not 2019"},
		{`"url":7`, "url", "expected a string, not number"},
		{`"method":""`, "method", "expected a number of characters from 1 to 20, not 0"},
		{`"method":"get"`, "method", "expected a method in capital letters, such as GET"},
		{`"method":"GET /"`, "method", "expected a method in capital letters, such as GET"},
		{`"method":"ABCDEFGHIJKLMNOPQRSTU"`, "method", "expected a number of characters from 1 to 20, not 21"},
		{`"method":"CONNECT"`, "method", "expected a method that gets an answer; CONNECT opens a tunnel"},
		{`"headers":["a"]`, "headers", "expected an object, not array"},
		{`"headers":{"X-A":7}`, "headers", "expected a string, not number"},
		{`"headers":{"":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"X A":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"X-Ä":"a"}`, "headers", "expected names of letters, digits and dashes, of at most 200 characters"},
		{`"headers":{"X-A":"a\r\nX-B: b"}`, "headers.X-A", "expected a value without line breaks and other control characters"},
		{`"headers":{"X-A":"` + strings.Repeat("ä", 2049) + `"}`, "headers.X-A", "expected a value of at most 4096 bytes, not 4098"},
		{`"headers":{"content-length":"7"}`, "headers.content-length", "expected a header that belongs to the request; this one belongs to the connection"},
		{`"headers":{"Transfer-Encoding":"chunked"}`, "headers.Transfer-Encoding", "expected a header that belongs to the request; this one belongs to the connection"},
		{`"headers":{"Host":"a/b"}`, "headers.Host", "expected a host, or a host and a port"},
		{`"headers":{` + many(51, func(i int) string { return `"X-` + strconv.Itoa(i) + `":""` }) + `}`, "headers", "expected a number of entries from 0 to 50, not 51"},
		{`"body":"` + strings.Repeat("a", 65537) + `"`, "body", "expected a number of characters from 0 to 65536, not 65537"},
		{`"body":"` + strings.Repeat("ä", 32769) + `"`, "body", "expected at most 65536 bytes, not 65538"},
		{`"body":"\u0000"`, "body", "expected a text without NUL characters"},
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
		{`"expectBody":"` + strings.Repeat("ä", 10001) + `"`, "expectBody", "expected a number of characters from 0 to 10000, not 10001"},
		{`"method":"HEAD","expectBody":"ok"`, "expectBody", "expected none with the method HEAD, whose answers have no body"},
		{`"followRedirects":"yes"`, "followRedirects", "expected true or false, not string"},
		{`"tlsVerify":0`, "tlsVerify", "expected true or false, not number"},
		{`"maxRedirects":51`, "maxRedirects", "expected a whole number from 0 to 50, not 51"},
		{`"version":"3"`, "version", "expected one of 1.1, 2, "},
		{`"ipVersion":"5"`, "ipVersion", "expected one of any, 4, 6"},
		{`"auth":{}`, "auth.type", "expected this field, but it is missing"},
		{`"auth":{"type":"digest"}`, "auth.type", "expected one of basic, bearer"},
		{`"auth":{"type":"basic","username":"a:b"}`, "auth.username", "expected a user name without a colon"},
		{`"auth":{"type":"basic","password":"b"}`, "auth.username", "expected a user name without a colon"},
		{`"auth":{"type":"basic","username":"a","token":"b"}`, "auth.token", "expected none with the type basic"},
		{`"auth":{"type":"bearer"}`, "auth.token", "expected a token without spaces and special characters"},
		{`"auth":{"type":"bearer","token":"a\r\nb"}`, "auth.token", "expected a token without spaces and special characters"},
		{`"auth":{"type":"bearer","token":"a","password":"b"}`, "auth.username", "expected neither user name nor password with the type bearer"},
		{`"auth":{"type":"bearer","token":"a"},"headers":{"authorization":"b"}`, "auth", "expected either this or the header Authorization"},
		{`"tls":{"ca":"x"}`, "tls.ca", "expected certificates in PEM"},
		{`"tls":{"certificate":"x"}`, "tls.key", "expected a certificate and its key, or neither"},
		{`"proxy":"ftp://a"`, "proxy", proxy},
		{`"proxy":"proxy.example:3128"`, "proxy", proxy},
		{`"proxy":"http://a/b"`, "proxy", proxy},
		{`"proxy":"http://a:0"`, "proxy", proxy},
		{`"proxy":"http://a:b@c"`, "proxy", "expected a URL without user name and password; proxyUsername and proxyPassword are for them"},
		{`"proxyPassword":"a"`, "proxy", "expected a proxy for the user name and the password"},
		{`"proxy":"http://a","proxyPassword":"a"`, "proxyUsername", "expected a user name for the password"},
		{`"timeout":5`, "timeout", noField},
		{`"URL":"http://example.org"`, "URL", noField},
		{`"url":"ftp://example.org","URL":"http://example.org"`, "URL", noField},
		{`"tl\u017fVerify":false`, "tlſVerify", noField}, // a letter that folds to s
		{`"Method":7`, "Method", noField},
		{`"url":"ftp://example.org","url":"http://example.org"`, "url", "expected this field once"},
		{`"method":"GET","method":null`, "method", "expected this field once"},
	} {
		config := "{" + test.fields + "}"
		if !strings.HasPrefix(test.fields, `"url"`) {
			config = `{"url":"http://example.org",` + test.fields + "}"
		}
		_, _, err := httpParse(config)
		e, ok := errors.AsType[*plugins.Error](err)
		if !ok || e.Status != http.StatusBadRequest || e.Field != test.field || e.Message != test.message {
			t.Errorf("%.100s: got %#v; want field %q: %s", test.fields, err, test.field, test.message)
		}
	}
	_, _, err := httpParse(`{"url":"http://example.org","headers":{"X-A":"1","x-a":"2"}}`)
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
		{`{"expectStatus":["2xx",200,"5xx"],"tlsVerify":false,"headers":{"X-A":"2"},"url":"http://a"}`,
			`{"expectStatus":["2xx",200,"5xx"],"headers":{"X-A":"2"},"tlsVerify":false,"url":"http://a"}`},
		{`{"url":"http://a","expectBody":"\ud800"}`, `{"expectBody":"�","url":"http://a"}`}, // half a character, which no database takes
	} {
		if _, got, err := httpParse(test.config); err != nil || string(got) != test.want {
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
		c, normal, err := httpParse(string(data))
		if err != nil {
			if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != http.StatusBadRequest || e.Message == "" {
				t.Fatalf("not an error a caller could use: %#v", err)
			}
			return
		}
		again, same, err := httpParse(string(normal))
		if err != nil || !bytes.Equal(same, normal) {
			t.Fatalf("the normal form of %s is %s, %v", normal, same, err)
		}
		if !bytes.Equal(again.first.wire, c.first.wire) || again.first.address != c.first.address || again.ExpectStatus.String() != c.ExpectStatus.String() {
			t.Fatalf("%s sends %q to %s; it was %q to %s", normal, again.first.wire, again.first.address, c.first.wire, c.first.address)
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.first.wire)))
		if err != nil {
			t.Fatalf("accepted, but sends %q: %v", c.first.wire, err)
		}
		if body, err := io.ReadAll(req.Body); err != nil || string(body) != c.Body || req.Method != c.Method {
			t.Fatalf("accepted, but sends %s %q, %v", req.Method, body, err)
		}
		if len(c.ExpectStatus) == 0 || len(c.ExpectStatus) > maxHTTPStatuses || len(c.Body) > maxHTTPRequestBody || len(c.Headers) > 50 {
			t.Fatalf("accepted beyond its limits: %+v", c)
		}
		for _, r := range c.ExpectStatus {
			if r.low < 100 || r.high > 599 || r.low > r.high {
				t.Fatalf("accepted the codes %d to %d", r.low, r.high)
			}
		}
	})
}

func FuzzHTTPStatuses(f *testing.F) {
	for _, seed := range []string{`[200]`, `["2xx",404]`, `[]`, `null`, `["6xx"]`, `[99]`, `[1e2]`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, again httpStatuses
		if e.UnmarshalJSON(data) != nil || e == nil {
			return
		}
		written, err := e.MarshalJSON()
		if err != nil || again.UnmarshalJSON(written) != nil || again.String() != e.String() {
			t.Fatalf("%s is %v, and written as %s is %v, %v", data, e, written, again, err)
		}
		for code := range 700 {
			if e.has(code) != again.has(code) || e.has(code) && (code < 100 || code > 599) {
				t.Fatalf("%s has %d: %t", data, code, e.has(code))
			}
		}
	})
}
