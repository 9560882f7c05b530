// Package store is a part of catalog.
package store

// Store is not a service.
type Store struct{}
