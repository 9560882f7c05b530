package apply

import (
	"context"
	"errors"
	"fmt"

	"checkstack/plugins"
)

// A server that is given its configuration applies it at each boot, before it is ready. What cannot be applied ends the boot:
// a server that looks at something else than it was told to must not look healthy.

// Settings are what the operator says.
type Settings struct {
	path  string
	prune bool
}

// Flags declares the flags of the server that are this plugin's.
func Flags(f *plugins.Flags) *Settings {
	s := new(Settings)
	f.Text(&s.path, "config", "", "`file` or folder with the document of configuration as code that is applied at each boot", notStdin)
	f.Bool(&s.prune, "config-prune", false, "delete what the document of -config owns and does not name any more")
	f.Check(func() error {
		if s.prune && s.path == "" {
			return errors.New("expected -config with -config-prune")
		}
		return nil
	})
	return s
}

// boot applies the document that the server was started with.
func (p *Applier) boot(ctx context.Context) error {
	settings, ok := p.host.Settings.(*Settings)
	if !ok || settings.path == "" {
		return nil
	}
	s, err := read(settings.path, nil)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	plan, err := p.apply(ctx, &s.doc, options{prune: settings.prune})
	if err != nil {
		return fmt.Errorf("apply the configuration: %w", s.explain(err))
	}
	for _, t := range plan.Tokens {
		about := []any{"kind", t.Kind, "name", t.Name}
		if t.System != "" {
			about = append(about, "system", t.System)
		}
		p.host.Log.Warn("the token of what the configuration has made is not kept; make another one", append(about, "route", t.renew)...)
	}
	return nil
}

// notStdin checks what -config says.
func notStdin(s string) error {
	if s == "-" {
		return errors.New("expected a file or a folder: a server does not read standard input")
	}
	return nil
}
