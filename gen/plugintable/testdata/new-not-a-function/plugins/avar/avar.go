// Package avar declares a variable.
package avar

import "checkstack/plugins"

// New is a variable.
var New = func(*plugins.Host) plugins.Plugin { return nil }
