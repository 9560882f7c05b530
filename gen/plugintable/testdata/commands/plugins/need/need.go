// Package need has a name that the table uses for something else, and says what it returns by another name.
package need

import (
	"checkstack/gen/plugintable/testdata/commands/plugins/auth"
	"checkstack/plugins"
)

type list = []plugins.Command

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(host *plugins.Host, auth *auth.Auth) *Service { return &Service{} }

// Plugin implements plugins.Plugin.
func (p *Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the commands of the plugin.
func Commands() list { return nil }
