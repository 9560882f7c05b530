// Package nothing returns nothing.
package nothing

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Flags declares the flags of the plugin.
func Flags(f *plugins.Flags) {}
