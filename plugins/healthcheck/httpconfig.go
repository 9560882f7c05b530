// What the configuration of an http check may say. Everything a request could stumble over is refused here, with the field
// and what was expected, so that a run can only fail because of the system it looks at:
//
//	{"url": "https://example.org/health", "method": "POST", "headers": {"Authorization": "Bearer …"}, "body": "{}",
//	 "expectStatus": [200, "3xx"], "expectBody": "\"ok\":true", "followRedirects": false, "tlsVerify": true}
//
// Only url is required. A field has one name, whose case counts, and is given once. What is stored is written anew from what
// was understood: the fields that were given, without those that are null.

package healthcheck

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"checkstack/plugins"
)

// The limits of an http configuration.
const (
	maxURL          = 2000     // characters
	maxHeaders      = 50       // number
	maxHeaderName   = 200      // bytes
	maxHeaderValue  = 4096     // bytes
	maxRequestBody  = 64 << 10 // bytes
	maxExpectStatus = 50       // entries
	maxExpectBody   = 10_000   // characters
)

// httpConfig is a configuration of type http as it is written in the API.
type httpConfig struct {
	URL             string            `json:"url"`
	Method          string            `json:"method"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	ExpectStatus    expectedStatus    `json:"expectStatus"`
	ExpectBody      string            `json:"expectBody"`
	FollowRedirects bool              `json:"followRedirects"`
	TLSVerify       bool              `json:"tlsVerify"`
}

// parseHTTPConfig reads and checks a configuration. What is absent or null gets its default: GET, 2xx, follow redirects, verify
// certificates.
func parseHTTPConfig(data json.RawMessage) (httpConfig, error) {
	c := httpConfig{Method: http.MethodGet, ExpectStatus: expectedStatus{{200, 299}}, FollowRedirects: true, TLSVerify: true}
	if err := exactFields(data, reflect.TypeFor[httpConfig]()); err != nil {
		return httpConfig{}, err
	}
	if err := plugins.Decode(data, &c); err != nil {
		return httpConfig{}, err
	}
	for _, check := range []func() error{c.checkURL, c.checkMethod, c.checkHeaders, c.checkTexts} {
		if err := check(); err != nil {
			return httpConfig{}, err
		}
	}
	return c, nil
}

// exactFields refuses what encoding/json lets through: a field of an object whose name differs from that of the type's field
// in case, and one that is given twice. Whatever else is wrong with data is left to [plugins.Decode].
func exactFields(data json.RawMessage, t reflect.Type) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	seen := make(map[string]bool, t.NumField())
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil
		}
		for field := range t.Fields() {
			switch known := field.Tag.Get("json"); {
			case name != known && strings.EqualFold(name, known):
				return plugins.Invalid(name, "there is no such field")
			case name == known && seen[name]:
				return plugins.Invalid(name, "expected this field once")
			}
		}
		seen[name] = true
	}
	return nil
}

// normal writes what c says of the fields that are given. What is absent or null stays so, and so keeps to the default.
func (c *httpConfig) normal(given json.RawMessage) (json.RawMessage, error) {
	var fields, asked map[string]json.RawMessage
	data, err := json.Marshal(c)
	if err == nil {
		err = errors.Join(json.Unmarshal(data, &fields), json.Unmarshal(given, &asked))
	}
	if err != nil {
		return nil, fmt.Errorf("write a config: %w", err)
	}
	maps.DeleteFunc(fields, func(name string, _ json.RawMessage) bool {
		return asked[name] == nil || string(asked[name]) == "null"
	})
	return json.Marshal(fields)
}

func (c *httpConfig) checkURL() error {
	const expected = "expected an absolute URL such as https://example.org/health"
	if err := plugins.Text("url", c.URL, maxURL); err != nil {
		return err
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Opaque != "", u.Hostname() == "":
		return plugins.Invalid("url", expected)
	case u.User != nil: // a URL is shown in more places than a header is
		return plugins.Invalid("url", "expected a URL without user name and password; the header Authorization can carry them")
	case strings.ContainsFunc(u.Host, unicode.IsSpace):
		return plugins.Invalid("url", expected)
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return plugins.Invalid("url", "expected a port from 1 to 65535")
		}
	}
	return nil
}

func (c *httpConfig) checkMethod() error {
	capitals := func(r rune) bool { return r >= 'A' && r <= 'Z' || r == '-' }
	switch {
	case c.Method == "" || len(c.Method) > 20 || strings.ContainsFunc(c.Method, func(r rune) bool { return !capitals(r) }):
		return plugins.Invalid("method", "expected a method in capital letters, such as GET")
	case c.Method == http.MethodConnect:
		return plugins.Invalid("method", "expected a method that gets an answer; CONNECT opens a tunnel")
	}
	return nil
}

func (c *httpConfig) checkHeaders() error {
	if len(c.Headers) > maxHeaders {
		return plugins.Invalid("headers", "expected at most %d headers, not %d", maxHeaders, len(c.Headers))
	}
	seen := make(map[string]bool, len(c.Headers))
	for name, value := range c.Headers {
		if name == "" || len(name) > maxHeaderName || strings.ContainsFunc(name, notToken) {
			return plugins.Invalid("headers", "expected names of letters, digits and dashes, of at most %d characters", maxHeaderName)
		}
		field := "headers." + name
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch canonical {
		case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			return plugins.Invalid(field, "expected a header that belongs to the request; this one belongs to the connection")
		case "Host":
			if u, err := url.Parse("http://" + value); err != nil || u.Host != value || u.Hostname() == "" {
				return plugins.Invalid(field, "expected a host, or a host and a port")
			}
		}
		if seen[canonical] {
			return plugins.Invalid(field, "expected each header once; case does not distinguish them")
		}
		seen[canonical] = true
		if len(value) > maxHeaderValue {
			return plugins.Invalid(field, "expected a value of at most %d bytes, not %d", maxHeaderValue, len(value))
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return plugins.Invalid(field, "expected a value without line breaks and other control characters")
		}
	}
	return nil
}

func (c *httpConfig) checkTexts() error {
	if len(c.Body) > maxRequestBody {
		return plugins.Invalid("body", "expected at most %d bytes, not %d", maxRequestBody, len(c.Body))
	}
	if err := plugins.Text("body", c.Body, maxRequestBody); err != nil {
		return err
	}
	if err := plugins.Text("expectBody", c.ExpectBody, maxExpectBody); err != nil {
		return err
	}
	if c.ExpectBody != "" && c.Method == http.MethodHead {
		return plugins.Invalid("expectBody", "expected none with the method HEAD, whose answers have no body")
	}
	return nil
}

// request makes the request that the configuration describes.
func (c *httpConfig) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, c.Method, c.URL, strings.NewReader(c.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "Checkstack")
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	req.Host = cmp.Or(req.Header.Get("Host"), req.Host) // net/http does not look for it among the headers
	return req, nil
}

// notToken tells what may not be in a header's name (RFC 9110, section 5.6.2).
func notToken(r rune) bool {
	alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// expectedStatus is the ranges of status codes that count as healthy.
type expectedStatus []struct{ low, high int }

// UnmarshalJSON reads an array of codes, 100 to 599, and classes, "1xx" to "5xx".
func (e *expectedStatus) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // as if it were absent
	}
	expected := plugins.Invalid("expectStatus", `expected an array of 1 to %d codes from 100 to 599 or classes such as "2xx"`, maxExpectStatus)
	var entries []json.RawMessage
	if json.Unmarshal(data, &entries) != nil || len(entries) == 0 || len(entries) > maxExpectStatus {
		return expected
	}
	ranges := make(expectedStatus, len(entries))
	for i, entry := range entries {
		if text := string(entry); len(text) == 5 && text[1] >= '1' && text[1] <= '5' && text[0] == '"' && text[2:] == `xx"` {
			ranges[i].low = int(text[1]-'0') * 100
			ranges[i].high = ranges[i].low + 99
			continue
		}
		code, err := strconv.Atoi(string(entry))
		if err != nil || code < 100 || code > 599 {
			return expected
		}
		ranges[i].low, ranges[i].high = code, code
	}
	*e = ranges
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (e expectedStatus) MarshalJSON() ([]byte, error) {
	entries := make([]any, len(e))
	for i, r := range e {
		if entries[i] = r.low; r.low != r.high {
			entries[i] = fmt.Sprintf("%dxx", r.low/100)
		}
	}
	return json.Marshal(entries)
}

func (e expectedStatus) has(code int) bool {
	for _, r := range e {
		if r.low <= code && code <= r.high {
			return true
		}
	}
	return false
}

// String lists what is expected as a person would: "200, 3xx".
func (e expectedStatus) String() string {
	var b strings.Builder
	for i, r := range e {
		if i > 0 {
			b.WriteString(", ")
		}
		if r.low == r.high {
			b.WriteString(strconv.Itoa(r.low))
		} else {
			b.WriteString(strconv.Itoa(r.low/100) + "xx")
		}
	}
	return b.String()
}
