package satellite

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

// What a satellite found. The body comes from far away and may be compressed, so it is read with a bound on what it
// becomes and counted before it is decoded: eight million bytes of "0," would be a gigabyte of runs. A run that cannot
// be read spoils its batch, and the error names it; one that is not wanted is refused by name, and spoils nothing.
//
// A satellite takes 400 for the server's last word on a batch. So it says something of a body that came whole only; one
// that did not is answered with 408 or 503, as everywhere (plugins.Bodies), and sent again.

// ingestTimeout is for one batch, with what it waits for.
const ingestTimeout = time.Minute

// runs answers POST /runs.
func (p *Satellites) runs(w http.ResponseWriter, r *http.Request) error {
	id, token, err := p.authenticate(r)
	if err != nil {
		return err
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return unsupported("the body must be JSON, with Content-Type: application/json")
	}
	zipped, err := coding(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), ingestTimeout)
	defer cancel()
	from, err := p.arrivals.enter(id)
	if err != nil {
		return err
	}
	defer p.arrivals.leave(id)
	sent, free, err := p.receive(ctx, from, w, r)
	if err != nil {
		return err
	}
	free = sync.OnceFunc(free)
	defer free()
	done, err := p.arrivals.decode(ctx, from)
	if err != nil {
		return err
	}
	defer done()
	batch, err := decodeBody(sent, zipped)
	if err != nil {
		return err
	}
	free()
	var answer wire.Answer
	err = p.arrivals.record(ctx, func() (err error) {
		answer, err = p.record(ctx, token, batch)
		return err
	})
	if err != nil {
		return err
	}
	if len(answer.Refused) > 0 {
		first := answer.Refused[0]
		p.host.Log.Warn("runs of a satellite refused", "satellite", id, "count", len(answer.Refused),
			"run", first.RunID, "reason", first.Reason)
	}
	plugins.WriteJSON(w, r, http.StatusOK, answer)
	return nil
}

func unsupported(why string) error {
	return &plugins.Error{Status: http.StatusUnsupportedMediaType, Message: why}
}

// coding reports whether a body is compressed with gzip.
func coding(w http.ResponseWriter, r *http.Request) (zipped bool, err error) {
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
		return false, nil
	case "gzip", "x-gzip":
		return true, nil
	}
	w.Header().Set("Accept-Encoding", "gzip") // RFC 9110, section 12.5.3
	return false, unsupported("the body may be compressed with gzip, and with nothing else")
}

// receive reads a body of at most [wire.MaxBody] bytes as it is sent. free gives its room back.
func (p *Satellites) receive(ctx context.Context, from *sender, w http.ResponseWriter, r *http.Request) (sent []byte, free func(), err error) {
	size := r.ContentLength
	if size < 0 || size > wire.MaxBody { // not known, or to be refused when so much of it has come
		size = wire.MaxBody
	}
	free, err = p.arrivals.receive(ctx, from, size)
	if err != nil {
		return nil, nil, err
	}
	sent, err = io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxBody))
	if err != nil {
		free()
		return nil, nil, err
	}
	return sent, free, nil
}

// decodeBody reads the batch in a body that has come whole.
func decodeBody(sent []byte, zipped bool) (wire.Batch, error) {
	body := sent
	if zipped {
		z, err := gzip.NewReader(bytes.NewReader(sent))
		if err != nil {
			return wire.Batch{}, notGzip(err)
		}
		body, err = io.ReadAll(io.LimitReader(z, wire.MaxBody+1))
		switch {
		case err != nil:
			return wire.Batch{}, notGzip(err)
		case len(body) > wire.MaxBody:
			return wire.Batch{}, &http.MaxBytesError{Limit: wire.MaxBody}
		}
	}
	return decodeBatch(body)
}

// notGzip is the error for a body that cannot be decompressed.
func notGzip(err error) error {
	why := "it is not what gzip writes"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		why = "it ends too early"
	}
	return plugins.Invalid("", "the body could not be read to its end: %s", why)
}

// incoming is a [wire.Batch] whose runs are counted before they are decoded.
type incoming struct {
	Batch   *int64  `json:"batch"`
	Journal string  `json:"journal"`
	Runs    runList `json:"runs"`
}

// runList decodes an array of runs.
type runList []wire.Run

// UnmarshalJSON reads at most [wire.MaxRuns] runs. Where one cannot be read it looks for it, one after the other, to
// name it.
func (l *runList) UnmarshalJSON(data []byte) error {
	switch {
	case len(data) == 0 || data[0] != '[':
		return plugins.Invalid("runs", "expected an array of runs")
	case moreThan(wire.MaxRuns, data):
		return plugins.Invalid("runs", "expected at most %d runs", wire.MaxRuns)
	}
	list := runList{}
	if plugins.Decode(data, (*[]wire.Run)(&list)) != nil {
		return firstWrong(data)
	}
	for i := range list {
		if string(list[i].Result) == "null" {
			list[i].Result = nil
		}
	}
	*l = list
	return nil
}

// moreThan reports whether an array, which is valid JSON, has more than max elements.
func moreThan(max int, array []byte) bool {
	depth, commas := 0, 0
	for i := 0; i < len(array); i++ {
		switch array[i] {
		case '"':
			for i++; array[i] != '"'; i++ {
				if array[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 1 {
				commas++
			}
		}
		if commas >= max {
			return true
		}
	}
	return false
}

// firstWrong returns what is wrong with the first run of an array that cannot be read.
func firstWrong(array []byte) error {
	d := json.NewDecoder(bytes.NewReader(array))
	if _, err := d.Token(); err != nil {
		return err
	}
	for i := 0; d.More(); i++ {
		var one json.RawMessage
		if err := d.Decode(&one); err != nil {
			return err
		}
		err := plugins.Decode(one, new(wire.Run))
		if e, ok := errors.AsType[*plugins.Error](err); ok {
			e.Field = strings.TrimSuffix(fmt.Sprintf("runs[%d].%s", i, e.Field), ".")
		}
		if err != nil {
			return err
		}
	}
	return plugins.Invalid("runs", "expected an array of runs")
}

// decodeBatch reads a batch and checks all of it but what its runs say.
func decodeBatch(body []byte) (wire.Batch, error) {
	var in incoming
	if err := plugins.Decode(body, &in); err != nil {
		return wire.Batch{}, err
	}
	batch := wire.Batch{Batch: in.Batch, Journal: in.Journal, Runs: in.Runs}
	return batch, batch.Validate()
}
