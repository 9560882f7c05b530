package notification

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// Handing notices on. A notice is posted by a transaction that has other things to do, so who is to be told of it is found out
// afterwards, by whatever server comes first:
//
//	notices   5 shop critical                   6 shop recovered
//	pairs     (healthcheck.system, shop)        and (healthcheck.system, all), (healthcheck.group, all), and one for each group
//	joined    with the subscriptions: channel A, which has shop, and channel B, which has one of its groups, and only what is critical
//	deliveries  5→A  5→B                        6→A  6→B: who was told of the trouble is told of its end
//
// Who was told of a trouble is told of its end whatever has become of the subscription: a system that has left a group, and works
// again, would otherwise be down for ever to those who watch the group.
//
// The parents of a resource are found before the transaction, because its owner is foreign code that may take long. The hard case is
// order: servers take turns, each with the oldest ones, so the end of a trouble never comes before it.

var (
	//go:embed sql/notices_waiting.sql
	noticesWaitingSQL string
	//go:embed sql/hand_on_turn.sql
	handOnTurnSQL string
	//go:embed sql/hand_on.sql
	handOnSQL string
	//go:embed sql/specs_covering.sql
	specsCoveringSQL string
	//go:embed sql/notices_handed.sql
	noticesHandedSQL string
)

// waiting is a notice that was not handed on yet.
type waiting struct {
	id         int64
	spec       string
	about      Ancestor
	subscribed bool // whether there may be anybody to tell
}

// known is what was found out of a resource.
type known struct {
	Resource
	err error
}

// findPatience is how long the owners of targets have to find what a batch of notices is about.
const findPatience = 20 * time.Second

// handOn hands on some of the notices that wait, and returns how many. Those whose resource cannot be looked at now go on waiting, and
// are an error.
func (n *Notifier) handOn(ctx context.Context) (handed int, err error) {
	var targets []string
	for _, t := range n.targets.all() {
		targets = append(targets, t.Type)
	}
	all, err := plugins.Rows(ctx, n.host.DB, func(row plugins.Row) (w waiting, err error) {
		err = row.Scan(&w.id, &w.spec, &w.about.Type, &w.about.ID, &w.subscribed)
		return w, err
	}, noticesWaitingSQL, pq.Array(targets))
	if err != nil {
		return 0, fmt.Errorf("look for notices: %w", err)
	}
	if len(all) == 0 {
		return 0, nil
	}
	covering, err := plugins.Rows(ctx, n.host.DB, func(row plugins.Row) (s Spec, err error) {
		err = row.Scan(&s.Type, &s.Target.Type, &s.Covers)
		return s, err
	}, specsCoveringSQL)
	if err != nil {
		return 0, fmt.Errorf("look for specs: %w", err)
	}
	var ids, keys []int64
	var names, specs, resources []string
	var failed error
	about := n.lookUp(ctx, all)
	for _, w := range all {
		r := about[w.about]
		if r.err != nil {
			failed = fmt.Errorf("find what a notice is about: %w", r.err)
			continue
		}
		ids, names = append(ids, w.id), append(names, r.Name)
		for _, s := range subscribable(w, r.Resource, covering) {
			keys, specs, resources = append(keys, w.id), append(specs, s.Type), append(resources, s.ID)
		}
	}
	if len(ids) == 0 {
		return 0, failed
	}
	err = plugins.Tx(ctx, n.host.DB, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, handOnTurnSQL); err != nil {
			return fmt.Errorf("wait for others who hand on notices: %w", err)
		}
		if _, err := tx.ExecContext(ctx, handOnSQL, pq.Array(ids), pq.Array(keys), pq.Array(specs), pq.Array(resources)); err != nil {
			return fmt.Errorf("hand on notices: %w", err)
		}
		if _, err := tx.ExecContext(ctx, noticesHandedSQL, pq.Array(ids), pq.Array(names)); err != nil {
			return fmt.Errorf("note that notices were handed on: %w", err)
		}
		return announce(ctx, tx)
	})
	if err != nil {
		return 0, err
	}
	return len(ids), failed
}

// lookUp finds the resources that notices are about; one that is gone has no name and no parents. Nobody is asked while there is no
// subscription.
func (n *Notifier) lookUp(ctx context.Context, all []waiting) map[Ancestor]known {
	ctx, cancel := context.WithTimeoutCause(ctx, findPatience, errors.New("the owner of the target takes too long"))
	defer cancel()
	found := make(map[Ancestor]known)
	for _, w := range all {
		if _, done := found[w.about]; done || !w.subscribed {
			continue
		}
		r := known{err: errors.New("the owner of the target was taken out")}
		if t, ok := n.targets.find(w.about.Type); ok {
			r.err = plugins.Protect(func() (err error) {
				r.Resource, err = t.resources.Find(ctx, w.about.ID)
				return err
			})
		}
		if isStatus(r.err, http.StatusNotFound) {
			r = known{}
		}
		found[w.about] = r
	}
	return found
}

// subscribable lists what somebody may have subscribed to who is told of a notice: types of specs, each with a resource or, where the
// ID is empty, all of them.
func subscribable(w waiting, r Resource, covering []Spec) (all []Ancestor) {
	all = []Ancestor{{w.spec, w.about.ID}, {w.spec, ""}}
	for _, s := range covering {
		if s.Covers != w.spec {
			continue
		}
		inAny := false
		for _, p := range r.Parents {
			if p.Type == s.Target.Type {
				all, inAny = append(all, Ancestor{s.Type, p.ID}), true
			}
		}
		if inAny {
			all = append(all, Ancestor{s.Type, ""})
		}
	}
	return all
}
