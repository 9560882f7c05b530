package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestAJSONPathNamesWhatIsThere(t *testing.T) {
	const document = `{"a":{"b":[1,"two",null,{"c":false}]},"x y":{"'":1,"\"":2,"\\":3,"é":4,"/":5,"😀":6,"":7},"list":[{"n":1},{"n":2},{"m":3}],"empty":[],"big":9007199254740993}`
	root, err := decodeJSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, want string }{ // nothing is ""
		{`$`, asJSON(t, root)},
		{`$.a.b[0]`, `1`}, {`$.a.b[1]`, `"two"`}, {`$.a.b[2]`, `null`}, {`$.a.b[3].c`, `false`}, {`$.a.b[4]`, ``}, {`$.a.b[-1]`, `{"c":false}`},
		{`$.a.b[-4]`, `1`}, {`$.a.b[-5]`, ``}, {`$['a']["b"][0]`, `1`}, {`$.a.b.c`, ``}, {`$.a[0]`, ``}, {`$.nothing`, ``}, {`$.a.b[0].x`, ``},
		{`$['x y']['\'']`, `1`}, {`$['x y']["'"]`, `1`}, {`$['x y']["\""]`, `2`}, {`$['x y']['"']`, `2`}, {`$['x y']['\\']`, `3`}, {`$['x y'].é`, `4`},
		{`$['x y']['\u00e9']`, `4`}, {`$['x y']['\/']`, `5`}, {`$['x y']['/']`, `5`}, {`$['x y']['\ud83d\ude00']`, `6`}, {`$['x y'].😀`, `6`}, {`$['x y']['']`, `7`},
		{`$.list[*].n`, `[1,2]`}, {`$.list.*.n`, `[1,2]`}, {`$.list[*]`, `[{"n":1},{"n":2},{"m":3}]`}, {`$.list[*].q`, ``}, {`$.empty[*]`, ``}, {`$.empty`, `[]`},
		{`$.a.b[*].c`, `[false]`}, {`$.a.*[0]`, `[1]`}, {`$.list[*].*`, `[1,2,3]`}, {`$.big`, `9007199254740993`}, {`$.big.*`, ``},
	} {
		p, err := parseJSONPath(test.path)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		got := ""
		if value, ok, err := p.find(root); err != nil {
			t.Errorf("%s: %v", test.path, err)
		} else if ok {
			got = asJSON(t, value)
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.path, got, test.want)
		}
	}
}

