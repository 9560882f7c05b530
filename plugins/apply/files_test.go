package apply

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"checkstack/plugins"
)

// folder makes a folder with files, given as name and text.
func folder(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, pairs[i]), []byte(pairs[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const checkA = `{"name":"A","type":"http","config":{"url":"http://a"},"intervalSeconds":60,"timeoutMs":1000}`

func TestTheFilesOfAFolderAreOneDocument(t *testing.T) {
	dir := folder(t,
		"b.json", `{"name":"prod","systems":[{"name":"B1"},{"name":"B2"}],"assignments":[{"check":"A","system":"B2"}]}`,
		"a.json", `{"$schema":"x","systems":[{"name":"A1"}],"checks":[`+checkA+`]}`,
		"c.json", `{"name":"prod","assignments":[{"check":"A","group":"B2"},{"check":"A","system":"A1"}]}`,
		".hidden.json", `nonsense`, "readme.txt", `nonsense`)
	if err := os.Symlink("a.json", filepath.Join(dir, "d.json")); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if _, err := read(dir, nil); err == nil || err.Error() != in("d.json")+`: systems[0]: `+in("a.json")+` defines the system "A1" too` {
		t.Errorf("a link to a file that is there too: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "d.json")); err != nil {
		t.Fatal(err)
	}
	s, err := read(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range s.doc.Systems {
		names = append(names, v.Name)
	}
	if got := strings.Join(names, " "); got != "A1 B1 B2" || s.doc.Name != "prod" || len(s.doc.Checks) != 1 || len(s.doc.Assignments) != 3 {
		t.Errorf("the document is %+v", s.doc)
	}
	for field, want := range map[string]string{
		"systems[2].name":           "b.json: systems[1].name",
		"checks[0].config.url":      "a.json: checks[0].config.url",
		"assignments[2].sources[1]": "c.json: assignments[1].sources[1]",
		"systems[3]":                "systems[3]",
		"systems":                   "systems",
		"":                          "",
	} {
		got := strings.TrimPrefix(s.where(field), dir+string(filepath.Separator))
		if got != want {
			t.Errorf("%q is %q, want %q", field, got, want)
		}
	}
}

func TestWhatIsWrongWithAFileIsToldWithItsName(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		want  string // below the folder; DIR/ stands for it
	}{
		"no file":          {nil, "there is no file *.json in DIR"},
		"no JSON":          {[]string{"a.json", `{`}, "DIR/a.json:1:2: the JSON value ends too early"},
		"no value":         {[]string{"a.json", " \n"}, "DIR/a.json: expected a JSON value, not an empty file"},
		"a comma too many": {[]string{"a.json", "\ufeff{\n  \"name\": \"é\", \"systems\": [\n    {\"name\": \"é\"},]\n}"}, "DIR/a.json:3:19: not valid JSON: invalid character ']' looking for beginning of value"},
		"cut off":          {[]string{"a.json", "{\n\"systems\": [\n"}, "DIR/a.json:3:1: the JSON value ends too early"},
		"two values":       {[]string{"a.json", "{}\n{}"}, "DIR/a.json:2:1: not valid JSON: invalid character '{' after top-level value"},
		"another encoding": {[]string{"a.json", "{\"name\":\n \"é\xe9\"}"}, "DIR/a.json:2:4: expected JSON in UTF-8"},
		"a section twice":  {[]string{"a.json", `{"systems":[{"name":"x"}],"Systems":[]}`}, "DIR/a.json: Systems: expected this field once"},
		"no object":        {[]string{"a.json", `7`}, "DIR/a.json: expected an object"},
		"in an element":    {[]string{"a.json", `{}`, "b.json", `{"systems":[{"name":"x"},{"name":"y","colour":1}]}`}, "DIR/b.json: systems[1].colour: there is no such field"},
		"a name twice":     {[]string{"a.json", `{"groups":[{"name":"x"},{"name":"X"}]}`}, `DIR/a.json: groups[1].name: expected each name once, but groups[0] is "X" too`},
		"two documents":    {[]string{"a.json", `{"name":"one"}`, "b.json", `{"name":"two"}`}, `DIR/b.json: name: the files are one document, and another one calls it "one"`},
		"one system twice": {[]string{"a.json", `{"systems":[{"name":"Shop"}]}`, "b.json", `{"systems":[{"name":"x"},{"name":"SHOP"}]}`}, `DIR/b.json: systems[1]: DIR/a.json defines the system "SHOP" too`},
		"one group twice":  {[]string{"a.json", `{"groups":[{"name":"x"}]}`, "b.json", `{"groups":[{"name":"x"}]}`}, `DIR/b.json: groups[0]: DIR/a.json defines the group "x" too`},
		"one check twice":  {[]string{"a.json", `{"checks":[` + checkA + `]}`, "b.json", `{"checks":[` + checkA + `]}`}, `DIR/b.json: checks[0]: DIR/a.json defines the check "A" too`},
		"one satellite twice": {[]string{"a.json", `{"satellites":[{"name":"x"}]}`, "b.json", `{"satellites":[{"name":"x"}]}`},
			`DIR/b.json: satellites[0]: DIR/a.json defines the satellite "x" too`},
		"one assignment twice": {[]string{"a.json", `{"assignments":[{"check":"A","system":"x"}]}`, "b.json", `{"assignments":[{"check":"A","group":"x"},{"check":"a","system":"X"}]}`},
			`DIR/b.json: assignments[1]: DIR/a.json defines the assignment "a" of the system "X" too`},
	} {
		dir := folder(t, test.files...)
		if _, err := read(dir, nil); err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, err := read(filepath.Join(t.TempDir(), "none"), nil); !os.IsNotExist(err) {
		t.Errorf("no such file: %v", err)
	}
	one := filepath.Join(folder(t, "one.json", `{"systems":[{"name":"x"}]}`), "one.json")
	s, err := read(one, nil)
	if err != nil || s.doc.Name != "default" {
		t.Fatalf("a file without a name: %+v, %v", s, err)
	}
	if got := s.explain(&plugins.Error{Message: "wrong", Field: "systems[0].name"}).Error(); got != one+": systems[0].name: wrong" {
		t.Errorf("an error of the server is %s", got)
	}
	if got := s.explain(&plugins.Error{Message: "wrong"}).Error(); got != one+": wrong" {
		t.Errorf("an error of the server is %s", got)
	}
}

func TestAFileIsJSONWhateverItsEditorPutsInFrontOfIt(t *testing.T) {
	dir := folder(t, "bom.json", "\ufeff{\"systems\":[{\"name\":\"x\"}]}", "a.yaml", "systems: []", "b.YML", "{}")
	if s, err := read(filepath.Join(dir, "bom.json"), nil); err != nil || len(s.doc.Systems) != 1 {
		t.Errorf("with a byte order mark: %+v, %v", s, err)
	}
	for _, name := range []string{"a.yaml", "b.YML"} {
		path := filepath.Join(dir, name)
		if _, err := read(path, nil); err == nil || err.Error() != path+": documents are JSON" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStandardInputIsADocumentToo(t *testing.T) {
	s, err := read("-", strings.NewReader(`{"systems":[{"name":"x"}]}`))
	if err != nil || s.doc.Name != "default" || len(s.doc.Systems) != 1 {
		t.Errorf("read %+v, %v", s, err)
	}
	if _, err := read("-", strings.NewReader(`{"systems":{}}`)); err == nil || err.Error() != "standard input: systems: expected an array, not object" {
		t.Errorf("what is no document: %v", err)
	}
	if _, err := read("-", strings.NewReader(strings.Repeat(" ", maxDocument+1))); err == nil || err.Error() != "read standard input: expected at most 16777216 bytes" {
		t.Errorf("too much: %v", err)
	}
}
