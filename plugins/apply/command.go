package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
	"checkstack/plugins/webhook"
)

// "checkstack apply" sends a document to a server and says what that has changed. It prints no token, because what it prints
// ends up in the log of whatever runs it; -keep-tokens keeps them in a file.

// Commands brings "checkstack apply".
func Commands() []plugins.Command {
	c := new(command)
	return []plugins.Command{{
		Name:    "apply",
		Summary: "make a server monitor what a document says",
		Args:    "file|folder|-",
		Flags:   c.flags,
		Run:     c.run,
	}}
}

// command is what the command line says.
type command struct {
	server, token, tokens string
	plain, dryRun         bool
	prune, pruneAll       bool
	asJSON, schema        bool
}

func (c *command) flags(f *plugins.Flags) {
	f.Text(&c.server, "server", "http://localhost:3000", "`origin` of the server", nil)
	f.Bool(&c.plain, "plain-http", false, "let -server be http: of another machine: whoever is on the way between the two can read the token and the "+
		"secrets of checks, so do it only where the network itself is secret, as in a VPN; http: of this machine needs no leave")
	f.Bool(&c.dryRun, "dry-run", false, "only say what would change")
	f.Bool(&c.prune, "prune", false, "delete what the document owns and does not name any more")
	f.Bool(&c.pruneAll, "prune-all", false, "as -prune, also where that is all the document owns")
	f.Bool(&c.asJSON, "json", false, "print the plan as JSON")
	f.Bool(&c.schema, "schema", false, "only print the JSON schema of documents, with the types of checks and channels that are built in")
	f.Text(&c.tokens, "keep-tokens", "", "new `file` for the tokens of what is made, which only its owner may read (default they are not kept)", nil)
	f.Secret(&c.token, "CHECKSTACK_TOKEN", "an API token of an editor, or of an administrator where the document has satellites; required")
	f.Check(func() (err error) {
		late := slices.IndexFunc(f.Args(), func(s string) bool { return len(s) > 1 && s[0] == '-' })
		switch files := len(f.Args()); {
		case late > 0:
			return fmt.Errorf("expected %s before %s: flags go before the file", f.Args()[late], f.Args()[0])
		case c.schema && files > 0:
			return errors.New("expected no argument with -schema")
		case c.schema:
			return nil
		case files != 1:
			return fmt.Errorf("expected one file or folder, or - for standard input, not %d arguments", files)
		}
		if c.server, err = plugins.Origin(c.server, c.plain); err != nil {
			return err
		}
		if c.token == "" || strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r > unicode.MaxASCII }) {
			return errors.New("expected an API token in CHECKSTACK_TOKEN, without spaces and line breaks")
		}
		return nil
	})
}

func (c *command) run(ctx context.Context, p plugins.Process) int {
	if c.schema {
		text, err := schemaWith(healthcheck.BuiltInTypes(), []notification.ChannelTypeView{webhook.Type()})
		if err != nil {
			fmt.Fprintf(p.Stderr, "checkstack apply: %v\n", err)
			return 1
		}
		p.Stdout.Write(text)
		return 0
	}
	if err := c.apply(ctx, p); err != nil {
		fmt.Fprintf(p.Stderr, "checkstack apply: %v\n", err)
		return 1
	}
	return 0
}

func (c *command) apply(ctx context.Context, p plugins.Process) (err error) {
	s, err := read(p.Args[0], p.Stdin)
	if err != nil {
		return err
	}
	var tokens *os.File
	if c.tokens != "" && !c.dryRun { // before anything is changed
		if tokens, err = os.OpenFile(c.tokens, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, tokens.Close())
		}()
	}
	plan, err := c.send(ctx, s, p.Version)
	if err != nil {
		if tokens != nil {
			os.Remove(c.tokens) // it is empty
		}
		return err
	}
	if err := c.keep(tokens, plan.Tokens, p.Stderr); err != nil {
		return err
	}
	plan.Tokens = nil
	if !c.asJSON {
		plan.print(p.Stdout)
		return nil
	}
	e := json.NewEncoder(p.Stdout)
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Plan
		Tokens []Token `json:"tokens,omitempty"` // never
	}{Plan: plan})
}

// keep writes tokens to their file, or says that they are not kept.
func (c *command) keep(file *os.File, tokens []Token, stderr io.Writer) error {
	if file != nil {
		text, err := json.MarshalIndent(tokens, "", "  ")
		if err == nil {
			_, err = file.Write(append(text, '\n'))
		}
		if err != nil {
			return fmt.Errorf("write %s: %w; make other tokens on the server", c.tokens, err)
		}
		return nil
	}
	for _, t := range tokens {
		fmt.Fprintf(stderr, "the token of the %s is not kept: make another one on the server, or use -keep-tokens\n", subject(t.Kind, t.Name, t.System, ""))
	}
	return nil
}
