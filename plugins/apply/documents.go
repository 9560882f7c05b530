package apply

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/notification"
)

// The routes: applying a document, which ones were applied, what one of them owns, and setting free what it owns. What was
// released belongs to people, until a document that names it is applied again.

var (
	//go:embed sql/document_list.sql
	documentListSQL string
	//go:embed sql/document_find.sql
	documentFindSQL string
	//go:embed sql/document_count.sql
	documentCountSQL string
	//go:embed sql/document_delete.sql
	documentDeleteSQL string
)

// Counts are how many things of each kind a document owns.
type Counts struct {
	Systems       int `json:"systems"`
	Groups        int `json:"groups"`
	Checks        int `json:"checks"`
	Satellites    int `json:"satellites"`
	Assignments   int `json:"assignments"`
	Channels      int `json:"channels"`
	Subscriptions int `json:"subscriptions"`
}

// values are the counts in the order of the statements.
func (c *Counts) values() []any {
	return []any{c.Systems, c.Groups, c.Checks, c.Satellites, c.Assignments, c.Channels, c.Subscriptions}
}

// less is how many there are less than there were.
func (c Counts) less(left Counts) Counts {
	return Counts{c.Systems - left.Systems, c.Groups - left.Groups, c.Checks - left.Checks, c.Satellites - left.Satellites,
		c.Assignments - left.Assignments, c.Channels - left.Channels, c.Subscriptions - left.Subscriptions}
}

// Applied is a document that was applied.
type Applied struct {
	Name      string    `json:"name"`
	AppliedAt time.Time `json:"appliedAt"`
	ChangedAt time.Time `json:"changedAt"` // when applying it last changed anything
	By        *Person   `json:"by"`        // who applied it last; nil: a server, when it booted
	Owns      Counts    `json:"owns"`      // since then
}

// Person is who applied a document, as they were called then.
type Person struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func scanApplied(row plugins.Row) (a Applied, err error) {
	var id, name *string
	c := &a.Owns
	err = row.Scan(&a.Name, &a.AppliedAt, &a.ChangedAt, &id, &name, &c.Systems, &c.Groups, &c.Checks, &c.Satellites, &c.Assignments,
		&c.Channels, &c.Subscriptions)
	if id != nil && name != nil {
		a.By = &Person{*id, *name}
	}
	return a, err
}

func (p *Applier) post(r *http.Request, d Document) (Plan, error) {
	o := options{by: plugins.PrincipalOf(r.Context())}
	query := r.URL.Query()
	var err error
	if o.dryRun, err = flag(query, "dryRun"); err != nil {
		return Plan{}, err
	}
	if o.prune, err = flag(query, "prune"); err != nil {
		return Plan{}, err
	}
	if o.pruneAll, err = flag(query, "pruneAll"); err != nil {
		return Plan{}, err
	}
	o.prune = o.prune || o.pruneAll
	return p.apply(r.Context(), &d, o)
}

// flag reads a parameter of a query that is false where it is absent.
func flag(query url.Values, name string) (bool, error) {
	s := query.Get(name)
	if s == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(s)
	if err != nil {
		return false, plugins.Invalid(name, "expected true or false")
	}
	return on, nil
}

func (p *Applier) list(r *http.Request, _ plugins.None) (plugins.List[Applied], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Applied]{}, err
	}
	return plugins.ListRows(r.Context(), p.host.DB, page, scanApplied, documentListSQL)
}

// applied finds the document with a name, whatever its case.
func applied(ctx context.Context, db plugins.Queryer, name string) (Applied, error) {
	a, err := scanApplied(db.QueryRowContext(ctx, documentFindSQL, plugins.Fold(name)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Applied{}, plugins.NotFound("document")
	case err != nil:
		return Applied{}, fmt.Errorf("find a document: %w", err)
	}
	return a, nil
}

// detail is a document with what it owns at this moment.
type detail struct {
	Applied
	Objects []Object `json:"objects"` // by kind, then by name
}

// Object is a thing that a document owns.
type Object struct {
	Kind   string `json:"kind"` // system, group, check, satellite, assignment, channel or subscription
	Name   string `json:"name"` // of an assignment: that of the check; of a subscription: that of the channel
	System string `json:"system,omitempty"`
	Group  string `json:"group,omitempty"` // of a subscription

	ids [2]string // the last one of an assignment only: that of the system
}

func (p *Applier) find(r *http.Request, _ plugins.None) (d detail, err error) {
	ctx := r.Context()
	name := r.PathValue("name")
	if err := plugins.Text("name", name, plugins.MaxName); err != nil {
		return d, plugins.NotFound("document")
	}
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
		if d.Applied, err = applied(ctx, tx, name); err != nil {
			return err
		}
		d.Objects, d.Owns, err = p.objects(ctx, tx, d.Name)
		return err
	})
	return d, err
}

