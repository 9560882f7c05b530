// The check types without a server: what a satellite runs. They are the same code as in the server, so that a check
// means the same wherever it is made.

package healthcheck

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"checkstack/plugins"
)

// Types are the check types that are built in.
type Types struct{ registry *registry }

// NewTypes makes the built-in check types. What goes wrong within one is logged.
func NewTypes(log *slog.Logger) *Types {
	r := &registry{log: log}
	for _, t := range builtIn() {
		r.add(t) // the names are well formed and differ, as the server finds out at each boot
	}
	return &Types{r}
}

// Names lists the types, sorted.
func (t *Types) Names() []string { return t.registry.names() }

// Run makes one run of a check. What it returns has an ID of its own and no source. A run that exceeds its own time is
// unhealthy. An error means that there is nothing to record: it is [ErrNoType] for a type that is not built in, the
// cause of the end of ctx, or says that the config is not understood, as may be where the server is newer. Nobody knows
// how the system is then.
func (t *Types) Run(ctx context.Context, c SourceCheck) (plugins.Run, error) {
	if !slices.Contains(t.Names(), c.Type) {
		return plugins.Run{}, ErrNoType
	}
	if _, err := t.registry.validate(ConfigurationInput{Type: c.Type, Config: c.Config}); err != nil {
		return plugins.Run{}, fmt.Errorf("read the configuration of a check: %w", err)
	}
	return t.registry.run(ctx, check{
		systemID:        c.SystemID,
		configurationID: c.ConfigurationID,
		kind:            c.Type,
		config:          c.Config,
		timeout:         time.Duration(c.TimeoutMs) * time.Millisecond,
	})
}

// builtIn makes the check types that this plugin brings itself.
func builtIn() []CheckType { return []CheckType{newHTTPCheck()} }
