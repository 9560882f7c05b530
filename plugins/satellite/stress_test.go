package satellite_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/satellite/wire"
	"checkstack/sql/postgres/postgrestest"
)

// fleet is a number of servers on one database, of which any may be gone at any moment.
type fleet struct {
	mu      sync.Mutex
	servers []*servertest.Server
}

func (f *fleet) any() *servertest.Server {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.servers[rand.IntN(len(f.servers))]
}

// post sends a body to any server and returns the status, 0 without an answer, and what was answered.
func (f *fleet) post(t *testing.T, path, token string, body []byte) (int, []byte) {
	req, err := http.NewRequestWithContext(t.Context(), "POST", f.any().URL+path, strings.NewReader(string(body)))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil // the server was killed
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil
	}
	return res.StatusCode, answer
}

// TestWhatIsAcknowledgedIsCountedOnce has satellites send late and new runs, some of them twice, to servers that are
// killed and started, while their tokens are rotated, their connections to the database are cut, and they are taken for
// lost.
func TestWhatIsAcknowledgedIsCountedOnce(t *testing.T) {
	db, url := postgrestest.New(t)
	db.SetMaxOpenConns(1) // the one that is not cut
	f := &fleet{}
	for range 2 {
		f.servers = append(f.servers, servertest.Start(t, servertest.Config{Database: url}))
	}
	s := f.servers[0]
	s.DB = db
	const satellites, batches, size = 4, 30, 40
	var senders sync.WaitGroup
	places := make([]place, satellites)
	tokens := make([]atomic.Pointer[string], satellites)
	acknowledged := make([]int, satellites)
	progress := make(chan int, satellites*batches)
	for i := range places {
		places[i] = newPlace(t, s, fmt.Sprint("Stress ", i))
		tokens[i].Store(&places[i].Token)
	}
	for i, p := range places {
		senders.Go(func() {
			for number := int64(1); number <= batches; number++ {
				list := append(p.runs(size/2), runsAt(time.Now().UTC().AddDate(0, 0, -9-rand.IntN(40)), size/2, p.system, p.configuration)...)
				body, err := json.Marshal(batch{number: number, journal: p.ID, runs: list})
				if err != nil {
					t.Error(err)
					return
				}
				for acks := 0; acks < 1+int(number%2); { // every other answer is taken for lost
					status, answer := f.post(t, "/api/satellite/runs", *tokens[i].Load(), body)
					switch status {
					case 0, 401, 503:
					case 200:
						var got wire.Answer
						if err := json.Unmarshal(answer, &got); err != nil || got.Stored+got.Known != size {
							t.Errorf("batch %d is answered with %s, %v", number, answer, err)
						}
						acks++
					default:
						t.Errorf("batch %d is answered with %d %s", number, status, answer)
						return
					}
				}
				acknowledged[i] += size
				progress <- i
			}
		})
	}
	go func() {
		senders.Wait()
		close(progress)
	}()
	for n := 0; ; n++ {
		i, more := <-progress
		if !more {
			break
		}
		switch {
		case n%40 == 30: // a server is killed, and another one started
			next := servertest.Start(t, servertest.Config{Database: url})
			f.mu.Lock()
			killed := f.servers[0]
			f.servers = []*servertest.Server{f.servers[1], next}
			f.mu.Unlock()
			killed.Kill(t)
		case n%5 == 0:
			for status := 0; status != 200; { // without an answer nobody knows which token is valid
				var answer []byte
				status, answer = f.post(t, "/api/satellite/satellites/"+places[i].ID+"/rotate", servertest.Admin, nil)
				var made registered
				if status == 200 && json.Unmarshal(answer, &made) == nil {
					tokens[i].Store(&made.Token)
				} else if status != 0 && status != 503 {
					t.Fatalf("rotating is answered with %d %s", status, answer)
				}
			}
		case n%5 == 1:
			exec(t, s, `update satellite.satellites set last_seen_at = now() - interval '1 hour' where id = $1`, places[i].ID)
		default:
			exec(t, s, `select pg_terminate_backend(pid) from pg_stat_activity
				where datname = current_database() and query like '%satellite%' and pid <> pg_backend_pid() and random() < 0.2`)
		}
	}
	for i, p := range places {
		p.has(t, s, acknowledged[i]/2, acknowledged[i])
		if acknowledged[i] != batches*size {
			t.Errorf("%d runs of satellite %d are acknowledged, want %d", acknowledged[i], i, batches*size)
		}
	}
	for _, server := range f.servers {
		server.Kill(t) // they have logged that their database was cut off
	}
}
