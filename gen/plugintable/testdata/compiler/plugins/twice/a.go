// Package twice has two package names.
package twice
