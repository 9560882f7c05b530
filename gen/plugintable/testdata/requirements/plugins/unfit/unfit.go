// Package unfit is reported for its own New, not once more for each plugin that takes it.
package unfit

import "checkstack/plugins"

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(*plugins.Host) *Service { return nil }
