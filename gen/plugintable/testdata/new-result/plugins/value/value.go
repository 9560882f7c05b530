// Package value returns a value, by another name, without a method Plugin.
package value

import "checkstack/plugins"

// Service is the service.
type Service struct{}

type other = Service

// New builds the plugin.
func New(*plugins.Host) other { return other{} }
