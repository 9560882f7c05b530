package webhook

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins/notification"
)

func TestAReceiverGetsTheMessageAsJSON(t *testing.T) {
	s, got := receiver(t, nil)
	before := time.Now().Unix()
	if err := open(t, plugin(t, nil), `{"url":"`+s.URL+`/hooks/T0?key=a%2Fb&x="}`).Send(t.Context(), down); err != nil {
		t.Fatal(err)
	}
	r := next(t, got)
	const body = `{"id":"5b2f0c9e-3f0a-4c55-9a51-6a3d0e6b7c11","spec":"healthcheck.system","severity":"critical",` +
		`"title":"Till \"1\" \u003cmain\u003e \u0026 more is unhealthy","message":"It was healthy.\nIt is not.",` +
		`"resource":{"type":"catalog.system","id":"0b6e","name":"Shöp 🛒"},"data":{"to":"unhealthy"},"createdAt":"2026-01-31T23:59:59.123456Z"}`
	if r.method != "POST" || r.uri != "/hooks/T0?key=a%2Fb&x=" || r.host != s.Listener.Addr().String() || r.body != body {
		t.Errorf("got %s %s %s\n%s\nwant\n%s", r.method, r.uri, r.host, r.body, body)
	}
	stamp := r.header.Get("Webhook-Timestamp")
	if n, err := strconv.ParseInt(stamp, 10, 64); err != nil || n < before || n > time.Now().Unix() {
		t.Errorf("the timestamp is %q", stamp)
	}
	want := http.Header{"Connection": {"close"}, "Content-Length": {strconv.Itoa(len(body))}, "Content-Type": {"application/json"},
		"User-Agent": {"Checkstack"}, "Webhook-Id": {down.ID}, "Webhook-Timestamp": {stamp}}
	if !reflect.DeepEqual(r.header, want) {
		t.Errorf("got %v, want %v", r.header, want)
	}
}

func TestWhatIsConfiguredIsSent(t *testing.T) {
	s, got := receiver(t, nil)
	twenty := strings.TrimSuffix(strings.Repeat(`"X-%d":"v",`, 20), ",")
	var numbers []any
	for i := range 20 {
		numbers = append(numbers, i)
	}
	for _, test := range []struct{ config, uri, header, value string }{
		{`"url":"$","token":"s3cret"`, "/", "Authorization", "Bearer s3cret"},
		{`"url":"$","token":""`, "/", "Authorization", ""},
		{`"url":"$","headers":{"authorization":"Basic eDp5"}`, "/", "Authorization", "Basic eDp5"},
		{`"url":"http://Jos%C3%A9:p%3Aw%0D%0A@` + s.Listener.Addr().String() + `/a"`, "/a", "Authorization",
			"Basic " + base64.StdEncoding.EncodeToString([]byte("José:p:w\r\n"))},
		{`"url":"http://key@` + s.Listener.Addr().String() + `/a"`, "/a", "Authorization", "Basic a2V5Og=="},
		{`"url":"$/a b/ü%0d%0aX-A:b?q=%20"`, "/a%20b/%C3%BC%0D%0AX-A:b?q=%20", "X-A", ""},
		{`"url":"$/%2e%2e//x/../y#"`, "/%2e%2e//x/../y", "X-A", ""},
		{`"url":"$","headers":{"x-API-key":"a\tb c","user-agent":"me"}`, "/", "X-Api-Key", "a\tb c"},
		{`"url":"$","headers":{"user-agent":"me"}`, "/", "User-Agent", "me"},
		{`"url":"$","headers":{"X-Empty":""}`, "/", "X-Empty", ""},
		{`"url":"$","headers":{"expect":"100-continue"}`, "/", "Expect", "100-continue"},
		{`"url":"$","headers":{"X-A!#%&'*+.^_|~` + "`" + `":"` + strings.Repeat("v", 4000) + `"}`, "/", "X-A!#%&'*+.^_|~`", strings.Repeat("v", 4000)},
		{`"url":"$","headers":{` + fmt.Sprintf(twenty, numbers...) + `}`, "/", "X-19", "v"},
	} {
		if err := open(t, plugin(t, nil), "{"+strings.ReplaceAll(test.config, "$", s.URL)+"}").Send(t.Context(), down); err != nil {
			t.Errorf("%s: %v", test.config, err)
			continue
		}
		if r := next(t, got); r.uri != test.uri || r.header.Get(test.header) != test.value {
			t.Errorf("%s: got %s %v", test.config, r.uri, r.header)
		}
	}
}

