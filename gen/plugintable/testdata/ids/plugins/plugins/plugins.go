// Package plugins has the name of the contract.
package plugins

import contract "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*contract.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() contract.Instance { return contract.Instance{} }
