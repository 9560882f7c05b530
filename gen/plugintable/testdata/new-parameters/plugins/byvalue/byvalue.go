// Package byvalue takes the host by value.
package byvalue

import "checkstack/plugins"

// New builds the plugin.
func New(host plugins.Host) plugins.Plugin { return nil }
