// Package string is a plugin.
package string

import "checkstack/plugins"

// String is the service.
type String struct{}

// New builds the plugin.
func New(host *plugins.Host) *String { return &String{} }

// Plugin implements plugins.Plugin.
func (p *String) Plugin() plugins.Instance { return plugins.Instance{} }
