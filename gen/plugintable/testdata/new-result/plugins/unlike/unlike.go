// Package unlike has a method of another form.
package unlike

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }

// Plugin returns a pointer.
func (*Service) Plugin() *plugins.Instance { return nil }
