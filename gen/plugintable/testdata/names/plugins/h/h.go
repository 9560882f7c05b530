// Package h is a plugin.
package h

import "checkstack/plugins"

// H is the service.
type H struct{}

// New builds the plugin.
func New(host *plugins.Host) *H { return &H{} }

// Plugin implements plugins.Plugin.
func (p *H) Plugin() plugins.Instance { return plugins.Instance{} }
