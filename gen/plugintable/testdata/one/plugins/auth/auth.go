// Package auth requires nothing.
package auth

import "checkstack/plugins"

// Auth is the service.
type Auth struct{}

// New builds the plugin.
func New(host *plugins.Host) *Auth { return &Auth{} }

// Plugin implements plugins.Plugin.
func (p *Auth) Plugin() plugins.Instance { return plugins.Instance{} }
