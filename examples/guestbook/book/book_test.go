package book

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/goapp"
)

func open(t *testing.T) *Book {
	t.Helper()
	b, err := Open(filepath.Join(t.TempDir(), "guest book?.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

// site serves h at the mount point as a server would.
func site(t *testing.T, h http.Handler, mount string) (*httptest.Server, *http.Client) {
	t.Helper()
	s := httptest.NewServer(goapp.Handler(goapp.Dispatch(map[string]goapp.Application{
		mount: goapp.FromHandler(h),
	})))
	t.Cleanup(s.Close)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := s.Client()
	client.Jar = jar
	return s, client
}

func get(t *testing.T, client *http.Client, target string) (*http.Response, string) {
	t.Helper()
	r, err := client.Get(target)
	require.NoError(t, err)
	return r, text(t, r)
}

func post(t *testing.T, client *http.Client, target, name, message string) (*http.Response, string) {
	t.Helper()
	r, err := client.PostForm(target, url.Values{"name": {name}, "message": {message}})
	require.NoError(t, err)
	return r, text(t, r)
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(body)
}

func TestSignsAndShowsUnderAnyMountPoint(t *testing.T) {
	for _, mount := range []string{"", "/book", "/a/b"} {
		t.Run("mount "+mount, func(t *testing.T) {
			s, client := site(t, open(t).Handler(), mount)
			home := s.URL + mount + "/"

			_, page := get(t, client, home)
			assert.Contains(t, page, "Nobody has written yet.")

			r, page := post(t, client, home, "Ann <b> é", "Hello\r\nWorld & all")
			assert.Equal(t, http.StatusOK, r.StatusCode)
			assert.Equal(t, http.MethodGet, r.Request.Method, "redirected after the post")
			assert.Equal(t, home, r.Request.URL.String())
			assert.Contains(t, page, "Hello\nWorld &amp; all")
			assert.Contains(t, page, `value="Ann &lt;b&gt; é"`, "the name is remembered")
			assert.Contains(t, page, `href="`+mount+`/entry/1"`)

			r, page = get(t, client, home+"entry/1")
			assert.Equal(t, http.StatusOK, r.StatusCode)
			assert.Contains(t, page, "Hello\nWorld &amp; all")
			assert.NotContains(t, page, "<form")

			r, page = get(t, client, home+"static/style.css")
			assert.Equal(t, "text/css; charset=utf-8", r.Header.Get("Content-Type"))
			assert.Contains(t, page, "--paper")
		})
	}
}

func TestBareMountPointIsSentToTheSlash(t *testing.T) {
	s, client := site(t, open(t).Handler(), "/book")
	r, _ := get(t, client, s.URL+"/book")
	assert.Equal(t, s.URL+"/book/", r.Request.URL.String())
}

func TestRefusesWhatIsNoEntry(t *testing.T) {
	s, client := site(t, open(t).Handler(), "")
	for name, c := range map[string]struct {
		name, message string
		status        int
		problem       string
	}{
		"no name":      {" ", "x", 422, "Please give a name and a message."},
		"no message":   {"x", "\r\n", 422, "Please give a name and a message."},
		"long name":    {strings.Repeat("é", maxName+1), "x", 422, "That name is too long."},
		"long message": {"x", strings.Repeat("é", maxMessage+1), 422, "That message is too long."},
		"not UTF-8":    {"x\xff", "x", 422, "That is not text."},
		"large form":   {"x", strings.Repeat("x", maxForm), 413, "Request Entity Too Large"},
	} {
		t.Run(name, func(t *testing.T) {
			r, page := post(t, client, s.URL+"/", c.name, c.message)
			assert.Equal(t, c.status, r.StatusCode)
			assert.Contains(t, page, c.problem)
		})
	}
	_, page := get(t, client, s.URL+"/")
	assert.Contains(t, page, "Nobody has written yet.")
}

func TestOtherSitesCannotPost(t *testing.T) {
	s, client := site(t, open(t).Handler(), "")
	for header, value := range map[string]string{
		"Sec-Fetch-Site": "cross-site",
		"Origin":         "https://elsewhere.example",
	} {
		r, err := http.NewRequest("POST", s.URL+"/", strings.NewReader("name=x&message=x"))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(header, value)
		w, err := client.Do(r)
		require.NoError(t, err)
		text(t, w)
		assert.Equal(t, http.StatusForbidden, w.StatusCode, header)
	}
}

func TestUnknownPagesAreNotFound(t *testing.T) {
	s, client := site(t, open(t).Handler(), "/book")
	for _, path := range []string{"/book/entry/1", "/book/entry/x", "/book/static/none", "/book/none"} {
		r, _ := get(t, client, s.URL+path)
		assert.Equal(t, http.StatusNotFound, r.StatusCode, path)
	}
}

func TestPagesGoBackToTheFirstEntry(t *testing.T) {
	b := open(t)
	for range pageLen + 1 {
		_, err := b.store.add(t.Context(), Entry{Name: "n", Message: "m"})
		require.NoError(t, err)
	}
	s, client := site(t, b.Handler(), "")
	_, page := get(t, client, s.URL+"/")
	assert.Equal(t, pageLen, strings.Count(page, "<article>"))
	assert.Contains(t, page, `href="/?before=2"`)
	_, page = get(t, client, s.URL+"/?before=2")
	assert.Equal(t, 1, strings.Count(page, "<article>"))
	assert.NotContains(t, page, "Older entries")
}

func TestOpenReportsAFileThatCannotBe(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none", "book.db"))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "none/book.db")
}

// Several processes that open the same new file and write at once lose
// nothing.
func TestManyProcessesShareTheFile(t *testing.T) {
	const processes, entries = 6, 20

	path := filepath.Join(t.TempDir(), "book.db")
	if p := os.Getenv("BOOK_TEST_SHARED"); p != "" {
		writeMany(t, p, entries)
		return
	}
	var writers []*exec.Cmd
	outputs := make([]strings.Builder, processes)
	for i := range processes {
		c := exec.Command(os.Args[0], "-test.run=^TestManyProcessesShareTheFile$")
		c.Env = append(os.Environ(), "BOOK_TEST_SHARED="+path)
		c.Stdout, c.Stderr = &outputs[i], &outputs[i]
		require.NoError(t, c.Start())
		writers = append(writers, c)
	}
	for i, c := range writers {
		assert.NoError(t, c.Wait(), outputs[i].String())
	}
	b, err := Open(path)
	require.NoError(t, err)
	defer b.Close()
	var n int
	require.NoError(t, b.store.db.QueryRow("select count(*) from entry").Scan(&n))
	assert.Equal(t, processes*entries, n)
	var mode string
	require.NoError(t, b.store.db.QueryRow("pragma journal_mode").Scan(&mode))
	assert.Equal(t, "wal", mode)
}

func writeMany(t *testing.T, path string, n int) {
	t.Helper()
	b, err := Open(path)
	require.NoError(t, err)
	defer b.Close()
	for range n {
		_, err := b.store.add(t.Context(), Entry{Name: "n", Message: "m"})
		require.NoError(t, err)
	}
}
