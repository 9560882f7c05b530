//go:build !race

package satellite_test

// slack is how much longer than promised an answer may take in a test.
const slack = 1
