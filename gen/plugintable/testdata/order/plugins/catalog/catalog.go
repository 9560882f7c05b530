// Package catalog comes after notification, whose name sorts behind its own.
package catalog

import (
	"checkstack/gen/plugintable/testdata/order/plugins/notification"
	"checkstack/plugins"
)

// Catalog is the service.
type Catalog struct{}

// New builds the plugin.
func New(host *plugins.Host, notify *notification.Notifier) *Catalog { return &Catalog{} }

// Plugin implements plugins.Plugin.
func (p *Catalog) Plugin() plugins.Instance { return plugins.Instance{} }
