// Package incident takes nothing but the host. It requires catalog all the same, for the value it refers to.
package incident

import (
	"checkstack/gen/plugintable/testdata/values/plugins/catalog"
	"checkstack/plugins"
)

// Incidents is the service.
type Incidents struct{ target string }

// New builds the plugin.
func New(*plugins.Host) *Incidents { return &Incidents{catalog.Target} }

// Plugin implements plugins.Plugin.
func (*Incidents) Plugin() plugins.Instance { return plugins.Instance{} }
