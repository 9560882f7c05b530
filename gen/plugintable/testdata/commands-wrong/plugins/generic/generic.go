// Package generic has a type parameter.
package generic

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the commands of the plugin.
func Commands[T any]() []plugins.Command { return nil }
