// Package nothing returns nothing.
package nothing

import "checkstack/plugins"

// New builds the plugin.
func New(*plugins.Host) {}
