// Package any has the name of what the table says of every flag's value, and a type that others cannot name.
package any

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// settings are what the flags say.
type settings struct{}

// Flags declares the flags of the plugin.
func Flags(f *plugins.Flags) *settings { return nil }
