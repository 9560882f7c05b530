package apply_test

import (
	"fmt"
	"strings"
	"testing"

	"checkstack/plugins/internal/servertest"
)

// many is a list of objects with names.
func many(n int) (all L) {
	for i := range n {
		all = append(all, M{"name": fmt.Sprint("n", i)})
	}
	return all
}

// invalid makes a document wrong in one place at a time. The rest of it could be applied.
func invalid(t *testing.T, s *servertest.Server) {
	s.Do(t, "POST", "/api/notification/channels", servertest.Admin, hook("Bell")).Has(t, 201)
	before := everything(t, s)
	good := M{"name": "wrong", "systems": L{M{"name": "Right"}, M{"name": "Second"}}, "groups": L{M{"name": "Right", "systems": L{"Right"}}},
		"checks": L{check("Right")}, "assignments": L{M{"check": "Right", "system": "Right"}}}
	for _, test := range []struct {
		section string
		value   any
		field   string
		message string
	}{
		{"colour", "red", "colour", "there is no such field"},
		{"name", 7, "name", "expected a string, not number"},
		{"name", "a\nb", "name", "expected a text without control characters"},
		{"name", strings.Repeat("x", 201), "name", "expected a text of 1 to 200 characters, not 201"},
		{"systems", M{}, "systems", "expected an array, not object"},
		{"systems", L{"Shop"}, "systems[0]", "expected an object"},
		{"systems", L{M{"name": "a"}, nil}, "systems[1]", "expected an object"},
		{"systems", L{M{"name": "a"}, M{"name": ""}}, "systems[1].name", "expected a text of 1 to 200 characters, not an empty one"},
		{"systems", L{M{"name": "a", "color": 1}}, "systems[0].color", "there is no such field"},
		{"systems", L{M{"name": "a"}, M{"name": "b"}, M{"name": " A"}}, "systems[2].name", `expected each name once, but systems[0] is "A" too`},
		{"systems", L{M{"name": "Right", "description": strings.Repeat("x", 2001)}}, "systems[0].description", "expected a text of at most 2000 characters, not 2001"},
		{"systems", L{M{"name": "Right", "metadata": L{}}}, "systems[0].metadata", "expected an object"},
		{"systems", many(10_001), "systems", "expected at most 10000, not 10001"},
		{"groups", L{M{"name": "g", "systems": L{"Right", "none"}}}, "groups[0].systems[1]", `there is no system "none", neither in the document nor on the server`},
		{"groups", L{M{"name": "g", "systems": L{"Right", "RIGHT"}}}, "groups[0].systems[1]", `expected each name once, but groups[0].systems[0] is "RIGHT" too`},
		{"groups", many(1001), "groups", "expected at most 1000, not 1001"},
		{"checks", L{check("Right"), with(check("b"), "type", "none")}, "checks[1].type", "…"},
		{"checks", L{check("Right"), with(check("b"), "config", M{"url": "shop"})}, "checks[1].config.url", "…"},
		{"checks", L{check("Right"), with(check("b"), "template", true, "config", M{"url": "http://a", "ipVersion": "${system.metadata.v}"})}, "checks[1].config.ipVersion", "…"},
		{"checks", L{check("Right"), with(check("b"), "intervalSeconds", 0)}, "checks[1].intervalSeconds", "expected this field, a whole number of seconds from 1 to 2592000"},
		{"checks", L{check("Right"), with(check("b"), "intervalSeconds", "1m")}, "checks[1].intervalSeconds", "expected a whole number, not string"},
		{"checks", L{check("Right"), with(check("b"), "assertions", L{M{"path": "status", "op": "like"}})}, "checks[1].assertions[0].op", "…"},
		{"satellites", L{M{"name": "a", "offlineAfterSeconds": 5}}, "satellites[0].offlineAfterSeconds", "expected a whole number of seconds from 30 to 86400, not 5"},
		{"satellites", L{M{"name": "a", "offlineAfterSeconds": 0}}, "satellites[0].offlineAfterSeconds", "expected a whole number of seconds from 30, not 0"},
		{"satellites", L{M{"name": "a"}, M{"name": "b", "region": "a\nb"}}, "satellites[1].region", "expected a text without control characters"},
		{"assignments", L{M{"system": "Right"}}, "assignments[0].check", "expected a text of 1 to 200 characters, not an empty one"},
		{"assignments", L{M{"check": "Right"}}, "assignments[0].system", "expected a system or a group, and not both"},
		{"assignments", L{M{"check": "Right", "system": "Right", "group": "Right"}}, "assignments[0].system", "expected a system or a group, and not both"},
		{"assignments", L{M{"check": "none", "system": "Right"}}, "assignments[0].check", `there is no check "none", neither in the document nor on the server`},
		{"assignments", L{M{"check": "Right", "system": "none"}}, "assignments[0].system", `there is no system "none", neither in the document nor on the server`},
		{"assignments", L{M{"check": "Right", "group": "none"}}, "assignments[0].group", `there is no group "none", neither in the document nor on the server`},
		{"assignments", L{M{"check": "Right", "system": "Right", "sources": L{"local", "none"}}}, "assignments[0].sources[1]",
			`there is no satellite "none", neither in the document nor on the server`},
		{"assignments", L{M{"check": "Right", "system": "Right", "sources": L{}}}, "assignments[0].sources", "expected 1 to 50 sources, not 0"},
		{"assignments", L{M{"check": "Right", "system": "Right", "quorum": 0}}, "assignments[0].quorum", "expected a whole number of sources from 1 to 50, not 0"},
		{"assignments", L{M{"check": "Right", "system": "Right", "thresholds": M{"mode": "odd"}}}, "assignments[0].thresholds.mode", "expected consecutive or window"},
		{"assignments", L{M{"check": "Right", "system": "Right"}, M{"check": "right", "system": "RIGHT"}}, "assignments[1]",
			`assignments[0] assigns the check "Right" to the system "Right" already`},
		{"channels", L{M{"name": "a"}}, "channels[0].type", "expected a channel type"},
		{"channels", L{hook("a"), M{"name": "b", "type": "pigeon", "config": M{}}}, "channels[1].type", "expected a channel type: webhook"},
		{"channels", L{hook("a"), M{"name": "b", "type": "webhook"}}, "channels[1].config", "expected this field, an object"},
		{"channels", L{hook("a"), M{"name": "b", "type": "webhook", "config": M{"url": "shop"}}}, "channels[1].config.url", "…"},
		{"channels", L{hook("a"), hook(" A")}, "channels[1].name", `expected each name once, but channels[0] is "A" too`},
		{"channels", many(1001), "channels", "expected at most 1000, not 1001"},
		{"subscriptions", L{M{"system": "Right"}}, "subscriptions[0].channel", "expected a text of 1 to 200 characters, not an empty one"},
		{"subscriptions", L{M{"channel": "none"}}, "subscriptions[0].channel", `there is no channel "none", neither in the document nor on the server`},
		{"subscriptions", L{M{"channel": "Bell", "system": "none"}}, "subscriptions[0].system", `there is no system "none", neither in the document nor on the server`},
		{"subscriptions", L{M{"channel": "Bell", "group": "none"}}, "subscriptions[0].group", `there is no group "none", neither in the document nor on the server`},
		{"subscriptions", L{M{"channel": "Bell", "group": "Right", "system": "Right"}}, "subscriptions[0].system", "expected a system or a group, and not both"},
		{"subscriptions", L{M{"channel": "Bell", "system": ""}}, "subscriptions[0].system", "expected a text that is not empty, or no such field"},
		{"subscriptions", L{M{"channel": "Bell", "system": nil}}, "subscriptions[0].system", "expected a text that is not empty, or no such field"},
		{"subscriptions", L{M{"channel": "Bell"}, M{"channel": "Bell", "group": ""}}, "subscriptions[1].group", "expected a text that is not empty, or no such field"},
		{"subscriptions", L{M{"channel": "Bell", "minSeverity": ""}}, "subscriptions[0].minSeverity", "expected a text that is not empty, or no such field"},
		{"subscriptions", L{M{"channel": "Bell", "system": 7}}, "subscriptions[0].system", "expected a string, not number"},
		{"subscriptions", L{M{"channel": "Bell", "colour": "red"}}, "subscriptions[0].colour", "there is no such field"},
		{"subscriptions", L{M{"channel": "Bell", "minSeverity": "recovered"}}, "subscriptions[0].minSeverity", "expected info, warning or critical"},
		{"subscriptions", L{M{"channel": "Bell", "system": "Right"}, M{"channel": "BELL", "system": "right", "minSeverity": "critical"}}, "subscriptions[1]",
			"expected each subscription once, but subscriptions[0] is to the same"},
		{"subscriptions", many(10_001), "subscriptions", "expected at most 10000, not 10001"},
	} {
		res := s.Do(t, "POST", documents, servertest.Admin, with(good, test.section, test.value))
		if test.message == "…" { // what the check says
			if res.Status != 400 || !strings.Contains(res.Body, `"field":"`+test.field+`"`) {
				t.Errorf("%s: %d %s", test.field, res.Status, res.Body)
			}
			continue
		}
		res.IsInvalid(t, test.field, test.message)
	}
	s.Do(t, "POST", documents, servertest.Admin, `[]`).IsInvalid(t, "", "expected an object")
	s.Do(t, "POST", documents, servertest.Admin, `{"name":"x"} {}`).IsInvalid(t, "", "there is more than one JSON value")
	for body, field := range map[string]string{
		`{"systems":[{"name":"Right"}],"systems":[]}`:                                            "systems",
		`{"name":"wrong","NAME":"wrong"}`:                                                        "NAME",
		`{"systems":[{"name":"a"},{"name":"b","name":"c"}]}`:                                     "systems[1].name",
		`{"systems":[{"name":"a","metadata":{"A":1e999,"a":{"x":[{"y":1,"y":1}]}}}]}`:            "systems[0].metadata.a.x[0].y",
		`{"checks":[{"name":"a","config":{"headers":{"A":"1","a":"2","A":"3"}}}]}`:               "checks[0].config.headers.A",
		`{"assignments":[{"check":"a","thresholds":{"mode":"window","healthy":{},"mode":"x"}}]}`: "assignments[0].thresholds.mode",
		`{"` + strings.Repeat("x", 300) + `":1,"` + strings.Repeat("x", 300) + `":1}`:            strings.Repeat("x", 100) + "…",
	} {
		s.Do(t, "POST", documents, servertest.Admin, body).IsInvalid(t, field, "expected this field once")
	}
	if after := everything(t, s); after != before {
		t.Errorf("what was refused has changed\n%s\nto\n%s", before, after)
	}
}
