// Who hears of what: everybody who listens hears of every change of a check, and those who subscribed are notified of what is
// an alert, and of its end. Errors of ours are told as such, and never as an outage of what is watched.

package healthcheck

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/notification"
	"checkstack/plugins/signals"
)

// change is a transition of a check as the signal tells it.
type change struct {
	SystemID        string         `json:"systemId"`
	ConfigurationID string         `json:"configurationId"`
	From            plugins.Status `json:"from"`
	To              plugins.Status `json:"to"`
	At              time.Time      `json:"at"`
}

// tell publishes the changes of checks as signals, and has those who subscribed notified of what is an alert or its end.
func (s *settler) tell(ctx context.Context, tx *sql.Tx, turns []turn) error {
	if s == nil || s.events == nil {
		return nil
	}
	for part := range slices.Chunk(turns, eventChanges) {
		told := make([]change, len(part))
		for i, t := range part {
			told[i] = change{t.SystemID, t.ConfigurationID, t.From, t.To, t.At}
		}
		err := s.events.Publish(ctx, tx, signals.Event{Name: statusEvent, Public: true, Data: map[string]any{"changes": told}})
		if err != nil {
			return err
		}
	}
	var notices []notification.Notice
	for _, t := range turns {
		if t.severity == "" {
			continue
		}
		notices = append(notices, notification.Notice{
			Key:      fmt.Sprintf("%s/%s/%s/%d", t.SystemID, t.ConfigurationID, t.To, t.At.UnixMicro()),
			Spec:     SystemSpec.Type,
			Target:   notification.Ancestor{Type: catalog.SystemTarget.Type, ID: t.SystemID},
			Thread:   t.ConfigurationID,
			Severity: t.severity,
			Title:    fmt.Sprintf("%s is %s", t.name, t.To),
			Message:  fmt.Sprintf("%s was %s, and has been %s since %s.", t.name, t.From, t.To, t.At.UTC().Format(time.RFC3339)),
			Data:     t.Transition,
		})
	}
	return s.notify.Post(ctx, tx, notices)
}

// noMore is the end of what people were told of a check that nobody makes any more: without it they would wait for it for ever.
func noMore(k key, name string) notification.Notice {
	now := time.Now()
	return notification.Notice{
		Key:      fmt.Sprintf("%s/%s/removed/%d", k.systemID, k.configurationID, now.UnixMicro()),
		Spec:     SystemSpec.Type,
		Target:   notification.Ancestor{Type: catalog.SystemTarget.Type, ID: k.systemID},
		Thread:   k.configurationID,
		Severity: notification.Recovered,
		Title:    name + " is not checked any more",
		Message:  fmt.Sprintf("%s was not healthy, and was taken away at %s: nobody knows how it is now.", name, now.UTC().Format(time.RFC3339)),
	}
}

// errorEvery is how often people are told of errors for one reason.
const errorEvery = 10 * time.Minute

// tellErrors has people told that checks cannot be made because of this server: once for a reason, however many checks it
// keeps from being made and however many servers see it. reasons has each with a system whose checks are not made.
func (s *settler) tellErrors(ctx context.Context, tx *sql.Tx, reasons map[string]string) error {
	if s == nil || s.events == nil {
		return nil
	}
	var notices []notification.Notice
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		err := s.events.Publish(ctx, tx, signals.Event{Name: "healthcheck.error", Data: map[string]string{"message": reason}})
		if err != nil {
			return err
		}
		notices = append(notices, notification.Notice{
			Key:      fmt.Sprintf("error/%d/%s", time.Now().Unix()/int64(errorEvery.Seconds()), reason),
			Spec:     SystemSpec.Type,
			Target:   notification.Ancestor{Type: catalog.SystemTarget.Type, ID: reasons[reason]},
			Thread:   "error",
			Severity: notification.Warning,
			Title:    "Checks cannot be made",
			Message:  "Checks cannot be made because of Checkstack itself, and nothing is known of what they look at: " + reason + ".",
			Data:     map[string]string{"error": reason},
		})
	}
	return s.notify.Post(ctx, tx, notices)
}
