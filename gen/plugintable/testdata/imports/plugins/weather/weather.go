// Package weather is imported by a script, which requires nothing.
package weather

import "checkstack/plugins"

// Weather is the service.
type Weather struct{}

// New builds the plugin.
func New(host *plugins.Host) *Weather { return &Weather{} }

// Plugin implements plugins.Plugin.
func (p *Weather) Plugin() plugins.Instance { return plugins.Instance{} }
