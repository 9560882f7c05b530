// Package generic has a New with a type parameter.
package generic

import "checkstack/plugins"

// New builds the plugin.
func New[T any](*plugins.Host) plugins.Plugin { return nil }
