// Package clock is shared by plugins.
package clock
