package plugins

import (
	"context"
	"database/sql"
)

// Queryer is what a [sql.DB], a [sql.Tx] and a [sql.Conn] have in common for reading.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Row is one row of a result: a [sql.Row], or the current one of [sql.Rows].
type Row interface{ Scan(dest ...any) error }

// Rows runs a query and reads every row of its result with scan. The query must bound the number of rows. The
// list is never nil.
func Rows[T any](ctx context.Context, db Queryer, scan func(Row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // does nothing once Next has returned false
	items := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, rows.Err()
}

// ListRows reads one page of a list with scan. The first column of the query is how many rows there are on all pages,
// count(*) over (), which scan does not see; its last two parameters, after args, are the limit and the offset.
func ListRows[T any](
	ctx context.Context, db Queryer, page Page, scan func(Row) (T, error), query string, args ...any,
) (List[T], error) {
	var list List[T]
	counted := func(row Row) (T, error) { return scan(countedRow{row, &list.Total}) }
	args = append(args[:len(args):len(args)], page.Limit, page.Offset)
	items, err := Rows(ctx, db, counted, query, args...)
	if len(items) == 0 && err == nil && page.Offset > 0 { // past the end no row tells the total: the first one does
		args[len(args)-2], args[len(args)-1] = 1, 0
		_, err = Rows(ctx, db, counted, query, args...)
	}
	list.Items = items
	return list, err
}

// countedRow reads the first column of a row into total.
type countedRow struct {
	row   Row
	total *int
}

func (c countedRow) Scan(dest ...any) error {
	return c.row.Scan(append([]any{c.total}, dest...)...)
}
