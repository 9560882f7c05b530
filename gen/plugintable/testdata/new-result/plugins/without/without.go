// Package without has no method Plugin.
package without

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }
