// Package clock is compiled too.
package clock

var now = Time()
