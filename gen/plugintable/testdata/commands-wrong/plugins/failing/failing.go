// Package failing returns an error as well.
package failing

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the commands of the plugin.
func Commands() ([]plugins.Command, error) { return nil, nil }
