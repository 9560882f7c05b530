//go:build race

package servertest

// race says whether the test was built with the race detector.
const race = true
