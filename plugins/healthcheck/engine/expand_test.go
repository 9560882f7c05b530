package engine

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

var system = map[string]string{"system.name": "Shop", "system.id": "7", "system.metadata.host": "example.org", "system.metadata.a.b": "dots",
	"system.metadata.quotes": `"},{"`, "system.metadata.trick": "${ENV:TOKEN}$${x}", "system.metadata.empty": "", "other": "x"}

func TestPlaceholdersAreReplacedInTextsAlone(t *testing.T) {
	policy := env(map[string]string{"TOKEN": "s3cret", "QUOTED": `a"b\`})
	for _, test := range []struct{ config, want string }{
		{`{"a":"${system.name}"}`, `{"a":"Shop"}`},
		{`{"a": "x${system.name}-${system.id}y" , "b":[1.50,"${ENV:TOKEN}",{"c":"${system.metadata.host}"}]}`, `{"a": "xShop-7y" , "b":[1.50,"s3cret",{"c":"example.org"}]}`},
		{`"${system.metadata.a.b}"`, `"dots"`},
		{`{"${system.name}":"a"}`, `{"${system.name}":"a"}`},
		{`{"a":"${system.metadata.quotes}","b":"${ENV:QUOTED}"}`, `{"a":"\"},{\"","b":"a\"b\\"}`},
		{`{"a":"${system.metadata.trick}"}`, `{"a":"${ENV:TOKEN}$${x}"}`},
		{`{"a":"[${system.metadata.empty}]"}`, `{"a":"[]"}`},
		{`{"a":"$${system.name}"}`, `{"a":"${system.name}"}`},
		{`{"a":"$$${system.name}"}`, `{"a":"$${system.name}"}`},
		{`{"a":"$$ $ {} $a ${system.id}"}`, `{"a":"$$ $ {} $a 7"}`},
		{`{"a":"$${${system.id}}"}`, `{"a":"${7}"}`},
		{`{"a":"${system.id}$${"}`, `{"a":"7${"}`},
		{`{"a":"\u0024\u007bsystem.id}"}`, `{"a":"7"}`},
		{`{"a":"\u00e9","b":1e400,"a":"twice"}`, `{"a":"\u00e9","b":1e400,"a":"twice"}`},
		{` [] `, ` [] `}, {`null`, `null`}, {`{}`, `{}`},
	} {
		got, err := Expand(json.RawMessage(test.config), system, policy)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.config, got, err, test.want)
		}
	}
}

func TestAPlaceholderWithoutAValueIsRefusedByField(t *testing.T) {
	const known = "expected ${system.name}, ${system.id}, ${system.metadata.KEY} or ${ENV:NAME}, not "
	const form = "expected a placeholder such as ${system.name}, or $${ for ${ itself"
	for _, test := range []struct {
		config  string
		values  map[string]string
		refused string
	}{
		{`{"a":{"b.c":["","${system.nam}"]}}`, system, "a.b.c[1]: " + known + "${system.nam}"},
		{`{"a":"${other}"}`, system, "a: " + known + "${other}"},
		{`"${ENV:A-B}"`, system, ": " + known + "${ENV:A-B}"},
		{`["${ENV:}"]`, system, "[0]: " + known + "${ENV:}"},
		{`{"a":"${env:A}"}`, system, "a: " + known + "${env:A}"},
		{`{"a":"${ system.name }"}`, system, "a: " + known + "${ system.name }"},
		{`{"a":"${` + strings.Repeat("x", 200) + `}"}`, system, "a: " + known + "${" + strings.Repeat("x", 100) + "}"},
		{`{"a":"${system.metadata.}"}`, system, "a: " + known + "${system.metadata.}"},
		{`{"a":"${system.metadata.none}"}`, system, "a: expected a system that has a value for ${system.metadata.none}"},
		{`{"a":"${system.name}"}`, nil, "a: expected no placeholder such as ${system.name} in a check that is not a template"},
		{`{"a":"${"}`, system, "a: " + form}, {`{"a":"${}"}`, system, "a: " + form}, {`{"a":"x${system.name"}`, system, "a: " + form},
		{`{"a":"${"`, system, ": expected one JSON value"},
		{strings.Repeat("[", 101) + `"${system.id}"` + strings.Repeat("]", 101), system, ": expected at most 100 objects and lists in one another"},
		{`["` + strings.Repeat("${system.metadata.host}", 100_000) + `"]`, system, "[0]: expected at most 1048576 bytes with the values of placeholders"},
	} {
		got, err := Expand(json.RawMessage(test.config), test.values, nil)
		if got != nil || refusal(t, err) != test.refused {
			t.Errorf("%.100s: got %s, %v; want %s", test.config, got, err, test.refused)
		}
	}
}

func TestAVariableThatCannotBeReadIsAFault(t *testing.T) {
	policy := env(map[string]string{"EMPTY": "", "BINARY": "\xff"})
	for name, want := range map[string]string{
		"EMPTY": "the variable EMPTY is not set", "BINARY": "the variable BINARY is not a text in UTF-8",
		"PATH": "the variable PATH is not one that configurations may refer to (-env-allow)",
	} {
		_, err := Expand(json.RawMessage(`{"a":"${ENV:`+name+`}"}`), system, policy)
		if f, ok := errors.AsType[*Fault](err); !ok || f.Reason != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestOfWhatIsNoCheckOnlyVariablesAreReplaced(t *testing.T) {
	const form = "a: expected a placeholder such as ${system.name}, or $${ for ${ itself"
	const denied = "the variable PATH is not one that configurations may refer to (-env-allow)"
	policy := env(map[string]string{"TOKEN": "s3cret", "_a1": `"},{"`, "TRICK": "${ENV:TOKEN}$${x}", "EMPTY": "", "BINARY": "\xff", "LONG": strings.Repeat("x", 1<<19)})
	for _, test := range []struct{ config, want, refused string }{
		{`{"a":"x${ENV:TOKEN}-${ENV:TOKEN}y" , "b":[1.50,{"c":"${ENV:_a1}"}]}`, `{"a":"xs3cret-s3crety" , "b":[1.50,{"c":"\"},{\""}]}`, ""},
		{`"${ENV:TOKEN}"`, `"s3cret"`, ""},
		{`{"a":"${ENV:TRICK}"}`, `{"a":"${ENV:TOKEN}$${x}"}`, ""},
		{`{"a":"$${ENV:TOKEN} $${system.name} $$${ENV:TOKEN}"}`, `{"a":"${ENV:TOKEN} ${system.name} $${ENV:TOKEN}"}`, ""},
		{`{"a":"\u0024\u007bENV:TOKEN}"}`, `{"a":"s3cret"}`, ""},
		{`{"${ENV:TOKEN}":"$ {} $a"}`, `{"${ENV:TOKEN}":"$ {} $a"}`, ""},
		{` {"a": [ ] } `, ` {"a": [ ] } `, ""},
		{`{"a":"${system.name}"}`, "", "a: expected ${ENV:NAME}, not ${system.name}"},
		{`{"a":"${system.metadata.x}"}`, "", "a: expected ${ENV:NAME}, not ${system.metadata.x}"},
		{`{"a":{"b.c":["","${TOKEN}"]}}`, "", "a.b.c[1]: expected ${ENV:NAME}, not ${TOKEN}"},
		{`{"a":"${env:TOKEN}"}`, "", "a: expected ${ENV:NAME}, not ${env:TOKEN}"},
		{`{"a":"${ENV:}"}`, "", "a: expected ${ENV:NAME}, not ${ENV:}"},
		{`{"a":"${ENV:1A}"}`, "", "a: expected ${ENV:NAME}, not ${ENV:1A}"},
		{`{"a":"${ENV:TOKEN }"}`, "", "a: expected ${ENV:NAME}, not ${ENV:TOKEN }"},
		{`{"a":"${` + strings.Repeat("é", 200) + `}"}`, "", "a: expected ${ENV:NAME}, not ${" + strings.Repeat("é", 100) + "}"},
		{`{"a":"${ENV:PATH}"}`, "", "a: " + denied},
		{`["${ENV:EMPTY}"]`, "", "[0]: the variable EMPTY is not set"},
		{`"${ENV:BINARY}"`, "", ": the variable BINARY is not a text in UTF-8"},
		{`{"a":"${"}`, "", form}, {`{"a":"${}"}`, "", form}, {`{"a":"x${ENV:TOKEN"}`, "", form},
		{`["${ENV:LONG}${ENV:LONG}","${ENV:TOKEN}"]`, "", "[1]: expected at most 1048576 bytes with the values of placeholders"},
		{`{"a":"${ENV:TOKEN}"`, "", ": expected one JSON value"},
	} {
		got, err := ExpandVariables(json.RawMessage(test.config), policy)
		if string(got) != test.want || refusal(t, err) != test.refused {
			t.Errorf("%.100s: got %.100s, %v; want %s%s", test.config, got, err, test.want, test.refused)
		}
	}
	if got, err := ExpandVariables(json.RawMessage(`{"a":"${ENV:PATH}"}`), nil); got != nil || refusal(t, err) != "a: "+denied {
		t.Errorf("without a policy: got %s, %v", got, err)
	}
}

func TestAConfigurationWithoutPlaceholdersCostsNothing(t *testing.T) {
	config := json.RawMessage(`{"url":"https://example.org/","headers":{"a":"$1 {}"}}`)
	if n := testing.AllocsPerRun(100, func() { _, _ = Expand(config, system, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPlaceholdersAreListedOnce(t *testing.T) {
	got := Placeholders(json.RawMessage(`{"b":"${system.id}${ENV:A}","a":["${ENV:A}","$${x}","${y}"]}`))
	if want := []string{"system.id", "ENV:A", "y"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if got := Placeholders(json.RawMessage(`{"a":"$${x}"}`)); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestASampleFitsInURLsAndHosts(t *testing.T) {
	for _, name := range []string{"system.name", "system.id", "system.metadata.host", "system.metadata.Port", "ENV:TOKEN"} {
		s := Sample(name)
		if u, err := url.Parse("https://" + s + ".example.org/" + s); err != nil || u.Hostname() != s+".example.org" || !IsHost(s) {
			t.Errorf("%s: %q", name, s)
		}
	}
	if u, err := url.Parse(Sample("system.metadata.baseURL")); err != nil || u.Host == "" {
		t.Errorf("%v, %v", u, err)
	}
}

// FuzzExpand: what is expanded stays JSON with the same shape, values come out as they are, and no placeholder of theirs is replaced.
func FuzzExpand(f *testing.F) {
	for _, seed := range [][2]string{{"a${system.name}b", `"`}, {"$${system.name}", "x"}, {"$$${${system.name}}", "${ENV:A}"}, {"${", "}"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		config := appendJSON(nil, map[string]any{"a": []string{text}, "n": 1})
		got, err := Expand(config, map[string]string{"system.name": value}, nil)
		if err != nil {
			return
		}
		var out struct {
			A []string
			N int
		}
		if err := json.Unmarshal(got, &out); err != nil || len(out.A) != 1 || out.N != 1 {
			t.Fatalf("%s: got %s, %v", config, got, err)
		}
		var in struct{ A []string }
		var plain string
		if json.Unmarshal(config, &in) != nil || json.Unmarshal(appendJSON(nil, value), &plain) != nil {
			t.Fatal("not what was written")
		}
		// The oracle replaces from left to right what it can find, with marks that cannot be in the text.
		want := ""
		for rest := in.A[0]; rest != ""; {
			switch {
			case strings.HasPrefix(rest, "$${"):
				want, rest = want+"${", rest[3:]
			case strings.HasPrefix(rest, "${system.name}"):
				want, rest = want+plain, rest[len("${system.name}"):]
			default:
				want, rest = want+rest[:1], rest[1:]
			}
		}
		if out.A[0] != want {
			t.Errorf("%q: got %q, want %q", in.A[0], out.A[0], want)
		}
	})
}
