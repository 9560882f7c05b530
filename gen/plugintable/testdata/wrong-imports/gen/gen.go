// Package gen is where the table is.
package gen
