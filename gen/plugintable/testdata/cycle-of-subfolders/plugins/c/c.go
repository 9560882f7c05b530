// Package c has a part that imports a.
package c

import "checkstack/plugins"

// C is the service.
type C struct{}

// New builds the plugin.
func New(host *plugins.Host) *C { return &C{} }

// Plugin implements plugins.Plugin.
func (p *C) Plugin() plugins.Instance { return plugins.Instance{} }
