// Package notification requires nothing.
package notification

import "checkstack/plugins"

// Notifier is the service.
type Notifier struct{}

// New builds the plugin.
func New(host *plugins.Host) *Notifier { return &Notifier{} }

// Plugin implements plugins.Plugin.
func (p *Notifier) Plugin() plugins.Instance { return plugins.Instance{} }
