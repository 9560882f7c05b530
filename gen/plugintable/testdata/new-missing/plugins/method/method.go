// Package method has only a method New; method.go is where its problem is shown.
package method
