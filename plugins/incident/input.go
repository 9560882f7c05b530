package incident

import (
	"net/http"
	"slices"
	"strings"

	"checkstack/plugins"
)

// The bodies and queries of requests, and what they must be.

// The bounds of an incident.
const (
	maxSystems = 100
	maxMessage = 10_000 // characters
)

// opening is the body of a request that opens an incident.
type opening struct {
	Title     string   `json:"title"`
	Severity  string   `json:"severity"`
	SystemIDs []string `json:"systemIds"`
	Message   string   `json:"message"`
}

// Validate checks every field, trims the title and sorts the systems.
func (o *opening) Validate() (err error) {
	if o.Title, err = plugins.Name("title", o.Title); err != nil {
		return err
	}
	if err := checkSeverity(o.Severity); err != nil {
		return err
	}
	if o.SystemIDs, err = systemIDs(o.SystemIDs); err != nil {
		return err
	}
	return plugins.Text("message", o.Message, maxMessage)
}

// edit is the body of a request that changes an incident. What is absent stays as it is.
type edit struct {
	Title     *string   `json:"title"`
	Severity  *string   `json:"severity"`
	SystemIDs *[]string `json:"systemIds"`
}

// Validate checks the fields that are there, trims the title and sorts the systems.
func (e *edit) Validate() (err error) {
	if e.Title != nil {
		if *e.Title, err = plugins.Name("title", *e.Title); err != nil {
			return err
		}
	}
	if e.Severity != nil {
		if err := checkSeverity(*e.Severity); err != nil {
			return err
		}
	}
	if e.SystemIDs != nil {
		*e.SystemIDs, err = systemIDs(*e.SystemIDs)
	}
	return err
}

// replacement is an edit that leaves nothing as it is.
type replacement edit

// Validate reports the first field that is missing, and what an edit reports.
func (r *replacement) Validate() error {
	switch {
	case r.Title == nil:
		return plugins.Invalid("title", "expected a text of 1 to %d characters, but it is missing", plugins.MaxName)
	case r.Severity == nil:
		return plugins.Invalid("severity", "expected minor, major or critical, but it is missing")
	case r.SystemIDs == nil:
		return plugins.Invalid("systemIds", "expected at most %d IDs of systems, but it is missing", maxSystems)
	}
	return (*edit)(r).Validate()
}

// note is the body of a request that says what is being done about an incident.
type note struct {
	Message string `json:"message"`
	Status  string `json:"status"` // empty: as it was
}

// Validate checks every field.
func (n *note) Validate() error {
	if strings.TrimSpace(n.Message) == "" {
		return plugins.Invalid("message", "expected a text of 1 to %d characters, not an empty one", maxMessage)
	}
	switch n.Status {
	case "", "investigating", "identified", "monitoring":
		return plugins.Text("message", n.Message, maxMessage)
	}
	return plugins.Invalid("status", "expected investigating, identified or monitoring")
}

// resolution is the body of a request that resolves an incident.
type resolution struct {
	Message string `json:"message"`
}

// Validate checks the message.
func (r *resolution) Validate() error {
	return plugins.Text("message", r.Message, maxMessage)
}

func checkSeverity(s string) error {
	switch s {
	case "minor", "major", "critical":
		return nil
	}
	return plugins.Invalid("severity", "expected minor, major or critical")
}

// systemIDs checks a list of systems and returns it in the order in which systems are locked.
func systemIDs(ids []string) ([]string, error) {
	if len(ids) > maxSystems {
		return nil, plugins.Invalid("systemIds", "expected at most %d IDs of systems, not %d", maxSystems, len(ids))
	}
	sorted := make([]string, len(ids)) // never nil, which would be NULL in the database
	for i, id := range ids {
		sorted[i] = strings.ToLower(id)
		if !plugins.IsID(sorted[i]) {
			return nil, plugins.Invalid("systemIds", "expected IDs of systems; item %d is not a UUID", i)
		}
	}
	slices.Sort(sorted)
	if n := len(slices.Compact(slices.Clone(sorted))); n < len(sorted) {
		return nil, plugins.Invalid("systemIds", "expected each system once")
	}
	return sorted, nil
}

// filter says which incidents a list shows. What is empty does not matter.
type filter struct {
	status   string // "open" or "resolved"
	systemID string
}

func filterOf(r *http.Request) (filter, error) {
	q := r.URL.Query()
	f := filter{q.Get("status"), strings.ToLower(q.Get("systemId"))}
	if f.status != "" && f.status != "open" && f.status != "resolved" {
		return filter{}, plugins.Invalid("status", "expected open or resolved")
	}
	if f.systemID != "" && !plugins.IsID(f.systemID) {
		return filter{}, plugins.Invalid("systemId", "expected the ID of a system, a UUID")
	}
	return f, nil
}