// objects returns what a document owns.
func (p *Applier) objects(ctx context.Context, tx *sql.Tx, owner string) (all []Object, n Counts, err error) {
	all = []Object{}
	systems, err := p.catalog.ManagedSystems(ctx, tx, owner)
	if err != nil {
		return nil, n, err
	}
	for _, s := range systems {
		all = append(all, Object{Kind: kindSystem, Name: s.Name, ids: [2]string{s.ID}})
	}
	groups, err := p.catalog.ManagedGroups(ctx, tx, owner)
	if err != nil {
		return nil, n, err
	}
	for _, g := range groups {
		all = append(all, Object{Kind: kindGroup, Name: g.Name, ids: [2]string{g.ID}})
	}
	checks, assignments, err := p.checks.Owned(ctx, tx, owner)
	if err != nil {
		return nil, n, err
	}
	for _, c := range checks {
		all = append(all, Object{Kind: kindCheck, Name: c.Name, ids: [2]string{c.ID}})
	}
	satellites, err := p.satellites.ManagedSatellites(ctx, tx, owner)
	if err != nil {
		return nil, n, err
	}
	for _, s := range satellites {
		all = append(all, Object{Kind: kindSatellite, Name: s.Name, ids: [2]string{s.ID}})
	}
	ids := make([]string, len(assignments))
	for i, a := range assignments {
		ids[i] = a.SystemID
	}
	names, err := p.systemNames(ctx, tx, ids)
	if err != nil {
		return nil, n, err
	}
	for _, a := range inNameOrder(assignments, names) {
		all = append(all, Object{Kind: kindAssignment, Name: a.Name, System: names[a.SystemID], ids: [2]string{a.ConfigurationID, a.SystemID}})
	}
	channels, err := p.notify.ManagedChannels(ctx, tx, owner)
	if err != nil {
		return nil, n, err
	}
	for _, c := range channels {
		all = append(all, Object{Kind: kindChannel, Name: c.Name, ids: [2]string{c.ID}})
	}
	subscriptions, err := p.notify.ManagedSubscriptions(ctx, tx, owner)
	if err != nil {
		return nil, n, err
	}
	subscribed, err := p.subscriptionObjects(ctx, tx, subscriptions)
	if err != nil {
		return nil, n, err
	}
	all = append(all, subscribed...)
	return all, Counts{len(systems), len(groups), len(checks), len(satellites), len(assignments), len(channels), len(subscriptions)}, nil
}

// releaseInput names one thing to be released.
type releaseInput struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	System string `json:"system,omitempty"` // of an assignment or a subscription
	Group  string `json:"group,omitempty"`  // of a subscription
}

// Validate trims names, and asks for what a thing of the kind is found by.
func (in *releaseInput) Validate() (err error) {
	if !slices.Contains(kinds, in.Kind) {
		return plugins.Invalid("kind", "expected system, group, check, satellite, assignment, channel or subscription")
	}
	if in.Name, err = plugins.Name("name", in.Name); err != nil {
		return err
	}
	switch {
	case in.Kind != kindSubscription && in.Group != "":
		return plugins.Invalid("group", "expected no group: only a subscription has one")
	case in.Kind != kindSubscription && in.Kind != kindAssignment && in.System != "":
		return plugins.Invalid("system", "expected no system: only an assignment and a subscription have one")
	case in.Kind == kindAssignment && in.System == "":
		return plugins.Invalid("system", "expected the name of the system that the check is assigned to")
	case in.System != "" && in.Group != "":
		return plugins.Invalid("system", "expected a system or a group, and not both")
	}
	if in.System != "" {
		in.System, err = plugins.Name("system", in.System)
	} else if in.Group != "" {
		in.Group, err = plugins.Name("group", in.Group)
	}
	return err
}

// what names the thing in an error.
func (in *releaseInput) what() string {
	switch in.Kind {
	case kindAssignment:
		return fmt.Sprintf("assignment of the check %q to the system %q", in.Name, in.System)
	case kindSubscription:
		return "subscription " + Subscription{Channel: in.Name, System: in.System, Group: in.Group}.subject()
	}
	return fmt.Sprintf("%s %q", in.Kind, in.Name)
}