func TestTheTextIsForPeople(t *testing.T) {
	s, got := receiver(t, nil)
	for _, test := range []struct {
		severity             notification.Severity
		name, title, message string
		want                 string
	}{
		{notification.Critical, "Shop", "Front page is unhealthy", "It was healthy.", `{"text":"🔴 Shop: Front page is unhealthy\nIt was healthy."}`},
		{notification.Critical, "", "Front page is unhealthy", "It was healthy.", `{"text":"🔴 Front page is unhealthy\nIt was healthy."}`},
		{notification.Warning, "Shop", "Front page is degraded", "", `{"text":"🟠 Shop: Front page is degraded"}`},
		{notification.Info, "", "Test of the channel Chat", "", `{"text":"🔵 Test of the channel Chat"}`},
		{notification.Recovered, "Shöp \"1\"", "a < b & c > d", "one\ntwo\\", `{"text":"🟢 Shöp \"1\": a \u003c b \u0026 c \u003e d\none\ntwo\\"}`},
	} {
		m := down
		m.Severity, m.Resource.Name, m.Title, m.Message = test.severity, test.name, test.title, test.message
		if err := open(t, plugin(t, nil), `{"url":"`+s.URL+`","format":"text"}`).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		r := next(t, got)
		if r.body != test.want || r.header.Get("Content-Type") != "application/json" || r.header.Get("Webhook-Id") != down.ID {
			t.Errorf("got %s %v, want %s", r.body, r.header, test.want)
		}
	}
}

// TestASignatureIsThatOfStandardWebhooks has what the libraries of Standard Webhooks are tested with.
func TestASignatureIsThatOfStandardWebhooks(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	e := open(t, plugin(t, nil), `{"url":"http://example.org","secret":"`+secret+`"}`).(*endpoint)
	got := sign(e.key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// genuine reports whether a request is from whoever has the secret, and was sent in the last five minutes.
func genuine(secret string, header http.Header, body []byte, now time.Time) bool {
	id, stamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	seconds, notNumber := strconv.ParseInt(stamp, 10, 64)
	if err != nil || notNumber != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	signature := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(signature), []byte(header.Get("Webhook-Signature")))
}

// TestAReceiverCanVerifyWhatItGets does so as the README says.
func TestAReceiverCanVerifyWhatItGets(t *testing.T) {
	var texts [2]string
	for i, name := range []string{"webhook_test.go", "README.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	_, function, _ := strings.Cut(texts[0], "\n// genuine ")
	function, _, _ = strings.Cut(function, "\n}\n")
	if !strings.Contains(texts[1], "\n```go\n// genuine "+function+"\n}\n```\n") {
		t.Errorf("README.md does not have\n// genuine %s\n}", function)
	}
	s, got := receiver(t, nil)
	for _, key := range []string{strings.Repeat("k", 24), strings.Repeat("\xff\x00", 32)} {
		secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
		for _, format := range []string{"message", "text"} {
			if err := open(t, plugin(t, nil), `{"url":"`+s.URL+`","secret":"`+secret+`","format":"`+format+`"}`).Send(t.Context(), down); err != nil {
				t.Fatal(err)
			}
			r, now := next(t, got), time.Now()
			if !genuine(secret, r.header, []byte(r.body), now) || len(r.header.Values("Webhook-Signature")) != 1 {
				t.Errorf("%s: got %v", format, r.header)
			}
			if genuine(secret, r.header, []byte(r.body+" "), now) || genuine("whsec_"+b64(24), r.header, []byte(r.body), now) ||
				genuine(secret, r.header, []byte(r.body), now.Add(time.Hour)) {
				t.Errorf("%s: what is not genuine is", format)
			}
		}
	}
}

// pipe has do speak with everybody to whom the plugin connects, without a network, so that it may be in a bubble of synctest: all that
// goes on there must have ended when the test ends.
func pipe(t testing.TB, do func(net.Conn)) *Webhook {
	p := plugin(t, nil)
	p.transport = newTransport(func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go do(theirs)
		return ours, nil
	})
	return p
}

// answers reads a request and answers it.
func answers(got chan<- http.Header, answer string) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if got != nil {
			got <- r.Header
		}
		fmt.Fprint(c, answer)
		c.Read(make([]byte, 1)) // until the other side closes it
	}
}

