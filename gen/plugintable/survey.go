package main

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// A direct subfolder of plugins/ with Go files below it is a plugin, unless Go itself sets it apart: internal, testdata,
// and names that begin with "_" or ".".
//
// What a plugin requires is read from the import clauses of all its Go files but the tests, whatever system they
// are built for, so that the table does not depend on the machine it is made on:
//
//	plugins/incident/incident.go        imports plugins/catalog           incident requires catalog
//	plugins/incident/mail/mail.go       imports plugins/notification      … and notification
//	plugins/incident/incident_plan9.go  imports plugins/signals           … and signals
//	plugins/incident/incident.go        imports plugins/internal/clock,
//	plugins/internal/clock/clock.go     which imports plugins/queue       … and queue
//	plugins/incident/incident_test.go   imports plugins/statuspage        a test requires nothing

// survey is what was found below one folder plugins/.
type survey struct {
	src      *sources
	root     string // the absolute path of the folder that holds plugins/
	base     string // the import path of plugins/
	gen      string // the import path of the table's package
	plugins  map[string]*plugin
	imports  map[string][]imported // by the import path of the package that imports
	problems []problem
}

// plugin is one plugin.
type plugin struct {
	id       string
	first    string               // a Go file that stands for the plugin if Go sees no package
	pkg      *packages.Package    // nil if Go sees no package
	clause   token.Pos            // of the name in its package clause
	needs    map[string]token.Pos // the plugins it requires, and where that is said
	newFunc  *types.Func          // nil if there is none, or it is wrong
	result   types.Type           // what New returns; nil if that is wrong
	requires []*plugin            // what New takes after the host, in order
	commands bool                 // whether it has a function Commands
	flags    bool                 // whether it has a function Flags
}

// imported is one import clause.
type imported struct {
	path string
	pos  token.Pos
}

// newSurvey finds the plugins below root and what they require.
func newSurvey(src *sources, root string) (*survey, error) {
	rel, err := filepath.Rel(src.module.Dir, root)
	if err != nil {
		return nil, err
	}
	base := path.Join(src.module.Path, filepath.ToSlash(rel))
	s := &survey{
		src: src, root: root, base: base + "/plugins", gen: base + "/gen",
		plugins: map[string]*plugin{}, imports: map[string][]imported{},
	}
	folders, err := os.ReadDir(filepath.Join(root, "plugins"))
	if err != nil {
		return nil, fmt.Errorf("find the plugins: %w", err)
	}
	for _, folder := range folders {
		id := folder.Name()
		if !folder.IsDir() || setApart(id) {
			continue
		}
		first, err := s.read(id)
		if err != nil {
			return nil, fmt.Errorf("find the plugins: %w", err)
		}
		if first != "" && id != "internal" {
			s.plugins[id] = s.plugin(id, first)
		}
	}
	s.compilerProblems()
	for _, id := range slices.Sorted(maps.Keys(s.plugins)) {
		s.require(s.plugins[id])
	}
	return s, nil
}

// setApart reports whether the go command leaves out a folder of this name where it is asked for "./...".
func setApart(folder string) bool {
	return folder == "testdata" || strings.HasPrefix(folder, "_") || strings.HasPrefix(folder, ".")
}

// read reads the import clauses of the Go files below plugins/<id>. It returns the first of these files, or "".
func (s *survey) read(id string) (first string, err error) {
	top := filepath.Join(s.root, "plugins", id)
	err = filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != top && (setApart(d.Name()) || d.Name() == "vendor" || isModule(name)):
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || filepath.Ext(name) != ".go" || setApart(d.Name()):
			return nil
		}
		if first == "" {
			first = name
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		// What is wrong with the file is told by the go command.
		file, _ := parser.ParseFile(s.src.fset, name, nil, parser.ImportsOnly|parser.ParseComments)
		if file == nil || neverBuilt(file) {
			return nil
		}
		rel, err := filepath.Rel(filepath.Join(s.root, "plugins"), filepath.Dir(name))
		if err != nil {
			return err
		}
		importer := path.Join(s.base, filepath.ToSlash(rel))
		for _, spec := range file.Imports {
			if to, err := strconv.Unquote(spec.Path.Value); err == nil {
				s.imports[importer] = append(s.imports[importer], imported{to, spec.Path.Pos()})
			}
		}
		return nil
	})
	return first, err
}

// isModule reports whether a folder is the root of a module of its own, which is no part of this one.
func isModule(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

// neverBuilt reports whether a file is marked "//go:build ignore": a script that is no part of the package on any
// system.
func neverBuilt(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if c.Pos() > file.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			if expr, err := constraint.Parse(c.Text); err == nil && expr.String() == "ignore" {
				return true
			}
		}
	}
	return false
}

// plugin collects what is known about a plugin before its New is looked at.
func (s *survey) plugin(id, first string) *plugin {
	p := &plugin{id: id, first: first, pkg: s.src.packages[s.base+"/"+id], needs: map[string]token.Pos{}}
	if p.pkg != nil {
		for _, file := range p.pkg.Syntax {
			if name := s.src.fset.Position(file.Package).Filename; p.clause == token.NoPos || filepath.Base(name) == id+".go" {
				p.clause = file.Name.Pos()
			}
		}
	}
	return p
}

