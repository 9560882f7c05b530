package main

import (
	"errors"
	"go/token"
	"go/types"
	"maps"
	"regexp"
	"slices"
	"strings"

	"checkstack/plugins"
)

// maxID is the length of a PostgreSQL identifier in bytes: a longer schema name would be cut off without a word.
const maxID = 63

var idForm = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// reserved are the names that are taken: by the core's routes below /api/, by its schema and PostgreSQL's, and by Go.
var reserved = map[string]string{
	"plugins":    "the server's own route /api/plugins",
	"about":      "the server's own route /api/about",
	"config":     "the server's own route /api/config",
	"openapi":    "the server's own route /api/openapi.json",
	"checkstack": "the server's own schema",
	"public":     "PostgreSQL's own schema",
	"main":       "programs, which cannot be imported",
	"init":       "Go's init functions, so that it cannot be imported",
	"vendor":     "copies of other modules, which Go does not look into",
}

// check looks at every plugin and returns them in the order of the table. The order is complete only if no problem was
// found.
func (s *survey) check() []*plugin {
	ids := slices.Sorted(maps.Keys(s.plugins))
	for _, id := range ids {
		s.checkID(s.plugins[id])
		s.checkNew(s.plugins[id])
		s.checkCommands(s.plugins[id])
		s.checkFlags(s.plugins[id])
	}
	for _, id := range ids {
		s.checkRequired(s.plugins[id])
	}
	return s.sort()
}

// reportPlugin adds a problem that concerns the plugin as a whole.
func (s *survey) reportPlugin(p *plugin, format string, args ...any) {
	if p.clause.IsValid() {
		s.report(p.clause, format, args...)
		return
	}
	file := s.src.fset.AddFile(p.first, -1, 0)
	s.report(file.Pos(0), format, args...)
}

func (s *survey) checkID(p *plugin) {
	use, taken := reserved[p.id]
	switch {
	case !idForm.MatchString(p.id):
		s.reportPlugin(p, "the folder name %q cannot be a plugin's ID; rename it to lower-case letters and digits that begin "+
			"with a letter", p.id)
	case len(p.id) > maxID:
		s.reportPlugin(p, "the folder name has %d characters; rename it to at most %d, it is also the name of a PostgreSQL schema",
			len(p.id), maxID)
	case taken:
		s.reportPlugin(p, "the ID %s is reserved for %s; rename the folder", p.id, use)
	case strings.HasPrefix(p.id, "pg"):
		s.reportPlugin(p, "the ID %s begins with pg, which is reserved for PostgreSQL; rename the folder", p.id)
	case token.IsKeyword(p.id):
		s.reportPlugin(p, "%s is a word of the Go language, so it cannot be the name of a package; rename the folder", p.id)
	case p.pkg != nil && p.clause.IsValid() && p.pkg.Name != p.id:
		s.reportPlugin(p, "the package in the folder %s is called %s; write package %s", p.id, p.pkg.Name, p.id)
	}
}

// checkNew checks the form of New, and notes what it returns.
func (s *survey) checkNew(p *plugin) {
	if p.pkg == nil {
		s.reportPlugin(p, "%s", s.noPackage(p))
		return
	}
	var obj types.Object
	if p.pkg.Types != nil {
		obj = p.pkg.Types.Scope().Lookup("New")
	}
	if obj == nil && malformed(p.pkg) {
		return
	}
	if obj == nil {
		s.reportPlugin(p, "plugin %s has no New; add func New(host *plugins.Host) that returns the plugin", p.id)
		return
	}
	f, ok := obj.(*types.Func)
	if !ok {
		s.report(obj.Pos(), "New is %s; make it a function, func New(host *plugins.Host), that returns the plugin", kind(obj))
		return
	}
	sig := f.Signature()
	switch {
	case sig.TypeParams().Len() > 0:
		s.report(sig.TypeParams().At(0).Obj().Pos(), "New has type parameters, which nobody could choose; remove them")
		return
	case sig.Variadic():
		s.report(sig.Params().At(sig.Params().Len()-1).Pos(),
			"New takes any number of values; make each required plugin a parameter of its own")
		return
	case sig.Params().Len() == 0:
		s.report(f.Pos(), "New takes no host; make *plugins.Host its first parameter")
	default:
		host := types.NewPointer(s.src.contract.Types.Scope().Lookup("Host").Type())
		if first := sig.Params().At(0); !types.Identical(first.Type(), host) && !broken(first.Type()) {
			s.report(first.Pos(), "the first parameter of New is %s; make it *plugins.Host", typeName(first.Type()))
		}
	}
	p.newFunc = f
	s.checkResult(p)
}

