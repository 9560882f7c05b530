// Package snake_case is a plugin.
package snake_case

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(host *plugins.Host) *Service { return &Service{} }

// Plugin implements plugins.Plugin.
func (p *Service) Plugin() plugins.Instance { return plugins.Instance{} }
