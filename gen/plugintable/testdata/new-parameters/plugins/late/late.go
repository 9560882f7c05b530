// Package late takes the host second.
package late

import "checkstack/plugins"

// New builds the plugin.
func New(name string, host *plugins.Host) plugins.Plugin { return nil }
