// Package auth has no commands, and a method of that name that is none of the program's.
package auth

import "checkstack/plugins"

// Auth is the service.
type Auth struct{}

// New builds the plugin.
func New(host *plugins.Host) *Auth { return &Auth{} }

// Plugin implements plugins.Plugin.
func (p *Auth) Plugin() plugins.Instance { return plugins.Instance{} }

// Commands lists what callers may do.
func (p *Auth) Commands() []string { return nil }

func commands() []plugins.Command { return nil }
