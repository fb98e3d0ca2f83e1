package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// The servers under test.
const (
	nginxServer   = "nginx"
	streamsServer = "nginx with many slots"
	bareServer    = "nginx without GSGI"
	eventServer   = "apache event"
	preforkServer = "apache prefork"
	aloneServer   = "program alone"
	proxiedServer = "program behind a proxy"
	fastcgiServer = "program behind FastCGI"
	pythonServer  = "nginx python"
	pythonEvent   = "apache python"
	modWSGI       = "apache mod_wsgi"
	siteSuffix    = " site"
	uwsgiProgram  = "uwsgi"
	gunicorn      = "gunicorn"
	cleartextH2   = "h2" // NGINX's port for HTTP/2 without TLS
)

// Cores, as taskset wants them.
const (
	serverCore = "0"
	loadCore   = "1"
)

// A world is what one run has started.
type world struct {
	Dir, Out, Root string
	Port           map[string]int // of a server
	MPM            string
	script         string
	servers        map[string]*exec.Cmd
}

// newWorld makes the files that the servers need.
func newWorld(root, out string) (*world, error) {
	dir, err := os.MkdirTemp("/tmp", "gsgi-bench-")
	if err != nil {
		return nil, err
	}
	w := &world{Dir: dir, Out: out, Root: root, Port: map[string]int{}, servers: map[string]*exec.Cmd{},
		script: filepath.Join(root, "build/bench/wrk.lua")}
	return w, errors.Join(os.Chmod(dir, 0o755), w.writeFiles(), w.copyLibraries())
}

// copyLibraries puts the libraries where the servers' user can read them.
func (w *world) copyLibraries() error {
	for _, name := range []string{"bench/app.so", "gsgi-wsgi.so"} {
		library, err := os.ReadFile(filepath.Join(w.Out, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(w.Dir, filepath.Base(name)), library, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) writeFiles() error {
	static := filepath.Join(w.Dir, "static")
	big, err := os.Create(filepath.Join(w.Dir, "big"))
	if err != nil {
		return err
	}
	defer big.Close()
	hello, err := os.ReadFile(filepath.Join(w.Root, "build/bench/hello.py"))
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(static, 0o755), os.Mkdir(filepath.Join(w.Dir, "logs"), 0o755),
		os.WriteFile(filepath.Join(static, "hello.txt"), []byte("Hello, world\n"), 0o644),
		big.Truncate(1<<30), os.Symlink("../big", filepath.Join(static, "big")),
		os.WriteFile(filepath.Join(w.Dir, "hello.py"), hello, 0o644),
		os.CopyFS(filepath.Join(w.Dir, "django"), os.DirFS(filepath.Join(w.Root, "examples/django"))))
}

// start runs all servers.
func (w *world) start() error {
	app := filepath.Join(w.Out, "bench/app")
	for _, p := range []struct{ name, flag, addr string }{
		{aloneServer, "-http", fmt.Sprintf("127.0.0.1:%d", w.port(aloneServer))},
		{proxiedServer, "-http", filepath.Join(w.Dir, "http.sock")},
		{fastcgiServer, "-fcgi", filepath.Join(w.Dir, "fcgi.sock")},
	} {
		if err := w.run(p.name, app, p.flag, p.addr); err != nil {
			return err
		}
	}
	for _, name := range []string{nginxServer, streamsServer, bareServer} {
		conf, err := w.configure(name, "nginx.conf")
		if err == nil {
			err = w.run(name, "nginx", "-e", filepath.Join(w.Dir, "logs/nginx.log"), "-p", w.Dir, "-c", conf)
		}
		if err != nil {
			return err
		}
	}
	for name, mpm := range map[string]string{eventServer: "event", preforkServer: "prefork"} {
		w.MPM = mpm
		conf, err := w.configure(name, "apache.conf")
		if err == nil {
			err = w.run(name, "apache2", "-d", w.Dir, "-f", conf, "-DFOREGROUND")
		}
		if err != nil {
			return err
		}
	}
	return w.startPython()
}

// startPython runs the servers of the same Python application.
func (w *world) startPython() error {
	for _, p := range []struct {
		name string
		args []string
	}{
		{uwsgiProgram, []string{"uwsgi", "--plugin", "python3", "--socket", w.Dir + "/uwsgi.sock", "--chmod-socket=666",
			"--chdir", w.Dir, "--module", "hello:application", "--master", "--processes", "1", "--threads", "4",
			"--single-interpreter", "--need-app", "--die-on-term", "--disable-logging"}},
		{gunicorn, []string{"gunicorn", "--chdir", w.Dir, "-k", "gthread", "--threads", "4", "--keep-alive", "75",
			"-b", "unix:" + w.Dir + "/gunicorn.sock", "--umask", "0", "hello:application"}},
	} {
		if err := w.run(p.name, p.args[0], p.args[1:]...); err != nil {
			return err
		}
	}
	conf, err := w.configure(pythonServer, "wsgi-nginx.conf")
	if err == nil {
		err = w.run(pythonServer, "nginx", "-e", filepath.Join(w.Dir, "logs/wsgi-nginx.log"), "-p", w.Dir, "-c", conf)
	}
	for _, name := range []string{pythonEvent, modWSGI} {
		if err == nil {
			conf, err = w.configure(name, "wsgi-apache.conf")
		}
		if err == nil {
			err = w.run(name, "apache2", "-d", w.Dir, "-f", conf, "-DFOREGROUND")
		}
	}
	return err
}

// restartPython replaces the processes of all of them.
func (w *world) restartPython() error {
	for _, name := range []string{pythonServer, pythonEvent, modWSGI, uwsgiProgram, gunicorn} {
		w.end(name)
	}
	return w.startPython()
}

// configure fills in a template of this directory.
func (w *world) configure(server, name string) (string, error) {
	t, err := template.ParseFiles(filepath.Join(w.Root, "build/bench", name))
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	err = t.Execute(&text, struct {
		*world
		Server  string
		GSGI    bool
		Streams bool
		Site    bool // Django's site, and nothing beside it
		Listen  int
		H2      int
	}{w, server, server != bareServer && !strings.HasPrefix(server, modWSGI), server == streamsServer,
		strings.HasSuffix(server, siteSuffix), w.port(server), w.port(cleartextH2)})
	path := filepath.Join(w.Dir, strings.ReplaceAll(server, " ", "-")+".conf")
	return path, errors.Join(err, os.WriteFile(path, text.Bytes(), 0o644))
}

// port is a free one, always the same for a server.
func (w *world) port(server string) int {
	if w.Port[server] == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0
		}
		defer l.Close()
		w.Port[server] = l.Addr().(*net.TCPAddr).Port
	}
	return w.Port[server]
}

