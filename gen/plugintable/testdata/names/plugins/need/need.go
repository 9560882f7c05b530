// Package need is a plugin.
package need

import "checkstack/plugins"

// Need is the service.
type Need struct{}

// New builds the plugin.
func New(host *plugins.Host) *Need { return &Need{} }

// Plugin implements plugins.Plugin.
func (p *Need) Plugin() plugins.Instance { return plugins.Instance{} }
