// Package plain returns the interface of the contract.
package plain

import "checkstack/plugins"

type service struct{}

// New builds the plugin.
func New(*plugins.Host) plugins.Plugin { return service{} }

func (service) Plugin() plugins.Instance { return plugins.Instance{} }
