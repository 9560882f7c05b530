// Package hplugin is a plugin.
package hplugin

import "checkstack/plugins"

// Hplugin is the service.
type Hplugin struct{}

// New builds the plugin.
func New(host *plugins.Host) *Hplugin { return &Hplugin{} }

// Plugin implements plugins.Plugin.
func (p *Hplugin) Plugin() plugins.Instance { return plugins.Instance{} }
