// Package fmt is a plugin.
package fmt

import "checkstack/plugins"

// Fmt is the service.
type Fmt struct{}

// New builds the plugin.
func New(host *plugins.Host) *Fmt { return &Fmt{} }

// Plugin implements plugins.Plugin.
func (p *Fmt) Plugin() plugins.Instance { return plugins.Instance{} }
