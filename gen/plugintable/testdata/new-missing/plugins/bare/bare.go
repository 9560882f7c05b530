// Package bare has no New.
package bare

func new() {}
