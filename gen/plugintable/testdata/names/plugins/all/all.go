// Package all requires plugins with the names of other things.
package all

import (
	"checkstack/gen/plugintable/testdata/names/plugins/any"
	"checkstack/gen/plugintable/testdata/names/plugins/fmt"
	"checkstack/gen/plugintable/testdata/names/plugins/gen"
	"checkstack/gen/plugintable/testdata/names/plugins/h"
	"checkstack/gen/plugintable/testdata/names/plugins/need"
	"checkstack/gen/plugintable/testdata/names/plugins/nil"
	"checkstack/gen/plugintable/testdata/names/plugins/string"
	"checkstack/plugins"
)

// All is the service.
type All struct{}

// New builds the plugin.
func New(host *plugins.Host, _ *any.Any, _ *fmt.Fmt, _ *gen.Gen, _ *h.H, _ *need.Need, _ *nil.Nil, _ *string.String) *All {
	return &All{}
}

// Plugin implements plugins.Plugin.
func (p *All) Plugin() plugins.Instance { return plugins.Instance{} }
