// Package report requires a plugin that its New does not take.
package report

import (
	"checkstack/gen/plugintable/testdata/commands/plugins/auth"
	"checkstack/plugins"
)

// Service is the service.
type Service struct{ *auth.Auth }

// New builds the plugin.
func New(host *plugins.Host) *Service { return &Service{} }

// Plugin implements plugins.Plugin.
func (p *Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the commands of the plugin.
func Commands() []plugins.Command { return nil }
