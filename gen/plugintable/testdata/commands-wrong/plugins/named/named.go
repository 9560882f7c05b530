// Package named returns a type of its own, which is not what the table holds.
package named

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

type list []plugins.Command

// Commands are the commands of the plugin.
func Commands() list { return nil }
