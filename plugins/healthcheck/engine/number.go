package engine

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// number is a number exactly as it was written, 0.digits × 10^exponent: 9007199254740993 is not 9007199254740992, and 1e400 is a
// number. The digits neither begin nor end with 0; there are none of zero.
type number struct {
	negative bool
	digits   string
	exponent int
}

const maxExponent = 1_000_000_000

// parseNumber reads a number as JSON writes it, also with a plus sign or with zeros before it.
func parseNumber(s string) (n number, ok bool) {
	if rest, is := strings.CutPrefix(s, "-"); is {
		n.negative, s = true, rest
	} else {
		s = strings.TrimPrefix(s, "+")
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e > maxExponent || e < -maxExponent {
			return number{}, false
		}
		n.exponent, s = e, s[:i]
	}
	whole, fraction, point := strings.Cut(s, ".")
	if !areDigits(whole) || point && !areDigits(fraction) {
		return number{}, false
	}
	n.exponent += len(whole)
	digits := whole + fraction
	n.digits = strings.TrimLeft(digits, "0")
	n.exponent -= len(digits) - len(n.digits)
	n.digits = strings.TrimRight(n.digits, "0")
	if n.digits == "" {
		return number{}, true
	}
	return n, true
}

func areDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// numberOf is the number that a value is: one of Go's types, a [json.Number], or one that was understood before.
func numberOf(value any) (number, bool) {
	switch v := value.(type) {
	case nil, string, bool, []any, map[string]any:
		return number{}, false
	case number:
		return v, true
	case json.Number:
		return parseNumber(string(v))
	case int:
		return parseNumber(strconv.Itoa(v))
	}
	switch v := reflect.ValueOf(value); {
	case v.CanInt():
		return parseNumber(strconv.FormatInt(v.Int(), 10))
	case v.CanUint():
		return parseNumber(strconv.FormatUint(v.Uint(), 10))
	case v.CanFloat() && !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0):
		return parseNumber(strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()))
	}
	return number{}, false
}

// compare is negative if n is less than m, 0 if they are equal, and positive if n is greater.
func (n number) compare(m number) int {
	if n.sign() != m.sign() {
		return n.sign() - m.sign()
	}
	by := n.exponent - m.exponent
	if by == 0 || n.sign() == 0 {
		by = strings.Compare(n.digits, m.digits)
	}
	return by * n.sign()
}

func (n number) sign() int {
	switch {
	case n.digits == "":
		return 0
	case n.negative:
		return -1
	}
	return 1
}
