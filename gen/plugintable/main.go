// Command plugintable writes gen/table.go, the table of the plugins below plugins/, each after the plugins it requires.
//
// It is run by "go generate ./..." and takes no arguments: it works on the module that holds the current folder. What is
// wrong with the plugins is reported all at once, one line a problem, as file:line:column: and a sentence that says what
// to do. Then nothing is written, and the exit code is 1.
//
// The steps, one file each:
//
//	load.go      load the packages below plugins/ with their types, and never the table itself
//	survey.go    find the plugins among the folders, and which of them each one imports
//	check.go     match what every New takes to what another New returns
//	beside.go    look at what a package may have beside New: Commands and Flags
//	render.go    write the table
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	code := run(ctx, dir, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// run writes the table of the module that holds dir. It returns the exit code: 0 if the table is right now, 1 if
// there are problems or a failure, told on stderr, 2 for a wrong command line.
func run(ctx context.Context, dir string, args []string, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintln(stderr, "usage: plugintable (without arguments, anywhere in the module)")
		return 2
	}
	root, err := moduleRoot(dir)
	if err != nil {
		fmt.Fprintf(stderr, "plugintable: %v\n", err)
		return 1
	}
	src, err := load(ctx, root, root)
	if err != nil {
		fmt.Fprintf(stderr, "plugintable: %v\n", err)
		return 1
	}
	table, problems, err := generate(src, root)
	if err != nil {
		fmt.Fprintf(stderr, "plugintable: %v\n", err)
		return 1
	}
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		return 1
	}
	if err := write(filepath.Join(root, "gen", "table.go"), table); err != nil {
		fmt.Fprintf(stderr, "plugintable: %v\n", err)
		return 1
	}
	return 0
}

// generate returns the table of the plugins below root/plugins, or what is wrong with them, sorted by place. The folder
// must be among those that src was loaded from.
func generate(src *sources, root string) ([]byte, []problem, error) {
	s, err := newSurvey(src, root)
	if err != nil {
		return nil, nil, err
	}
	order := s.check()
	if problems := s.sorted(); len(problems) > 0 {
		return nil, problems, nil
	}
	table, err := render(order)
	return table, nil, err
}

// moduleRoot returns the nearest folder at or above dir that holds a go.mod, free of symbolic links, so that
// it is a prefix of the paths that the go command prints.
func moduleRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("there is no go.mod in %s or above it", dir)
		}
	}
}

// write puts data in the file name in one step: a reader, or a build that runs at the same time, sees the old content
// or the new one. A file that has this content already is not touched, so that nothing is built again because of it.
func write(name string, data []byte) (err error) {
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, data) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = fmt.Errorf("write the table: %w", err)
		}
	}()
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
