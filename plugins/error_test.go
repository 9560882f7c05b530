package plugins_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"checkstack/plugins"
)

// databaseError is an error as a driver makes it: it knows its SQLSTATE, and it says more than a caller may see.
type databaseError struct{ state string }

const secret = `INSERT INTO auth.tokens (hash) VALUES ('top-secret'), dial tcp 10.1.2.3:5432, password=hunter2`

func (e *databaseError) SQLState() string { return e.state }
func (e *databaseError) Error() string    { return "pq: " + secret + " (" + e.state + ")" }

// answer is what is told for an error.
type answer struct {
	status int
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func answerTo(err error) (answer, http.Header) {
	w := httptest.NewRecorder()
	plugins.WriteError(w, httptest.NewRequest("GET", "/", nil), err)
	return answer{w.Code, w.Body.String()}, w.Header()
}

// SPEC A5, and the other codes that a statement of ours can meet.
func TestADatabaseErrorIsToldByItsSQLStateOnly(t *testing.T) {
	const (
		malformed   = `{"error":"Invalid input","message":"a value does not have the form its field needs"}`
		unstorable  = `{"error":"Invalid input","message":"a text has a character that cannot be stored"}`
		timedOut    = `{"error":"Timed out","message":"the request was not finished in time; try again"}`
		busy        = `{"error":"Busy","message":"others changed the same data at the same time; try again"}`
		unavailable = `{"error":"Database unavailable","message":"the database cannot serve at the moment; try again"}`
		internal    = `{"error":"Internal error","message":"the server's log has the details"}`
	)
	for state, want := range map[string]answer{
		"22P02": {400, malformed},
		"22007": {400, malformed},
		"22003": {400, `{"error":"Invalid input","message":"a number is out of range"}`},
		"22001": {400, `{"error":"Invalid input","message":"a text is too long"}`},
		"22021": {400, unstorable},
		"22P05": {400, unstorable},
		"23502": {400, `{"error":"Invalid input","message":"a required value is missing"}`},
		"23503": {400, `{"error":"Invalid input","message":"something that is referred to does not exist, or is still referred to"}`},
		"23514": {400, `{"error":"Invalid input","message":"a value is not allowed"}`},
		"23505": {409, `{"error":"Already exists","message":"a thing with this name or key exists already"}`},
		"57014": {503, timedOut},
		"40001": {503, busy},
		"40P01": {503, busy},
		"08006": {503, unavailable}, // connection failure
		"53300": {503, unavailable}, // too many connections
		"57P01": {503, unavailable}, // admin shutdown
		"42601": {500, internal},    // syntax error: ours
		"42P01": {500, internal},    // undefined table: ours
		"XX000": {500, internal},
		"2":     {500, internal}, // no SQLSTATE at all
	} {
		for _, err := range []error{&databaseError{state}, fmt.Errorf("store %q: %w", secret, &databaseError{state})} {
			if plugins.SQLState(err) != state {
				t.Errorf("SQLState(%v) = %q, want %q", err, plugins.SQLState(err), state)
			}
			got, header := answerTo(err)
			if got != want {
				t.Errorf("%s: got %v, want %v", state, got, want)
			}
			if retry := header.Get("Retry-After"); (retry == "1") != (want.status == 503) {
				t.Errorf("%s: Retry-After is %q", state, retry)
			}
			if all := got.body + fmt.Sprint(header); strings.Contains(all, "secret") || strings.Contains(all, "10.1") {
				t.Errorf("%s: the answer shows more than its SQLSTATE: %s", state, all)
			}
		}
	}
}

func TestAnErrorIsToldAsItIsOrNotAtAll(t *testing.T) {
	unreachable := `{"error":"Unavailable","message":"the database, or another service that this needs, cannot be reached; try again"}`
	timedOut := `{"error":"Timed out","message":"the request was not finished in time; try again"}`
	for _, test := range []struct {
		err  error
		want answer
	}{
		{plugins.Invalid("name", "expected %d characters", 3),
			answer{400, `{"error":"Invalid input","message":"expected 3 characters","field":"name"}`}},
		{plugins.Invalid("", "expected a body"), answer{400, `{"error":"Invalid input","message":"expected a body"}`}},
		{plugins.NotFound("system"), answer{404, `{"error":"Not Found","message":"no such system"}`}},
		{fmt.Errorf("read it: %w", plugins.NotFound("system")), answer{404, `{"error":"Not Found","message":"no such system"}`}},
		{plugins.Managed(`pro"d`), answer{409, `{"error":"Managed","message":"the document \"pro\\\"d\" manages this: change it there, or release it first"}`}},
		{&plugins.Error{Status: 403}, answer{403, `{"error":"Forbidden","message":""}`}},
		{&plugins.Error{Status: 409, Title: "Busy", Message: `a "name" <is> taken`},
			answer{409, `{"error":"Busy","message":"a \"name\" <is> taken"}`}},
		{&http.MaxBytesError{Limit: 7}, answer{413, `{"error":"Body too large","message":"the body may have at most 7 bytes"}`}},
		{context.Canceled, answer{503, timedOut}},
		{fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), answer{503, timedOut}},
		{&net.OpError{Op: "dial", Err: errors.New(secret)}, answer{503, unreachable}},
		{driver.ErrBadConn, answer{503, unreachable}},
		{sql.ErrConnDone, answer{503, unreachable}},
		{io.ErrUnexpectedEOF, answer{503, unreachable}},
		{errors.New(secret), answer{500, `{"error":"Internal error","message":"the server's log has the details"}`}},
		{sql.ErrNoRows, answer{500, `{"error":"Internal error","message":"the server's log has the details"}`}},
	} {
		got, header := answerTo(test.err)
		if got != test.want {
			t.Errorf("%v:\ngot  %v\nwant %v", test.err, got, test.want)
		}
		if header.Get("Content-Type") != "application/json" || header.Get("Content-Length") != fmt.Sprint(len(test.want.body)) {
			t.Errorf("%v: the headers are %v", test.err, header)
		}
	}
}