func TestEveryTryHasTheSameIDAndATimeOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan http.Header, 3)
		s := open(t, pipe(t, answers(got, "HTTP/1.1 204 No Content\r\n\r\n")), `{"url":"http://example.org","secret":"whsec_`+strings.Repeat("A", 32)+`"}`)
		signatures := make(map[string]bool)
		for _, try := range []struct {
			after time.Duration
			stamp string
		}{{0, "946684800"}, {5 * time.Second, "946684805"}, {time.Hour, "946688405"}} {
			<-time.After(try.after)
			if err := s.Send(t.Context(), down); err != nil {
				t.Fatal(err)
			}
			h := <-got
			signatures[h.Get("Webhook-Signature")] = true
			if h.Get("Webhook-Id") != down.ID || h.Get("Webhook-Timestamp") != try.stamp {
				t.Errorf("got %v, want the time %s", h, try.stamp)
			}
		}
		if len(signatures) != 3 {
			t.Errorf("got the signatures %v", signatures)
		}
	})
}

func TestAnAnswerIsUnderstoodByItsStatus(t *testing.T) {
	answer := make(chan int, 1)
	s, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(<-answer)
	})
	sender := open(t, plugin(t, nil), `{"url":"`+s.URL+`"}`)
	for _, test := range []struct {
		status  int
		refused bool
		said    string
	}{
		{200, false, ""}, {201, false, ""}, {202, false, ""}, {204, false, ""}, {226, false, ""}, {299, false, ""},
		{300, false, "the receiver answered 300 Multiple Choices, and redirects are not followed"},
		{302, false, "the receiver answered 302 Found, and redirects are not followed"},
		{304, false, "the receiver answered 304 Not Modified, and redirects are not followed"},
		{308, false, "the receiver answered 308 Permanent Redirect, and redirects are not followed"},
		{399, false, "the receiver answered 399, and redirects are not followed"},
		{400, true, "the receiver answered 400 Bad Request"},
		{401, false, "the receiver answered 401 Unauthorized"},
		{403, false, "the receiver answered 403 Forbidden"},
		{404, false, "the receiver answered 404 Not Found"},
		{405, false, "the receiver answered 405 Method Not Allowed"},
		{408, false, "the receiver answered 408 Request Timeout"},
		{409, false, "the receiver answered 409 Conflict"},
		{410, false, "the receiver answered 410 Gone"},
		{413, true, "the receiver answered 413 Request Entity Too Large"},
		{415, false, "the receiver answered 415 Unsupported Media Type"},
		{422, true, "the receiver answered 422 Unprocessable Entity"},
		{429, false, "the receiver answered 429 Too Many Requests"},
		{500, false, "the receiver answered 500 Internal Server Error"},
		{502, false, "the receiver answered 502 Bad Gateway"},
		{503, false, "the receiver answered 503 Service Unavailable"},
		{599, false, "the receiver answered 599"},
		{999, false, "the receiver answered 999"},
	} {
		answer <- test.status
		err := sender.Send(t.Context(), down)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if _, refused := errors.AsType[*notification.Refused](err); said != test.said || refused != test.refused {
			t.Errorf("%d: got %q, refused %v; want %q, %v", test.status, said, refused, test.said, test.refused)
		}
	}
}

func TestADestinationIsNoSecret(t *testing.T) {
	for url, want := range map[string]string{
		"https://user:pass@hooks.example.org/services/T0/B0/x?key=y": "https://hooks.example.org",
		"HTTP://Example.org:8080/x":                                  "http://Example.org:8080",
		"https://[2001:db8::1]:444/x":                                "https://[2001:db8::1]:444",
		"https://bücher.example/x":                                   "https://bücher.example",
	} {
		if got := open(t, plugin(t, nil), `{"url":"`+url+`"}`).Destination(); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}
