// Package echo imports packages that import each other, which the go command tells.
package echo

import "checkstack/plugins"

// Echo is the service.
type Echo struct{}

// New builds the plugin.
func New(host *plugins.Host) *Echo { return &Echo{} }

// Plugin implements plugins.Plugin.
func (p *Echo) Plugin() plugins.Instance { return plugins.Instance{} }
