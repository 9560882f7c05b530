package incident

import (
	"context"
	"database/sql"
	"fmt"

	"checkstack/plugins/catalog"
	"checkstack/plugins/notification"
)

// Who hears of an incident: those who subscribed to one of its systems, or to a group of it, in the transaction of the change. It is one
// trouble for each system, from when the incident first concerns it until it is resolved, or concerns it no more.

var (
	systemSpec = notification.Spec{
		Type: "incident.system", Target: catalog.SystemTarget, Name: "Incidents of a system",
		Description: "Incidents that concern the system, from the first report until they are resolved",
	}
	groupSpec = notification.Spec{
		Type: "incident.group", Target: catalog.GroupTarget, Name: "Incidents of a group", Covers: systemSpec.Type,
		Description: "Incidents that concern a system of the group, from the first report until they are resolved",
	}
)

// news is what is told of an incident.
type news struct {
	entry    string // of the timeline, or a word: with the incident and the system it is told once
	severity notification.Severity
	title    string
	message  string
}

// trouble is how much an incident matters to those who are told.
func trouble(severity string) notification.Severity {
	if severity == "minor" {
		return notification.Warning
	}
	return notification.Critical
}

// tell posts news of an incident for systems.
func (p *Incidents) tell(ctx context.Context, tx *sql.Tx, i incident, systems []string, n news) error {
	notices := make([]notification.Notice, len(systems))
	for k, system := range systems {
		notices[k] = notification.Notice{
			Key: fmt.Sprintf("%s/%s/%s", i.ID, n.entry, system), Spec: systemSpec.Type,
			Target: notification.Ancestor{Type: catalog.SystemTarget.Type, ID: system}, Thread: i.ID,
			Severity: n.severity, Title: n.title, Message: n.message,
			Data: map[string]string{"incidentId": i.ID, "status": i.Status, "severity": i.Severity},
		}
	}
	return p.notify.Post(ctx, tx, notices)
}

// tellEdit tells of an edit of an incident that is not resolved, by the entry of the timeline. i is as it is afterwards.
func (p *Incidents) tellEdit(ctx context.Context, tx *sql.Tx, i incident, e entry) error {
	number, done := fmt.Sprint(e.Number), *e.Changes
	if err := p.tell(ctx, tx, i, done.SystemsRemoved, news{number, notification.Recovered, i.Title, "The incident does not concern it any more."}); err != nil {
		return err
	}
	if err := p.tell(ctx, tx, i, done.SystemsAdded, news{number, trouble(i.Severity), i.Title, "The incident concerns it, too."}); err != nil || done.Severity == nil {
		return err
	}
	stay := without(i.SystemIDs, done.SystemsAdded)
	return p.tell(ctx, tx, i, stay, news{number, trouble(i.Severity), i.Title, fmt.Sprintf("The incident is %s, and not %s.", done.Severity.To, done.Severity.From)})
}
