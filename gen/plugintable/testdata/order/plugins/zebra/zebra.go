// Package zebra requires nothing, and comes last.
package zebra

import "checkstack/plugins"

// Zebra is the service.
type Zebra struct{}

// New builds the plugin.
func New(host *plugins.Host) *Zebra { return &Zebra{} }

// Plugin implements plugins.Plugin.
func (p *Zebra) Plugin() plugins.Instance { return plugins.Instance{} }
