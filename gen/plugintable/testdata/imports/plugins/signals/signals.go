// Package signals is required on one system only.
package signals

import "checkstack/plugins"

// Signals is the service.
type Signals struct{}

// New builds the plugin.
func New(host *plugins.Host) *Signals { return &Signals{} }

// Plugin implements plugins.Plugin.
func (p *Signals) Plugin() plugins.Instance { return plugins.Instance{} }
