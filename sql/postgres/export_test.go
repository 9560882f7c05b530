package postgres

import "context"

// What the tests see beside what is exported.
var (
	CheckVersion = checkVersion
	ParseMajor   = parseMajor
	Parse        = parse
	SocketLimit  = checkLength
)

type Search = search

func NewSearch(path string, folders ...string) Search { return search{path, folders} }

func OpenWith(ctx context.Context, cfg Config, s Search) (*Database, error) { return open(ctx, cfg, s) }

func (s search) Find(ctx context.Context, want int) (dir string, major int, err error) {
	i, err := s.find(ctx, want)
	return i.dir, i.major, err
}

// ServerPID returns the process number of the private cluster's server.
func (d *Database) ServerPID() int { return d.cluster.current().pid }
