// Package public is a plugin.
package public

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(host *plugins.Host) *Service { return &Service{} }

// Plugin implements plugins.Plugin.
func (p *Service) Plugin() plugins.Instance { return plugins.Instance{} }
