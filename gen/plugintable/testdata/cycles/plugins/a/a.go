// Package a imports b and c.
package a

import (
	"checkstack/gen/plugintable/testdata/cycles/plugins/b"
	"checkstack/gen/plugintable/testdata/cycles/plugins/c"
	"checkstack/plugins"
)

// A is the service.
type A struct{}

// New builds the plugin.
func New(host *plugins.Host, b *b.B, c *c.C) *A { return &A{} }

// Plugin implements plugins.Plugin.
func (p *A) Plugin() plugins.Instance { return plugins.Instance{} }
