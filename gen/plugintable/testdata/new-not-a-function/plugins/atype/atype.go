// Package atype declares a type.
package atype

// New is a type.
type New struct{}
