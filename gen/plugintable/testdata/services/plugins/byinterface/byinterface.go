// Package byinterface returns an interface.
package byinterface

import "checkstack/plugins"

// Service is the service.
type Service interface {
	plugins.Plugin
	Serve() error
}

type service struct{}

// New builds the plugin.
func New(*plugins.Host) Service { return service{} }

func (service) Plugin() plugins.Instance { return plugins.Instance{} }
func (service) Serve() error             { return nil }
