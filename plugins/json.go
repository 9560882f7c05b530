package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxBody is the greatest size of a JSON request body in bytes.
const MaxBody = 1 << 20

// None stands for an absent body: as In a body other than {} is refused, as Out the answer is 204.
type None struct{}

// Created as Out answers 201 with a Location header, the path of the new thing, and Value as the body.
type Created[T any] struct {
	Location string
	Value    T
}

func (c Created[T]) created() (location string, value any) { return c.Location, c.Value }

// List is the form of every list in the API.
type List[T any] struct {
	Items []T    `json:"items"`
	Total int    `json:"total"`          // how many there are on all pages
	Next  string `json:"next,omitempty"` // the cursor of the next page, in lists that have one
}

// MarshalJSON writes an empty list as [], never as null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	type plain List[T]
	if l.Items == nil {
		l.Items = []T{}
	}
	return json.Marshal(plain(l))
}

// JSON makes a handler of a function: it decodes the body into In, calls In's method Validate() error if *In has one,
// calls f, and encodes Out, or the error with [WriteError]. In and Out also describe the route in the API's OpenAPI
// document.
//
// Where In is a pointer the body may be left out, and f gets nil. A body must be one JSON value of at most [MaxBody] bytes
// with Content-Type application/json and no fields unknown to In.
func JSON[In, Out any](f func(*http.Request, In) (Out, error)) http.Handler {
	return JSONUpTo(MaxBody, f)
}

// JSONUpTo is [JSON] for bodies of at most max bytes. All of one is in memory, at several times its size once it is decoded.
func JSONUpTo[In, Out any](max int64, f func(*http.Request, In) (Out, error)) http.Handler {
	return jsonHandler[In, Out]{f, max}
}

type jsonHandler[In, Out any] struct {
	call func(*http.Request, In) (Out, error)
	max  int64 // bytes of a body
}

func (h jsonHandler[In, Out]) describe() (in, out reflect.Type) {
	return reflect.TypeFor[In](), reflect.TypeFor[Out]()
}

func (h jsonHandler[In, Out]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in In
	if err := decode(w, r, &in, h.max); err != nil {
		WriteError(w, r, err)
		return
	}
	out, err := h.call(r, in)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	status, value := http.StatusOK, any(out)
	switch o := value.(type) {
	case None:
		w.WriteHeader(http.StatusNoContent)
		return
	case interface{ created() (string, any) }:
		status = http.StatusCreated
		var location string
		location, value = o.created()
		w.Header().Set("Location", location)
	}
	WriteJSON(w, r, status, value)
}

// Guard makes a handler of one made by [JSON], and described like it, that asks enter before it reads the body. An error of
// enter is the answer; otherwise leave is called when the request is answered.
func Guard(h http.Handler, enter func(*http.Request) (leave func(), err error)) http.Handler {
	return guarded{h, h.(describer), enter}
}

type guarded struct {
	http.Handler
	describer
	enter func(*http.Request) (leave func(), err error)
}

func (g guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	leave, err := g.enter(r)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	defer leave()
	g.Handler.ServeHTTP(w, r)
}

func decode(w http.ResponseWriter, r *http.Request, in any, max int64) error {
	if _, none := in.(*None); none {
		return nothing(w, r)
	}
	optional := reflect.TypeOf(in).Elem().Kind() == reflect.Pointer
	if optional && r.ContentLength == 0 {
		return nil
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &Error{Status: http.StatusUnsupportedMediaType, Message: "the body must be JSON, with Content-Type: application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	if err != nil {
		return err
	}
	if err := Decode(body, in); err != nil {
		return err
	}
	if optional { // Validate is a method of what In points to
		in = reflect.ValueOf(in).Elem().Interface()
	}
	if v, ok := in.(interface{ Validate() error }); ok && !reflect.ValueOf(in).IsNil() {
		return v.Validate()
	}
	return nil
}

// nothing reads a body that is not expected. It may be empty, or an empty object, whatever its Content-Type: what is said
// to a route that takes nothing was meant for another one, or with effects that it has not.
func nothing(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return err
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil || len(object) > 0 || object == nil {
		return Invalid("", "expected no body, or {}")
	}
	return nil
}

// Decode reads one JSON value into v. Unknown fields, and anything after the value, are errors. Every error is an
// [Error] with status 400 that names the field where there is one, and what was expected.
func Decode(data []byte, v any) error {
	if !utf8.Valid(data) {
		return Invalid("", "expected JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err := d.Token(); err != io.EOF {
			return Invalid("", "there is more than one JSON value")
		}
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok { // an UnmarshalJSON of ours
		return e
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return Invalid(e.Field, "expected %s, not %s", kindName(e.Type), short(e.Value))
	}
	if e, ok := errors.AsType[*time.ParseError](err); ok {
		return Invalid(selfRead(data, v), "expected a time such as 2026-01-31T23:59:59Z (RFC 3339), not %s", short(e.Value))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return Invalid("", "not valid JSON at byte %d", e.Offset)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field, _ := strconv.Unquote(name)
		return Invalid(short(field), "there is no such field")
	}
	if errors.Is(err, io.EOF) {
		return Invalid("", "expected a JSON value, not an empty body")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Invalid("", "the JSON value ends too early")
	}
	return Invalid(selfRead(data, v), "a value does not have the form its field needs")
}

// selfRead returns the field of the object in data that v cannot take, for errors of types that read themselves, such as
// [time.Time]: they do not know where they are. It tries one field after the other.
func selfRead(data []byte, v any) string {
	t := reflect.TypeOf(v)
	if _, whole := v.(json.Unmarshaler); whole || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return ""
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, err := json.Marshal(map[string]json.RawMessage{name: object[name]})
		if err == nil && json.Unmarshal(field, reflect.New(t.Elem()).Interface()) != nil {
			return short(name)
		}
	}
	return ""
}

// short cuts what is repeated to the caller, who may have sent a megabyte of it.
func short(s string) string {
	const most = 100
	for i := range s {
		if i > most {
			return s[:i] + "…"
		}
	}
	return s
}

// kindName names a Go type in the words of JSON.
func kindName(t reflect.Type) string {
	if t == nil {
		return "another type"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return fmt.Sprintf("a whole number from %d to %d", -1<<(t.Bits()-1), 1<<(t.Bits()-1)-1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint64:
		return "a whole number from 0"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Pointer:
		return kindName(t.Elem())
	}
	return "an object"
}

// SameJSON reports whether two JSON values say the same, whatever the order of their fields and the spaces between them. Numbers are
// the same if they are written so. An absent value, which is nil, is not null.
func SameJSON(a, b json.RawMessage) bool {
	return (a == nil) == (b == nil) && bytes.Equal(canonical(a), canonical(b))
}

// canonical writes a JSON value in one form; what is none stays as it is.
func canonical(data json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return data
	}
	text, err := json.Marshal(v)
	if err != nil {
		return data
	}
	return text
}