// compilerProblems reports what keeps packages below plugins/ from being compiled.
func (s *survey) compilerProblems() {
	s.compilerProblemsOf(s.src.contract)
	for at, p := range s.src.packages {
		if !strings.HasPrefix(at, s.base+"/") {
			continue
		}
		s.compilerProblemsOf(p)
		for to, q := range p.Imports {
			if _, loaded := s.src.packages[to]; !loaded && q != s.src.contract {
				s.compilerProblemsOf(q)
			}
		}
	}
}

func (s *survey) compilerProblemsOf(p *packages.Package) {
	malformed := malformed(p)
	for _, e := range p.Errors {
		file, line, col := position(e.Pos)
		if file == "" || file == "-" {
			file, line, col = s.folder(p), 1, 1
		} else if !filepath.IsAbs(file) {
			file = filepath.Join(s.src.module.Dir, file)
		}
		s.problems = append(s.problems, problem{
			file: s.relative(file), line: line, col: col, compiler: true,
			text: "this does not compile, repair it: " + s.oneLine(e.Msg),
			// The sort prints the path of a cycle, the package that cannot be imported is looked at itself, "# package"
			// begins a summary of what is told one by one, and what follows from half a file helps nobody.
			echo: strings.HasPrefix(e.Msg, "import cycle not allowed") || strings.HasPrefix(e.Msg, "could not import ") ||
				strings.HasPrefix(e.Msg, "# ") || malformed && e.Kind == packages.TypeError,
		})
	}
}

// malformed reports whether the files of a package are not Go, or do not belong together.
func malformed(p *packages.Package) bool {
	return slices.ContainsFunc(p.Errors, func(e packages.Error) bool {
		return e.Kind == packages.ParseError || strings.HasPrefix(e.Msg, "found packages ")
	})
}

// goRoot matches where the go command looked for a package of the standard library.
var goRoot = regexp.MustCompile(` \([^()]*[/\\]src[/\\][^()]*\)`)

// oneLine makes a message of the go command one line that is the same on every machine.
func (s *survey) oneLine(message string) string {
	message = goRoot.ReplaceAllString(strings.Join(strings.Fields(message), " "), "")
	for _, dir := range []string{s.root, s.src.module.Dir} {
		message = strings.ReplaceAll(message, dir+string(filepath.Separator), "")
	}
	return message
}

// folder returns a file that stands for a package, or its folder.
func (s *survey) folder(p *packages.Package) string {
	if files := slices.Concat(p.GoFiles, p.IgnoredFiles, p.OtherFiles); len(files) > 0 {
		return slices.Min(files)
	}
	return filepath.Join(s.src.module.Dir, strings.TrimPrefix(p.PkgPath, s.src.module.Path))
}

// require finds what p requires: the plugins that its packages import, themselves or through plugins/internal.
func (s *survey) require(p *plugin) {
	own := s.base + "/" + p.id
	for _, from := range slices.Sorted(maps.Keys(s.imports)) {
		if from != own && !strings.HasPrefix(from, own+"/") {
			continue
		}
		for _, imp := range s.imports[from] {
			s.follow(p, imp, imp.pos, map[string]bool{})
		}
	}
}

// follow notes what one import of p, made at pos, leads to.
func (s *survey) follow(p *plugin, imp imported, pos token.Pos, seen map[string]bool) {
	if imp.path == s.gen || strings.HasPrefix(imp.path, s.gen+"/") {
		s.report(imp.pos, "%s is made from the plugins, so a plugin cannot import it; remove this import", imp.path)
		return
	}
	below, ok := strings.CutPrefix(imp.path, s.base+"/")
	if !ok || seen[imp.path] {
		return
	}
	seen[imp.path] = true
	id, sub, isSub := strings.Cut(below, "/")
	switch {
	case id == p.id || setApart(id):
	case id == "internal":
		for _, next := range s.imports[imp.path] {
			s.follow(p, next, pos, seen)
		}
	case s.plugins[id] == nil:
		s.report(imp.pos, "there is no plugin %s; import one of the folders below plugins, or remove this import", id)
	default:
		if isSub {
			s.report(imp.pos, "%s is a part of plugin %s (%s); import only %s/%s, and use what it offers to others",
				imp.path, id, sub, s.base, id)
		}
		if _, ok := p.needs[id]; !ok {
			p.needs[id] = pos
		}
	}
}

// noPackage says why Go sees no package in the folder of a plugin.
func (s *survey) noPackage(p *plugin) string {
	if isModule(filepath.Join(s.root, "plugins", p.id)) {
		return fmt.Sprintf("plugins/%s is a module of its own; remove its go.mod, so that it is built into this server", p.id)
	}
	return fmt.Sprintf("plugins/%s holds no package that is built here; add %s.go with func New(host *plugins.Host), "+
		"or move it below plugins/internal if it is not a plugin", p.id, p.id)
}
