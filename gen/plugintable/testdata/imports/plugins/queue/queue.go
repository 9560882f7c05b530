// Package queue is required through plugins/internal.
package queue

import "checkstack/plugins"

// Queue is the service.
type Queue struct{}

// New builds the plugin.
func New(host *plugins.Host) *Queue { return &Queue{} }

// Plugin implements plugins.Plugin.
func (p *Queue) Plugin() plugins.Instance { return plugins.Instance{} }
