package cases

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

func parsed(w http.ResponseWriter, r *http.Request, say Say) {
	err := r.ParseForm()
	say("%v, form %v, post %v", err, r.Form, r.PostForm)
}

const encodedForm = "Content-Type: application/x-www-form-urlencoded"

// parts are the body of a form with a field and a file.
func parts(size int) string {
	var b strings.Builder
	form := multipart.NewWriter(&b)
	_ = form.SetBoundary("limit")
	_ = form.WriteField("title", "a title")
	part, _ := form.CreateFormFile("upload", "x.txt")
	_, _ = io.WriteString(part, strings.Repeat("x", size))
	_ = form.Close()
	return b.String()
}

const partsForm = "Content-Type: multipart/form-data; boundary=limit"

func uploaded(_ http.ResponseWriter, r *http.Request, say Say) {
	err := r.ParseMultipartForm(1000)
	say("%v, form %v", err, r.Form)
	if r.MultipartForm == nil {
		return
	}
	for name, files := range r.MultipartForm.File {
		for _, file := range files {
			say("%s %s %d %v", name, file.Filename, file.Size, file.Header)
		}
	}
}

func formCases() []Case {
	var cleaned string
	return []Case{
		{Name: "a form", Handle: parsed, Send: Post("/?a=query&c=3", "a=1&b=%C3%A9+x&a=2", encodedForm), HTTP2: true},
		{Name: "a form by PUT", Handle: parsed, Send: Request("PUT", "/?a=query", "a=1", encodedForm, "Content-Length: 3")},
		{Name: "a form by PATCH", Handle: parsed, Send: Request("PATCH", "/", "a=1", encodedForm, "Content-Length: 3")},
		{Name: "a form by GET", Handle: parsed, Send: Request("GET", "/?a=query", "a=1", encodedForm, "Content-Length: 3")},
		{Name: "a form by DELETE", Handle: parsed, Send: Request("DELETE", "/?a=query", "a=1", encodedForm, "Content-Length: 3")},
		{Name: "a form without a type", Handle: parsed, Send: Post("/", "a=1")},
		{Name: "a form of another type", Handle: parsed, Send: Post("/?b=2", "a=1", "Content-Type: text/plain")},
		{Name: "a form with a type that is malformed", Handle: parsed, Send: Post("/", "a=1", "Content-Type: ///")},
		{Name: "a form that is malformed", Handle: parsed, Send: Post("/", "a=%zz&b=2", encodedForm)},
		{Name: "a form that is chunked", Handle: parsed, Send: Chunked("/", "a=1&b=2", encodedForm)},
		{Name: "a form over 10 MB", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			say("%v", r.ParseForm())
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}, Send: Post("/", "a="+strings.Repeat("x", 10<<20), encodedForm), Unprobed: true},
		{Name: "PostFormValue and FormValue", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			say("%q %q %q", r.FormValue("a"), r.PostFormValue("a"), r.FormValue("q"))
		}, Send: Post("/?a=2&q=x", "a=1", encodedForm)},
		{Name: "a semicolon in the query", Like: "TestQuerySemicolon", Handle: parsed, Send: Get("/?a=1;x=bad&x=good&a=aa")},
		{Name: "a semicolon in the query that is allowed", Like: "TestQuerySemicolon", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			http.AllowQuerySemicolons(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { parsed(w, r, say) })).ServeHTTP(w, r)
		}, Send: Get("/?a=1;x=bad&x=good;a=bad&x=good&a=aa")},
		{Name: "a form in parts", Handle: uploaded, Send: Post("/?q=1", parts(10), partsForm), HTTP2: true},
		{Name: "a form in parts with a large file", Handle: uploaded, Send: Post("/", parts(300_000), partsForm)},
		{Name: "a form in parts that is chunked", Handle: uploaded, Send: Chunked("/", parts(5000), partsForm)},
		{Name: "a form in parts without a boundary", Handle: uploaded, Send: Post("/", parts(10), "Content-Type: multipart/form-data")},
		{Name: "a form in parts without its end", Handle: uploaded, Send: Post("/", parts(10)[:100], partsForm)},
		{Name: "a form in parts that is none", Handle: uploaded, Send: Post("/", "a=1", encodedForm)},
		{Name: "FormFile", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			f, header, err := r.FormFile("upload")
			if err != nil {
				say("%v", err)
				return
			}
			body, err := io.ReadAll(f)
			say("%s %q %v", header.Filename, body, err)
			_, _, err = r.FormFile("missing")
			say("%v", errors.Is(err, http.ErrMissingFile))
		}, Send: Post("/", parts(10), partsForm)},
		{Name: "MultipartReader", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			form, err := r.MultipartReader()
			say("%v", err)
			for err == nil {
				var part *multipart.Part
				if part, err = form.NextPart(); err == nil {
					body, _ := io.ReadAll(part)
					say("%s %d", part.FormName(), len(body))
				}
			}
			say("%v", err)
		}, Send: Post("/", parts(5000), partsForm)},
		{Name: "uploaded files are removed", Like: "TestParseFormCleanup", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			// ParseMultipartForm keeps 10 MB more in memory than it is told.
			f, _, err := formFile(r)
			if err != nil {
				say("%v", err)
				return
			}
			defer f.Close()
			named, ok := f.(*os.File)
			if !ok {
				say("the file is in memory")
				return
			}
			cleaned = named.Name()
			_, err = os.Stat(cleaned)
			say("%v", err)
		}, Late: func(say Say) {
			_, err := os.Stat(cleaned)
			for range 1000 {
				if err != nil {
					break
				}
				time.Sleep(5 * time.Millisecond)
				_, err = os.Stat(cleaned)
			}
			say("removed %v", errors.Is(err, os.ErrNotExist))
		}, Send: Post("/", parts(11<<20), partsForm)},
		{Name: "every cookie", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			say("%v %v", r.Cookies(), r.Header["Cookie"])
			_, err := r.Cookie("missing")
			say("%v", err)
		}, Send: Get("/", `Cookie: a=1; b="two"; bad name=3`), HTTP2: true},
		{Name: "the query by its values", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			var keys []string
			for key, values := range r.URL.Query() {
				keys = append(keys, fmt.Sprintf("%s=%q", key, values))
			}
			slices.Sort(keys)
			say("%v", keys)
		}, Send: Get("/?a=1&b=%26&a=2&c&d=+x%20y"), HTTP2: true},
	}
}

func formFile(r *http.Request) (multipart.File, *multipart.FileHeader, error) {
	if err := r.ParseMultipartForm(0); err != nil {
		return nil, nil, err
	}
	return r.FormFile("upload")
}
