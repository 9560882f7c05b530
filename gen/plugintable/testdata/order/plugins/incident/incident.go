// Package incident requires two plugins, in an order of its own.
package incident

import (
	"checkstack/gen/plugintable/testdata/order/plugins/catalog"
	"checkstack/gen/plugintable/testdata/order/plugins/notification"
	"checkstack/plugins"
)

// Incidents is the service.
type Incidents struct{}

// New builds the plugin.
func New(host *plugins.Host, notify *notification.Notifier, systems *catalog.Catalog) *Incidents {
	return &Incidents{}
}

// Plugin implements plugins.Plugin.
func (p *Incidents) Plugin() plugins.Instance { return plugins.Instance{} }
