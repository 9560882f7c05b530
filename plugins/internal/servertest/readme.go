package servertest

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// README makes the examples in the README.md of the package under test, and fails where the server answers otherwise.
// An example is a block of requests and answers:
//
//	```http
//	POST /api/catalog/systems as editor
//	{"name": "Shop"}
//
//	201 /api/catalog/systems/{shop}
//	{"id": "{shop}", "name": "Shop", …}
//	```
//
// A request is a method, a path, and the role of the caller, or its token, if it has one; then its body. An answer is a
// status and the Location, if there is one; then its body, in which spaces between values do not matter and … stands
// for anything. A name in braces stands for what it was where it came first in an answer, and {server} for the host and
// port of the server. Of a stream of events as much is read as the answer has.
func (s *Server) README(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{"server": strings.TrimPrefix(s.URL, "http://")}
	blocks := strings.Split("\n"+string(text), "\n```http\n")[1:]
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "\n```")
		parts := strings.Split(block, "\n\n")
		if len(parts)%2 != 0 {
			t.Fatalf("README.md: a request without an answer:\n%s", block)
		}
		for i := 0; i < len(parts); i += 2 {
			s.example(t, parts[i], parts[i+1], known)
		}
	}
	if len(blocks) == 0 {
		t.Error("README.md has no examples")
	}
}

// example makes one request and compares the answer.
func (s *Server) example(t *testing.T, request, answer string, known map[string]string) {
	t.Helper()
	for name, value := range known {
		request = strings.ReplaceAll(request, "{"+name+"}", value)
	}
	first, content, _ := strings.Cut(request, "\n")
	target, role, _ := strings.Cut(first, " as ")
	method, path, _ := strings.Cut(target, " ")
	var body any
	if content != "" {
		body = content
	}
	token := role
	if slices.Contains([]string{"admin", "editor", "viewer"}, role) {
		token = s.Token(t, role)
	}

	first, content, _ = strings.Cut(answer, "\n")
	want := compact(first + "\n" + content)
	var names []string
	pattern := regexp.MustCompile(`\\\{(\w+)\\\}|…`).ReplaceAllStringFunc(regexp.QuoteMeta(want), func(hole string) string {
		if hole == "…" {
			return `.*?`
		}
		name := strings.Trim(hole, `\{}`)
		if value, ok := known[name]; ok {
			return regexp.QuoteMeta(value)
		}
		names = append(names, name)
		return `([^"/]+)`
	})
	var got string
	var found []string
	matches := func(res Response) bool {
		got = compact(strings.TrimSpace(strconv.Itoa(res.Status)+" "+res.Header.Get("Location")) + "\n" + res.Body)
		found = regexp.MustCompile(`(?s)\A` + pattern + `\z`).FindStringSubmatch(got)
		return found != nil
	}
	req, ok := s.request(t, method, path, token, body)
	if !ok {
		return
	}
	if !matches(s.Stream(t, req, matches)) {
		t.Errorf("README.md: %s %s answers\n%s\nand not\n%s", method, path, got, want)
		return
	}
	for i, name := range names {
		if earlier, ok := known[name]; ok && earlier != found[i+1] {
			t.Errorf("README.md: %s %s answers\n%s\nwhere {%s} is two different things", method, path, got, name)
		}
		known[name] = found[i+1]
	}
}

// compact leaves out the spaces between the tokens of the JSON below the first line.
func compact(s string) string {
	first, body, _ := strings.Cut(s, "\n")
	var b strings.Builder
	inText, escaped := false, false
	for _, c := range body {
		if c == '"' && !escaped {
			inText = !inText
		}
		escaped = c == '\\' && !escaped
		if inText || !strings.ContainsRune(" \n\t", c) {
			b.WriteRune(c)
		}
	}
	return first + "\n" + b.String()
}
