// Package statuspage is imported by a test, which requires nothing.
package statuspage

import "checkstack/plugins"

// Page is the service.
type Page struct{}

// New builds the plugin.
func New(host *plugins.Host) *Page { return &Page{} }

// Plugin implements plugins.Plugin.
func (p *Page) Plugin() plugins.Instance { return plugins.Instance{} }