func TestAnUnauthorizedCallerIsToldHowToAuthenticate(t *testing.T) {
	if _, header := answerTo(&plugins.Error{Status: 401, Message: "no token"}); header.Get("WWW-Authenticate") != `Bearer realm="checkstack"` {
		t.Errorf("the headers are %v", header)
	}
}

func TestRetryAfterOfTheHandlerIsKept(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "5")
	plugins.WriteError(w, httptest.NewRequest("GET", "/", nil), &plugins.Error{Status: 503})
	if got := w.Header().Get("Retry-After"); got != "5" {
		t.Errorf("Retry-After became %s", got)
	}
}

func TestAnInternalErrorNamesTheRequestSoThatTheLogCanBeSearched(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Request-Id", "r-17")
	plugins.WriteError(w, r, errors.New(secret))
	want := `{"error":"Internal error","message":"the server's log has the details, under request r-17"}`
	if w.Code != 500 || w.Body.String() != want {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// wrapper is a response writer of a middleware.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestTheWholeErrorReachesTheLogThroughWrappers(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	response := plugins.NewResponse(httptest.NewRecorder(), r)
	err := fmt.Errorf("store: %w", &databaseError{"23505"})
	plugins.WriteError(wrapper{wrapper{response}}, r, err)
	if response.Err() != err || response.Status() != 409 {
		t.Errorf("recorded %v with status %d", response.Err(), response.Status())
	}
}

func TestErrorReadsLikeASentence(t *testing.T) {
	for _, test := range []struct {
		err  *plugins.Error
		want string
	}{
		{&plugins.Error{Status: 404}, "Not Found"},
		{&plugins.Error{Status: 404, Message: "no such system"}, "Not Found: no such system"},
		{&plugins.Error{Status: 400, Title: "Invalid input", Message: "expected a name", Field: "name"}, "Invalid input: expected a name"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestUnreachableKnowsALostConnection(t *testing.T) {
	for err, want := range map[error]bool{
		io.EOF:                  true,
		driver.ErrBadConn:       true,
		sql.ErrConnDone:         true,
		&net.DNSError{}:         true,
		sql.ErrTxDone:           false,
		errors.New("other"):     false,
		&databaseError{"57P01"}: false,
	} {
		if got := plugins.Unreachable(fmt.Errorf("query: %w", err)); got != want {
			t.Errorf("Unreachable(%v) = %t", err, got)
		}
	}
	if plugins.Unreachable(nil) || plugins.SQLState(nil) != "" {
		t.Error("no error is not an error")
	}
}
