// Package incident imports what it must not.
package incident

import (
	_ "checkstack/gen/plugintable/testdata/wrong-imports/gen"
	"checkstack/gen/plugintable/testdata/wrong-imports/plugins/catalog"
	_ "checkstack/gen/plugintable/testdata/wrong-imports/plugins/catalog/store"
	_ "checkstack/gen/plugintable/testdata/wrong-imports/plugins/gone"
	_ "checkstack/gen/plugintable/testdata/wrong-imports/plugins/incident/mail"
	"checkstack/plugins"
)

// Incidents is the service.
type Incidents struct{}

// New builds the plugin.
func New(host *plugins.Host, systems *catalog.Catalog) *Incidents { return nil }

// Plugin implements plugins.Plugin.
func (*Incidents) Plugin() plugins.Instance { return plugins.Instance{} }