func TestABadJSONPathIsRefused(t *testing.T) {
	at := func(n int) string {
		return fmt.Sprintf("expected .name, ['name'], [0], [-1], .* or [*] at character %d of the JSON path", n)
	}
	const root = "expected a JSON path such as $.items[0].name"
	for _, test := range []struct{ path, want string }{
		{``, root}, {`a`, root}, {`.a`, root}, {"$.\xff", root}, {`@.a`, root},
		{`$a`, at(2)}, {`$.`, at(2)}, {`$..a`, at(2)}, {`$.é.`, at(4)}, {`$.1a`, at(2)}, {`$.a-b`, at(4)}, {`$.a b`, at(4)}, {`$ .a`, at(2)}, {`$.a `, at(4)},
		{`$[`, at(2)}, {`$[]`, at(2)}, {`$[a]`, at(2)}, {`$[01]`, at(2)}, {`$[-0]`, at(2)}, {`$[+1]`, at(2)}, {`$[1:2]`, at(2)}, {`$[1,2]`, at(2)}, {`$[?@.a]`, at(2)},
		{`$[99999999999999999999]`, at(2)}, {`$['a]`, at(2)}, {`$['a'`, at(2)}, {`$['a"]`, at(2)}, {`$['\x']`, at(2)}, {`$["\'"]`, at(2)}, {`$['\"']`, at(2)},
		{`$['\u12']`, at(2)}, {"$['\n']", at(2)}, {`$['a'b]`, at(2)}, {`$[*`, at(2)}, {`$.**`, at(4)}, {`$['\`, at(2)},
		{"$" + strings.Repeat(".a", 51), "expected a JSON path of at most 50 steps"},
		{"$." + strings.Repeat("é", 499), "expected a JSON path of at most 500 characters"},
	} {
		if _, err := parseJSONPath(test.path); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.path, err, test.want)
		}
	}
	for _, path := range []string{"$" + strings.Repeat(".a", 50), "$." + strings.Repeat("é", 498)} {
		if _, err := parseJSONPath(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAJSONPathNamesAtMostAThousandValues(t *testing.T) {
	p, err := parseJSONPath("$[*]")
	if err != nil {
		t.Fatal(err)
	}
	if value, ok, err := p.find(make([]any, 1000)); !ok || err != nil || len(value.([]any)) != 1000 {
		t.Errorf("1,000: %v, %v", ok, err)
	}
	if _, ok, err := p.find(make([]any, 1001)); ok || err == nil || err.Error() != "there are more than 1000 such values" {
		t.Errorf("1,001: %v, %v", ok, err)
	}
}

// naive evaluates steps as RFC 9535 words it, one value at a time.
func naive(node any, steps []jsonStep) []any {
	if len(steps) == 0 {
		return []any{node}
	}
	var found []any
	rest := steps[1:]
	switch step := steps[0]; node := node.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			if step.kind == everyChild || step.kind == aMember && step.name == name {
				found = append(found, naive(node[name], rest)...)
			}
		}
	case []any:
		for i, entry := range node {
			if step.kind == everyChild || step.kind == anElement && (step.index == i || step.index == i-len(node)) {
				found = append(found, naive(entry, rest)...)
			}
		}
	}
	return found
}

func randomDocument(r *rand.Rand, depth int) any {
	switch n := r.IntN(5); {
	case depth == 0 || n == 0:
		return json.Number(fmt.Sprint(r.IntN(100)))
	case n < 3:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomDocument(r, depth-1)
		}
		return list
	default:
		object := make(map[string]any)
		for range r.IntN(4) {
			object[string(rune('a'+r.IntN(3)))] = randomDocument(r, depth-1)
		}
		return object
	}
}

func TestJSONPathsFindWhatANaiveSearchFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 20_000 {
		document := randomDocument(r, 4)
		text := "$"
		for range r.IntN(5) {
			text += []string{".a", "['b']", `["c"]`, "[0]", "[1]", "[-1]", "[-2]", ".*", "[*]"}[r.IntN(9)]
		}
		p, err := parseJSONPath(text)
		if err != nil {
			t.Fatal(err)
		}
		want := naive(document, p.steps)
		value, ok, err := p.find(document)
		switch {
		case err != nil, ok != (len(want) > 0):
			t.Fatalf("%s in %s: got %v, %v; want %v", text, asJSON(t, document), value, err, want)
		case ok && p.many && !reflect.DeepEqual(value, want), ok && !p.many && !reflect.DeepEqual(value, want[0]):
			t.Fatalf("%s in %s: got %v; want %v", text, asJSON(t, document), value, want)
		case ok:
			found++
		}
	}
	if found < 5000 {
		t.Errorf("only %d of 20,000 paths named anything", found)
	}
}

// FuzzJSONPath: no path and no document make it fail in another way than with its error, and a path finds what the naive search finds.
func FuzzJSONPath(f *testing.F) {
	f.Add(`$.a[0]['b'].*`, `{"a":[{"b":{"c":1}}]}`)
	f.Add(`$["\u0061"][-1]`, `{"a":[1,2]}`)
	f.Add(`$['\'']`, `{"'":null}`)
	f.Fuzz(func(t *testing.T, path, document string) {
		p, err := parseJSONPath(path)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "expected ") {
				t.Fatal(err)
			}
			return
		}
		root, err := decodeJSON([]byte(document))
		if err != nil {
			return
		}
		value, ok, err := p.find(root)
		if want := naive(root, p.steps); err == nil && (ok != (len(want) > 0) || ok && p.many && !reflect.DeepEqual(value, want) || ok && !p.many && !reflect.DeepEqual(value, want[0])) {
			t.Errorf("%s in %s: got %v, %v; want %v", path, document, value, ok, want)
		}
	})
}
