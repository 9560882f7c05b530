// Package gen holds the table of the plugins that are compiled in. "go generate ./..." writes it from the folders below
// plugins/; see package plugins for what makes a folder a plugin.
package gen

//go:generate go run ./plugintable
