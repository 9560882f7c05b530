package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each folder below testdata is a case: a tree with a folder plugins/, and what the generator makes of it, in
// table.go.want or in errors.want. The trees are part of this module, so that they can import package plugins, and Go
// leaves them alone because of their folder's name. One load serves all of them.

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestGoldenTrees(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := filepath.Glob(filepath.Join(root, "gen/plugintable/testdata/*"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	src, err := load(t.Context(), root, cases...)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			table, problems, err := generate(src, dir)
			if err != nil {
				t.Fatal(err)
			}
			var report strings.Builder
			for _, p := range problems {
				fmt.Fprintln(&report, p)
			}
			compare(t, filepath.Join(dir, "table.go.want"), string(table))
			compare(t, filepath.Join(dir, "errors.want"), report.String())
			if strings.Contains(report.String(), root) || strings.Contains(string(table), root) {
				t.Errorf("the path of this machine, %s, is printed", root)
			}
			if table != nil {
				typeCheck(t, src, dir, table)
			}

			again, problemsAgain, err := generate(src, dir)
			if err != nil || string(again) != string(table) || fmt.Sprint(problemsAgain) != fmt.Sprint(problems) {
				t.Errorf("a second run gives something else (error %v):\n%s%v", err, again, problemsAgain)
			}
		})
	}
}

// compare compares got with a golden file; no file means that nothing is wanted.
func compare(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if got == "" {
			os.Remove(name)
		} else if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if d := diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; after a look, go test ./gen/plugintable -update):\n%s", filepath.Base(name), d)
	}
}

// typeCheck proves that a table compiles with the plugins it was made from.
func typeCheck(t *testing.T, src *sources, dir string, table []byte) {
	t.Helper()
	file, err := parser.ParseFile(src.fset, filepath.Join(dir, "table.go"), table, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	config := types.Config{Importer: imports(func(path string) (*types.Package, error) {
		if path == contractPath {
			return src.contract.Types, nil
		}
		if p := src.packages[path]; p != nil {
			return p.Types, nil
		}
		return nil, fmt.Errorf("%s was not loaded", path)
	})}
	if _, err := config.Check("gen", src.fset, []*ast.File{file}, nil); err != nil {
		t.Errorf("the table does not compile: %v", err)
	}
}

type imports func(path string) (*types.Package, error)

func (f imports) Import(path string) (*types.Package, error) { return f(path) }

func TestTableIsFresh(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	src, err := load(t.Context(), root, root)
	if err != nil {
		t.Fatal(err)
	}
	want, problems, err := generate(src, root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s", p)
	}
	if len(problems) > 0 {
		t.Fatal("no table can be made of these plugins")
	}
	got, err := os.ReadFile(filepath.Join(root, "gen", "table.go"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if d := diff(string(want), string(got)); d != "" {
		t.Errorf("gen/table.go does not fit the plugins: run go generate ./...\n(-wanted +in the file)\n%s", d)
	}
}

// diff shows the lines between the first and the last difference; it is empty if there is none.
func diff(want, got string) string {
	if want == got {
		return ""
	}
	w, g := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	line := 1
	for len(w) > 0 && len(g) > 0 && w[0] == g[0] {
		w, g, line = w[1:], g[1:], line+1
	}
	for len(w) > 0 && len(g) > 0 && w[len(w)-1] == g[len(g)-1] {
		w, g = w[:len(w)-1], g[:len(g)-1]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "line %d:\n", line)
	for _, s := range w {
		fmt.Fprintf(&b, "-%s\n", strings.TrimSuffix(s, "\n"))
	}
	for _, s := range g {
		fmt.Fprintf(&b, "+%s\n", strings.TrimSuffix(s, "\n"))
	}
	return b.String()
}
