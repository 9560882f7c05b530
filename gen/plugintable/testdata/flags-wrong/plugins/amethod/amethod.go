// Package amethod has a method that would be left out.
package amethod

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
func (*Service) Flags(f *plugins.Flags) *Settings { return nil }
