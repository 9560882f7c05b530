// Package two takes the host as well.
package two

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Settings are what the flags say.
type Settings struct{}

// Flags declares the flags of the plugin.
func Flags(f *plugins.Flags, host *plugins.Host) *Settings { return nil }
