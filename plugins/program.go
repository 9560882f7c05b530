package plugins

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// How the program comes from a command line to a command. The first word names it, and where there is none, or a flag
// comes first, it is the first command that the program has:
//
//	checkstack -listen :80                  the first command, serve
//	checkstack satellite -listen :80        the command of a plugin
//	checkstack satellite -h                 its flags, and what other commands there are
//	checkstack help                         the same of the first command

// Commands returns the commands of a program: the core's, and those of the plugins of a table in its order. Where one is
// malformed, or two have the same name, the error says whose they are.
func Commands(core []Command, table []Entry) ([]Command, error) {
	var all []Command
	owners := make(map[string]string)
	add := func(owner string, commands []Command) error {
		for _, c := range commands {
			if err := c.Validate(); err != nil {
				return fmt.Errorf("%s: %w", owner, err)
			}
			if first, taken := owners[c.Name]; taken {
				return fmt.Errorf("%s: the command %s is one of %s already", owner, c.Name, first)
			}
			owners[c.Name] = owner
			all = append(all, c)
		}
		return nil
	}
	if err := add("the core", core); err != nil {
		return nil, err
	}
	for _, e := range table {
		if e.Commands == nil {
			continue
		}
		if err := add("plugin "+e.ID, e.Commands()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Settings declares the flags of the plugins of a table, in its order. It returns what their functions Flags returned, by the
// plugins' IDs, which has the values once f is parsed.
func Settings(f *Flags, table []Entry) map[string]any {
	settings := make(map[string]any)
	for _, e := range table {
		if e.Flags != nil {
			settings[e.ID] = e.Flags(f)
		}
	}
	return settings
}

// Execute runs the command that a command line names, the first one if it names none, and returns its exit code. That is 2
// if the command line or a variable of the environment cannot be understood, and p.Stderr is told why. There is at least
// one command. p.Log and p.Args are set here.
func Execute(ctx context.Context, commands []Command, args []string, p Process) int {
	c := commands[0]
	if len(args) > 0 && args[0] == "help" {
		args = []string{"-h"}
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		i := slices.IndexFunc(commands, func(c Command) bool { return c.Name == args[0] })
		if i < 0 {
			fmt.Fprintf(p.Stderr, "checkstack: unknown command %q\n\n%s", args[0], list(commands))
			return 2
		}
		c, args = commands[i], args[1:]
	}
	var flags Flags
	var log logging
	log.declare(&flags)
	flags.Check(func() error {
		if rest := flags.Args(); c.Args == "" && len(rest) > 0 {
			return fmt.Errorf("unexpected argument %q", rest[0])
		}
		return nil
	})
	if c.Flags != nil {
		c.Flags(&flags)
	}
	if flags.err != nil {
		fmt.Fprintf(p.Stderr, "checkstack: the command %s cannot be run: %v\n", c.Name, flags.err)
		return 1
	}
	err := flags.Parse(args, p.Getenv)
	p.Args = flags.Args()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(p.Stdout, "Usage: %s\n\n%s: %s.\n\n%s\n", strings.TrimSpace("checkstack "+c.Name+" [flags] "+c.Args), c.Name, c.Summary, list(commands))
		flags.Usage(p.Stdout)
		return 0
	case err != nil:
		fmt.Fprintf(p.Stderr, "checkstack: %v; see checkstack %s -h\n", err, c.Name)
		return 2
	}
	p.Log = log.to(p.Stderr)
	return c.Run(ctx, p)
}

// list says what the commands do, a line each.
func list(commands []Command) string {
	var b strings.Builder
	b.WriteString("Commands:\n")
	for i, c := range commands {
		summary := c.Summary
		if i == 0 {
			summary += " (the default)"
		}
		fmt.Fprintf(&b, "  %-9s  %s\n", c.Name, summary)
	}
	return b.String()
}

// logging is what the flags that every command has say about the log.
type logging struct{ level, format string }

func (l *logging) declare(f *Flags) {
	f.Choice(&l.level, "log-level", "info", "least `level` of what is logged: debug, info, warn or error", "debug", "info", "warn", "error")
	f.Choice(&l.format, "log-format", "", "`format` of the log: text or json (default text on a terminal, else json)", "text", "json")
}

// to returns a log that is written to w.
func (l *logging) to(w io.Writer) *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(l.level)) // the name of one
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // "1.5s" in JSON too, not nanoseconds
			return slog.String(a.Key, a.Value.Duration().String())
		}
		return a
	}}
	if l.format == "text" || l.format == "" && IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// IsTerminal reports whether what a process reads from or writes to is a terminal: an [os.File] that is a character device,
// and not the null device.
func IsTerminal(stream any) bool {
	f, _ := stream.(*os.File)
	if f == nil {
		return false
	}
	info, err := f.Stat()
	null, nullErr := os.Stat(os.DevNull)
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !(nullErr == nil && os.SameFile(info, null))
}
