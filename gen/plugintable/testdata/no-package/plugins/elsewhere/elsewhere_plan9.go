// Package elsewhere is built on another system only.
package elsewhere
