package incident_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
)

// What TestAPI shows of changes that are made at the same time.

func openWhileDeleting(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	existing := open(t, s, "Contested before")
	for round := range 15 {
		id := system(t, s, fmt.Sprint("Contested ", round))
		body := `{"title":"Contested","severity":"minor","systemIds":["` + id + `"]}`
		var opened, edited, deleted servertest.Response
		var wg sync.WaitGroup
		wg.Go(func() { opened = s.Do(t, "POST", incidents, editor, body) })
		wg.Go(func() { edited = s.Do(t, "PATCH", existing, editor, `{"systemIds":["`+id+`"]}`) })
		wg.Go(func() { deleted = s.Do(t, "DELETE", "/api/catalog/systems/"+id, editor, nil) })
		wg.Wait()
		deleted.Is(t, 204, "")
		for want, res := range map[int]servertest.Response{201: opened, 200: edited} {
			if res.Status != want {
				res.IsInvalid(t, "systemIds", "expected IDs of systems; there is no system "+id)
			}
		}
	}
	var left int
	err := s.DB.QueryRowContext(t.Context(), `select count(*) from incident.systems i
		where not exists (select from catalog.systems c where c.id::text = i.system_id)`).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d links have survived their systems, %v", left, err)
	}
}

func atOnce(t *testing.T, s *servertest.Server) {
	editor := s.Token(t, "editor")
	ids := []string{system(t, s, "At once A"), system(t, s, "At once B")}
	path := open(t, s, "At once", ids...)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s.Do(t, "POST", path+"/updates", editor, fmt.Sprintf(`{"message":"update %d"}`, i)).Has(t, 201)
		})
		wg.Go(func() { s.Do(t, "PATCH", path, editor, fmt.Sprintf(`{"title":"title %d"}`, i)).Has(t, 200) })
		wg.Go(func() {
			res := s.Do(t, "PATCH", path, editor, `{"systemIds":["`+ids[i%2]+`","`+ids[1-i%2]+`"]}`)
			if res.Status != 200 { // a system may be gone by now
				res.Has(t, 400)
			}
		})
	}
	for _, id := range ids {
		wg.Go(func() { s.Do(t, "DELETE", "/api/catalog/systems/"+id, editor, nil) })
	}
	wg.Wait()
	var numbers []int
	updates, title := 0, "At once"
	got := show(t, s, path, "")
	slices.Reverse(got.Timeline)
	for _, e := range got.Timeline {
		numbers = append(numbers, e.Number)
		if e.Kind == "update" {
			updates++
		}
		var changes struct{ Title *struct{ From, To string } }
		if e.Changes != nil {
			if err := json.Unmarshal(e.Changes, &changes); err != nil {
				t.Fatal(err)
			}
		}
		if changes.Title != nil {
			if changes.Title.From != title {
				t.Errorf("entry %d is about the title %q, which was %q", e.Number, changes.Title.From, title)
			}
			title = changes.Title.To
		}
	}
	for i, n := range numbers {
		if n != i+1 {
			t.Fatalf("the entries have the numbers %v", numbers)
		}
	}
	if updates != 8 || title != got.Title {
		t.Errorf("%d updates, want 8; the title is %q, in the timeline %q", updates, got.Title, title)
	}
}

// deleteWhileChanging holds an incident as a change does and adds an entry; the entry about the deletion must come
// after it.
func deleteWhileChanging(t *testing.T, s *servertest.Server) {
	id := system(t, s, "Deleted meanwhile")
	path := open(t, s, "Changed meanwhile", id)
	tx, err := s.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, statement := range []string{
		"select from incident.incidents where id = $1 for update",
		"insert into incident.timeline (incident_id, number, at, kind, message) values ($1, 2, clock_timestamp(), 'update', 'meanwhile')",
	} {
		if _, err := tx.ExecContext(t.Context(), statement, strings.TrimPrefix(path, incidents+"/")); err != nil {
			t.Fatal(err)
		}
	}
	deleted := make(chan servertest.Response)
	go func() { deleted <- s.Do(t, "DELETE", "/api/catalog/systems/"+id, s.Token(t, "editor"), nil) }()
	waitForLock(t, s)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	(<-deleted).Is(t, 204, "")
	timeline(t, s, path, "", `3 edited by nobody: "" – {"systemsRemoved":["`+id+`"]}`, `2 update by nobody: "meanwhile" – `,
		`1 opened by nobody: "" investigating `)
}

// waitForLock waits until a session of the server waits for a lock.
func waitForLock(t *testing.T, s *servertest.Server) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		var waits bool
		err := s.DB.QueryRowContext(t.Context(),
			"select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')").Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		if waits {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nobody waits for a lock")
		}
	}
}

func resolveRace(t *testing.T, s *servertest.Server) {
	path := open(t, s, "Resolved by many")
	var statuses [8]int
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() { statuses[i] = s.Do(t, "POST", path+"/resolve", s.Token(t, "editor"), `{}`).Status })
	}
	wg.Wait()
	slices.Sort(statuses[:])
	if want := [8]int{200, 409, 409, 409, 409, 409, 409, 409}; statuses != want {
		t.Errorf("answers %v", statuses)
	}
}

// noDeadlocks asks the database, which knows for certain once the servers' sessions have ended.
func noDeadlocks(t *testing.T, s *servertest.Server) {
	var deadlocks int
	err := s.DB.QueryRowContext(t.Context(), "select deadlocks from pg_stat_database where datname = current_database()").Scan(&deadlocks)
	if err != nil || deadlocks != 0 {
		t.Errorf("%d deadlocks, %v", deadlocks, err)
	}
}
