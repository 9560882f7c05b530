package apply

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"checkstack/plugins"
)

// A document in files: one file, all *.json files of a folder, or standard input. The files of a folder are one document, section
// by section in the order of their names, so that each team or service can have its own. What is wrong with it is told with
// the file and the place in that file, also where the server says it of the whole:
//
//	checks[3].config.url   is   shop.json: checks[0].config.url
//
// The hard case is a folder that Kubernetes mounts: its files are links into a hidden folder, so links are followed and what
// begins with a dot is left alone.

// source is a document, and where its elements come from.
type source struct {
	doc   Document
	parts map[string][]element // by section
	first string               // the file, if there is only one
}

// element is where an element of a section was.
type element struct {
	file  string
	index int
}

// read reads the document at a path, or standard input for "-".
func read(path string, stdin io.Reader) (*source, error) {
	s := &source{parts: make(map[string][]element)}
	files, err := filesAt(path)
	if err != nil {
		return nil, err
	}
	if len(files) == 1 {
		s.first = files[0]
	}
	for _, file := range files {
		var text []byte
		if path == "-" {
			text, err = limited(file, stdin)
		} else {
			text, err = readFile(file)
		}
		if err != nil {
			return nil, err
		}
		if err := s.add(file, text); err != nil {
			return nil, err
		}
	}
	if err := s.doc.Validate(); err != nil { // the bounds of all files together
		return nil, s.explain(err)
	}
	return s, nil
}

// filesAt returns the file at a path, or the *.json files of a folder, by name.
func filesAt(path string) ([]string, error) {
	if path == "-" {
		return []string{"standard input"}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if ext := strings.ToLower(filepath.Ext(path)); !info.IsDir() && (ext == ".yaml" || ext == ".yml") {
		return nil, fmt.Errorf("%s: documents are JSON", path)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no file *.json in %s", path)
	}
	return files, nil
}

// readFile reads one file.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it is only read
	return limited(name, f)
}

// limited reads at most as much as a document may have.
func limited(name string, r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("expected at most %d bytes", maxDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// add adds what one file says.
func (s *source) add(file string, text []byte) error {
	part := &source{first: file}
	text, err := wellFormed(file, text)
	if err != nil {
		return err
	}
	if err := plugins.Decode(text, &part.doc); err != nil {
		return part.explain(err)
	}
	named := part.doc.Name != ""
	if err := part.doc.Validate(); err != nil {
		return part.explain(err)
	}
	if named && s.doc.Name != "" && s.doc.Name != part.doc.Name {
		return fmt.Errorf("%s: name: the files are one document, and another one calls it %q", file, s.doc.Name)
	}
	if named {
		s.doc.Name = part.doc.Name
	}
	d, more := &s.doc, &part.doc
	return cmp.Or(
		join(s, file, "systems", &d.Systems, more.Systems, func(v System) string { return quoted(v.Name) }),
		join(s, file, "groups", &d.Groups, more.Groups, func(v Group) string { return quoted(v.Name) }),
		join(s, file, "checks", &d.Checks, more.Checks, func(v Check) string { return quoted(v.Name) }),
		join(s, file, "satellites", &d.Satellites, more.Satellites, func(v Satellite) string { return quoted(v.Name) }),
		join(s, file, "assignments", &d.Assignments, more.Assignments, Assignment.subject),
		join(s, file, "channels", &d.Channels, more.Channels, func(v Channel) string { return quoted(v.Name) }),
		join(s, file, "subscriptions", &d.Subscriptions, more.Subscriptions, Subscription.subject),
	)
}

// quoted is a name that does not run into what is beside it.
func quoted(name string) string { return strconv.Quote(name) }

// subject is what an assignment is about.
func (a Assignment) subject() string {
	if a.Group != "" {
		return quoted(a.Check) + " of the group " + quoted(a.Group)
	}
	return quoted(a.Check) + " of the system " + quoted(a.System)
}

// subject is what a subscription is about.
func (s Subscription) subject() string {
	switch {
	case s.System != "":
		return quoted(s.Channel) + " to the system " + quoted(s.System)
	case s.Group != "":
		return quoted(s.Channel) + " to the group " + quoted(s.Group)
	}
	return quoted(s.Channel) + " to all systems"
}

// join adds the elements of a section of one file. What another file defines too is an error with both names.
func join[T any](s *source, file, section string, all *[]T, more []T, subject func(T) string) error {
	first := make(map[string]element, len(*all))
	for i, v := range *all {
		first[plugins.Fold(subject(v))] = s.parts[section][i]
	}
	for i, v := range more {
		if e, taken := first[plugins.Fold(subject(v))]; taken {
			return fmt.Errorf("%s: %s: %s defines the %s %s too", file, place(section, i), e.file, strings.TrimSuffix(section, "s"), subject(v))
		}
		*all = append(*all, v)
		s.parts[section] = append(s.parts[section], element{file, i})
	}
	return nil
}

// explain makes of an error about the document one that a person can follow to a file.
func (s *source) explain(err error) error {
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok {
		return err
	}
	where := s.where(e.Field)
	if where == "" {
		return errors.New(e.Message)
	}
	return errors.New(where + ": " + e.Message)
}

// where names the file and the place in it, as far as they are known.
func (s *source) where(field string) string {
	file := s.first
	section, rest, _ := strings.Cut(field, "[")
	number, rest, ok := strings.Cut(rest, "]")
	if i, err := strconv.Atoi(number); ok && err == nil && i >= 0 && i < len(s.parts[section]) {
		e := s.parts[section][i]
		file, field = e.file, place(section, e.index)+rest
	}
	return strings.Join(slices.DeleteFunc([]string{file, field}, func(s string) bool { return s == "" }), ": ")
}
