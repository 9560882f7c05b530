// Package auth has no flags, and a method of that name that declares none.
package auth

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Flags lists what a caller is marked with.
func (*Service) Flags(caller string) []string { return nil }

func flags(f *plugins.Flags) *Service { return nil }
