// Package nohost takes nothing.
package nohost

import "checkstack/plugins"

// New builds the plugin.
func New() plugins.Plugin { return nil }
