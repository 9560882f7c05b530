package plugins

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Response is the server's response writer. It remembers what was answered, for the log and the metrics; upgrades and
// streaming pass through it. It also turns the plain text of http.ServeMux for a path or method that matches no pattern
// into JSON, which saves the server from matching every request twice.
type Response struct {
	http.ResponseWriter
	request *http.Request
	status  int
	bytes   int64
	err     error
	muted   bool // the body was replaced: what else is written of it is dropped
}

// NewResponse wraps w for the answer to r.
func NewResponse(w http.ResponseWriter, r *http.Request) *Response {
	return &Response{ResponseWriter: w, request: r}
}

// Status is the status that was written, or 0 while none is.
func (w *Response) Status() int { return w.status }

// Bytes is the size of the body written so far.
func (w *Response) Bytes() int64 { return w.bytes }

// Err is the error that was answered with [WriteError], or nil.
func (w *Response) Err() error { return w.err }

// RecordError keeps the error that is answered.
func (w *Response) RecordError(err error) { w.err = err }

// WriteHeader implements http.ResponseWriter.
func (w *Response) WriteHeader(status int) {
	informational := status < 200 && status != http.StatusSwitchingProtocols
	if w.status != 0 || informational {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if !w.noMatch(status) {
		w.status = status
		w.ResponseWriter.WriteHeader(status)
		return
	}
	writeErrorBody(w, Error{Status: status, Message: w.request.Method + " " + ShownPath(w.request.URL.Path) + " is not served here"})
	w.muted = true
}

// tokenForm is a segment of a path that looks like a token: a few letters, an underscore, and what nobody could guess.
var tokenForm = regexp.MustCompile(`[a-z]{2,4}_[A-Za-z0-9_-]{20,}`)

// ShownPath is a path as it is logged and repeated: where it holds a token, only the beginning of that is left.
func ShownPath(path string) string {
	if !strings.Contains(path, "_") {
		return path
	}
	return tokenForm.ReplaceAllStringFunc(path, func(token string) string { return token[:strings.IndexByte(token, '_')+1] + "…" })
}

// noMatch reports whether a response is the mux's own for a request that no pattern matches: the mux leaves the
// request's pattern empty, and says it in plain text.
func (w *Response) noMatch(status int) bool {
	return (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) &&
		w.request.Pattern == "" && w.Header().Get("Content-Type") == "text/plain; charset=utf-8"
}

// Write implements http.ResponseWriter.
func (w *Response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.muted {
		return len(p), nil
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap gives http.ResponseController the writer below.
func (w *Response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher.
func (w *Response) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *Response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, buf, err
}

// WriteJSON answers with v as JSON. A value that cannot be encoded is answered with 500.
func WriteJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := encode(v)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	writeBody(w, status, body)
}

// encode writes <, > and & as they are: nothing takes the API's answers for HTML, which they say they are not.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func writeErrorBody(w http.ResponseWriter, e Error) {
	body, _ := encode(struct { // strings only: it cannot fail
		Error   string `json:"error"`
		Message string `json:"message"`
		Field   string `json:"field,omitempty"`
	}{e.title(), e.Message, e.Field})
	writeBody(w, e.Status, body)
}

var contentTypeJSON = []string{"application/json"}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentTypeJSON
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // an error means that the client is gone
}
