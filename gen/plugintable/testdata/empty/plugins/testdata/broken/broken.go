// Package broken is not looked at.
package broken
