package satellite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

// A batch is one transaction. It holds the satellite's row from its beginning to its end, so that the batches of a
// satellite come one after the other, and none while its token is replaced:
//
//	hold the satellite by its token     401 where that is not valid any more
//	it has been heard of                and is online again, if it was not
//	the highest number of the journal   not below that of the batch: known, nothing more
//	record                              history and states; what is refused stops nothing else
//	move the number
//
// Any of it may be repeated whole, because a commit whose answer is lost may or may not have happened: the satellite
// sends the batch again, and either it is new, or its number is there.

// maxJournals is how many journals a satellite may have had. Each is a disk that it lost, or that was not kept. Beyond
// that the one that was not used for longest is forgotten, if that is 400 days or more: what it could still repeat is
// older than the days of the history are kept, unless somebody keeps them for longer than the 365 days of the default,
// and is refused for its age.
const maxJournals = 10_000

// record stores a batch for whoever holds a token, all of it or nothing.
func (p *Satellites) record(ctx context.Context, token hash, batch wire.Batch) (answer wire.Answer, err error) {
	var s Satellite
	err = plugins.Tx(ctx, p.host.DB, func(tx *sql.Tx) (err error) {
		answer = wire.Answer{Refused: []plugins.Refusal{}}
		if s, err = lockToken(ctx, tx, token); err != nil {
			return err
		}
		if err := p.heard(ctx, tx, s); err != nil {
			return err
		}
		once := batch.Batch != nil
		if once {
			applied, err := applied(ctx, tx, s.ID, batch.Journal)
			if err != nil {
				return err
			}
			if *batch.Batch <= applied {
				answer.Known = len(batch.Runs)
				return nil
			}
			if err := moveJournal(ctx, tx, s.ID, batch.Journal, *batch.Batch); err != nil {
				return err
			}
		}
		if len(batch.Runs) == 0 {
			return nil
		}
		runs := make([]plugins.Run, len(batch.Runs))
		for i, run := range batch.Runs {
			runs[i] = run.From(s.ID)
		}
		recorded, err := p.checks.RecordFrom(ctx, tx, s.ID, runs, once)
		if err != nil {
			return err
		}
		answer.Stored, answer.Known = recorded.Stored, recorded.Known
		answer.Refused = append(answer.Refused, recorded.Refused...)
		return nil
	})
	if err == nil {
		p.returned(s)
	}
	return answer, err
}

var (
	//go:embed sql/journal_find.sql
	findJournalSQL string
	//go:embed sql/journal_count.sql
	countJournalsSQL string
	//go:embed sql/journal_forget.sql
	forgetJournalSQL string
	//go:embed sql/journal_move.sql
	moveJournalSQL string
)

// applied returns the highest number of a batch of a journal that was applied; 0 before the first.
func applied(ctx context.Context, tx *sql.Tx, satellite, journal string) (batch int64, err error) {
	err = tx.QueryRowContext(ctx, findJournalSQL, satellite, journal).Scan(&batch)
	if !errors.Is(err, sql.ErrNoRows) {
		if err != nil {
			err = fmt.Errorf("read the number of a journal: %w", err)
		}
		return batch, err
	}
	var others int
	if err := tx.QueryRowContext(ctx, countJournalsSQL, satellite).Scan(&others); err != nil {
		return 0, fmt.Errorf("count the journals of a satellite: %w", err)
	}
	if others < maxJournals {
		return 0, nil
	}
	result, err := tx.ExecContext(ctx, forgetJournalSQL, satellite)
	if err != nil {
		return 0, fmt.Errorf("forget a journal: %w", err)
	}
	if forgotten, err := result.RowsAffected(); err != nil || forgotten > 0 {
		return 0, err
	}
	return 0, &plugins.Error{
		Status: http.StatusConflict,
		Title:  "Limit reached",
		Message: fmt.Sprintf("this satellite has had %d journals in the last 400 days; keep its journal on a disk that lasts, and register it anew",
			others),
		Field: "journal",
	}
}

// moveJournal notes that a batch is applied.
func moveJournal(ctx context.Context, tx *sql.Tx, satellite, journal string, batch int64) error {
	if _, err := tx.ExecContext(ctx, moveJournalSQL, satellite, journal, batch); err != nil {
		return fmt.Errorf("move the number of a journal: %w", err)
	}
	return nil
}
