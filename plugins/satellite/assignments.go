package satellite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lib/pq"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

// What a satellite has to check, and how it hears of a change within a second: it says which state it knows (RFC 9110,
// section 13.1.2, If-None-Match) and how long it can wait. While nothing changes the answer waits too, and is then 304.

// assignments answers GET /assignments?wait=<seconds>.
func (p *Satellites) assignments(w http.ResponseWriter, r *http.Request) error {
	id, token, err := p.authenticate(r)
	if err != nil {
		return err
	}
	seconds, err := plugins.Number(r.URL.Query(), "wait", 0, 0, int(wire.MaxWait/time.Second))
	if err != nil {
		return err
	}
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		p.board.endWith(server)
	}
	wait, err := p.board.join(id)
	if err != nil {
		return err
	}
	defer p.board.leave(wait)
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	var (
		known    = r.Header.Values("If-None-Match")
		stopping = p.board.stopping
		over     <-chan time.Time // the timer's, once there is a sheet
		last     sheet
	)
	for {
		select {
		case last = <-wait.sheets:
			if last.token != token {
				return errToken()
			}
			if seconds == 0 || !matches(known, last.etag) {
				return last.answer(w, known)
			}
			over = timer.C
		case err := <-wait.failed:
			return fmt.Errorf("read assignments: %w", err)
		case <-over:
			return last.answer(w, known)
		case <-stopping: // another server, or the next one, has the time
			if last.etag != "" {
				return last.answer(w, known)
			}
			seconds, stopping = 0, nil
		case <-p.board.ended:
			return last.answer(w, known)
		case <-r.Context().Done():
			return last.answer(w, known)
		}
	}
}

// answer writes a sheet, or 304 to a satellite that knows it.
func (s sheet) answer(w http.ResponseWriter, known []string) error {
	if s.etag == "" {
		return context.Canceled // there was no time to read one
	}
	h := w.Header()
	h.Set("ETag", s.etag)
	h.Set("Cache-Control", "private, no-cache")
	if matches(known, s.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	w.Write(s.body) // an error means that the satellite is gone
	return nil
}

// matches reports whether the values of an If-None-Match header have an entity tag, by the weak comparison.
func matches(header []string, etag string) bool {
	for _, value := range header {
		for tag := range strings.SplitSeq(value, ",") {
			tag = strings.Trim(tag, " \t")
			if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

//go:embed sql/token_hashes.sql
var tokenHashesSQL string

// readSheets reads what satellites have to check, all as of one moment, and hands over one sheet after the other. A
// satellite that does not exist has none.
func (p *Satellites) readSheets(ctx context.Context, ids []string, found func(string, sheet)) error {
	tx, err := p.host.DB.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // it has changed nothing
	type holder struct {
		id    string
		token hash
	}
	holders, err := plugins.Rows(ctx, tx, func(row plugins.Row) (h holder, err error) {
		var sum []byte
		err = row.Scan(&h.id, &sum)
		copy(h.token[:], sum)
		return h, err
	}, tokenHashesSQL, pq.Array(ids))
	if err != nil {
		return fmt.Errorf("read the tokens of satellites: %w", err)
	}
	for _, h := range holders {
		checks, err := p.checks.SourceChecks(ctx, tx, h.id)
		if err != nil {
			return err
		}
		list := wire.Assignments{Satellite: h.id, Checks: make([]wire.Check, len(checks))}
		for i, c := range checks {
			list.Checks[i] = wire.Check(c)
		}
		body, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("encode the assignments of satellite %s: %w", h.id, err)
		}
		sum := sha256.Sum256(body)
		found(h.id, sheet{token: h.token, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, body: body})
	}
	return nil
}
