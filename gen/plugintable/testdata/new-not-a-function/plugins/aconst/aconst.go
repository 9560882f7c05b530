// Package aconst declares a constant.
package aconst

// New is a constant.
const New = 1
