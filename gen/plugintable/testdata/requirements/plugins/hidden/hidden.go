// Package hidden returns a type that others cannot name.
package hidden

import "checkstack/plugins"

// Public is a type that is not the service.
type Public struct{}

type service struct{ Public }

// New builds the plugin.
func New(*plugins.Host) *service { return nil }

func (*service) Plugin() plugins.Instance { return plugins.Instance{} }
