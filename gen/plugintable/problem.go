package main

import (
	"cmp"
	"fmt"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// problem is something that somebody has to change, and where.
type problem struct {
	file      string // relative to the root, with forward slashes
	line, col int
	text      string
	compiler  bool // told by the go command or the type checker, not found by a check of ours
	echo      bool // follows from another problem, and is of interest only if that one was not found
}

// String writes the problem the way compilers do, so that editors find the place.
func (p problem) String() string { return fmt.Sprintf("%s:%d:%d: %s", p.file, p.line, p.col, p.text) }

// report adds a problem at pos.
func (s *survey) report(pos token.Pos, format string, args ...any) {
	at := s.src.fset.Position(pos)
	s.problems = append(s.problems, problem{
		file: s.relative(at.Filename),
		line: at.Line, col: max(at.Column, 1),
		text: fmt.Sprintf(format, args...),
	})
}

// relative is the path of a file as it is printed: the same on every machine.
func (s *survey) relative(file string) string {
	if rel, err := filepath.Rel(s.root, file); err == nil {
		file = rel
	}
	return filepath.ToSlash(file)
}

// sorted returns the problems by place, each once. Where one of our own checks has said what to do about a line, what
// the compiler says about that line is left out, and so are echoes unless there is nothing else.
func (s *survey) sorted() []problem {
	type line struct {
		file string
		line int
	}
	ours := map[line]bool{}
	for _, p := range s.problems {
		if !p.compiler {
			ours[line{p.file, p.line}] = true
		}
	}
	echoes := !slices.ContainsFunc(s.problems, func(p problem) bool { return !p.echo })
	problems := slices.DeleteFunc(slices.Clone(s.problems), func(p problem) bool {
		return p.echo && !echoes || p.compiler && ours[line{p.file, p.line}]
	})
	slices.SortFunc(problems, func(a, b problem) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.col, b.col),
			strings.Compare(a.text, b.text))
	})
	return slices.Compact(problems)
}

// position splits "file:line:column", where column and line may be missing, as the go command writes it.
func position(s string) (file string, line, col int) {
	cut := func() int {
		i := strings.LastIndexByte(s, ':')
		if i < 0 {
			return 0
		}
		n, err := strconv.Atoi(s[i+1:])
		if err != nil {
			return 0
		}
		s = s[:i]
		return n
	}
	line, col = 0, cut()
	if line = cut(); line == 0 {
		line, col = col, 0
	}
	return s, max(line, 1), max(col, 1)
}
