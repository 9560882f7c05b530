package servertest

import (
	"testing"
)

func TestSpacesBetweenValuesDoNotMatter(t *testing.T) {
	for in, want := range map[string]string{
		"204":                      "204\n",
		"200\n{ \"a b\" :\n\t1 }":  "200\n{\"a b\":1}",
		"200\n\"a \\\" b\" , 1":    "200\n\"a \\\" b\",1",
		"200\n\"a\\\\\" , \"b c\"": "200\n\"a\\\\\",\"b c\"",
		"201 /api/x y\n[ … , 1 ]":  "201 /api/x y\n[…,1]",
	} {
		if got := compact(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestLogIsReadWhereverItIsCut(t *testing.T) {
	const text = `{"msg":"ready","plugin":"x"}` + "\nnot JSON\n" + `{"msg":"listening","addr":"127.0.0.1:1"}` + "\n" + `{"msg":"ready"}` + "\n" + `{"msg":"ready"}` + "\n"
	for size := 1; size <= len(text); size++ {
		l := newLogbook()
		for rest := text; rest != ""; {
			n, err := l.Write([]byte(rest[:min(size, len(rest))]))
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if len(l.listening) != 1 || <-l.listening != "127.0.0.1:1" || len(l.ready) != 1 || l.String() != text {
			t.Fatalf("in pieces of %d bytes: %d ready, %q", size, len(l.ready), l)
		}
	}
}
