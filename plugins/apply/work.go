package apply

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
	"checkstack/plugins/satellite"
)

// Applying a document: one transaction from the lock to the plan.
//
//	hold what it names and owns:  groups, systems, checks, satellites
//	make:                         systems, groups, checks, satellites
//	end, then make:               assignments
//	make:                         channels
//	end, then make:               subscriptions
//	end:                          channels, checks, groups, satellites, systems that it does not name any more
//
// That order is the one in which everybody locks these, so that whoever edits by hand meanwhile waits and is not in the way;
// where it is not, the database gives up one of the two and [plugins.Tx] tries again. Assignments end before others are made,
// because a system has room for so many.

var (
	//go:embed sql/patience.sql
	patienceSQL string
	//go:embed sql/turn.sql
	turnSQL string
	//go:embed sql/document_name.sql
	documentNameSQL string
	//go:embed sql/document_put.sql
	documentPutSQL string
)

// options say how a document is applied.
type options struct {
	dryRun   bool
	prune    bool               // delete what it owns and does not name
	pruneAll bool               // also if that is all that it owns
	by       *plugins.Principal // nil: the server
}

// errDryRun rolls a dry run back.
var errDryRun = errors.New("a dry run")

// apply makes a valid document true, or says what that would change. An error has the place in the document, where it is the
// document that is wrong, and nothing was changed then.
func (p *Applier) apply(ctx context.Context, d *Document, o options) (Plan, error) {
	var w *work
	var err error
	for range 5 {
		err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) error {
			w = &work{Applier: p, tx: tx, doc: d, options: o}
			if err := w.run(ctx); err != nil {
				return err
			}
			if o.dryRun {
				return errDryRun
			}
			return nil
		})
		if !overtaken(err) {
			break
		}
	}
	if err != nil && !errors.Is(err, errDryRun) {
		return Plan{}, err
	}
	w.plan.DryRun = o.dryRun
	if o.dryRun {
		w.plan.Tokens = []Token{}
	} else {
		by := "the server"
		if o.by != nil {
			by = o.by.ID
		}
		p.host.Log.Info("document applied", "document", w.plan.Name, "created", w.plan.Created, "updated", w.plan.Updated,
			"deleted", w.plan.Deleted, "orphaned", w.plan.Orphaned, "unchanged", w.plan.Unchanged, "by", by)
	}
	return w.plan, nil
}

// overtaken reports whether somebody has made a thing by hand after it was looked for: the next try adopts it.
func overtaken(err error) bool {
	e, ok := errors.AsType[*plugins.Error](err)
	return ok && e.Status == http.StatusConflict && e.Title == "Already exists"
}

// work is one try to apply a document.
type work struct {
	*Applier
	options
	tx    *sql.Tx
	doc   *Document
	owner string // the name of the document, as it was first applied
	plan  Plan
	ends  []Change // what it does not name any more, and what goes with that: the last part of the plan

	// What the document names or owns, by folded name: as it was found, then as it was made.
	systems  map[string]catalog.System
	groups   map[string]catalog.Group
	configs  map[string]healthcheck.Configuration
	stations map[string]satellite.Satellite
	assigned map[pair]healthcheck.Assignment // that it owns
	channels map[string]notification.Channel
	topics   map[topic]notification.Subscription // that it owns

	had, lost int // of what it owned before, and of it what is deleted

	defined map[ref]bool    // what it defines
	made    map[string]bool // the IDs of what it has made anew
	held    map[string]bool // the IDs of systems that it holds alone
	moved   map[pair]bool   // assignments of others whose satellites went
	count   Counts          // of what it owns in the end
}

// ref names a thing that can be defined in a document.
type ref struct{ kind, key string } // key: the folded name

// pair is the key of an assignment: two IDs.
type pair struct{ system, check string }

func (w *work) run(ctx context.Context) error {
	if err := turn(ctx, w.tx); err != nil {
		return err
	}
	key := plugins.Fold(w.doc.Name)
	err := w.tx.QueryRowContext(ctx, documentNameSQL, key).Scan(&w.owner)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("find a document: %w", err)
	}
	w.owner = cmp.Or(w.owner, w.doc.Name)
	w.plan = Plan{Name: w.owner, Changes: []Change{}, Tokens: []Token{}}
	w.define()
	for _, step := range []func(context.Context) error{
		w.hold,
		w.makeSystems, w.makeGroups, w.makeChecks, w.makeSatellites,
		w.assign,
		w.findChannels, w.makeChannels, w.subscribe,
		w.leaveChannels, w.leaveChecks, w.leaveGroups, w.leaveSatellites, w.leaveSystems,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := w.spares(); err != nil {
		return err
	}
	if err := w.notify.Bounded(ctx, w.tx); err != nil {
		return err
	}
	for _, c := range w.ends {
		w.plan.note(c)
	}
	var id, name *string
	if w.by != nil {
		id, name = &w.by.ID, &w.by.Name
	}
	args := append([]any{key, w.owner, w.plan.changed(), id, name}, w.count.values()...)
	if _, err := w.tx.ExecContext(ctx, documentPutSQL, args...); err != nil {
		return fmt.Errorf("note that a document was applied: %w", err)
	}
	return nil
}

