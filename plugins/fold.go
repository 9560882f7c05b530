package plugins

import (
	"strings"
	"unicode"
)

// Fold returns what two texts have in common if they differ in the case of letters only: Fold(a) == Fold(b) exactly
// where [strings.EqualFold] holds (Unicode simple folding). Names that must be unique whatever their case are kept with
// it, since what lower() does in SQL depends on the locale of the database: with the locale C it knows no letters but
// those of ASCII.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}
