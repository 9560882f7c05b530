// The sheet: what there is to check. The server is asked again and again, each request waiting there until something has changed,
// so that a change arrives at once. The last answer is on disk too, for a start while the server is away.

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"checkstack/plugins/satellite/journal"
	"checkstack/plugins/satellite/wire"
)

const (
	sheetName    = "assignments.json"
	sheetTimeout = 20 * time.Second       // for a request, beyond what the server is asked to wait
	sheetPause   = 200 * time.Millisecond // between two answers at least
)

// sheet keeps the list of checks up to date.
type sheet struct {
	files  journal.Files
	client *client
	log    *slog.Logger
	apply  func(checks []wire.Check, now bool)
	outage outage
	saving outage
	kept   kept
	asked  bool // whether the server has given this list, or said that it is as it was
}

// kept is what is on disk. It may hold the secrets of checks.
type kept struct {
	Server      string            `json:"server"` // whose list it is
	ETag        string            `json:"etag"`
	Assignments *wire.Assignments `json:"assignments"`
}

// load applies what is on disk.
func (s *sheet) load() {
	data, err := journal.ReadFile(s.files, sheetName, maxAnswer)
	var k kept
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil || k.Assignments == nil:
		s.log.Warn("the list of checks on disk cannot be used", "error", err)
		return
	case k.Server != s.client.base:
		s.log.Info("the list of checks on disk is of another server and not used", "server", k.Server)
		return
	}
	s.kept = k
	s.log.Info("the checks are those that were assigned last", "checks", len(k.Assignments.Checks))
	s.apply(k.Assignments.Checks, false)
}

// loop asks the server until ctx ends.
func (s *sheet) loop(ctx context.Context) {
	var delay backoff
	for ctx.Err() == nil {
		began := time.Now()
		// The first answer after a failure comes at once: a proxy may not let a request wait for as long as this one would.
		wait := wire.MaxWait
		if !s.asked || delay.failures > 0 {
			wait = 0
		}
		err := s.ask(ctx, wait)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.outage.began(s.log, "the server cannot be asked what to check", err)
			pause(ctx, delay.after(err), nil)
		default:
			s.outage.ended(s.log, "the server can be asked again what to check")
			delay.reset()
			if wait > 0 { // a server that does not wait is not asked all the time
				pause(ctx, max(sheetPause, time.Second-time.Since(began)), nil)
			}
		}
	}
}

// ask asks once. wait is how long the server may wait for a change.
func (s *sheet) ask(ctx context.Context, wait time.Duration) error {
	header := http.Header{}
	if s.kept.ETag != "" {
		header.Set("If-None-Match", s.kept.ETag)
	}
	var a wire.Assignments
	answer, err := s.client.do(ctx, request{
		method: "GET", path: "/assignments?wait=" + strconv.Itoa(int(wait.Seconds())), header: header, timeout: wait + sheetTimeout, out: &a,
	})
	if isStatus(err, http.StatusNotModified) && s.kept.ETag != "" {
		s.asked = true
		return nil
	} else if err != nil {
		return err
	}
	if a.Satellite == "" {
		return errors.New("the answer is not one of a Checkstack server")
	}
	first := s.kept.Assignments == nil || s.kept.Assignments.Satellite != a.Satellite
	if s.asked = true; s.kept.ETag == "" || s.kept.ETag != answer.Get("ETag") {
		s.log.Info("checks assigned", "satellite", a.Satellite, "checks", len(a.Checks), "first", first)
	}
	s.kept = kept{Server: s.client.base, ETag: answer.Get("ETag"), Assignments: &a}
	s.apply(a.Checks, true)
	s.save()
	return nil
}

// save writes the list to disk. Where that fails the next start has an older one.
func (s *sheet) save() {
	data, err := json.Marshal(s.kept)
	if err == nil {
		err = journal.WriteFile(s.files, sheetName, data)
	}
	if err != nil {
		s.saving.began(s.log, "the list of checks cannot be kept on disk", fmt.Errorf("write %s: %w", sheetName, err))
		return
	}
	s.saving.ended(s.log, "the list of checks can be kept on disk again")
}
