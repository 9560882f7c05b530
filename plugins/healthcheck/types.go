// The check types without a server: what a satellite runs. They are the same code as in the server, so that a check
// means the same wherever it is made.

package healthcheck

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"slices"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/healthcheck/engine"
)

// Policy is what checks may do on this machine; see its method Flags.
type Policy = engine.Policy

// Types are the check types that are built in.
type Types struct{ registry *registry }

// NewTypes makes the built-in check types, which do what policy allows. What goes wrong within one is logged.
func NewTypes(policy *Policy, log *slog.Logger) *Types {
	r := &registry{log: log, policy: policy}
	for _, t := range checks.BuiltIn(policy) {
		r.add(t) // the names are well formed and differ, as the server finds out at each boot
	}
	return &Types{r}
}

// Names lists the types, sorted.
func (t *Types) Names() []string { return t.registry.names() }

// Run makes one run of a check. What it returns has an ID of its own and no source. A run that exceeds its own time is
// unhealthy. An error means that there is nothing to record: it is [ErrNoType] for a type that is not built in, the
// cause of the end of ctx, or a fault: this machine could not make the check, or the config is not understood, as may be
// where the server is newer. Nobody knows how the system is then.
func (t *Types) Run(ctx context.Context, c SourceCheck) (plugins.Run, error) {
	if !slices.Contains(t.Names(), c.Type) {
		return plugins.Run{}, ErrNoType
	}
	version := fnv.New64a()
	version.Write(c.Config)
	version.Write(c.Assertions)
	made, err := t.registry.run(ctx, check{
		systemID:        c.SystemID,
		configurationID: c.ConfigurationID,
		kind:            c.Type,
		version:         int64(version.Sum64()>>1) + 1,
		config:          c.Config,
		assertions:      c.Assertions,
		vars:            c.Values,
		timeout:         time.Duration(c.TimeoutMs) * time.Millisecond,
	})
	switch {
	case err != nil:
		return plugins.Run{}, err
	case made.run == nil:
		return plugins.Run{}, errors.New(made.fault)
	}
	return *made.run, nil
}
