// Package plugins is the contract between the Checkstack server and its plugins.
//
// A plugin is a package below this folder with a function New. The first parameter of New is the [Host] that the server
// lends to the plugin; every further parameter is another plugin that this one requires, as a Go value:
//
//	package incident
//
//	func New(host *plugins.Host, catalog *catalog.Catalog, notify *notification.Notifier) *Incidents
//
// What New returns is the plugin's service, whose exported methods other plugins call, and it has a method
// Plugin() [Instance]. Nothing else is declared: "go generate ./..." finds the plugins, sorts them so that each comes
// after what it requires, and writes gen/table.go.
//
// A plugin may bring commands to the program, "checkstack satellite", with a function Commands() []plugins.Command. See
// [Command].
//
// It may have flags of the server, "checkstack serve -oidc-issuer", with a function Flags(*plugins.Flags) *Settings, where
// the type has a name of its choice. It is called once, before the command line is read, and does nothing but declare them;
// the values are set in what it returned before New is called, which finds it as [Host.Settings]:
//
//	func Flags(f *plugins.Flags) *Settings {
//		var s Settings
//		f.Text(&s.issuer, "oidc-issuer", "", "`address` of who says who somebody is (default none)", nil)
//		f.Secret(&s.secret, "CHECKSTACK_OIDC_SECRET", "what this server shows it")
//		return &s
//	}
//
// # The life of a plugin
//
// Each phase is finished for every plugin before the next one begins:
//
//  1. New, in table order. It stores what it is given: no I/O, no goroutine, no contribution to another plugin.
//  2. Migrate: the plugins' migrations, under one advisory lock, before any Init.
//  3. Init, in table order: routes, probes, and contributions to other plugins. The gate opens just before the first
//     Init; until a plugin's Init has returned, requests for it are answered with 503.
//  4. AfterPluginsReady, in table order: call other plugins, register what they keep, start background work with
//     [Host.Go]. The server's own HTTP API may be called here, at [Host.LocalURL].
//  5. Close, in reverse order, once the plugin's routes are gone and its requests and background work have finished. It
//     runs for every plugin whose Init was called, also when that Init failed. Then the functions given to
//     [Host.OnClose] run, the last one first.
//
// An error or a panic in phases 1 to 4 ends the boot, or leaves the plugin failed if it was enabled at run time. An error
// in phase 5 is logged, and the rest of the phase still runs.
package plugins

import (
	"context"
	"io/fs"
)

// Plugin is what the New function of a plugin returns.
type Plugin interface {
	Plugin() Instance
}

// Instance is a plugin as the loader sees it. Every field is optional: a nil hook does nothing.
type Instance struct {
	// Migrations holds *.sql files at its root. They are applied once each, in the order of their names, in a schema named
	// after the plugin's ID that exists by then. A file that was applied must never be changed: its checksum is recorded.
	Migrations fs.FS

	// PreviousIDs are the IDs the plugin had before it was renamed, newest first. The schema of the first one that exists
	// is renamed to the plugin's ID before migrating.
	PreviousIDs []string

	Init              func(context.Context) error // phase 3
	AfterPluginsReady func(context.Context) error // phase 4
	Close             func(context.Context) error // phase 5; its context ends with the plugin's share of the time to stop
}

// Entry is a row of the registration table that "go generate" writes.
type Entry struct {
	ID       string   // the folder's name: /api/<ID>/, schema <ID>
	Requires []string // IDs of the plugins that come first, sorted
	New      func(*Host, Lookup) Plugin
	Commands func() []Command // nil where the package has no function Commands
	Flags    func(*Flags) any // nil where the package has no function Flags
}

// Lookup returns the constructed plugin with an ID that is in the Requires of the entry it is passed to.
type Lookup func(id string) Plugin
