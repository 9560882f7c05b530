// Package report requires a plugin that its New does not take.
package report

import (
	"checkstack/gen/plugintable/testdata/flags/plugins/auth"
	"checkstack/plugins"
)

// Service is the service, and what the flags say.
type Service struct{ auth *auth.Service }

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Flags declares the flags of the plugin.
func Flags(f *plugins.Flags) *Service { return nil }
