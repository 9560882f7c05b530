// Package old is not looked at.
package old
