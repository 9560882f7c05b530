// Package echo requires nothing and has flags, in a file of their own, and commands.
package echo

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the commands of the plugin.
func Commands() []plugins.Command { return nil }
