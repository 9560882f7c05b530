// Package failing returns an error as well.
package failing

import "checkstack/plugins"

// New builds the plugin.
func New(*plugins.Host) (plugins.Plugin, error) { return nil, nil }
