// Package byvalue returns a struct.
package byvalue

import "checkstack/plugins"

// Value is the service.
type Value struct{}

// New builds the plugin.
func New(host *plugins.Host) Value { return Value{} }

// Plugin implements plugins.Plugin.
func (p Value) Plugin() plugins.Instance { return plugins.Instance{} }
