package main

// The rules of the house, each as a test: who may import whom, what is linked, where SQL lives, and that a plugin can be
// taken out.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"checkstack/gen"
	"checkstack/sql/postgres/postgrestest"
)

// pkg is what the go command says of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Standard                           bool
	Module                             *struct{ Path string }
}

func packages(t *testing.T, args ...string) (all []pkg) {
	t.Helper()
	out := goCommand(t, ".", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Standard,Module"}, args...)...)
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

func TestPackagesImportOnlyWhatTheDesignAllows(t *testing.T) {
	const pq = "github.com/lib/pq"
	requires := make(map[string][]string)
	for _, e := range gen.Plugins {
		requires[e.ID] = e.Requires
	}
	ours := func(imports []string) (found []string) {
		for _, i := range imports {
			if strings.Contains(strings.Split(i, "/")[0], ".") || strings.HasPrefix(i, "checkstack") {
				found = append(found, i)
			}
		}
		return found
	}
	for _, p := range packages(t, "./...") {
		name, isPlugin := strings.CutPrefix(p.ImportPath, "checkstack/plugins/")
		id, _, isPart := strings.Cut(name, "/")
		for _, imported := range ours(p.Imports) {
			ok := false
			switch {
			case imported == "checkstack":
			case p.ImportPath == "checkstack":
				ok = slices.Contains([]string{"checkstack/gen", "checkstack/plugins", "checkstack/sql/postgres", "checkstack/sql/record", "checkstack/sql/series", pq}, imported)
			case p.ImportPath == "checkstack/gen":
				ok = imported == "checkstack/plugins" || path.Dir(imported) == "checkstack/plugins"
			case p.ImportPath == "checkstack/gen/plugintable":
				ok = imported == "checkstack/plugins" || strings.HasPrefix(imported, "golang.org/x/tools/")
			case p.ImportPath == "checkstack/sql/postgres":
				ok = imported == pq || strings.HasPrefix(imported, pq+"/")
			case p.ImportPath == "checkstack/sql/record":
				ok = imported == "checkstack/plugins" || imported == "checkstack/sql/series" || imported == pq
			case p.ImportPath == "checkstack/sql/series":
				ok = imported == "checkstack/plugins" || imported == pq
			case p.ImportPath == "checkstack/sql/postgres/postgrestest":
				ok = imported == "checkstack/sql/postgres" || imported == pq
			case p.ImportPath == "checkstack/plugins": // the contract: standard library only
			case isPlugin && id == "internal": // support for the plugins' tests
				ok = strings.HasPrefix(imported, "checkstack/")
			case isPlugin:
				other := strings.TrimPrefix(imported, "checkstack/plugins/")
				ok = imported == "checkstack/plugins" || imported == pq || slices.Contains(requires[id], other) ||
					isPart && other == id || strings.HasPrefix(other, id+"/")
			}
			if !ok {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if isPlugin && imported == "checkstack" || p.ImportPath == "checkstack" && path.Dir(imported) == "checkstack/plugins" {
				t.Errorf("the tests of %s import %s", p.ImportPath, imported)
			}
		}
	}
}

func TestOnlyTheDriverIsLinkedIntoTheBinary(t *testing.T) {
	modules := make(map[string]bool)
	for _, p := range packages(t, "-deps", ".") {
		if !p.Standard {
			modules[p.Module.Path] = true
		}
		if p.ImportPath == "testing" {
			t.Error("the package testing is linked into the binary")
		}
	}
	if fmt.Sprint(modules) != "map[checkstack:true github.com/lib/pq:true]" {
		t.Errorf("linked modules: %v", modules)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, line := range regexp.MustCompile(`(?m)^\s*(?:require )?(\S+\.\S+ v\S+)$`).FindAllStringSubmatch(string(mod), -1) {
		direct = append(direct, line[1])
	}
	if got := strings.Join(direct, ", "); got != "github.com/lib/pq v1.12.3, golang.org/x/tools v0.52.0" {
		t.Errorf("direct requirements: %s", got)
	}
}

func TestNoPackageOfThePluginsHasAnInitFunction(t *testing.T) {
	for file := range files(t, "plugins", ".go") {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", file)
			}
		}
	}
}

func TestTheCoreKnowsNoPluginByName(t *testing.T) {
	for _, name := range []string{"main.go", "gate.go", "readiness.go", "loader.go", "rollup.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range gen.Plugins {
			if bytes.Contains(text, []byte(`"`+e.ID+`"`)) || bytes.Contains(text, []byte("/api/"+e.ID)) || bytes.Contains(text, []byte(e.ID+".")) && e.ID != "auth" {
				t.Errorf("%s mentions the plugin %s", name, e.ID)
			}
		}
	}
}

// files yields the files below a folder with a suffix, but for those that Go and the generator set apart.
func files(t *testing.T, root, suffix string) func(func(string) bool) {
	return func(yield func(string) bool) {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "."):
				return filepath.SkipDir
			case !d.IsDir() && strings.HasSuffix(name, suffix) && !yield(filepath.ToSlash(name)):
				return filepath.SkipAll
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryStatementInASQLFilePreparesAgainstTheMigratedSchema(t *testing.T) {
	db, database := postgrestest.New(t)
	in := boot(t, gen.Plugins, database)
	in.log.wait(t, "ready")
	in.stop()
	if in.exit() != 0 {
		t.Fatal(in.log)
	}
	prepared := 0
	for _, root := range []string{"sql", "plugins"} {
		for file := range files(t, root, ".sql") {
			if strings.Contains(file, "/migrations/") || strings.HasPrefix(file, "sql/postgres/") {
				continue // applied by this test already; and the driver's own, which run before there is a schema
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), "--") {
				t.Errorf("%s does not begin with a comment that says what it guarantees", file)
			}
			stmt, err := db.Prepare(string(text))
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			stmt.Close()
			prepared++
		}
	}
	if prepared < 20 {
		t.Errorf("only %d statements were found", prepared)
	}
}

func TestSQLLivesInSQLFiles(t *testing.T) {
	statement := regexp.MustCompile(`(?i)^\s*(select\s|insert\s+into|update\s+\w+(\.\w+)?\s+set|delete\s+from|create\s+(table|schema|index|database)|alter\s|drop\s|with\s+\w+\s+as|begin$|set\s+local)`)
	for _, root := range []string{".", "plugins", "sql"} {
		for file := range files(t, root, ".go") {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && statement.MatchString(strings.Trim(lit.Value, "`\"")) {
					t.Errorf("%s has SQL: %s", file, lit.Value)
				}
				return true
			})
		}
	}
}

func TestAServerWithoutThePluginsThatNothingRequiresBuildsAndBoots(t *testing.T) {
	dir := t.TempDir()
	needed := make(map[string]bool)
	for _, e := range gen.Plugins {
		for _, r := range e.Requires {
			needed[r] = true
		}
	}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		parts := strings.Split(filepath.ToSlash(name), "/")
		removed := len(parts) > 1 && parts[0] == "plugins" && d.IsDir() && parts[1] != "internal" && !needed[parts[1]]
		if d.IsDir() && (removed || strings.HasPrefix(d.Name(), ".") && name != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	goCommand(t, dir, "generate", "./...")
	goCommand(t, dir, "vet", "./...")
	binary := filepath.Join(dir, "server")
	goCommand(t, dir, "build", "-o", binary, ".")

	_, database := postgrestest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := newLogBook()
	cmd := exec.CommandContext(ctx, binary, "-listen=127.0.0.1:0", "-drain=0s")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+database)
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // the exit code says it
		log.end()
	}()
	log.wait(t, "ready")
	cancel()
	<-exited
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d\n%s", code, log)
	}
}
