// Package any is a plugin.
package any

import "checkstack/plugins"

// Any is the service.
type Any struct{}

// New builds the plugin.
func New(host *plugins.Host) *Any { return &Any{} }

// Plugin implements plugins.Plugin.
func (p *Any) Plugin() plugins.Instance { return plugins.Instance{} }
