package plugins

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Error is what a handler returns for a failure it knows, and what the caller is told.
type Error struct {
	Status  int    // the HTTP status
	Title   string // what went wrong, the same words every time; empty: the name of the status
	Message string // why, for a person
	Field   string // the field of the input that is wrong, if one is
}

// Error is the title and the message.
func (e *Error) Error() string {
	return strings.TrimSuffix(e.title()+": "+e.Message, ": ")
}

func (e *Error) title() string {
	if e.Title == "" {
		return http.StatusText(e.Status)
	}
	return e.Title
}

// Invalid is the error for a field of the input that is not as it must be. The format says what was expected.
func Invalid(field, format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: fmt.Sprintf(format, args...), Field: field}
}

// NotFound is the error for a thing that does not exist, such as "system".
func NotFound(what string) error {
	return &Error{Status: http.StatusNotFound, Message: "no such " + what}
}

// Managed is the error for changing by hand what configuration as code manages; owner is the name of its document.
func Managed(owner string) *Error {
	return &Error{Status: http.StatusConflict, Title: "Managed",
		Message: fmt.Sprintf("the document %q manages this: change it there, or release it first", owner)}
}

// SQLState returns the SQLSTATE of the database error in err's chain, or "" if there is none.
func SQLState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// WriteError answers a request that failed with err. It is the one place that turns an error into a response: an [Error]
// is told as it is, a database error by its SQLSTATE without any SQL or row value, everything else as 500 without its text.
// The full error goes into the request's log record. Of SQLSTATEs, 22001, 22003, 22007, 22021, 22P02, 22P05, 23502, 23503 and
// 23514 are answered with 400, 23505 with 409, and 40001, 40P01, 57014 and the classes 08, 53 and 57 with 503.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	recordError(w, err)
	switch {
	case e.Status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="checkstack"`)
	case (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests) && w.Header().Get("Retry-After") == "":
		w.Header().Set("Retry-After", "1")
	case e.Status == http.StatusInternalServerError && e.Message == "":
		e.Message = "the server's log has the details"
		if id := r.Header.Get("X-Request-Id"); id != "" {
			e.Message += ", under request " + id
		}
	}
	writeErrorBody(w, e)
}

// recordError hands the error to the server's response writer, wherever it is below w, for the log.
func recordError(w http.ResponseWriter, err error) {
	for {
		if rec, ok := w.(interface{ RecordError(error) }); ok {
			rec.RecordError(err)
			return
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = inner.Unwrap()
	}
}

func asError(err error) Error {
	if e, ok := errors.AsType[*Error](err); ok && e.Status >= 400 {
		return *e
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Error{Status: http.StatusRequestEntityTooLarge, Title: "Body too large", Message: fmt.Sprintf("the body may have at most %d bytes", e.Limit)}
	}
	if state := SQLState(err); state != "" {
		return databaseError(state)
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Error{Status: http.StatusServiceUnavailable, Title: "Timed out", Message: "the request was not finished in time; try again"}
	case Unreachable(err):
		return Error{Status: http.StatusServiceUnavailable, Title: "Unavailable", Message: "the database, or another service that this needs, cannot be reached; try again"}
	}
	return Error{Status: http.StatusInternalServerError, Title: "Internal error"}
}

// databaseError is what the caller is told for a SQLSTATE (PostgreSQL manual, appendix A; SPEC A5).
func databaseError(state string) Error {
	switch state {
	case "22P02", "22007":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "a value does not have the form its field needs"}
	case "22003":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "a number is out of range"}
	case "22001":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "a text is too long"}
	case "22021", "22P05":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "a text has a character that cannot be stored"}
	case "23502":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "a required value is missing"}
	case "23503":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "something that is referred to does not exist, or is still referred to"}
	case "23514":
		return Error{Status: http.StatusBadRequest, Title: "Invalid input", Message: "a value is not allowed"}
	case "23505":
		return Error{Status: http.StatusConflict, Title: "Already exists", Message: "a thing with this name or key exists already"}
	case "57014":
		return Error{Status: http.StatusServiceUnavailable, Title: "Timed out", Message: "the request was not finished in time; try again"}
	case "40001", "40P01":
		return Error{Status: http.StatusServiceUnavailable, Title: "Busy", Message: "others changed the same data at the same time; try again"}
	}
	switch state[:min(2, len(state))] {
	case "08", "53", "57": // connection, resources, operator intervention
		return Error{Status: http.StatusServiceUnavailable, Title: "Database unavailable", Message: "the database cannot serve at the moment; try again"}
	}
	return Error{Status: http.StatusInternalServerError, Title: "Internal error"}
}

// Unreachable reports whether err says that the connection to the database could not be made or was lost.
func Unreachable(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
