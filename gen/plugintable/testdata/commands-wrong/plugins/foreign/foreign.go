// Package foreign has another use for the name.
package foreign

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the words that it understands.
func Commands() map[string]string { return nil }
