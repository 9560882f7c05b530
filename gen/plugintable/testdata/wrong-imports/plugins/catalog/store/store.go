// Package store is a part of catalog.
package store
