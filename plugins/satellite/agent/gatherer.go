// The gatherer: what checks found goes to the journal together, because each write waits for the disk. The first result of a
// write waits for others for at most a second; a kill loses no more than that.

package agent

import (
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/satellite/journal"
	"checkstack/plugins/satellite/wire"
)

const (
	maxGathered = 1000        // runs in one write
	gather      = time.Second // how long the first of them waits for the others
)

// gatherer brings runs into the journal.
type gatherer struct {
	journal *journal.Journal
	log     *slog.Logger
	in      chan []byte
	count   atomic.Int64 // runs that were added and are not in the journal
}

// add takes a run. It waits while the disk does not keep up, so that the runs themselves are held back.
func (g *gatherer) add(run plugins.Run) {
	line, err := json.Marshal(wire.RunOf(run))
	if err != nil {
		g.log.Error("a result cannot be encoded, it is lost", "run", run.ID, "error", err)
		return
	}
	g.count.Add(1)
	g.in <- line
}

// end says that nothing will be added any more; loop returns when the journal has all.
func (g *gatherer) end() { close(g.in) }

// waiting is how many runs are on their way to the journal.
func (g *gatherer) waiting() int64 { return g.count.Load() }

// loop writes to the journal. What the journal could not write it keeps in memory, and is asked to write every second.
func (g *gatherer) loop() {
	var runs [][]byte
	timer := time.NewTimer(gather)
	defer timer.Stop()
	write := func() {
		g.journal.Append(runs...) // it logs what goes wrong, and remembers it
		g.count.Add(int64(-len(runs)))
		runs = nil
		if g.journal.State().InMemory > 0 {
			timer.Reset(gather)
		}
	}
	for {
		select {
		case line, more := <-g.in:
			if !more {
				write()
				return
			}
			if runs = append(runs, line); len(runs) == 1 {
				timer.Reset(gather)
			} else if len(runs) == maxGathered {
				write()
			}
		case <-timer.C:
			write()
		}
	}
}
