// Package engine is the inside of byalias.
package engine

import "checkstack/plugins"

// Engine is the service.
type Engine struct{}

// Plugin implements plugins.Plugin.
func (*Engine) Plugin() plugins.Instance { return plugins.Instance{} }
