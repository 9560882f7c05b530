package incident

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"checkstack/plugins"
)

// The timeline: who did what to an incident, and when.

// maxTimeline is how many entries an incident is shown with, the newest ones.
const maxTimeline = 100

// entry is one entry of a timeline.
type entry struct {
	Number  int       `json:"number"` // 1 is the first
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`   // opened, update, edited or resolved
	Author  *author   `json:"author"` // null for anonymous readers
	Message string    `json:"message"`
	Status  *string   `json:"status"`            // the status it set; null: none
	Changes *changes  `json:"changes,omitempty"` // of an edit
}

// author is who made an entry, as they were called then.
type author struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// changes is what an edit did. What is absent stayed as it was.
type changes struct {
	Title          *change  `json:"title,omitempty"`
	Severity       *change  `json:"severity,omitempty"`
	SystemsAdded   []string `json:"systemsAdded,omitempty"`
	SystemsRemoved []string `json:"systemsRemoved,omitempty"`
}

// change is a value before and after.
type change struct {
	From string `json:"from"`
	To   string `json:"to"`
}

//go:embed sql/timeline_insert.sql
var insertEntry string

// addEntry adds an entry by the caller to the timeline of an incident that tx holds or has made, and returns it with
// all that was assigned.
func addEntry(ctx context.Context, tx *sql.Tx, incident string, e entry) (entry, error) {
	var status string
	if e.Status != nil {
		status = *e.Status
	}
	var changes *string
	if e.Changes != nil {
		text, err := json.Marshal(e.Changes)
		if err != nil {
			return entry{}, fmt.Errorf("encode the changes of an incident: %w", err)
		}
		changes = new(string(text))
	}
	id, name := authorOf(ctx)
	e, err := scanEntry(tx.QueryRowContext(ctx, insertEntry, incident, e.Kind, id, name, e.Message, status, changes))
	if err != nil {
		return entry{}, fmt.Errorf("add to the timeline of an incident: %w", err)
	}
	return e, nil
}

// authorOf returns who makes the request; nil for nobody.
func authorOf(ctx context.Context) (id, name *string) {
	if p := plugins.PrincipalOf(ctx); p != nil {
		return &p.ID, &p.Name
	}
	return nil, nil
}

func scanEntry(row plugins.Row) (entry, error) {
	var (
		e        entry
		id, name *string
		changed  []byte
	)
	if err := row.Scan(&e.Number, &e.At, &e.Kind, &id, &name, &e.Message, &e.Status, &changed); err != nil {
		return entry{}, err
	}
	if id != nil && name != nil {
		e.Author = &author{*id, *name}
	}
	if changed == nil {
		return e, nil
	}
	if err := json.Unmarshal(changed, &e.Changes); err != nil {
		return entry{}, fmt.Errorf("read the changes of an incident: %w", err)
	}
	return e, nil
}

//go:embed sql/timeline_list.sql
var listEntries string

// timeline reads one page of a timeline, the newest entry first.
func (p *Incidents) timeline(ctx context.Context, incident string, page plugins.Page) (plugins.List[entry], error) {
	list, err := plugins.ListRows(ctx, p.host.DB, page, scanEntry, listEntries, incident)
	if err != nil {
		return plugins.List[entry]{}, fmt.Errorf("read the timeline of an incident: %w", err)
	}
	for i := range list.Items {
		list.Items[i] = forReader(ctx, list.Items[i])
	}
	return list, nil
}

// forReader leaves out the author where the caller is anonymous: everyone may read a timeline, but who works here is
// not for everyone to know.
func forReader(ctx context.Context, e entry) entry {
	if plugins.PrincipalOf(ctx) == nil {
		e.Author = nil
	}
	return e
}

func (p *Incidents) listTimeline(r *http.Request, _ plugins.None) (plugins.List[entry], error) {
	id, err := plugins.PathID(r, "id", "incident")
	if err != nil {
		return plugins.List[entry]{}, err
	}
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[entry]{}, err
	}
	list, err := p.timeline(r.Context(), id, page)
	if err == nil && list.Total == 0 { // every incident has its first entry
		return list, plugins.NotFound("incident")
	}
	return list, err
}

//go:embed sql/timeline_find.sql
var findEntry string

func (p *Incidents) findEntry(r *http.Request, _ plugins.None) (entry, error) {
	id, err := plugins.PathID(r, "id", "incident")
	if err != nil {
		return entry{}, err
	}
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 32)
	if err != nil {
		return entry{}, plugins.NotFound("entry")
	}
	e, err := scanEntry(p.host.DB.QueryRowContext(r.Context(), findEntry, id, number))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return entry{}, plugins.NotFound("entry")
	case err != nil:
		return entry{}, fmt.Errorf("read an entry of a timeline: %w", err)
	}
	return forReader(r.Context(), e), nil
}
