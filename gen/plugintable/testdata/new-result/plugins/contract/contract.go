// Package contract returns an interface, which no method can be given to from outside.
package contract

import "checkstack/plugins"

// Service is the service.
type Service interface{ Close() error }

// New builds the plugin.
func New(*plugins.Host) Service { return nil }
