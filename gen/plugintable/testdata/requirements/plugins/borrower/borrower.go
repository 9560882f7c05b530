// Package borrower returns the service of another plugin, so that there is nothing of its own to take.
package borrower

import (
	"checkstack/gen/plugintable/testdata/requirements/plugins/catalog"
	"checkstack/plugins"
)

// Own is a type of its own.
type Own struct{}

// New builds the plugin.
func New(host *plugins.Host, c *catalog.Catalog) *catalog.Catalog { return c }
