// Package incident requires what any of its packages imports.
package incident

import "checkstack/plugins"

// Incidents is the service.
type Incidents struct{}

// New builds the plugin.
func New(host *plugins.Host) *Incidents { return &Incidents{} }

// Plugin implements plugins.Plugin.
func (p *Incidents) Plugin() plugins.Instance { return plugins.Instance{} }
