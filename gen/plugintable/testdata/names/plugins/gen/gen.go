// Package gen is a plugin.
package gen

import "checkstack/plugins"

// Gen is the service.
type Gen struct{}

// New builds the plugin.
func New(host *plugins.Host) *Gen { return &Gen{} }

// Plugin implements plugins.Plugin.
func (p *Gen) Plugin() plugins.Instance { return plugins.Instance{} }
