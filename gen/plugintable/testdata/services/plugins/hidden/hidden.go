// Package hidden returns a type that others cannot name, and so cannot require.
package hidden

import "checkstack/plugins"

type service struct{}

// New builds the plugin.
func New(*plugins.Host) *service { return &service{} }

func (*service) Plugin() plugins.Instance { return plugins.Instance{} }