// turn waits until no other document is being applied, on any server, and keeps others waiting until tx ends.
func turn(ctx context.Context, tx *sql.Tx) error {
	for _, statement := range []string{patienceSQL, turnSQL} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("wait for others who apply a document: %w", err)
		}
	}
	return nil
}

// define notes what the document defines.
func (w *work) define() {
	w.defined, w.made, w.held, w.moved = make(map[ref]bool), make(map[string]bool), make(map[string]bool), make(map[pair]bool)
	add := func(kind, name string) { w.defined[ref{kind, plugins.Fold(name)}] = true }
	for _, s := range w.doc.Systems {
		add(kindSystem, s.Name)
	}
	for _, g := range w.doc.Groups {
		add(kindGroup, g.Name)
	}
	for _, c := range w.doc.Checks {
		add(kindCheck, c.Name)
	}
	for _, s := range w.doc.Satellites {
		add(kindSatellite, s.Name)
	}
	for _, c := range w.doc.Channels {
		add(kindChannel, c.Name)
	}
}

// owns reports whether a thing is managed by this document.
func (w *work) owns(managedBy *string) bool { return managedBy != nil && *managedBy == w.owner }

// claim refuses to take a thing that another document manages.
func (w *work) claim(place, what string, managedBy *string) error {
	if managedBy == nil || w.owns(managedBy) {
		return nil
	}
	e := plugins.Managed(*managedBy)
	e.Message, e.Field = fmt.Sprintf("the document %q manages the %s: take it out there, or release it first", *managedBy, what), place
	return e
}

// judge says what is to be done about a thing that the document names: nothing if the Op is empty. c has the fields that
// differ from what there is.
func judge(c Change, exists bool, managedBy *string) Change {
	switch {
	case !exists:
		c.Op, c.Fields = opCreate, nil
	case managedBy == nil:
		c.Op, c.Fields = opAdopt, append([]string{"managedBy"}, c.Fields...)
	case len(c.Fields) > 0:
		c.Op = opUpdate
	}
	return c
}

// decide notes what happens to a thing that the document names, and reports whether it is to be written.
func (w *work) decide(c Change, exists bool, managedBy *string) (write bool) {
	c = judge(c, exists, managedBy)
	w.plan.note(c)
	return c.Op != ""
}

// end notes what happens to a thing that the document owns and does not name any more, and reports whether it is to be
// deleted.
func (w *work) end(c Change) (remove bool) {
	c.Op = opOrphaned
	if w.prune {
		c.Op = opDelete
		w.lost++
	}
	w.ends = append(w.ends, c)
	return w.prune
}

// spares refuses to delete all that the document owns, unless that is said: it is more likely that a file was not written, or is
// that of another server.
func (w *work) spares() error {
	if !w.prune || w.pruneAll || w.lost == 0 || w.lost < w.had {
		return nil
	}
	names, prune, all := "nothing that it owns", "-prune", "-prune-all"
	if d := w.doc; len(d.Systems)+len(d.Groups)+len(d.Checks)+len(d.Satellites)+len(d.Assignments)+len(d.Channels)+len(d.Subscriptions) == 0 {
		names = "nothing"
	}
	if w.by == nil {
		prune, all = "-config-prune", "checkstack apply -prune-all"
	}
	things := "the one thing"
	if w.had > 1 {
		things = fmt.Sprintf("all %d things", w.had)
	}
	return plugins.Invalid("", "the document names %s, and %s would delete %s that it owns; %s allows it", names, prune, things, all)
}

// stays refuses to refer to a thing that is to be deleted.
func (w *work) stays(place, kind, name string, managedBy *string) error {
	if w.prune && w.owns(managedBy) && !w.defined[ref{kind, plugins.Fold(name)}] {
		return plugins.Invalid(place, "the %s %q is not defined in this document any more, and is about to be deleted", kind, name)
	}
	return nil
}

// missing is the error for a name that nothing has.
func missing(place, kind, name string) error {
	return plugins.Invalid(place, "there is no %s %q, neither in the document nor on the server", kind, name)
}

// administers refuses what only administrators may do.
func (w *work) administers(place string) error {
	if w.by == nil || w.by.May(plugins.Admin) {
		return nil
	}
	return &plugins.Error{Status: http.StatusForbidden, Field: place,
		Message: "this document changes satellites, which needs the role admin; the token has the role " + w.by.Role.String()}
}

// isMissing reports whether an error says that there is no such thing.
func isMissing(err error) bool {
	e, ok := errors.AsType[*plugins.Error](err)
	return ok && e.Status == http.StatusNotFound
}
