// Package avar has a variable.
package avar

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands are the commands of the plugin.
var Commands = func() []plugins.Command { return nil }
