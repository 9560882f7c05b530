// Package f has the name that the table uses for the flags, and says by other names what it takes and returns.
package f

import (
	"checkstack/gen/plugintable/testdata/flags/plugins/auth"
	"checkstack/plugins"
)

type (
	flags = *plugins.Flags
	given = *Settings[int]
)

// Settings are what the flags say.
type Settings[T any] struct{ Wait T }

// Service is the service.
type Service struct{}

// New builds the plugin.
func New(host *plugins.Host, auth *auth.Service) *Service { return nil }

// Plugin implements plugins.Plugin.
func (*Service) Plugin() plugins.Instance { return plugins.Instance{} }

// Flags declares the flags of the plugin.
func Flags(flags) given { return nil }