// kind names what an object is that is not a function.
func kind(obj types.Object) string {
	switch obj.(type) {
	case *types.TypeName:
		return "a type"
	case *types.Const:
		return "a constant"
	}
	return "a variable"
}

// checkResult checks that New returns one value with a method Plugin() plugins.Instance.
func (s *survey) checkResult(p *plugin) {
	results := p.newFunc.Signature().Results()
	switch {
	case results.Len() == 0:
		s.report(p.newFunc.Pos(), "New returns nothing; make it return the plugin")
		return
	case results.Len() > 1:
		s.report(results.At(1).Pos(), "New returns %d values; make it return the plugin alone, and do in Init what can fail",
			results.Len())
		return
	}
	t, pos := results.At(0).Type(), results.At(0).Pos()
	if broken(t) {
		return
	}
	contract := s.src.contract.Types.Scope().Lookup("Plugin").Type().Underlying().(*types.Interface)
	name := typeName(t)
	method, _ := types.MissingMethod(t, contract, true)
	switch has, _, _ := types.LookupFieldOrMethod(t, true, p.pkg.Types, "Plugin"); {
	case method == nil:
		p.result = t
	case types.Implements(types.NewPointer(t), contract):
		s.report(pos, "New returns %s, but the method Plugin is one of *%s; return *%s", name, name, name)
	case has == nil:
		if receiver := p.receiver(t); receiver != "" {
			s.report(pos, "New returns %s, which has no method Plugin; add func (p %s) Plugin() plugins.Instance", name, receiver)
			return
		}
		s.report(pos, "New returns %s, which has no method Plugin; make it return a type of package %s that has "+
			"Plugin() plugins.Instance", name, p.pkg.Name)
	default:
		s.report(has.Pos(), "Plugin of %s is not what the loader calls; make it a method Plugin() plugins.Instance", name)
	}
}

// receiver writes a type as the receiver of a method in the plugin's own package, where it stands without the package's
// name. It is empty if no method can be added to the type: one of another package or of none, an interface, an instance.
func (p *plugin) receiver(t types.Type) string {
	star := ""
	if ptr, ok := types.Unalias(t).(*types.Pointer); ok {
		star, t = "*", ptr.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() != p.pkg.Types || named.TypeArgs().Len() > 0 {
		return ""
	}
	switch named.Underlying().(type) {
	case *types.Interface, *types.Pointer:
		return ""
	}
	return star + named.Obj().Name()
}

// broken reports whether a type could not be determined, which the compiler has told already.
func broken(t types.Type) bool {
	for {
		switch u := types.Unalias(t).(type) {
		case *types.Pointer:
			t = u.Elem()
			continue
		case *types.Slice:
			t = u.Elem()
			continue
		case *types.Basic:
			return u.Kind() == types.Invalid
		}
		return false
	}
}

// typeName writes a type as Go source does.
func typeName(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string { return p.Name() })
}

