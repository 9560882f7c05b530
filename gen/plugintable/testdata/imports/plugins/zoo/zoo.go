// Package zoo is imported by files that Go does not look at.
package zoo

import "checkstack/plugins"

// Zoo is the service.
type Zoo struct{}

// New builds the plugin.
func New(host *plugins.Host) *Zoo { return &Zoo{} }

// Plugin implements plugins.Plugin.
func (p *Zoo) Plugin() plugins.Instance { return plugins.Instance{} }