// Released is what was set free.
type Released struct {
	Name     string `json:"name"` // of the document
	Released Counts `json:"released"`
}

// release sets all free that a document owns, and forgets the document; or one thing, which the body names.
func (p *Applier) release(r *http.Request, in *releaseInput) (done Released, err error) {
	ctx := r.Context()
	name := r.PathValue("name")
	if err := plugins.Text("name", name, plugins.MaxName); err != nil {
		return done, plugins.NotFound("document")
	}
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) error {
		if err := turn(ctx, tx); err != nil {
			return err
		}
		d, err := applied(ctx, tx, name)
		if err != nil {
			return err
		}
		done = Released{Name: d.Name}
		objects, before, err := p.objects(ctx, tx, d.Name)
		if err != nil {
			return err
		}
		if in != nil {
			return p.releaseOne(ctx, tx, d.Name, *in, objects, before, &done)
		}
		done.Released = before
		if err := errors.Join(
			p.catalog.ReleaseSystems(ctx, tx, d.Name, ""), p.catalog.ReleaseGroups(ctx, tx, d.Name, ""),
			p.checks.Release(ctx, tx, d.Name, "", ""), p.satellites.ReleaseSatellites(ctx, tx, d.Name, ""),
			p.notify.ReleaseChannels(ctx, tx, d.Name, ""),
		); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, documentDeleteSQL, plugins.Fold(d.Name)); err != nil {
			return fmt.Errorf("forget a document: %w", err)
		}
		return nil
	})
	if err == nil {
		p.host.Log.Info("document released", "document", done.Name, "released", done.Released, "by", plugins.PrincipalOf(ctx).ID)
	}
	return done, err
}

// releaseOne sets one of the objects of a document free. What assigns or subscribes to it goes with it, so that people can delete it.
func (p *Applier) releaseOne(ctx context.Context, tx *sql.Tx, owner string, in releaseInput, objects []Object, before Counts, done *Released) error {
	var o *Object
	for i, other := range objects {
		if in.Kind == other.Kind && plugins.Fold(in.Name) == plugins.Fold(other.Name) && plugins.Fold(in.System) == plugins.Fold(other.System) &&
			plugins.Fold(in.Group) == plugins.Fold(other.Group) {
			o = &objects[i]
		}
	}
	if o == nil {
		return plugins.Invalid("name", "expected a thing that the document %q owns: it has no %s", owner, in.what())
	}
	var err error
	switch id := o.ids[0]; o.Kind {
	case kindSystem:
		err = errors.Join(p.catalog.ReleaseSystems(ctx, tx, owner, id), p.checks.Release(ctx, tx, owner, "", id),
			p.releaseAbout(ctx, tx, owner, catalog.SystemTarget, id))
	case kindGroup:
		err = errors.Join(p.catalog.ReleaseGroups(ctx, tx, owner, id), p.releaseAbout(ctx, tx, owner, catalog.GroupTarget, id))
	case kindCheck:
		err = p.checks.Release(ctx, tx, owner, id, "")
	case kindSatellite:
		err = p.satellites.ReleaseSatellites(ctx, tx, owner, id)
	case kindAssignment:
		err = p.checks.Release(ctx, tx, owner, id, o.ids[1])
	case kindChannel:
		err = p.notify.ReleaseChannels(ctx, tx, owner, id)
	case kindSubscription:
		err = p.notify.ReleaseSubscriptions(ctx, tx, owner, id)
	}
	if err != nil {
		return err
	}
	_, left, err := p.objects(ctx, tx, owner)
	if err != nil {
		return err
	}
	done.Released = before.less(left)
	if _, err := tx.ExecContext(ctx, documentCountSQL, append([]any{plugins.Fold(owner)}, left.values()...)...); err != nil {
		return fmt.Errorf("count what a document owns: %w", err)
	}
	return nil
}

// releaseAbout sets the subscriptions to a system or a group free that a document owns.
func (p *Applier) releaseAbout(ctx context.Context, tx *sql.Tx, owner string, t notification.Target, id string) error {
	about, err := p.notify.SubscriptionsAbout(ctx, tx, t, id)
	for _, s := range about {
		if s.ManagedBy != nil && *s.ManagedBy == owner {
			err = errors.Join(err, p.notify.ReleaseSubscriptions(ctx, tx, owner, s.ID))
		}
	}
	return err
}
