package notification

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// oracle says who is told of what, in the plainest way there is: it goes through everything that happened, one by one.
type oracle struct {
	subscriptions map[string][]subscribed // by channel
	disabled      map[string]bool
	groups        map[string][]string        // of each system
	told          map[string]map[string]bool // by channel: the troubles that it was told of, and not of their end
	waiting       []Notice
	handed        []string
}

type subscribed struct {
	spec, resource string
	least          Severity
}

var levels = []Severity{Info, Warning, Critical}

func (o *oracle) hand() {
	for _, n := range o.waiting {
		thread := n.Target.ID + "/" + n.Thread
		for _, channel := range []string{"A", "B", "C", "D"} {
			wants := o.told[channel][thread]
			if n.Severity != Recovered {
				wants = slices.ContainsFunc(o.subscriptions[channel], func(s subscribed) bool { return o.fits(s, n) })
			}
			if wants && !o.disabled[channel] {
				o.handed = append(o.handed, n.Title+"→"+channel)
				if n.Severity == Critical || n.Severity == Warning {
					o.told[channel][thread] = true
				}
			}
			if n.Severity == Recovered {
				delete(o.told[channel], thread)
			}
		}
	}
	o.waiting = nil
}

func (o *oracle) fits(s subscribed, n Notice) bool {
	groups := o.groups[n.Target.ID]
	about := s.spec == "sky.system" && (s.resource == "*" || s.resource == n.Target.ID) ||
		s.spec == "sky.group" && (s.resource == "*" && len(groups) > 0 || slices.Contains(groups, s.resource))
	return about && slices.Index(levels, n.Severity) >= slices.Index(levels, s.least)
}

// TestHandingOnIsWhatAPlainLoopSays compares the statements with an oracle, on sequences in which everything changes that can.
func TestHandingOnIsWhatAPlainLoopSays(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	total := 0
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		pick := func(of ...string) string { return of[r.IntN(len(of))] }
		s := newStory(t, db)
		o := &oracle{subscriptions: map[string][]subscribed{}, disabled: map[string]bool{}, told: map[string]map[string]bool{},
			groups: map[string][]string{"shop": {"g1", "g2"}, "blog": {"g2"}, "lone": nil}}
		var lines []string
		tell := func(line string) {
			lines = append(lines, line)
			s.tell(line)
		}
		subscribe := func(channel string) {
			sub := subscribed{"sky.system", pick("shop", "blog", "lone", "*"), levels[r.IntN(3)]}
			if r.IntN(2) == 0 {
				sub.spec, sub.resource = "sky.group", pick("g1", "g2", "*")
			}
			same := func(other subscribed) bool { return other.spec == sub.spec && other.resource == sub.resource }
			if !slices.ContainsFunc(o.subscriptions[channel], same) {
				o.subscriptions[channel] = append(o.subscriptions[channel], sub)
				tell(fmt.Sprint(channel, " ", sub.spec, " ", sub.resource, " ", sub.least))
			}
		}
		for _, channel := range []string{"A", "B", "C", "D"} {
			s.channelNamed(channel)
			o.told[channel] = map[string]bool{}
			subscribe(channel)
			subscribe(channel)
		}
		for range 250 {
			switch n := r.IntN(40); {
			case n < 6:
				o.hand()
				tell("hand")
			case n == 6:
				subscribe(pick("A", "B", "C", "D"))
			case n == 7:
				channel := pick("A", "B", "C", "D")
				o.disabled[channel] = !o.disabled[channel]
				tell(map[bool]string{true: "disable ", false: "enable "}[o.disabled[channel]] + channel)
			case n == 8:
				channel := pick("A", "B", "C", "D")
				delete(o.subscriptions, channel)
				tell("unsubscribe " + channel)
			case n == 9:
				system := pick("shop", "blog", "lone")
				o.groups[system] = [][]string{nil, {"g1"}, {"g2"}, {"g1", "g2"}}[r.IntN(4)]
				tell("move " + system + " " + strings.Join(o.groups[system], " "))
			default:
				severity, system, thread := pick("critical", "warning", "info", "recovered", "recovered"), pick("shop", "blog", "lone"), pick("disk", "cpu")
				tell(severity + " " + system + " " + thread)
				notice := about(system, Severity(severity), fmt.Sprint(s.notices))
				notice.Thread = thread
				o.waiting = append(o.waiting, notice)
			}
		}
		o.hand()
		tell("hand")
		if got := handed(t, db); !slices.Equal(got, o.handed) {
			t.Fatalf("seed %d: handed on\n%v\nwant\n%v\nafter\n%s", seed, got, o.handed, strings.Join(lines, "\n"))
		}
		total += len(o.handed)
	}
	if total < 600 {
		t.Errorf("only %d were handed on", total)
	}
}
