// The sender: one batch at a time, the oldest first, the same one again until the server has answered for it.
//
// Of what the server may answer, only a body that says of every run what became of it ends a batch. 400, 413 and 422 say that
// it will never take this body: it is sent once more, in case the body was spoiled on the way, then run by run, and a
// single run that is still refused is set aside, with an error in the log. So one bad run does not hold up the others. Everything
// else passes: a token that is not valid, a server that is away, a plugin that is disabled, a proxy that is wrongly set up.
//
// A batch that is sent for the first time cannot be known to the server. If it is, the numbers of this journal are not its own:
// the folder is a copy of another satellite's, or was restored from a backup. It is sent again without its number, so that
// the IDs of the runs decide, and the journal takes a new ID.

package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"checkstack/plugins/satellite/journal"
	"checkstack/plugins/satellite/wire"
)

// sendTimeout is for one batch; the server takes up to a minute for it.
const sendTimeout = 90 * time.Second

// sender brings batches to the server.
type sender struct {
	journal *journal.Journal
	client  *client
	log     *slog.Logger
	outage  outage
	refused int64 // the batch that was refused last; -1 for none
	doubted int64 // the batch whose number is in doubt
	zip     *gzip.Writer
}

// loop sends until ctx ends.
func (s *sender) loop(ctx context.Context) {
	var delay backoff
	for ctx.Err() == nil {
		more, err := s.next(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.outage.began(s.log, "results cannot be delivered, they are kept", err)
			pause(ctx, delay.after(err), nil)
		case err == nil:
			s.outage.ended(s.log, "results can be delivered again")
			delay.reset()
			if !more {
				s.idle(ctx)
			}
		}
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
	sent := *b
	if b.Number == s.doubted {
		sent.Number = 0
	}
	answer, err := s.send(ctx, &sent)
	switch {
	case isStatus(err, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity):
		return true, s.refuse(b, err)
	case err != nil:
		return true, err
	case b.Fresh && b.Number > 0 && b.Number != s.doubted && answer.Known == len(b.Runs):
		s.doubted = b.Number
		return s.next(ctx)
	}
	if b.Number > 0 && b.Number == s.doubted && answer.Stored > 0 {
		s.log.Error("the server had another batch with this number: the folder of the journal is a copy, or an old state; the journal takes a new ID",
			"batch", b.Number, "journal", b.Journal, "runs", len(b.Runs), "saved", answer.Stored)
		s.journal.Renew()
	}
	if n := len(answer.Refused); n > 0 {
		first := answer.Refused[0]
		s.log.Warn("the server refuses results", "count", n, "run", first.RunID, "reason", first.Reason)
	}
	s.log.Debug("results delivered", "batch", b.Number, "stored", answer.Stored, "known", answer.Known, "refused", len(answer.Refused))
	s.refused = -1
	s.journal.Ack(b)
	return true, nil
}

// refuse deals with a batch that the server does not take as it is.
func (s *sender) refuse(b *journal.Batch, why error) error {
	if b.Number != s.refused { // once is no proof
		s.refused = b.Number
		if b.Single {
			return nil // the whole was proof enough that something is wrong with it, so there is no need to wait
		}
		return why
	}
	s.refused = -1
	if len(b.Runs) == 1 || b.Number == 0 {
		s.journal.SetAside(b, why.Error())
		return nil
	}
	s.log.Warn("the server refuses a batch, its runs are sent one by one", "batch", b.Number, "runs", len(b.Runs), "error", why)
	return s.journal.Split(b)
}

// send makes the request for a batch. The answer says of each run what became of it.
func (s *sender) send(ctx context.Context, b *journal.Batch) (wire.Answer, error) {
	var answer wire.Answer
	body, err := s.encode(b)
	if err != nil {
		return answer, fmt.Errorf("encode a batch: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	_, err = s.client.do(ctx, request{method: "POST", path: "/runs", header: header, body: body, timeout: sendTimeout, out: &answer})
	if err != nil {
		return answer, err
	}
	if answer.Stored < 0 || answer.Known < 0 || answer.Stored+answer.Known+len(answer.Refused) != len(b.Runs) {
		return answer, errors.New("the answer does not say of each run what became of it")
	}
	return answer, nil
}

// encode writes a [wire.Batch], whose runs are in JSON already. The same batch is always the same bytes.
func (s *sender) encode(b *journal.Batch) ([]byte, error) {
	var body bytes.Buffer
	if s.zip == nil {
		s.zip = gzip.NewWriter(&body)
	}
	s.zip.Reset(&body)
	start := "{"
	if b.Number > 0 {
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
