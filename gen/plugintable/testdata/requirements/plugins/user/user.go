// Package user takes what it cannot have.
package user

import (
	"database/sql"

	"checkstack/gen/plugintable/testdata/requirements/plugins/borrower"
	"checkstack/gen/plugintable/testdata/requirements/plugins/catalog"
	"checkstack/gen/plugintable/testdata/requirements/plugins/hidden"
	"checkstack/gen/plugintable/testdata/requirements/plugins/unfit"
	"checkstack/plugins"
)

// User is the service.
type User struct{}

type systems interface{ Plugin() plugins.Instance }

// New builds the plugin.
func New(host *plugins.Host,
	good *catalog.Catalog,
	twice *catalog.Catalog,
	value catalog.Catalog,
	other *catalog.Cache,
	self *User,
	wish systems,
	any any,
	plain plugins.Plugin,
	db *sql.DB,
	name string,
	more []*catalog.Catalog,
	late func() *catalog.Catalog,
	concealed *hidden.Public,
	unfit *unfit.Service,
	borrowed *borrower.Own,
) *User {
	return &User{}
}

// Plugin implements plugins.Plugin.
func (*User) Plugin() plugins.Instance { return plugins.Instance{} }
