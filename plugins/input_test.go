package plugins_test

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"checkstack/plugins"
)

// refusal returns "field: message" of an error for invalid input, and "" for none.
func refusal(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok || e.Status != 400 || e.Title != "Invalid input" {
		t.Fatalf("not an error about input: %#v", err)
	}
	return e.Field + ": " + e.Message
}

func TestNameIsTrimmedAndChecked(t *testing.T) {
	for _, test := range []struct{ in, want, refused string }{
		{"Shop", "Shop", ""},
		{"  Web Shop\t\n", "Web Shop", ""},
		{"x", "x", ""},
		{strings.Repeat("é", 200), strings.Repeat("é", 200), ""},
		{" " + strings.Repeat("日", 200) + " ", strings.Repeat("日", 200), ""},
		{strings.Repeat("x", 201), "", "name: expected a text of 1 to 200 characters, not 201"},
		{"", "", "name: expected a text of 1 to 200 characters, not an empty one"},
		{" \u00a0\u2003 ", "", "name: expected a text of 1 to 200 characters, not an empty one"},
		{"a\nb", "", "name: expected a text without control characters"},
		{"a\x00b", "", "name: expected a text without control characters"},
		{"a\u0085b", "", "name: expected a text without control characters"},
		{"a\xffb", "", "name: expected a text in UTF-8"},
	} {
		got, err := plugins.Name("name", test.in)
		if got != test.want || refusal(t, err) != test.refused {
			t.Errorf("%q: got %q and %v, want %q and %q", test.in, got, err, test.want, test.refused)
		}
	}
}

// FuzzName: what is accepted is trimmed, 1 to 200 characters, storable, and accepted again unchanged.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"Shop", " a ", "", "a\x00b", "\xff", "\u0085", "\u00a0", strings.Repeat("日", 201)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := plugins.Name("name", s)
		if err != nil {
			if name != "" || !strings.HasPrefix(refusal(t, err), "name: expected ") {
				t.Fatalf("got %q and %v", name, err)
			}
			return
		}
		n := utf8.RuneCountInString(name)
		if name != strings.TrimSpace(s) || n < 1 || n > plugins.MaxName || !utf8.ValidString(name) ||
			strings.ContainsFunc(name, unicode.IsControl) {
			t.Fatalf("accepted %q as %q", s, name)
		}
		if again, err := plugins.Name("name", name); again != name || err != nil {
			t.Fatalf("%q became %q: %v", name, again, err)
		}
		if err := plugins.Text("name", name, plugins.MaxName); err != nil {
			t.Fatalf("a name is no text: %v", err)
		}
	})
}

func TestTextMayBeAnythingTheDatabaseHolds(t *testing.T) {
	for _, test := range []struct{ in, refused string }{
		{"", ""},
		{" two\nlines\t", ""},
		{strings.Repeat("日", 20), ""},
		{strings.Repeat("日", 21), "message: expected a text of at most 20 characters, not 21"},
		{"a\x00b", "message: expected a text without the character U+0000"},
		{"a\xffb", "message: expected a text in UTF-8"},
	} {
		if got := refusal(t, plugins.Text("message", test.in, 20)); got != test.refused {
			t.Errorf("%q: got %q, want %q", test.in, got, test.refused)
		}
	}
}

func TestPageReadsLimitAndOffset(t *testing.T) {
	for _, test := range []struct {
		query   string
		want    plugins.Page
		refused string
	}{
		{"", plugins.Page{Limit: 100}, ""},
		{"limit=1", plugins.Page{Limit: 1}, ""},
		{"limit=500&offset=1000000&other=x", plugins.Page{Limit: 500, Offset: 1000000}, ""},
		{"limit=&offset=", plugins.Page{Limit: 100}, ""},
		{"limit=0", plugins.Page{}, "limit: expected a whole number from 1 to 500"},
		{"limit=501", plugins.Page{}, "limit: expected a whole number from 1 to 500"},
		{"limit=ten", plugins.Page{}, "limit: expected a whole number from 1 to 500"},
		{"limit=1.0", plugins.Page{}, "limit: expected a whole number from 1 to 500"},
		{"limit=99999999999999999999", plugins.Page{}, "limit: expected a whole number from 1 to 500"},
		{"offset=-1", plugins.Page{}, "offset: expected a whole number from 0 to 1000000"},
		{"offset=1000001", plugins.Page{}, "offset: expected a whole number from 0 to 1000000"},
	} {
		got, err := plugins.PageOf(httptest.NewRequest("GET", "/?"+test.query, nil))
		if r := refusal(t, err); r != test.refused || r == "" && got != test.want {
			t.Errorf("%q: got %+v and %v, want %+v and %q", test.query, got, err, test.want, test.refused)
		}
	}
}

func TestNumberHasADefaultThatMayBeOutsideItsRange(t *testing.T) {
	q := url.Values{"n": {"3", "4"}}
	if n, err := plugins.Number(q, "n", -1, 0, 5); n != 3 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if n, err := plugins.Number(q, "m", -1, 0, 5); n != -1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestIDsAreRandomUUIDsOfVersion4(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`) // RFC 9562, 5.4
	seen := map[string]bool{}
	for range 10_000 {
		id := plugins.NewID()
		if !form.MatchString(id) || !plugins.IsID(id) || seen[id] {
			t.Fatalf("%s is no new UUID", id)
		}
		seen[id] = true
	}
}

func TestIsIDKnowsTheCanonicalFormOnly(t *testing.T) {
	for id, want := range map[string]bool{
		"01234567-89ab-cdef-0123-456789abcdef":    true,
		"00000000-0000-0000-0000-000000000000":    true,
		"01234567-89AB-cdef-0123-456789abcdef":    false,
		"0123456789abcdef0123456789abcdef":        false,
		"{01234567-89ab-cdef-0123-456789abcdef}":  false,
		"01234567-89ab-cdef-0123-456789abcde":     false,
		"01234567-89ab-cdef-0123-456789abcdeg":    false,
		"01234567x89ab-cdef-0123-456789abcdef":    false,
		"01234567-89ab-cdef-0123-456789abcd\x00f": false,
		"": false,
	} {
		if plugins.IsID(id) != want {
			t.Errorf("IsID(%q) = %t", id, !want)
		}
	}
}

func TestPathIDTakesAnyCaseAndKnowsNothingElse(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetPathValue("id", "01234567-89AB-CDEF-0123-456789ABCDEF")
	if id, err := plugins.PathID(r, "id", "system"); id != "01234567-89ab-cdef-0123-456789abcdef" || err != nil {
		t.Errorf("got %q, %v", id, err)
	}
	for _, value := range []string{"", "7", "../etc/passwd", "a\x00"} {
		r.SetPathValue("id", value)
		e, ok := errors.AsType[*plugins.Error](func() error { _, err := plugins.PathID(r, "id", "system"); return err }())
		if !ok || e.Status != 404 || e.Message != "no such system" {
			t.Errorf("%q: got %v", value, e)
		}
	}
}
