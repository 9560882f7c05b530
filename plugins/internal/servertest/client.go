package servertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Response is what the server answered.
type Response struct {
	Status int
	Header http.Header
	Body   string

	request string // for messages
}

// Do sends a request and reads the whole answer. The token may be empty, for an anonymous caller. The body is nothing
// for nil, JSON as it is for a string, and encoded as JSON for everything else. It may be called from any goroutine; a
// request that gets no answer fails the test and returns the zero Response.
func (s *Server) Do(t testing.TB, method, path, token string, body any) Response {
	t.Helper()
	req, ok := s.request(t, method, path, token, body)
	if !ok {
		return Response{}
	}
	return s.Send(t, req)
}

func (s *Server) request(t testing.TB, method, path, token string, body any) (req *http.Request, ok bool) {
	t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Errorf("%s %s: encode the body: %v", method, path, err)
			return nil, false
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, content)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return nil, false
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, true
}

// Send sends any request; see Do.
func (s *Server) Send(t testing.TB, req *http.Request) Response {
	t.Helper()
	return s.Stream(t, req, nil)
}

// Stream sends any request and reads the answer until enough is true of what has come of it, or to its end. Only an answer
// that is a stream of events is asked about, line by line; one that stays silent ends after a minute.
func (s *Server) Stream(t testing.TB, req *http.Request, enough func(Response) bool) Response {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v\n%s", req.Method, req.URL.RequestURI(), err, s.log)
		return Response{}
	}
	defer res.Body.Close()
	answer := Response{res.StatusCode, res.Header, "", req.Method + " " + req.URL.RequestURI()}
	if enough == nil || res.Header.Get("Content-Type") != "text/event-stream" {
		data, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("%s %s: read the answer: %v", req.Method, req.URL.RequestURI(), err)
			return Response{}
		}
		answer.Body = string(data)
		return answer
	}
	late := time.AfterFunc(patience, func() { res.Body.Close() })
	defer late.Stop()
	for lines := bufio.NewReader(res.Body); err == nil && !enough(answer); {
		var line string
		line, err = lines.ReadString('\n')
		answer.Body += line
	}
	return answer
}

// Token returns a token with a role: admin, editor or viewer. The first call for a role makes one.
func (s *Server) Token(t testing.TB, role string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens[role] == "" {
		res := s.Do(t, "POST", "/api/auth/tokens", s.tokens["admin"], map[string]string{"name": "a test's " + role, "role": role})
		s.tokens[role] = Decode[struct{ Token string }](t, res, http.StatusCreated).Token
	}
	return s.tokens[role]
}

// Is fails the test unless the answer has this status and exactly this body.
func (r Response) Is(t testing.TB, status int, body string) {
	t.Helper()
	if r.Status != status || r.Body != body {
		t.Errorf("%s:\n got %d %s\nwant %d %s", r.request, r.Status, r.Body, status, body)
	}
}

// Has fails the test unless the answer has this status. It returns whether it has.
func (r Response) Has(t testing.TB, status int) bool {
	t.Helper()
	if r.Status != status {
		t.Errorf("%s: got %d %s, want %d", r.request, r.Status, r.Body, status)
	}
	return r.Status == status
}

// IsInvalid fails the test unless the answer is 400 for one field of the input, with exactly this message.
func (r Response) IsInvalid(t testing.TB, field, message string) {
	t.Helper()
	want, _ := json.Marshal(struct {
		Error   string `json:"error"`
		Message string `json:"message"`
		Field   string `json:"field,omitempty"`
	}{"Invalid input", message, field})
	r.Is(t, http.StatusBadRequest, string(want))
}

// Decode reads the JSON body of the answer, and ends the test unless the answer has this status.
func Decode[T any](t testing.TB, r Response, status int) T {
	t.Helper()
	var v T
	if !r.Has(t, status) {
		t.FailNow()
	}
	if err := json.Unmarshal([]byte(r.Body), &v); err != nil {
		t.Fatalf("%s: read %s: %v", r.request, r.Body, err)
	}
	return v
}
