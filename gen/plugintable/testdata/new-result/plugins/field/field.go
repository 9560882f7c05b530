// Package field has a field in the place of the method.
package field

import "checkstack/plugins"

// Service is the service.
type Service struct {
	Plugin func() plugins.Instance
}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }
