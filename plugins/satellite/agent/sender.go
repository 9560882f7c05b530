// The sender: one batch at a time, the oldest first, the same one again until the server has answered for it.
//
// Of what the server may answer, only a body that says of every run what became of it ends a batch, or one of Checkstack's
// own errors that says what is wrong with the batch: then it will never be taken. It is sent once more, in case it was spoiled
// on the way, then run by run, and a single run that is still refused is set aside, with an error in the log. So one bad run
// does not hold up the others. Everything else passes: a token that is not valid, a server that is away, a plugin that is
// disabled, a proxy that is wrongly set up. And where one run after the other is refused it is not the runs: nothing more is
// set aside for an hour, in which somebody may put it right.
//
// A batch that the server knows already is one whose answer was lost; or the numbers of this journal are not its own, because
// the folder is a copy of another satellite's, or was restored from a backup. Which of the two it is say the runs' own IDs,
// for as long as the server has them: the batch is sent once more without its number. If anything of it was new,
// the journal takes a new ID.

package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"checkstack/plugins/satellite/journal"
	"checkstack/plugins/satellite/wire"
)

const (
	sendTimeout = 90 * time.Second           // for one batch; the server takes up to a minute for it
	provable    = 7*24*time.Hour - time.Hour // the age of a run of which a server with the default retention has the ID
	mostAside   = 2                          // runs that are set aside before one is accepted
	asideAfter  = time.Hour                  // how long runs beyond that are tried again and again
	partTimeout = 5 * time.Second            // for what is sent at the end
)

// sender brings batches to the server.
type sender struct {
	journal *journal.Journal
	client  *client
	log     *slog.Logger
	came    chan<- struct{} // gets an element when an outage has ended; nil for nobody

	outage  outage
	known   name      // the batch that the server said it knows
	refused name      // the batch that was refused last
	aside   int       // runs that were set aside since the server took something
	broken  time.Time // since when nothing more is set aside; zero for not
	said    time.Time // when that was last logged
	renewed string    // the ID of a journal that has got another one
	aged    bool      // whether it was logged that a batch was known and too old to say why
	asked   time.Time // the server asks not to come before
	zip     *gzip.Writer
}

// name is what tells a batch from all others.
type name struct {
	journal string
	number  int64
}

// refusal is why a batch was not taken, where that is about the batch.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// loop sends until ctx ends, but nothing before the server has said whose results it takes, if ready is not nil.
func (s *sender) loop(ctx context.Context, ready <-chan struct{}) {
	if ready != nil {
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
	}
	var delay backoff
	for ctx.Err() == nil {
		more, err := s.next(ctx)
		_, refused := errors.AsType[refusal](err)
		switch {
		case ctx.Err() != nil:
		case refused:
			pause(ctx, delay.after(err), nil)
		case err != nil:
			s.outage.began(s.log, "results cannot be delivered, they are kept", err)
			if e, ok := errors.AsType[*statusError](err); ok && e.after > 0 {
				s.asked = time.Now().Add(e.after)
			}
			pause(ctx, delay.after(err), nil)
		default:
			delay.reset()
			if !more {
				s.idle(ctx)
			}
		}
	}
}

// finish sends what it can in a few seconds, when loop has ended: an error is no reason to wait, what is left is kept.
func (s *sender) finish(ctx context.Context) {
	if time.Now().Before(s.asked) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partTimeout)
	defer cancel()
	more, err := true, error(nil)
	for more && err == nil {
		more, err = s.next(ctx)
	}
	if err != nil {
		s.log.Info("not all results could be delivered at the end, they are kept", "error", err)
	}
}

// idle waits until there is something to send.
func (s *sender) idle(ctx context.Context) {
	select {
	case <-s.journal.Filled():
	case <-ctx.Done():
	}
}

// next sends the oldest batch. It is false if there is none.
func (s *sender) next(ctx context.Context) (more bool, err error) {
	b, err := s.journal.Next()
	if b == nil || err != nil {
		return false, err
	}
	this := name{b.Journal, b.Number}
	answer := wire.Answer{Known: len(b.Runs)}
	if this != s.known {
		if answer, err = s.send(ctx, b, true); isVerdict(err) {
			return true, s.refuse(b, err)
		} else if err != nil {
			return true, err
		}
	}
	if answer.Known == len(b.Runs) {
		s.known = this
		if err := s.doubt(ctx, b); err != nil {
			return true, err
		}
	}
	if n := len(answer.Refused); n > 0 {
		first := answer.Refused[0]
		s.log.Warn("the server refuses results", "count", n, "run", first.RunID, "reason", first.Reason)
	}
	s.log.Debug("results delivered", "batch", b.Number, "stored", answer.Stored, "known", answer.Known, "refused", len(answer.Refused))
	s.journal.Ack(b)
	s.refused, s.aside = name{}, 0
	if !s.broken.IsZero() {
		s.log.Info("the server takes results again", "after", time.Since(s.broken).Round(time.Second))
		s.broken = time.Time{}
	}
	if s.outage.ended(s.log, "results can be delivered again") && s.came != nil {
		signal(s.came)
	}
	return true, nil
}

