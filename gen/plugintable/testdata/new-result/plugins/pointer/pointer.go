// Package pointer returns the value where the pointer has the method.
package pointer

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) Service { return Service{} }

// Plugin has a pointer receiver.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }
