package apply

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// What applying a document has changed, or would change. The order is that of the document, then what it deletes or has
// left behind; what stays as it is is counted and not listed. What people have assigned to a thing goes with it, and is
// listed too.

// The kinds of things that a document manages.
const (
	kindSystem       = "system"
	kindGroup        = "group"
	kindCheck        = "check"
	kindSatellite    = "satellite"
	kindAssignment   = "assignment"
	kindChannel      = "channel"
	kindSubscription = "subscription"
)

// kinds are all of them.
var kinds = []string{kindSystem, kindGroup, kindCheck, kindSatellite, kindAssignment, kindChannel, kindSubscription}

// What happens to one.
const (
	opCreate   = "create"
	opUpdate   = "update"
	opAdopt    = "adopt"    // an update that also takes it over from people
	opDelete   = "delete"   // with prune
	opOrphaned = "orphaned" // without: the document owns it and does not name it any more; it stays as it is
)

// Plan is the answer to applying a document.
type Plan struct {
	Name      string   `json:"name"` // of the document
	DryRun    bool     `json:"dryRun"`
	Changes   []Change `json:"changes"`
	Created   int      `json:"created"`
	Updated   int      `json:"updated"` // adopted ones among them
	Deleted   int      `json:"deleted"`
	Orphaned  int      `json:"orphaned"`
	Unchanged int      `json:"unchanged"`
	Tokens    []Token  `json:"tokens"` // shown this once; none in a dry run
}

// Change is what happens to one thing.
type Change struct {
	Op     string   `json:"op"`               // create, update, adopt, delete or orphaned
	Kind   string   `json:"kind"`             // system, group, check, satellite, assignment, channel or subscription
	Name   string   `json:"name"`             // of an assignment: that of the check; of a subscription: that of the channel
	System string   `json:"system,omitempty"` // of an assignment or a subscription
	Group  string   `json:"group,omitempty"`  // of a subscription
	Fields []string `json:"fields,omitempty"` // what an update changes; of an adoption "managedBy" first
}

// Token is what a new satellite, or the target of a new heartbeat check, shows to this server.
type Token struct {
	Kind   string `json:"kind"` // satellite or assignment
	Name   string `json:"name"`
	System string `json:"system,omitempty"`
	Token  string `json:"token"`

	renew string // the route that makes another one
}

// note adds a change, and counts it; one without an Op is none.
func (p *Plan) note(c Change) {
	switch c.Op {
	case "":
		p.Unchanged++
		return
	case opCreate:
		p.Created++
	case opUpdate, opAdopt:
		p.Updated++
	case opDelete:
		p.Deleted++
	case opOrphaned:
		p.Orphaned++
	}
	p.Changes = append(p.Changes, c)
}

// changed reports whether anything is other than it was.
func (p *Plan) changed() bool { return p.Created+p.Updated+p.Deleted > 0 }

// subject is how a text names what a change or a token is about.
func subject(kind, name, system, group string) string {
	switch {
	case kind == kindSubscription && group != "":
		return kind + " " + name + " to the group " + group
	case kind == kindSubscription && system != "":
		return kind + " " + name + " to " + system
	case kind == kindSubscription:
		return kind + " " + name + " to all systems"
	case system != "":
		return kind + " " + name + " of " + system
	}
	return kind + " " + name
}

var marks = map[string]string{opCreate: "+", opUpdate: "~", opAdopt: "~", opDelete: "-", opOrphaned: "!"}

// print writes a plan for people, a line a change and one with the sums. It shows no token.
func (p *Plan) print(w io.Writer) {
	for _, c := range p.Changes {
		line := marks[c.Op] + " " + subject(c.Kind, c.Name, c.System, c.Group)
		switch {
		case c.Op == opOrphaned:
			line += " (not in the document any more)"
		case len(c.Fields) > 0:
			line += " (" + strings.Join(c.Fields, ", ") + ")"
		}
		fmt.Fprintln(w, line)
	}
	done := []string{
		fmt.Sprintf("%d created", p.Created), fmt.Sprintf("%d updated", p.Updated), fmt.Sprintf("%d deleted", p.Deleted),
		fmt.Sprintf("%d unchanged", p.Unchanged),
	}
	if p.Orphaned > 0 {
		done = slices.Insert(done, 3, fmt.Sprintf("%d orphaned", p.Orphaned))
	}
	dry := ""
	if p.DryRun {
		dry = " (dry run: nothing was changed)"
	}
	fmt.Fprintf(w, "%s: %s%s\n", p.Name, strings.Join(done, ", "), dry)
}
