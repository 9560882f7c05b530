// Package echo requires nothing and has commands, in a file of their own.
package echo

import "checkstack/plugins"

// Echo is the service.
type Echo struct{}

// New builds the plugin.
func New(host *plugins.Host) *Echo { return &Echo{} }

// Plugin implements plugins.Plugin.
func (p *Echo) Plugin() plugins.Instance { return plugins.Instance{} }
