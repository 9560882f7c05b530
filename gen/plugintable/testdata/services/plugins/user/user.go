// Package user takes each of them.
package user

import (
	"checkstack/gen/plugintable/testdata/services/plugins/byalias"
	"checkstack/gen/plugintable/testdata/services/plugins/byinterface"
	"checkstack/gen/plugintable/testdata/services/plugins/byvalue"
	"checkstack/gen/plugintable/testdata/services/plugins/embedding"
	"checkstack/plugins"
)

// User is the service.
type User struct{}

type short = *byalias.Engine

// New builds the plugin.
func New(_ *plugins.Host, _ short, _ byinterface.Service, _ byvalue.Value, _ embedding.Service) *User {
	return &User{}
}

// Plugin implements plugins.Plugin.
func (*User) Plugin() plugins.Instance { return plugins.Instance{} }