// run starts a server on its core.
func (w *world) run(server, program string, args ...string) error {
	cmd := exec.Command("taskset", append([]string{"-c", serverCore, program}, args...)...)
	log, err := os.Create(filepath.Join(w.Dir, "logs", strings.ReplaceAll(server, " ", "-")+".out"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Apache signals its group
	w.servers[server] = cmd
	return cmd.Start()
}

// stop ends all servers and removes what they have left.
func (w *world) stop() {
	for name := range w.servers {
		w.end(name)
	}
	_ = os.RemoveAll(w.Dir)
}

func (w *world) end(name string) {
	cmd := w.servers[name]
	if cmd.Process == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(endTime, func() {
		fmt.Fprintf(os.Stderr, "bench: %s has not ended %v after SIGTERM\n", name, endTime)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	_ = cmd.Wait()
	late.Stop()
}

// endTime is how long a server may take to end.
const endTime = 10 * time.Second

// pids are the processes whose work a case is: the programs behind the server
// count, too, as they do nothing in the cases that are not theirs.
func (w *world) pids(server string) []int {
	list := tree(w.servers[server].Process.Pid)
	if server == pythonServer {
		list = append(list, tree(w.servers[uwsgiProgram].Process.Pid)...)
		return append(list, tree(w.servers[gunicorn].Process.Pid)...)
	}
	if server != aloneServer {
		list = append(list, tree(w.servers[proxiedServer].Process.Pid)...)
		list = append(list, tree(w.servers[fastcgiServer].Process.Pid)...)
	}
	return list
}

// settle waits until the servers have done with what the clients before have
// left behind: they share one core, and an application may still be at it.
func (w *world) settle() {
	var pids []int
	for _, cmd := range w.servers {
		pids = append(pids, tree(cmd.Process.Pid)...)
	}
	for range 40 {
		before := cpuSeconds(pids)
		time.Sleep(50 * time.Millisecond)
		if cpuSeconds(pids) == before {
			return
		}
	}
}

// renew replaces the worker process of an NGINX.
func (w *world) renew(server, path string) error {
	old := w.worker(server)
	if err := w.servers[server].Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if w.worker(server) != old && syscall.Kill(old, 0) != nil {
			return w.check(server, path)
		}
	}
	return fmt.Errorf("%s keeps its worker\n%s", server, w.logs())
}

// worker is the only worker process of an NGINX.
func (w *world) worker(server string) int {
	list := tree(w.servers[server].Process.Pid)
	return list[len(list)-1]
}

func (w *world) url(c *benchCase) string {
	if c.h2 {
		return fmt.Sprintf("http://127.0.0.1:%d%s", w.port(cleartextH2), c.path)
	}
	return w.at(c.server, c.path)
}

func (w *world) at(server, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", w.Port[server], path)
}

// check waits until a page is there.
func (w *world) check(server, path string) error {
	var last error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(w.at(server, path))
		if last = err; err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode < 300 {
			return nil
		}
		last = fmt.Errorf("%s", res.Status)
	}
	return fmt.Errorf("%s does not answer %s: %w\n%s", server, path, last, w.logs())
}

func (w *world) logs() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(w.Dir, "logs/*"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		all.Write(text[max(0, len(text)-2000):])
	}
	return all.String()
}
