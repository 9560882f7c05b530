// Package b has a part that imports c.
package b

import "checkstack/plugins"

// B is the service.
type B struct{}

// New builds the plugin.
func New(host *plugins.Host) *B { return &B{} }

// Plugin implements plugins.Plugin.
func (p *B) Plugin() plugins.Instance { return plugins.Instance{} }
