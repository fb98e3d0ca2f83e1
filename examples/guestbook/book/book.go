// Package book is a guest book: a small complete application with a router,
// templates, a database, forms, a cookie and static files, which does not
// know where in a site it is mounted.
package book

import (
	"database/sql"
	"embed"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gsgi/gsgi/goapp"
)

const (
	pageLen    = 20
	maxName    = 60
	maxMessage = 1000
	maxForm    = 64 << 10
	cookieName = "guest"
)

var (
	//go:embed pages static
	files embed.FS

	pages = template.Must(template.ParseFS(files, "pages/*.html"))
)

// Book is an open guest book.
type Book struct {
	store *store
}

// Open opens the book in the SQLite file at path, or begins a new one.
func Open(path string) (*Book, error) {
	s, err := openStore(path)
	if err != nil {
		return nil, err
	}
	return &Book{s}, nil
}

// Close closes the file.
func (b *Book) Close() error {
	return b.store.db.Close()
}

// Handler serves the book.
func (b *Book) Handler() http.Handler {
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err)
	}
	r := chi.NewRouter()
	r.Use(http.NewCrossOriginProtection().Handler, policy, slash)
	r.Get("/", b.list)
	r.Post("/", b.sign)
	r.Get("/entry/{id}", b.show)
	r.Handle("/static/*", http.StripPrefix("/static", cached(http.FileServerFS(static))))
	return r
}

// mount is where the server has put the application: "" or "/book".  Links
// and redirects begin with it.
func mount(r *http.Request) string {
	return goapp.EnvironOf(r).Get("SCRIPT_NAME")
}

func policy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// slash sends /book to /book/, which is where the cookie's path begins.
func slash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" {
			http.Redirect(w, r, mount(r)+"/", http.StatusPermanentRedirect)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		next.ServeHTTP(w, r)
	})
}

type view struct {
	Mount   string
	Name    string
	Message string
	Problem string
	Entries []Entry
	Older   int64 // the next page begins below this entry, 0: there is none
	Server  string
	Single  bool
}

func newView(r *http.Request) view {
	return view{Mount: mount(r), Name: remembered(r), Server: goapp.EnvironOf(r).Get("SERVER_SOFTWARE")}
}

func (b *Book) list(w http.ResponseWriter, r *http.Request) {
	b.render(w, r, newView(r), http.StatusOK)
}

// render fills in the entries of the page that the query asks for.
func (b *Book) render(w http.ResponseWriter, r *http.Request, v view, status int) {
	before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	if err != nil {
		before = math.MaxInt64
	}
	v.Entries, err = b.store.before(r.Context(), before, pageLen+1)
	if err != nil {
		b.fail(w, r, err)
		return
	}
	if len(v.Entries) > pageLen {
		v.Entries = v.Entries[:pageLen]
		v.Older = v.Entries[pageLen-1].ID
	}
	write(w, r, v, status)
}

func (b *Book) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	e, err := b.store.entry(r.Context(), id)
	if errors.Is(err, sql.ErrNoRows) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		b.fail(w, r, err)
		return
	}
	v := newView(r)
	v.Entries, v.Single = []Entry{e}, true
	write(w, r, v, http.StatusOK)
}

// sign adds an entry, remembers the name, and sends the browser back to the
// list, so that to load the page again does not sign again.
func (b *Book) sign(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		refuse(w, err)
		return
	}
	v := newView(r)
	v.Name = strings.TrimSpace(r.PostForm.Get("name"))
	v.Message = strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get("message"), "\r\n", "\n"))
	if v.Problem = problem(v.Name, v.Message); v.Problem != "" {
		b.render(w, r, v, http.StatusUnprocessableEntity)
		return
	}
	_, err := b.store.add(r.Context(), Entry{
		Name: v.Name, Message: v.Message, Server: v.Server, Written: time.Now(),
	})
	if err != nil {
		b.fail(w, r, err)
		return
	}
	remember(w, r, v.Name)
	http.Redirect(w, r, v.Mount+"/", http.StatusSeeOther)
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		status = http.StatusRequestEntityTooLarge
	}
	http.Error(w, http.StatusText(status), status)
}

func problem(name, message string) string {
	switch {
	case !utf8.ValidString(name) || !utf8.ValidString(message):
		return "That is not text."
	case name == "" || message == "":
		return "Please give a name and a message."
	case utf8.RuneCountInString(name) > maxName:
		return "That name is too long."
	case utf8.RuneCountInString(message) > maxMessage:
		return "That message is too long."
	}
	return ""
}

// remembered is the name in the cookie, escaped there because a cookie cannot
// hold every character.
func remembered(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	name, err := url.QueryUnescape(c.Value)
	if err != nil || !utf8.ValidString(name) {
		return ""
	}
	return name
}

func remember(w http.ResponseWriter, r *http.Request, name string) {
	http.SetCookie(w, &http.Cookie{
		Name:     cookieName,
		Value:    url.QueryEscape(name),
		Path:     mount(r) + "/",
		MaxAge:   365 * 24 * 3600,
		HttpOnly: true,
		Secure:   r.TLS != nil,
		SameSite: http.SameSiteLaxMode,
	})
}

func write(w http.ResponseWriter, r *http.Request, v view, status int) {
	var page strings.Builder
	if err := pages.ExecuteTemplate(&page, "book.html", v); err != nil {
		slog.ErrorContext(r.Context(), "guestbook: template", "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	io.WriteString(w, page.String())
}

func (b *Book) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		slog.ErrorContext(r.Context(), "guestbook", "error", err)
	}
	status := http.StatusInternalServerError
	if busy(err) {
		status = http.StatusServiceUnavailable
	}
	http.Error(w, http.StatusText(status), status)
}

// busy tells whether another process holds the file's lock.
func busy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
