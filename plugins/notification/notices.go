// Notices: what people are to be told. Whoever owns a subject posts a notice in the transaction in which the thing itself
// happens, so there is exactly one for each thing that happened and none for what was rolled back. A notice is for those
// who subscribed to its spec for its resource, or for a parent of that.

package notification

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
)

// Severity is how much a notice matters.
type Severity string

// The severities.
const (
	Critical  Severity = "critical"
	Warning   Severity = "warning"
	Info      Severity = "info"
	Recovered Severity = "recovered" // what was critical or a warning is over
)

// Notice is something that people are to be told.
type Notice struct {
	Key      string   // what has happened, in the words of the spec's owner: an event is told once
	Spec     string   // the type of a registered spec
	Target   Ancestor // the resource it is about
	Thread   string   // tells the things apart that can be wrong with it, up to 200 characters: the end of one is told with the same
	Severity Severity
	Title    string // up to 500 characters
	Message  string // up to 4,000 characters
	Data     any    // for programs: what encoding/json makes of it
}

//go:embed sql/notices_insert.sql
var insertNotices string

// Post keeps notices in the caller's transaction, and has them sent to those who subscribed once that is committed. One with the
// spec and the key of another is left out.
func (n *Notifier) Post(ctx context.Context, tx *sql.Tx, notices []Notice) error {
	if len(notices) == 0 {
		return nil
	}
	var events, specs, targets, resources, threads, severities, titles, messages, data []string
	for _, o := range notices {
		text, err := json.Marshal(o.Data)
		if err != nil {
			return fmt.Errorf("encode a notice: %w", err)
		}
		events, specs = append(events, o.Spec+"/"+o.Key), append(specs, o.Spec)
		targets, resources = append(targets, o.Target.Type), append(resources, o.Target.ID)
		threads = append(threads, cut(o.Thread, 200))
		severities, titles = append(severities, string(o.Severity)), append(titles, cut(o.Title, 500))
		messages, data = append(messages, cut(o.Message, 4000)), append(data, string(text))
	}
	_, err := tx.ExecContext(ctx, insertNotices, pq.Array(events), pq.Array(specs), pq.Array(targets), pq.Array(resources),
		pq.Array(threads), pq.Array(severities), pq.Array(titles), pq.Array(messages), pq.Array(data))
	if err != nil {
		return fmt.Errorf("keep notices: %w", err)
	}
	return nil
}

// cut returns at most max characters of a text, as the database can hold them.
func cut(s string, max int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	for i := range s {
		if max == 0 {
			return s[:i]
		}
		max--
	}
	return s
}

// noticeView is a notice as the API shows it.
type noticeView struct {
	ID        int64           `json:"id"`
	Spec      string          `json:"spec"`
	Target    string          `json:"target"`
	Resource  string          `json:"resource"`
	Severity  Severity        `json:"severity"`
	Title     string          `json:"title"`
	Message   string          `json:"message"`
	Data      json.RawMessage `json:"data,omitempty"`
	CreatedAt time.Time       `json:"createdAt"`
}

//go:embed sql/notice_list.sql
var listNotices string

// listNotices answers with the notices, the newest first; target and resource narrow it down.
func (n *Notifier) listNotices(r *http.Request, _ plugins.None) (plugins.List[noticeView], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[noticeView]{}, err
	}
	target, resource := r.URL.Query().Get("target"), r.URL.Query().Get("resource")
	if err := cmp.Or(plugins.Text("target", target, plugins.MaxName), plugins.Text("resource", resource, plugins.MaxName)); err != nil {
		return plugins.List[noticeView]{}, err
	}
	return plugins.ListRows(r.Context(), n.host.DB, page, func(row plugins.Row) (v noticeView, err error) {
		err = row.Scan(&v.ID, &v.Spec, &v.Target, &v.Resource, &v.Severity, &v.Title, &v.Message, (*[]byte)(&v.Data), &v.CreatedAt)
		return v, err
	}, listNotices, target, resource)
}

//go:embed sql/notices_expire.sql
var expireNotices string

// expire forgets old notices, now and then, until ctx ends.
func (n *Notifier) expire(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if _, err := n.host.DB.ExecContext(ctx, expireNotices); err != nil && ctx.Err() == nil {
			n.host.Log.Warn("old notices are not forgotten", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
