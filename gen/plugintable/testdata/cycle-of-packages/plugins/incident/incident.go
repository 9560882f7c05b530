// Package incident imports catalog, which Go refuses.
package incident

import (
	"checkstack/gen/plugintable/testdata/cycle-of-packages/plugins/catalog"
	"checkstack/plugins"
)

// Incidents is the service.
type Incidents struct{}

// New builds the plugin.
func New(host *plugins.Host, c *catalog.Catalog) *Incidents { return &Incidents{} }

// Plugin implements plugins.Plugin.
func (p *Incidents) Plugin() plugins.Instance { return plugins.Instance{} }
