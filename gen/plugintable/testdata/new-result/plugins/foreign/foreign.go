// Package foreign returns a type that is not its own.
package foreign

import (
	"net/http"

	"checkstack/plugins"
)

// New builds the plugin.
func New(*plugins.Host) *http.Server { return nil }
