package cases

import (
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing/fstest"
	"time"
)

var modified = time.Date(2020, 2, 2, 20, 20, 20, 0, time.UTC)

// tree is a small site.
func tree() fs.FS {
	file := func(text string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(text), ModTime: modified, Mode: 0o644}
	}
	return fstest.MapFS{
		"index.html":     file("<p>index"),
		"a.txt":          file("text of a"),
		"b c.html":       file("<p>blank"),
		"empty.txt":      file(""),
		"dir/index.html": file("<p>dir"),
		"list/one.txt":   file("1"),
		"list/t<wo>.txt": file("2"),
	}
}

func site(w http.ResponseWriter, r *http.Request, _ Say) {
	http.FileServerFS(tree()).ServeHTTP(w, r)
}

// content serves the digits and letters, with a date and a tag.
func content(w http.ResponseWriter, r *http.Request, _ Say) {
	w.Header().Set("ETag", `"tag"`)
	http.ServeContent(w, r, "x.txt", modified, strings.NewReader("0123456789abcdefghijklmnopqrstuvwxyz"))
}

// disk serves a file of the working directory, which has 100,000 bytes.
func disk(w http.ResponseWriter, r *http.Request, _ Say) {
	http.ServeFile(w, r, "large.bin")
}

func fileCases() []Case {
	cases := []Case{
		{Name: "ServeContent without a date", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("<html>"))
		}, Send: Get("/"), HTTP2: true},
		{Name: "ServeContent by HEAD", Handle: content, Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "ServeContent by POST", Handle: content, Send: Post("/", "x")},
		{Name: "ServeContent with an encoding", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			w.Header().Set("Content-Encoding", "gzip")
			http.ServeContent(w, r, "x.txt", modified, strings.NewReader("zipped"))
		}, Send: Get("/")},
		{Name: "ServeFile", Handle: disk, Send: Get("/"), HTTP2: true},
		{Name: "ServeFile of a range", Handle: disk, Send: Get("/", "Range: bytes=50000-69999"), HTTP2: true},
		{Name: "ServeFile of two ranges", Handle: disk, Send: Get("/", "Range: bytes=0-4,99995-")},
		{Name: "ServeFile by HEAD", Handle: disk, Send: Request("HEAD", "/", "")},
		{Name: "ServeFile of what is missing", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			http.ServeFile(w, r, "missing.bin")
		}, Send: Get("/")},
		{Name: "ServeFileFS", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			http.ServeFileFS(w, r, tree(), "a.txt")
		}, Send: Get("/")},
		{Name: "io.Copy of a file", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			f, err := os.Open("large.bin")
			if err != nil {
				say("%v", err)
				return
			}
			defer f.Close()
			n, err := io.Copy(w, f)
			say("%d %v", n, err)
			at, err := f.Seek(0, io.SeekCurrent)
			say("%d %v", at, err)
		}, Send: Get("/"), HTTP2: true},
		{Name: "io.CopyN of a file within a length", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			f, err := os.Open("large.bin")
			if err != nil {
				say("%v", err)
				return
			}
			defer f.Close()
			w.Header().Set("Content-Length", "50010")
			_, _ = io.WriteString(w, "before----")
			n, err := io.CopyN(w, f, 50_000)
			say("%d %v", n, err)
		}, Send: Get("/")},
		{Name: "io.Copy of a file beyond the length", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			f, err := os.Open("large.bin")
			if err != nil {
				say("%v", err)
				return
			}
			defer f.Close()
			w.Header().Set("Content-Length", "50000")
			_, err = io.Copy(w, f)
			say("%v", err)
		}, Send: Get("/")},
	}
	for name, header := range map[string]string{
		"whole": "", "a range": "Range: bytes=0-4", "a range without end": "Range: bytes=10-", "a range from the end": "Range: bytes=-3",
		"a range beyond the end": "Range: bytes=100-", "a range of nothing": "Range: bytes=-0", "a range that is malformed": "Range: bytes=x",
		"a range in another unit": "Range: lines=1-2", "two ranges": "Range: bytes=0-1,5-6", "ranges that overlap": "Range: bytes=0-20,5-30,0-35",
		"the tag": `If-None-Match: "tag"`, "any tag": "If-None-Match: *", "a weak tag": `If-None-Match: W/"tag"`, "another tag": `If-None-Match: "other"`,
		"a tag that must match": `If-Match: "tag"`, "a tag that does not match": `If-Match: "other"`,
		"not modified since": "If-Modified-Since: Mon, 02 Feb 2026 20:20:20 GMT", "modified since": "If-Modified-Since: Tue, 02 Feb 2010 20:20:20 GMT",
		"a date that is malformed": "If-Modified-Since: yesterday", "modified although it must not": "If-Unmodified-Since: Sun, 01 Feb 2015 20:20:20 GMT",
		"a range if the tag matches": "Range: bytes=0-4\r\nIf-Range: \"tag\"", "a range if another tag matches": "Range: bytes=0-4\r\nIf-Range: \"other\"",
		"a range if the date matches": "Range: bytes=0-4\r\nIf-Range: Sun, 02 Feb 2020 20:20:20 GMT",
	} {
		c := Case{Name: "ServeContent, " + name, Handle: content, Send: Get("/"), HTTP2: true}
		if header != "" {
			c.Send = Get("/", header)
		}
		cases = append(cases, c)
	}
	for _, target := range []string{
		"/", "/index.html", "/a.txt", "/b%20c.html", "/empty.txt", "/dir", "/dir/", "/list/", "/list", "/missing", "/a.txt/",
		"/list/t%3Cwo%3E.txt", "/dir/index.html?x=y",
	} {
		cases = append(cases, Case{Name: "FileServer, " + target, Handle: site, Send: Get(target), HTTP2: true})
	}
	return cases
}
