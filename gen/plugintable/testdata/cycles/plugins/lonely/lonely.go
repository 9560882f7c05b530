// Package lonely has a part that imports the plugin itself, which is no cycle.
package lonely

import "checkstack/plugins"

// Lonely is the service.
type Lonely struct{}

// New builds the plugin.
func New(host *plugins.Host) *Lonely { return &Lonely{} }

// Plugin implements plugins.Plugin.
func (p *Lonely) Plugin() plugins.Instance { return plugins.Instance{} }
