// Package one is too deep to be a plugin.
package one
