// Package takesnothing takes nothing.
package takesnothing

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Settings are what the flags say.
type Settings struct{}

// Flags are what the plugin was told.
func Flags() *Settings { return nil }
