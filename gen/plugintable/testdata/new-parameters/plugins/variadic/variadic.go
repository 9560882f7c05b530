// Package variadic takes any number of plugins.
package variadic

import "checkstack/plugins"

// New builds the plugin.
func New(host *plugins.Host, others ...plugins.Plugin) plugins.Plugin { return nil }
