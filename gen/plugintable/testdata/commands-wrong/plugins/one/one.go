// Package one returns one command.
package one

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands is the command of the plugin.
func Commands() plugins.Command { return plugins.Command{} }
