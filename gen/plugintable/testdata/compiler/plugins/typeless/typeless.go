// Package typeless uses what is not there: told once, by the compiler.
package typeless

import (
	"no/such/package"

	"checkstack/plugins"
)

// Service is the service.
type Service struct{ x Gone }

// New builds the plugin.
func New(host *plugins.Host, gone *Gone, other Lost) *package_.Thing {
	var unused int
	return "text"
}
