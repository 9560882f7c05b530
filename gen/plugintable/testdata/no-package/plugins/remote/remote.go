// Package remote is in a module of its own.
package remote
