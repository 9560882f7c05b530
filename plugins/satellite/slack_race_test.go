//go:build race

package satellite_test

// slack is how much longer than promised an answer may take in a test: the race detector makes the server slow.
const slack = 10
