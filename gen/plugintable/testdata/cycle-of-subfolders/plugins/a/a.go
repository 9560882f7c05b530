// Package a imports b.
package a

import (
	"checkstack/gen/plugintable/testdata/cycle-of-subfolders/plugins/b"
	"checkstack/plugins"
)

// A is the service.
type A struct{}

// New builds the plugin.
func New(host *plugins.Host, b *b.B) *A { return &A{} }

// Plugin implements plugins.Plugin.
func (p *A) Plugin() plugins.Instance { return plugins.Instance{} }
