package plugins_test

import (
	"strings"
	"testing"

	"checkstack/plugins"
)

// FuzzFold compares Fold with the comparison of the standard library.
func FuzzFold(f *testing.F) {
	for _, pair := range [][2]string{
		{"", ""}, {"Shop", "sHOP"}, {"É", "é"}, {"Σίσυφος", "ΣΊΣΥΦΟΣ"}, {"K", "\u212a"}, {"ſ", "S"}, {"ı", "i"}, {"Straße", "STRASSE"}, {"a\xff", "A\xff"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if got, want := plugins.Fold(a) == plugins.Fold(b), strings.EqualFold(a, b); got != want {
			t.Errorf("%q and %q fold to %q and %q, but EqualFold is %v", a, b, plugins.Fold(a), plugins.Fold(b), want)
		}
		for _, other := range []string{strings.ToLower(a), strings.ToUpper(a), strings.ToTitle(a)} {
			if got, want := plugins.Fold(a) == plugins.Fold(other), strings.EqualFold(a, other); got != want {
				t.Errorf("%q and %q fold to %q and %q, but EqualFold is %v", a, other, plugins.Fold(a), plugins.Fold(other), want)
			}
		}
	})
}
