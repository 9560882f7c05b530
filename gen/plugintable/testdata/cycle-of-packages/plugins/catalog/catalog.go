// Package catalog imports incident, which Go refuses.
package catalog

import (
	"checkstack/gen/plugintable/testdata/cycle-of-packages/plugins/incident"
	"checkstack/plugins"
)

// Catalog is the service.
type Catalog struct{}

// New builds the plugin.
func New(host *plugins.Host, i *incident.Incidents) *Catalog { return &Catalog{} }

// Plugin implements plugins.Plugin.
func (p *Catalog) Plugin() plugins.Instance { return plugins.Instance{} }
