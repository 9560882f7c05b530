package satellite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/satellite/agent"
)

// Commands brings "checkstack satellite", which is the other end of this plugin: it runs where the checks are to be made, and
// needs no database.
func Commands() []plugins.Command {
	var (
		cfg    = agent.Config{Policy: new(healthcheck.Policy)}
		server string
		plain  bool
		size   int
	)
	return []plugins.Command{{
		Name:    "satellite",
		Summary: "make checks for a server elsewhere",
		Flags: func(f *plugins.Flags) {
			f.Text(&server, "server", "", "`origin` of the server, such as https://status.example.org; required", nil)
			f.Bool(&plain, "plain-http", false, "let -server be http: of another machine: whoever is on the way between the two can read the token and the "+
				"secrets of checks, so do it only where the network itself is secret, as in a VPN; http: of this machine needs no leave")
			f.Text(&cfg.Dir, "journal", ".checkstack-satellite", "`folder` for results that the server does not have yet; one satellite uses it at a time",
				func(s string) error {
					if s == "" {
						return errors.New("expected a folder")
					}
					return nil
				})
			size = 256
			f.Func("journal-size", "most `MiB` of the journal, from 1 to 1048576, beyond which the oldest results are lost with a warning (default 256)", func(s string) error {
				n, err := strconv.Atoi(s)
				if err != nil || n < 1 || n > 1<<20 {
					return errors.New("expected a whole number of MiB from 1 to 1048576")
				}
				size = n
				return nil
			})
			cfg.Policy.FlagsOfService(f)
			f.Number(&cfg.Checks, "checks", 64, 1, 1000, "most checks at once")
			f.Text(&cfg.Listen, "listen", "", "`address` for /.checkstack/health and /.checkstack/ready of the satellite itself, host:port; that the server is away "+
				"shows there after a minute, that it refuses the token at once (default none)", address)
			f.Secret(&cfg.Token, "CHECKSTACK_SATELLITE_TOKEN", "the token that the server showed when the satellite was registered or its token rotated, sat_…; required")
			f.Check(func() (err error) {
				if cfg.Server, err = plugins.Origin(server, plain); err != nil {
					return err
				}
				return token(cfg.Token)
			})
		},
		Run: func(ctx context.Context, p plugins.Process) int {
			cfg.Policy.Getenv = p.Getenv
			cfg.Size, cfg.Version, cfg.Log = int64(size)<<20, p.Version, p.Log
			if err := agent.Run(ctx, cfg); err != nil {
				p.Log.Error("the satellite ends", "error", err)
				return 1
			}
			return 0
		},
	}}
}

// token checks a token, and does not repeat it.
func token(s string) error {
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	odd := strings.ContainsFunc(rest, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	switch {
	case !ok:
		return errors.New("expected in CHECKSTACK_SATELLITE_TOKEN the token of a satellite, which begins with " + tokenPrefix)
	case odd:
		return errors.New("expected in CHECKSTACK_SATELLITE_TOKEN a token of letters, digits, - and _ only; a space, a quote or a line break may have come with it")
	case len(s) != tokenLength:
		return fmt.Errorf("expected in CHECKSTACK_SATELLITE_TOKEN a token of %d characters, not of %d; a part of it may be missing", tokenLength, len(s))
	}
	return nil
}

// address checks what -listen says.
func address(s string) error {
	_, port, err := net.SplitHostPort(s)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return errors.New("expected host:port such as :3001 or 127.0.0.1:3001")
	}
	return nil
}