// doubt finds out whether a batch is known because it was sent before. Nothing of it is on disk: after a kill the batch is
// known once more, and in doubt once more.
func (s *sender) doubt(ctx context.Context, b *journal.Batch) error {
	if oldest := oldestOf(b.Runs); time.Since(oldest) > provable {
		if !s.aged {
			s.aged = true
			s.log.Warn("the server has a batch already, and its runs are too old to tell whether it is this one; it is unless the folder of the journal is a copy",
				"batch", b.Number, "journal", b.Journal, "runs", len(b.Runs), "oldest", oldest)
		}
		return nil
	}
	answer, err := s.send(ctx, b, false)
	if err != nil && !isVerdict(err) { // it was taken once; what is wrong with it now is nothing that concerns it
		return err
	}
	if answer.Stored == 0 {
		return nil
	}
	s.log.Warn("the server had another batch with this number: the folder of the journal is a copy, or an old state; the journal takes a new ID",
		"batch", b.Number, "journal", b.Journal, "runs", len(b.Runs), "saved", answer.Stored)
	if s.renewed != b.Journal {
		s.renewed = b.Journal
		s.journal.Renew()
	}
	return nil
}

// oldestOf is when the oldest of some runs was made; the beginning of time if one does not say when.
func oldestOf(runs [][]byte) time.Time {
	oldest := time.Now()
	for _, data := range runs {
		var run struct {
			ExecutedAt time.Time `json:"executedAt"`
		}
		if json.Unmarshal(data, &run) != nil {
			return time.Time{}
		}
		if run.ExecutedAt.Before(oldest) {
			oldest = run.ExecutedAt
		}
	}
	return oldest
}

// refuse deals with a batch that the server does not take as it is. An error is a reason to wait before the next attempt.
func (s *sender) refuse(b *journal.Batch, why error) error {
	if this := (name{b.Journal, b.Number}); this != s.refused { // once is no proof
		s.refused = this
		return refusal{why}
	}
	if len(b.Runs) > 1 {
		s.refused = name{}
		s.log.Warn("the server refuses a batch, its runs are sent one by one", "batch", b.Number, "runs", len(b.Runs), "error", why)
		return s.journal.Split(b)
	}
	if s.aside >= mostAside && s.broken.IsZero() {
		s.broken, s.said = time.Now(), time.Time{}
	}
	if !s.broken.IsZero() && time.Since(s.broken) < asideAfter {
		if time.Since(s.said) >= sayAgain {
			s.said = time.Now()
			s.log.Error("the server refuses one result after the other, so it is not the results; they are tried again, and those that it still refuses are set aside later",
				"error", why, "since", s.broken, "until", s.broken.Add(asideAfter))
		}
		return refusal{why}
	}
	s.refused = name{}
	s.aside++
	s.journal.SetAside(b, why.Error())
	return refusal{why}
}

// send makes the request for a batch, with its number or without it. The answer says of each run what became of it.
func (s *sender) send(ctx context.Context, b *journal.Batch, numbered bool) (wire.Answer, error) {
	var answer wire.Answer
	body, err := s.encode(b, numbered)
	if err != nil {
		return answer, fmt.Errorf("encode a batch: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	_, err = s.client.do(ctx, request{method: "POST", path: "/runs", header: header, body: body, timeout: sendTimeout, out: &answer})
	if err != nil {
		return wire.Answer{}, err
	}
	if answer.Stored < 0 || answer.Known < 0 || answer.Stored+answer.Known+len(answer.Refused) != len(b.Runs) {
		return wire.Answer{}, errors.New("the answer does not say of each run what became of it")
	}
	return answer, nil
}

// encode writes a [wire.Batch], whose runs are in JSON already. The same batch is always the same bytes.
func (s *sender) encode(b *journal.Batch, numbered bool) ([]byte, error) {
	var body bytes.Buffer
	if s.zip == nil {
		s.zip = gzip.NewWriter(&body)
	}
	s.zip.Reset(&body)
	start := "{"
	if numbered {
		start = `{"batch":` + strconv.FormatInt(b.Number, 10) + `,"journal":"` + b.Journal + `",`
	}
	s.zip.Write([]byte(start + `"runs":[`)) // an error stays, and Close returns it
	for i, run := range b.Runs {
		if i > 0 {
			s.zip.Write([]byte(","))
		}
		s.zip.Write(run)
	}
	s.zip.Write([]byte("]}"))
	err := s.zip.Close()
	return body.Bytes(), err
}
