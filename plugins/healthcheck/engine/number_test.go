package engine

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNumbersAreComparedExactly(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"1", "1.0", 0}, {"1", "10e-1", 0}, {"-0", "0.000", 0}, {"007", "+7", 0}, {"0e5", "-0", 0}, {"1e2", "100", 0},
		{"9007199254740993", "9007199254740992", 1}, {"0.1", "0.10000000000000001", -1}, {"1e400", "1e399", 1}, {"-1e400", "1", -1},
		{"-2", "-10", 1}, {"99", "100", -1}, {"0", "-1", 1}, {"0", "0.001", -1}, {"123", "12.4", 1}, {"1e1000000000", "1e-1000000000", 1},
	} {
		a, ok1 := parseNumber(test.a)
		b, ok2 := parseNumber(test.b)
		sign := func(n int) int { return min(max(n, -1), 1) }
		if !ok1 || !ok2 || sign(a.compare(b)) != test.want || sign(b.compare(a)) != -test.want {
			t.Errorf("%s and %s: got %d and %d", test.a, test.b, a.compare(b), b.compare(a))
		}
	}
}

func TestWhatIsNotANumberIsNone(t *testing.T) {
	for _, s := range []string{"", "-", "+", ".", ".5", "5.", "1e", "e1", "1e1.5", "0x10", "1_000", "1,5", " 1", "NaN", "Inf", "--1", "+-1", "1e99999999999999999999", "1e1000000001"} {
		if n, ok := parseNumber(s); ok {
			t.Errorf("%q is %+v", s, n)
		}
	}
	for _, value := range []any{nil, "1", true, []any{1}, map[string]any{}, math.NaN(), math.Inf(1), struct{}{}, []string{"1"}, json.Number("x")} {
		if n, ok := numberOf(value); ok {
			t.Errorf("%#v is %+v", value, n)
		}
	}
}

func TestEveryNumberOfGoIsANumber(t *testing.T) {
	seven, _ := parseNumber("7")
	for _, value := range []any{7, int8(7), int16(7), int32(7), int64(7), uint(7), uint8(7), uint64(7), float32(7), 7.0, json.Number("7.0"), time.Duration(7), seven} {
		if n, ok := numberOf(value); !ok || n.compare(seven) != 0 {
			t.Errorf("%T is %+v, %v", value, n, ok)
		}
	}
}

// FuzzNumber compares with numbers that are as long as they have to be.
func FuzzNumber(f *testing.F) {
	for _, pair := range [][2]string{{"1", "1.0"}, {"-1.5e3", "-1500"}, {"0.001", "1e-3"}, {"00", "-0"}, {"1e", "."}} {
		f.Add(pair[0], pair[1])
	}
	form := regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, a, b string) {
		n, ok1 := parseNumber(a)
		m, ok2 := parseNumber(b)
		if ok1 && !form.MatchString(a) {
			t.Fatalf("%q is a number", a)
		}
		if !ok1 || !ok2 || n.exponent > 1000 || n.exponent < -1000 || m.exponent > 1000 || m.exponent < -1000 || strings.ContainsAny(a+b, "eE") && len(a+b) > 30 {
			return
		}
		x, ok1 := new(big.Rat).SetString(a)
		y, ok2 := new(big.Rat).SetString(b)
		if !ok1 || !ok2 {
			t.Fatalf("%q and %q are numbers", a, b)
		}
		if got := n.compare(m); min(max(got, -1), 1) != x.Cmp(y) {
			t.Errorf("%s and %s compare as %d, not %d", a, b, got, x.Cmp(y))
		}
	})
}
