package wsgi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const python = "/usr/bin/python3"

// asWorker runs a program as the workers' user.
func asWorker(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "HOME="+dir)...)
	if os.Getuid() == 0 {
		u, err := user.Lookup("www-data")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// A browser keeps cookies and follows redirects.
type browser struct {
	s *server
	http.Client
}

func newBrowser(s *server) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, http.Client{Jar: jar, Timeout: time.Minute}}
}

func (b *browser) read(res *http.Response, err error) (int, string) {
	b.s.t.Helper()
	if err != nil {
		b.s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (b *browser) page(path string) (int, string) {
	b.s.t.Helper()
	return b.read(b.Get("http://" + b.s.addr + path))
}

func (b *browser) form(path string, pairs ...string) (int, string) {
	b.s.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.read(b.PostForm("http://"+b.s.addr+path, form))
}

// upload sends a file of size bytes by a form and returns its digest.
func (b *browser) upload(path string, size int) (status int, body, digest string) {
	b.s.t.Helper()
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	sum := sha256.New()
	go func() {
		part, _ := form.CreateFormFile("file", "file.bin")
		block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		for left := size; left > 0; left -= len(block) {
			block = block[:min(left, len(block))]
			sum.Write(block)
			_, _ = part.Write(block)
		}
		form.Close()
		w.Close()
	}()
	status, body = b.read(b.Post("http://"+b.s.addr+path, form.FormDataContentType(), r))
	return status, body, fmt.Sprintf("%x", sum.Sum(nil))
}

var csrf = regexp.MustCompile(`name="csrfmiddlewaretoken" value="([^"]+)"`)

// login passes Django's form, in the admin.
func (b *browser) login(name, password string) {
	t := b.s.t
	t.Helper()
	status, page := b.page("/admin/")
	token := csrf.FindStringSubmatch(page)
	if status != 200 || token == nil || !strings.Contains(page, `id="login-form"`) {
		t.Fatalf("the admin is no login form: %d %.500s", status, page)
	}
	if status, _ := b.form("/admin/login/?next=/admin/", "username", name, "password", password); status != 403 {
		t.Errorf("a login without the token: %d", status)
	}
	status, page = b.form("/admin/login/?next=/admin/", "csrfmiddlewaretoken", token[1], "username", name,
		"password", password, "next", "/admin/")
	if status != 200 || !strings.Contains(page, "Site administration") {
		t.Fatalf("login: %d %.500s", status, page)
	}
}

// add adds an object in the admin, by the form of a page.
func (b *browser) add(path, field, text string) {
	b.s.t.Helper()
	_, page := b.page(path)
	token := csrf.FindStringSubmatch(page)
	if token == nil {
		b.s.t.Fatalf("%s is no form: %.300s", path, page)
	}
	status, page := b.form(path, "csrfmiddlewaretoken", token[1], field, text, "_save", "Save")
	if status != 200 || !strings.Contains(page, text) || !strings.Contains(page, "was added successfully") {
		b.s.t.Errorf("adding %s: %d %.500s", text, status, page)
	}
}

// migrate makes the tables of a Django site, and a user.
func migrate(t *testing.T, dir string, env ...string) {
	t.Helper()
	env = append(env, "PYTHONDONTWRITEBYTECODE=1")
	asWorker(t, dir, env, python, "manage.py", "migrate", "-v", "0")
	asWorker(t, dir, append(env, superuser...), python, "manage.py", "createsuperuser", "--noinput")
}

var superuser = []string{"DJANGO_SUPERUSER_USERNAME=ann", "DJANGO_SUPERUSER_PASSWORD=a-long-password", "DJANGO_SUPERUSER_EMAIL=a@example.com"}

// A djangoSite is made once; the servers get copies of its files.
type djangoSite struct {
	name string
	make func(t *testing.T, dir string)
	once sync.Once
}

// copyTo puts the files, and the database, where a worker may write them.
func (d *djangoSite) copyTo(t *testing.T, to string) {
	t.Helper()
	dir := filepath.Join(world.dir, d.name)
	d.once.Do(func() {
		if err := errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			t.Fatal(err)
		}
		d.make(t, dir)
	})
	asWorker(t, to, nil, "cp", "-r", dir+"/.", to)
}

// TestDjangoStartproject: what django-admin makes runs as it is.
func TestDjangoStartproject(t *testing.T) {
	site := djangoSite{name: "startproject", make: func(t *testing.T, dir string) {
		asWorker(t, dir, nil, python, "-m", "django", "startproject", "mysite", ".")
		migrate(t, dir)
	}}
	both(t, func(t *testing.T, kind string) {
		s := prepareServer(t, kind, setup{args: "mysite.wsgi:application --chdir @DIR@/state"})
		site.copyTo(t, filepath.Join(s.dir, "state"))
		if text, ok := s.check(); !ok {
			t.Fatalf("the check: %s", text)
		}
		s.serve()
		b := newBrowser(s)
		if status, page := b.page("/"); status != 200 || !strings.Contains(page, "The install worked successfully") {
			t.Fatalf("the first page: %d %.500s", status, page)
		}
		b.login("ann", "a-long-password")
		b.add("/admin/auth/group/add/", "name", "readers")
		if status, _ := b.page("/no/such/page"); status != 404 {
			t.Errorf("no such page: %d", status)
		}
	})
}

// exampleDir copies an example where the workers can read it.
func exampleDir(t *testing.T, name string) string {
	t.Helper()
	to := filepath.Join(world.dir, "example-"+name)
	if _, err := os.Stat(to); err == nil {
		return to
	}
	if err := copyTree(filepath.Join("../..", name), to); err != nil {
		t.Fatal(err)
	}
	return to
}

// eachDjango runs a test with the example in each kind of server, with the
// admin's static files and a database of its own.
func eachDjango(t *testing.T, f func(t *testing.T, s *server)) {
	t.Helper()
	const static = "/usr/lib/python3/dist-packages/django/contrib/admin/static/"
	dir := exampleDir(t, "django")
	conf := setup{
		args:   "mysite.wsgi:application --chdir " + dir + " --env DJANGO_DB=@DIR@/state/db.sqlite3",
		static: "location /django-static/ { alias " + static + "; types { text/css css; text/javascript js; image/svg+xml svg; } }",
		hosts: "Alias /django-static/ " + static + "\n<Directory " + static + ">\nRequire all granted\n</Directory>\n" +
			"AddType text/css .css\nAddType text/javascript .js\nAddType image/svg+xml .svg\n",
	}
	both(t, func(t *testing.T, kind string) {
		s := prepareServer(t, kind, conf)
		notes.copyTo(t, filepath.Join(s.dir, "state"))
		s.serve()
		f(t, s)
	})
}

// notes is the database of the example.
var notes = djangoSite{name: "notes", make: func(t *testing.T, to string) {
	migrate(t, exampleDir(t, "django"), "DJANGO_DB="+to+"/db.sqlite3")
}}

func TestDjango(t *testing.T) {
	eachDjango(t, func(t *testing.T, s *server) {
		b := newBrowser(s)
		if status, page := b.page("/"); status != 200 || !strings.Contains(page, "No notes yet") {
			t.Fatalf("index: %d %.300s", status, page)
		}
		b.login("ann", "a-long-password")
		b.add("/admin/pages/note/add/", "text", "from the admin \u2603")
		if _, page := b.page("/"); !strings.Contains(page, "from the admin \u2603") {
			t.Errorf("the note is not there: %.300s", page)
		}
		if _, page := b.page("/private"); page != "only for ann\n" {
			t.Errorf("private: %q", page)
		}
		const size = 200 << 20
		status, text, digest := b.upload("/upload", size)
		if status != 200 || text != fmt.Sprintf("%d %s\n", size, digest) {
			t.Errorf("upload: %d %.200q, not of %s", status, text, digest)
		}
		s.says(`\[(gsgi:)?info\].*an upload of 209715200 bytes`)
		if _, text := b.page("/numbers?count=50000"); !strings.HasSuffix(text, "\n49999\n") || strings.Count(text, "\n") != 50000 {
			t.Errorf("numbers: %d bytes", len(text))
		}
		if status, text := b.page("/django-static/admin/css/base.css"); status != 200 || len(text) < 1000 {
			t.Errorf("static: %d", status)
		}
	})
}

func TestFlask(t *testing.T) {
	conf := setup{args: `"board:create_app('of the test')" --chdir ` + exampleDir(t, "flask")}
	each(t, conf, func(t *testing.T, s *server) {
		for _, mount := range []string{"", "/mount"} {
			b := newBrowser(s)
			if _, page := b.page(mount + "/"); !strings.Contains(page, "0 messages") {
				t.Errorf("index: %.200s", page)
			}
			for i, message := range []string{"one", "caf\u00e9"} {
				status, page := b.form(mount+"/", "message", message)
				if status != 200 || !strings.Contains(page, strconv.Itoa(i+1)+" messages") || !strings.Contains(page, message) {
					t.Errorf("after %q: %d %.300s", message, status, page)
				}
			}
			if status, text := b.form(mount+"/", "message", ""); status != 400 || text != "refused: an empty message\n" {
				t.Errorf("an empty message: %d %q", status, text)
			}
			if _, text := b.page(mount + "/numbers?count=20000"); strings.Count(text, "\n") != 20000 {
				t.Errorf("numbers: %d bytes", len(text))
			}
			if status, _ := b.page(mount + "/fail"); status != 500 {
				t.Errorf("fail: %d", status)
			}
			if status, _ := b.page(mount + "/missing"); status != 404 {
				t.Errorf("missing: %d", status)
			}
		}
		s.says("RuntimeError: on purpose")
	})
}

func TestCherryPy(t *testing.T) {
	conf := setup{args: "tree:application --chdir " + exampleDir(t, "cherrypy")}
	each(t, conf, func(t *testing.T, s *server) {
		for _, mount := range []string{"", "/mount"} {
			b := newBrowser(s)
			if status, page := b.page(mount + "/?name=Ann"); status != 200 || !strings.Contains(page, "Hello, Ann") ||
				!strings.Contains(page, s.addr+mount+"/sums/add/1/2") {
				t.Errorf("index: %d %.300s", status, page)
			}
			if _, text := b.page(mount + "/sums/add/40?b=2"); text != "42\n" {
				t.Errorf("sum: %q", text)
			}
			b.page(mount + "/count")
			if _, text := b.page(mount + "/count"); text != "2\n" {
				t.Errorf("count in a session: %q", text)
			}
			if _, text, _ := b.upload(mount+"/upload", 3000000); text != "3000000\n" {
				t.Errorf("upload: %q", text)
			}
			if status, _ := b.page(mount + "/missing"); status != 404 {
				t.Errorf("missing: %d", status)
			}
		}
	})
}

func TestBottle(t *testing.T) {
	text := `import bottle
app = application = bottle.Bottle()

@app.get("/hello/<name>")
def hello(name):
    return bottle.template("Hello, {{name}}", name=name)

@app.post("/echo")
def echo():
    bottle.response.content_type = "text/plain"
    return bottle.request.forms.message + " " + bottle.request.files.file.filename

@app.get("/file")
def file():
    return bottle.static_file("sites.py", root=".")
`
	if err := os.WriteFile(filepath.Join(world.dir, "apps", "sites.py"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	each(t, setup{args: "sites --chdir @APPS@"}, func(t *testing.T, s *server) {
		s.want("/hello/Ann%20%3C", 200, "Hello, Ann &lt;")
		s.want("/mount/hello/Ann", 200, "Hello, Ann")
		s.want("/file", 200, text)
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		_ = form.WriteField("message", "a form")
		part, _ := form.CreateFormFile("file", "name.txt")
		_, _ = part.Write([]byte("text"))
		form.Close()
		req := s.request(http.MethodPost, "/echo", body.String())
		req.Header.Set("Content-Type", form.FormDataContentType())
		if a := s.do(req); a.status != 200 || a.body != "a form name.txt" {
			t.Errorf("echo: %d %q", a.status, a.body)
		}
	})
}
