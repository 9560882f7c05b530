package apply_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/apply"
	"checkstack/plugins/internal/servertest"
)

// TestApplyingAndEditsByHandDoNotDisturbEachOther has people change what a document takes over and sets free again, in other
// orders than it does: whoever comes second waits, or is told who owns it, and nobody is told to try again.
func TestApplyingAndEditsByHandDoNotDisturbEachOther(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	editor := s.Token(t, "editor")
	made := func(path string, body any) string {
		return servertest.Decode[struct{ ID string }](t, s.Do(t, "POST", path, editor, body), 201).ID
	}
	var systems [4]string
	d := M{"name": "contested", "systems": L{}, "checks": L{check("Contested")}, "assignments": L{M{"check": "Contested", "group": "Contested"}}}
	members := L{}
	for i := range systems {
		name := fmt.Sprint("Contested ", i)
		systems[i] = made("/api/catalog/systems", M{"name": name})
		d["systems"], members = append(d["systems"].(L), M{"name": name, "description": "as code"}), append(members, name)
	}
	slices.Reverse(members)
	d["groups"] = L{M{"name": "Contested", "systems": members}}
	group, configuration := made("/api/catalog/groups", M{"name": "Contested"}), made("/api/healthcheck/configurations", check("Contested"))

	over := make(chan struct{})
	var wg sync.WaitGroup
	byHand := func(allowed []int, request func(i int) (method, path string, body any)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				method, path, body := request(i)
				if res := s.Do(t, method, path, editor, body); !slices.Contains(allowed, res.Status) {
					t.Errorf("%s %s: %d %s", method, path, res.Status, res.Body)
				}
			}
		})
	}
	byHand([]int{200, 409}, func(i int) (string, string, any) {
		return "PUT", "/api/catalog/systems/" + systems[i%4], M{"name": fmt.Sprint("Contested ", i%4), "description": "by hand", "metadata": M{}}
	})
	byHand([]int{204, 409}, func(i int) (string, string, any) {
		return []string{"PUT", "DELETE"}[i%2], "/api/catalog/groups/" + group + "/systems/" + systems[i/2%4], nil
	})
	byHand([]int{200, 409}, func(i int) (string, string, any) {
		return "PUT", "/api/healthcheck/configurations/" + configuration, with(check("contested"), "timeoutMs", 2000)
	})
	byHand([]int{200, 404, 409}, func(i int) (string, string, any) {
		path := "/api/healthcheck/systems/" + systems[i/2%4] + "/checks/" + configuration
		if i%2 == 0 {
			return "PUT", path, M{"enabled": false}
		}
		return "DELETE", path, nil
	})
	for range 30 {
		s.Do(t, "POST", documents, editor, d).Has(t, 200)
		s.Do(t, "POST", documents+"/contested/release", editor, nil).Has(t, 200)
	}
	last := applied(t, s, "", d)
	close(over)
	wg.Wait()
	if last.Created+last.Updated+last.Unchanged != 10 {
		t.Errorf("the last plan is %+v", last)
	}
	is(t, applied(t, s, "", d), "0 0 0 0 10") // what was made is not changed by hand
}

// TestWhatSomebodyMakesMeanwhileIsAdopted has somebody make a system after the document did not find it, and before it makes it.
func TestWhatSomebodyMakesMeanwhileIsAdopted(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	tx, err := s.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `insert into catalog.systems (id, name, name_key, description, metadata)
		values (gen_random_uuid(), 'Overtaken', $1, 'by hand', '{}')`, plugins.Fold("Overtaken")); err != nil {
		t.Fatal(err)
	}
	answer := make(chan servertest.Response, 1)
	go func() {
		answer <- s.Do(t, "POST", documents, servertest.Admin, M{"name": "late", "systems": L{M{"name": "Overtaken"}, M{"name": "Other"}}})
	}()
	for waiting := false; !waiting; {
		if len(answer) > 0 {
			t.Fatalf("it does not wait: %+v", <-answer)
		}
		if err := s.DB.QueryRowContext(t.Context(), `select exists (select from pg_locks where not granted)`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	is(t, servertest.Decode[apply.Plan](t, <-answer, 200), "adopt system Overtaken (managedBy description)", "create system Other", "1 1 0 0 0")
}
