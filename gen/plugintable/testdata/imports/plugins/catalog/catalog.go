// Package catalog is required from a subfolder.
package catalog

import "checkstack/plugins"

// Catalog is the service.
type Catalog struct{}

// New builds the plugin.
func New(host *plugins.Host) *Catalog { return &Catalog{} }

// Plugin implements plugins.Plugin.
func (p *Catalog) Plugin() plugins.Instance { return plugins.Instance{} }