// service returns the exported name, declared in the plugin's own package, that others write for what New returns, or
// nil if it has none.
func (p *plugin) service() *types.TypeName {
	t := p.result
	if t == nil {
		return nil
	}
	if ptr, ok := t.(*types.Pointer); ok {
		t = ptr.Elem()
	}
	named, ok := t.(interface {
		Obj() *types.TypeName
		TypeArgs() *types.TypeList
	})
	if !ok || named.TypeArgs().Len() > 0 || !named.Obj().Exported() || named.Obj().Pkg() != p.pkg.Types {
		return nil
	}
	return named.Obj()
}

// checkRequired finds the plugin behind each parameter of p's New after the host.
func (s *survey) checkRequired(p *plugin) {
	if p.newFunc == nil {
		return
	}
	for i := 1; i < p.newFunc.Signature().Params().Len(); i++ {
		param := p.newFunc.Signature().Params().At(i)
		if broken(param.Type()) {
			continue
		}
		need := s.provider(p, param)
		switch {
		case need == nil:
		case need == p:
			s.report(param.Pos(), "plugin %s cannot require itself; remove this parameter", p.id)
		case slices.Contains(p.requires, need):
			s.report(param.Pos(), "New takes plugin %s twice; remove this parameter", need.id)
		default:
			p.requires = append(p.requires, need)
			if _, ok := p.needs[need.id]; !ok {
				p.needs[need.id] = param.Pos()
			}
		}
	}
}

// provider returns the plugin whose New returns exactly the type of a parameter, or reports that there is none.
func (s *survey) provider(p *plugin, param *types.Var) *plugin {
	var found []*plugin
	for _, id := range slices.Sorted(maps.Keys(s.plugins)) {
		if q := s.plugins[id]; q.service() != nil && types.Identical(q.result, param.Type()) {
			found = append(found, q)
		}
	}
	name := typeName(param.Type())
	switch len(found) {
	case 1:
		return found[0]
	case 0:
		s.reportUnprovided(param, name)
	default:
		s.report(param.Pos(), "plugins %s and %s both provide %s; give each a type of its own", found[0].id, found[1].id, name)
	}
	return nil
}

// reportUnprovided says that no plugin provides a parameter, and how near it is to one that does.
func (s *survey) reportUnprovided(param *types.Var, name string) {
	t := types.Unalias(param.Type())
	if ptr, ok := t.(*types.Pointer); ok {
		t = types.Unalias(ptr.Elem())
	}
	if named, ok := t.(*types.Named); ok && named.Obj().Pkg() != nil {
		id, ok := strings.CutPrefix(named.Obj().Pkg().Path(), s.base+"/")
		owner := s.plugins[id]
		switch {
		case !ok || owner == nil || owner.pkg.Types == param.Pkg():
		case owner.result == nil: // that is told where it is declared
			return
		case owner.service() == nil:
			s.report(param.Pos(), "New of plugin %s returns %s, which others cannot name; make it return an exported type of "+
				"package %s, and take that", id, typeName(owner.result), id)
			return
		default:
			s.report(param.Pos(), "no plugin provides %s; New of plugin %s returns %s, take that", name, id, typeName(owner.result))
			return
		}
	}
	s.report(param.Pos(), "no plugin provides %s; after the host New takes what New of another plugin returns, and nothing else", name)
}

// sort returns the plugins in the order of the table. Each cycle is reported at the import that closes it, and then
// left out, so that all of them are found.
func (s *survey) sort() []*plugin {
	requires := map[string][]string{}
	for id, p := range s.plugins {
		requires[id] = slices.Sorted(maps.Keys(p.needs))
	}
	for {
		ids, err := plugins.Sort(requires)
		cycle, ok := errors.AsType[*plugins.CycleError](err)
		if !ok {
			order := make([]*plugin, 0, len(ids))
			for _, id := range ids {
				order = append(order, s.plugins[id])
			}
			return order
		}
		last, first := cycle.Path[len(cycle.Path)-2], cycle.Path[0]
		s.report(s.plugins[last].needs[first], "%v; remove one of these imports, or move what both need to a plugin of its own", err)
		requires[last] = slices.DeleteFunc(requires[last], func(id string) bool { return id == first })
	}
}
