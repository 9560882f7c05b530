// What configuration as code needs to know: what is there under a name, what of it would change, and what a document owns. What
// has an owner is not edited by people until it is released.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

var (
	//go:embed sql/configuration_named.sql
	configurationNamedSQL string
	//go:embed sql/configurations_owned.sql
	configurationsOwnedSQL string
	//go:embed sql/assignments_owned.sql
	assignmentsOwnedSQL string
	//go:embed sql/assignment.sql
	assignmentSQL string
	//go:embed sql/assignments_of.sql
	assignmentsOfSQL string
	//go:embed sql/assignments_from.sql
	assignmentsFromSQL string
	//go:embed sql/release_configurations.sql
	releaseConfigurationsSQL string
	//go:embed sql/release_assignments.sql
	releaseAssignmentsSQL string
)

// ConfigurationByName finds a configuration by its name, whatever its case; [plugins.NotFound] if there is none.
func (h *Healthcheck) ConfigurationByName(ctx context.Context, tx *sql.Tx, name string) (Configuration, error) {
	return readConfiguration(tx.QueryRowContext(ctx, configurationNamedSQL, plugins.Fold(name)))
}

// ConfigurationChanges says which fields of a configuration [Healthcheck.UpdateConfiguration] would change, as "name" or
// "config.url", sorted; none if it would change nothing. Secrets are compared in the clear.
func (h *Healthcheck) ConfigurationChanges(ctx context.Context, tx *sql.Tx, id string, in ConfigurationInput) ([]string, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	old, err := holdConfiguration(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if in.Config, err = h.keepSecrets(in, old); err != nil {
		return nil, within("config", err)
	}
	normal, err := h.types.validate(in)
	if err != nil {
		return nil, err
	}
	var fields []string
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"name", in.Name != old.Name}, {"description", in.Description != old.Description}, {"type", in.Type != old.Type},
		{"intervalSeconds", in.IntervalSeconds != old.IntervalSeconds}, {"timeoutMs", in.TimeoutMs != old.TimeoutMs},
		{"enabled", in.enabled() != old.Enabled}, {"template", in.Template != old.Template},
		{"assertions", !sameAssertions(in.Assertions, old.Assertions)},
	} {
		if f.differs {
			fields = append(fields, f.name)
		}
	}
	open, err := h.types.vault.open(id, old.stored)
	if err != nil { // the secrets are lost: they are given anew
		open = json.RawMessage("{}")
	}
	config, err := configChanges(open, normal)
	slices.Sort(fields)
	return append(fields, config...), err
}

// sameAssertions compares lists of assertions by what they say.
func sameAssertions(a, b []engine.Assertion) bool {
	return slices.EqualFunc(a, b, func(a, b engine.Assertion) bool {
		return a.Path == b.Path && a.Op == b.Op && a.Severity == b.Severity && plugins.SameJSON(a.Value, b.Value)
	})
}

// configChanges names the fields of two objects that differ.
func configChanges(a, b json.RawMessage) ([]string, error) {
	var one, two map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(a, &one), json.Unmarshal(b, &two)); err != nil {
		return nil, fmt.Errorf("compare configs: %w", err)
	}
	all := maps.Clone(one)
	maps.Copy(all, two)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !plugins.SameJSON(one[name], two[name]) {
			names = append(names, "config."+name)
		}
	}
	return names, nil
}

// AssignmentOf returns the assignment of a configuration to a system, if there is one.
func (h *Healthcheck) AssignmentOf(ctx context.Context, tx *sql.Tx, system, configuration string) (a Assignment, ok bool, err error) {
	a, err = scanAssignment(tx.QueryRowContext(ctx, assignmentSQL, system, configuration))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return a, false, nil
	case err != nil:
		return a, false, fmt.Errorf("read assignment: %w", err)
	}
	return a, true, nil
}

// Owned returns what a document owns: configurations by name, assignments by system and configuration.
func (h *Healthcheck) Owned(ctx context.Context, tx *sql.Tx, owner string) (configurations []Configuration, assignments []Assignment, err error) {
	if configurations, err = plugins.Rows(ctx, tx, scanConfiguration, configurationsOwnedSQL, owner); err != nil {
		return nil, nil, fmt.Errorf("read the configurations of a document: %w", err)
	}
	if assignments, err = plugins.Rows(ctx, tx, scanAssignment, assignmentsOwnedSQL, owner); err != nil {
		return nil, nil, fmt.Errorf("read the assignments of a document: %w", err)
	}
	return configurations, assignments, nil
}

// AssignmentsOf returns the assignments that go with a configuration or a system, whoever owns them, by system and configuration;
// the other ID is empty. The configuration is held, so that nobody adds one until tx ends.
func (h *Healthcheck) AssignmentsOf(ctx context.Context, tx *sql.Tx, configuration, system string) ([]Assignment, error) {
	if configuration != "" {
		if _, err := tx.ExecContext(ctx, configurationLockSQL, configuration); err != nil {
			return nil, fmt.Errorf("lock configuration: %w", err)
		}
	}
	all, err := plugins.Rows(ctx, tx, scanAssignment, assignmentsOfSQL, optional(configuration), optional(system))
	if err != nil {
		return nil, fmt.Errorf("read the assignments of a configuration or a system: %w", err)
	}
	return all, nil
}

// AssignmentsFrom returns the assignments that a source other than this server makes, whoever owns them.
func (h *Healthcheck) AssignmentsFrom(ctx context.Context, tx *sql.Tx, source string) ([]Assignment, error) {
	all, err := plugins.Rows(ctx, tx, scanAssignment, assignmentsFromSQL, source)
	if err != nil {
		return nil, fmt.Errorf("read the assignments of a source: %w", err)
	}
	return all, nil
}

// optional is an ID, or nil where it is empty.
func optional(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}

// Release gives what a document owns to people: one configuration with its assignments, the assignments of one system, one
// assignment, or, with empty IDs, all.
func (h *Healthcheck) Release(ctx context.Context, tx *sql.Tx, owner, configuration, system string) error {
	if system == "" {
		if _, err := tx.ExecContext(ctx, releaseConfigurationsSQL, owner, optional(configuration)); err != nil {
			return fmt.Errorf("release configurations: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, releaseAssignmentsSQL, owner, optional(configuration), optional(system)); err != nil {
		return fmt.Errorf("release assignments: %w", err)
	}
	return nil
}
