// Package nil is a plugin.
package nil

import "checkstack/plugins"

// Nil is the service.
type Nil struct{}

// New builds the plugin.
func New(host *plugins.Host) *Nil { return &Nil{} }

// Plugin implements plugins.Plugin.
func (p *Nil) Plugin() plugins.Instance { return plugins.Instance{} }
