// Package embedding has its method Plugin from what it embeds.
package embedding

import "checkstack/plugins"

type base struct{}

func (base) Plugin() plugins.Instance { return plugins.Instance{} }

// Service is the service.
type Service struct{ base }

// New builds the plugin.
func New(*plugins.Host) Service { return Service{} }
