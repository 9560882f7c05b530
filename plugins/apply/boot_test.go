package apply_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins/apply"
	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

const shopDocument = `{"name":"boot","systems":[{"name":"Shop"}],"satellites":[{"name":"Berlin"}],"checks":[` +
	`{"name":"Front page","type":"http","config":{"url":"http://127.0.0.1:1/"},"intervalSeconds":2592000,"timeoutMs":1000}],` +
	`"assignments":[{"check":"Front page","system":"Shop","sources":["Berlin"]}]}`

func TestAServerAppliesItsConfigurationAtEachBoot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.json")
	write(t, dir, "shop.json", shopDocument)
	_, database := postgrestest.New(t)
	cfg := servertest.Config{Database: database, Args: []string{"-config", path}}
	first := servertest.Start(t, cfg)
	find := func(s *servertest.Server) apply.Applied {
		t.Helper()
		return servertest.Decode[apply.Applied](t, s.Do(t, "GET", documents+"/boot", servertest.Admin, nil), 200)
	}
	d := find(first)
	if want := (apply.Counts{Systems: 1, Checks: 1, Satellites: 1, Assignments: 1}); d.Owns != want || d.By != nil || !d.ChangedAt.Equal(d.AppliedAt) {
		t.Errorf("the document is %+v", d)
	}
	if !strings.Contains(first.Log(), `"msg":"document applied","plugin":"apply","document":"boot","created":4,"updated":0,"deleted":0,"orphaned":0,"unchanged":0,"by":"the server"`) ||
		strings.Contains(first.Log(), "sat_") {
		t.Errorf("the log is\n%s", first.Log())
	}
	second := servertest.Start(t, cfg)
	if again := find(second); !again.ChangedAt.Equal(d.ChangedAt) || !again.AppliedAt.After(d.AppliedAt) {
		t.Errorf("the second boot has made %+v of %+v", again, d)
	}
	second.Stop(t)

	write(t, dir, "shop.json", `{"name":"boot","systems":[{"name":"Shop"}]}`)
	servertest.Start(t, cfg).Stop(t)
	if d := find(first); d.Owns.Checks != 1 {
		t.Errorf("without -config-prune it owns %+v", d.Owns)
	}
	servertest.Start(t, servertest.Config{Database: database, Env: map[string]string{"CHECKSTACK_CONFIG": dir, "CHECKSTACK_CONFIG_PRUNE": "true"}}).Stop(t)
	if d := find(first); d.Owns != (apply.Counts{Systems: 1}) {
		t.Errorf("with -config-prune it owns %+v", d.Owns)
	}
	write(t, dir, "shop.json", `{"name":"boot"}`)
	log := servertest.Refused(t, servertest.Config{Database: database, Args: []string{"-config", path, "-config-prune"}})
	if want := "apply the configuration: " + path + ": the document names nothing, and -config-prune would delete the one thing that it owns; checkstack apply -prune-all allows it"; !strings.Contains(log, `"msg":"boot failed"`) || !strings.Contains(log, want) {
		t.Errorf("a document that names nothing: the log is\n%s", log)
	}
}

func TestABootWarnsOfTokensThatItDoesNotKeep(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "beats.json", `{"systems":[{"name":"Beating"}],"satellites":[{"name":"Berlin"}],"assignments":[{"check":"Backup","system":"Beating"}],`+
		`"checks":[{"name":"Backup","type":"heartbeat","config":{},"intervalSeconds":86400,"timeoutMs":1000}]}`)
	s := servertest.Start(t, servertest.Config{Args: []string{"-config", dir}})
	line := regexp.MustCompile(`"level":"WARN","msg":"the token of what the configuration has made is not kept; make another one","plugin":"apply",(.*),"route":"POST ([^"]*)"`)
	var about []string
	for _, found := range line.FindAllStringSubmatch(s.Log(), -1) {
		about = append(about, found[1])
		s.Do(t, "POST", found[2], servertest.Admin, nil).Has(t, 200)
	}
	if want := []string{`"kind":"satellite","name":"Berlin"`, `"kind":"assignment","name":"Backup","system":"Beating"`}; !slices.Equal(about, want) {
		t.Errorf("it warns of %q in\n%s", about, s.Log())
	}
}

func TestServersThatBootAtOnceApplyTheirConfigurationOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "shop.json", shopDocument)
	_, database := postgrestest.New(t)
	var logs [3]string
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() {
			s := servertest.Start(t, servertest.Config{Database: database, Args: []string{"-config", dir}})
			logs[i] = s.Log()
		})
	}
	wg.Wait()
	all := strings.Join(logs[:], "")
	if made, found := strings.Count(all, `"created":4,`), strings.Count(all, `"unchanged":4,`); made != 1 || found != 2 {
		t.Errorf("%d servers have made it and %d have found it", made, found)
	}
}

func TestAConfigurationThatCannotBeAppliedEndsTheBoot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.json")
	for name, test := range map[string]struct{ text, want string }{
		"no JSON":           {`{`, "read the configuration: " + path + ":1:2: the JSON value ends too early"},
		"unknown field":     {`{"systems":[{"name":"x","colour":1}]}`, "read the configuration: " + path + ": systems[0].colour: there is no such field"},
		"refused on a look": {strings.Replace(shopDocument, `"system":"Shop"`, `"system":"None"`, 1), "apply the configuration: " + path + `: assignments[0].system: there is no system \"None\", neither in the document nor on the server`},
	} {
		write(t, dir, "shop.json", test.text)
		log := servertest.Refused(t, servertest.Config{Args: []string{"-config", path}})
		if !strings.Contains(log, `"msg":"boot failed"`) || !strings.Contains(log, test.want) {
			t.Errorf("%s: the log is\n%s", name, log)
		}
	}
	log := servertest.Refused(t, servertest.Config{Args: []string{"-config", filepath.Join(dir, "none")}})
	if !strings.Contains(log, "no such file or directory") {
		t.Errorf("no such file: the log is\n%s", log)
	}
}

func TestConfigurationFlagsThatMeanNothingAreRefused(t *testing.T) {
	for flags, want := range map[string]string{
		"-config-prune": "expected -config with -config-prune",
		"-config=-":     "expected a file or a folder: a server does not read standard input",
	} {
		out, err := servertest.Command(t, []string{"DATABASE_URL=postgres://127.0.0.1:1/none"}, "serve", flags).CombinedOutput()
		if err == nil || err.Error() != "exit status 2" || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", flags, err, out)
		}
	}
}
