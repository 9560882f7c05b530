package main

import (
	"context"
	"fmt"
	"go/token"
	"path/filepath"
	"reflect"

	"golang.org/x/tools/go/packages"

	"checkstack/plugins"
)

// Packages are loaded by the patterns <folder>/plugins/..., so the table itself, which imports all of them and may be
// stale or broken, is never read. Their own syntax and types come from source, because problems need exact positions;
// what they import from elsewhere comes from the compiler's export data, which the build cache holds.

// contractPath is the import path of package plugins.
var contractPath = reflect.TypeFor[plugins.Host]().PkgPath()

// sources are loaded packages whose types belong together.
type sources struct {
	fset     *token.FileSet
	module   *packages.Module
	contract *packages.Package            // package plugins
	packages map[string]*packages.Package // those below the plugins folders, by import path
}

// load loads the packages below the folder plugins of each of the roots, which are in the module that holds dir. All
// of them are absolute paths.
func load(ctx context.Context, dir string, roots ...string) (*sources, error) {
	patterns := []string{contractPath}
	for _, root := range roots {
		rel, err := filepath.Rel(dir, root)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, "./"+filepath.ToSlash(filepath.Join(rel, "plugins"))+"/...")
	}
	src := &sources{fset: token.NewFileSet(), packages: map[string]*packages.Package{}}
	pkgs, err := packages.Load(&packages.Config{
		Context: ctx,
		Dir:     dir,
		Fset:    src.fset,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo | packages.NeedModule,
	}, patterns...)
	if err != nil {
		return nil, fmt.Errorf("load the plugins: %w", err)
	}
	for _, p := range pkgs {
		if p.PkgPath == contractPath {
			src.contract, src.module = p, p.Module
		} else {
			src.packages[p.PkgPath] = p
		}
	}
	if src.contract == nil || src.module == nil {
		return nil, fmt.Errorf("load the plugins: package %s is not in the module of %s", contractPath, dir)
	}
	return src, nil
}
