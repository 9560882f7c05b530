// Package draft is not looked at.
package draft
