// The owner: a journal belongs to the satellite whose results it has, and numbers of it. Another one, whose token was put in
// place of the first's, must not send them: the server would refuse them, one by one, for good.

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"checkstack/plugins"
	"checkstack/plugins/satellite/journal"
)

// ownerName is the file with the ID of the satellite.
const ownerName = "satellite"

// owner keeps whose journal it is.
type owner struct {
	files   journal.Files
	log     *slog.Logger
	dir     string
	pending func() int64 // runs that are not delivered
	renew   func()       // begins new numbers
	id      string       // of the satellite; empty until it is known
}

// foreignError says that the journal is another satellite's, and has results of it.
type foreignError struct {
	dir        string
	owner, now string
	pending    int64
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("the folder %s belongs to the satellite %s and holds %d results of it, and the token is of the satellite %s; expected that one's token, or another folder for -journal",
		e.dir, e.owner, e.pending, e.now)
}

// load reads whose journal it is. It reports whether that is known.
func (o *owner) load() bool {
	data, err := journal.ReadFile(o.files, ownerName, 100)
	id := strings.TrimSpace(string(data))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil || !plugins.IsID(id):
		o.log.Warn("the file that says whose journal it is cannot be used", "file", ownerName, "error", err)
		return false
	}
	o.id = id
	return true
}

// is takes the ID that the server knows this satellite by. The error is a *foreignError if the journal has results of
// another one.
func (o *owner) is(id string) error {
	if id == o.id {
		return nil
	}
	if pending := o.pending(); o.id != "" && pending > 0 {
		return &foreignError{o.dir, o.id, id, pending}
	}
	if o.id != "" {
		o.log.Warn("the journal was another satellite's and has no results of it; from now on it is this one's", "satellite", id, "before", o.id)
		o.renew()
	}
	o.id = id
	if err := journal.WriteFile(o.files, ownerName, []byte(id+"\n")); err != nil {
		o.log.Warn("whose journal it is cannot be kept on disk", "file", ownerName, "error", err)
	}
	return nil
}
