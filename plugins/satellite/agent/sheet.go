// The sheet: what there is to check. The server is asked again and again, each request waiting there until something has changed,
// so that a change arrives at once. The last answer is on disk too, for a start while the server is away.

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	check  func(satellite string) error // refuses the list of another satellite
	outage outage
	saving outage
	kept   kept
	asked  bool // whether the server has given this list, or said that it is as it was

	answered  chan struct{}   // closed when the server has given the first list
	recovered <-chan struct{} // has an element when something else has reached the server again
}

// kept is what is on disk. It may hold the secrets of checks.
type kept struct {
	Server      string            `json:"server"` // whose list it is
	Token       string            `json:"token"`  // a part of the SHA-256 of the token that it was given for
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
	case k.Server != s.client.base && k.Token != s.token(): // the token may be another one after a rotation, the server after a move
		s.log.Info("the list of checks on disk is of another server and another token, and not used", "server", k.Server)
		return
	}
	s.kept = k
	s.log.Info("the checks are those that were assigned last", "checks", len(k.Assignments.Checks))
	s.apply(k.Assignments.Checks, false)
}

// token is what tells the token from others. It is of 256 random bits, which its hash does not give away.
func (s *sheet) token() string {
	hash := sha256.Sum256([]byte(s.client.token))
	return hex.EncodeToString(hash[:8])
}

// known reports whether the server has given a list by now, if that matters: if c is not nil.
func (s *sheet) known(c <-chan struct{}) bool {
	select {
	case <-s.answered:
		return true
	default:
		return c == nil
	}
}

// loop asks the server until ctx ends, or until the answer is for another satellite than the journal's, which is its error.
func (s *sheet) loop(ctx context.Context) error {
	var delay backoff
	for ctx.Err() == nil {
		began := time.Now()
		// The first answer after a failure comes at once: a proxy may not let a request wait for as long as this one would.
		wait := wire.MaxWait
		if !s.asked || delay.failures > 0 {
			wait = 0
		}
		err := s.ask(ctx, wait)
		_, foreign := errors.AsType[*foreignError](err)
		switch {
		case ctx.Err() != nil:
		case foreign:
			return err
		case err != nil:
			s.outage.began(s.log, "the server cannot be asked what to check", err)
			pause(ctx, delay.after(err), s.recovered)
		default:
			s.outage.ended(s.log, "the server can be asked again what to check")
			delay.reset()
			if wait > 0 { // a server that does not wait is not asked all the time
				pause(ctx, max(sheetPause, time.Second-time.Since(began)), nil)
			}
		}
	}
	return nil
}

// ask asks once. wait is how long the server may wait for a change.
func (s *sheet) ask(ctx context.Context, wait time.Duration) error {
	header := http.Header{}
	if s.asked && s.kept.ETag != "" { // the first answer says whose list it is
		header.Set("If-None-Match", s.kept.ETag)
	}
	var a wire.Assignments
	answer, err := s.client.do(ctx, request{
		method: "GET", path: "/assignments?wait=" + strconv.Itoa(int(wait.Seconds())), header: header, timeout: wait + sheetTimeout, out: &a,
	})
	if isStatus(err, http.StatusNotModified) && s.asked {
		return nil
	} else if err != nil {
		return err
	}
	if a.Satellite == "" {
		return errors.New("the answer is not one of a Checkstack server")
	}
	if err := s.check(a.Satellite); err != nil {
		return err
	}
	if !s.asked || s.kept.ETag == "" || s.kept.ETag != answer.Get("ETag") {
		s.log.Info("checks assigned", "satellite", a.Satellite, "checks", len(a.Checks))
	}
	s.kept = kept{Server: s.client.base, Token: s.token(), ETag: answer.Get("ETag"), Assignments: &a}
	s.apply(a.Checks, true)
	if !s.asked {
		s.asked = true
		close(s.answered)
	}
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
