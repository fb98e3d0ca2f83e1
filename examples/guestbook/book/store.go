package book

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver, in pure Go
)

const schema = `
create table if not exists entry (
	id      integer primary key,
	name    text not null,
	message text not null,
	server  text not null,
	written integer not null
)`

// openTimeout is how long a statement, and the first one of all, waits for
// the other processes that share the file.
const openTimeout = 10 * time.Second

// Entry is what somebody wrote.
type Entry struct {
	ID      int64
	Name    string
	Message string
	Server  string // the one that it came through
	Written time.Time
}

type store struct {
	db *sql.DB
}

// openStore opens the file, which several servers and all of their workers
// share: with a write-ahead log readers and the writer do not wait for each
// other, and writers wait for a moment instead of failing.
func openStore(path string) (*store, error) {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", openTimeout.Milliseconds()),
		"journal_mode(wal)",
		"synchronous(normal)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	if err := prepare(db); err != nil {
		db.Close()
		return nil, fmt.Errorf("guestbook: %s: %w", path, err)
	}
	return &store{db}, nil
}

// prepare tries again while other processes open the same new file: the
// change to a write-ahead log does not wait for its lock.
func prepare(db *sql.DB) error {
	deadline := time.Now().Add(openTimeout)
	for {
		_, err := db.Exec(schema)
		if err == nil || !busy(err) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *store) add(ctx context.Context, e Entry) (int64, error) {
	result, err := s.db.ExecContext(ctx,
		"insert into entry (name, message, server, written) values (?, ?, ?, ?)",
		e.Name, e.Message, e.Server, e.Written.Unix())
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

func (s *store) entry(ctx context.Context, id int64) (Entry, error) {
	return scan(s.db.QueryRowContext(ctx,
		"select id, name, message, server, written from entry where id = ?", id))
}

// before returns the n youngest entries with a number below id.
func (s *store) before(ctx context.Context, id int64, n int) ([]Entry, error) {
	rows, err := s.db.QueryContext(ctx,
		"select id, name, message, server, written from entry where id < ? order by id desc limit ?", id, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	var entries []Entry
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

func scan(row interface{ Scan(...any) error }) (Entry, error) {
	var e Entry
	var written int64
	err := row.Scan(&e.ID, &e.Name, &e.Message, &e.Server, &written)
	e.Written = time.Unix(written, 0).UTC()
	return e, err
}
