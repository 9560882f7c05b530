package plugins

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

// Command is a command of the program: "checkstack <Name> [flags]". A plugin that brings some has an exported function
// Commands() []Command, which is called once each time the program runs and does nothing but make them. A command runs
// without a server, and without a [Host].
//
// The values of its flags are variables of the function that makes it, which Flags and Run share:
//
//	func Commands() []plugins.Command {
//		var server string
//		return []plugins.Command{{
//			Name:    "ping",
//			Summary: "ask a server whether it is there",
//			Flags: func(f *plugins.Flags) {
//				f.Text(&server, "server", "http://localhost:3000", "`address` of the server", nil)
//			},
//			Run: func(ctx context.Context, p plugins.Process) int {
//				if err := ping(ctx, server); err != nil {
//					p.Log.Error("no answer", "error", err)
//					return 1
//				}
//				return 0
//			},
//		}}
//	}
//
// The variable of a flag, CHECKSTACK_SERVER, is that of every command with a flag of this name. What is wrong with the values
// together is said by [Flags.Check]. The name of a command is its own in the whole program: where two have the same, or one is not as it must be, the
// program says so and ends, whatever command it was started with.
type Command struct {
	Name    string // 1 to 20 lower case letters; not one that is there already
	Summary string // half a sentence for the list of commands: "roll the history up once, by hand"

	// Flags declares the flags of the command, beside -log-level and -log-format, which every command has. It may be nil.
	Flags func(*Flags)

	// Args is what the command takes after its flags, as -h writes it: "<file>…". Flags come first: what follows the first
	// argument is an argument. It is empty if the command takes nothing, and an argument is an error then.
	Args string

	// Run does the work and returns the exit code: 0 done, 1 failed, 2 not understood. ctx ends with SIGINT or SIGTERM.
	Run func(ctx context.Context, p Process) int
}

var commandForm = regexp.MustCompile(`^[a-z]{1,20}$`)

// Validate says what is not as it must be in a command.
func (c *Command) Validate() error {
	switch {
	case !commandForm.MatchString(c.Name):
		return fmt.Errorf("the name of a command is 1 to 20 lower case letters, not %q", c.Name)
	case c.Summary == "" || strings.ContainsAny(c.Summary, "\r\n"):
		return fmt.Errorf("the command %s has no summary of one line", c.Name)
	case c.Run == nil:
		return fmt.Errorf("the command %s has no function Run", c.Name)
	}
	return nil
}

// Process is what a command needs of the process it runs in.
type Process struct {
	Log     *slog.Logger // to standard error, as -log-level and -log-format say
	Getenv  func(string) string
	Args    []string // what follows the flags
	Stdin   *os.File
	Stdout  io.Writer
	Stderr  io.Writer
	Version string // of this program
}
