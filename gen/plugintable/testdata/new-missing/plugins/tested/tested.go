// Package tested has a New in a test only.
package tested
