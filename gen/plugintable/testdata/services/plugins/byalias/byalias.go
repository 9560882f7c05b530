// Package byalias returns a type of its own subfolder, under its own name.
package byalias

import (
	"checkstack/gen/plugintable/testdata/services/plugins/byalias/internal/engine"
	"checkstack/plugins"
)

// Engine is the service.
type Engine = engine.Engine

// New builds the plugin.
func New(*plugins.Host) *Engine { return &Engine{} }
