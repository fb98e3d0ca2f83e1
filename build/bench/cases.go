package main

import (
	"fmt"
	"strings"
)

// A benchCase is one row of the benchmark. Cases of a group take turns.
type benchCase struct {
	name        string
	group       string
	server      string // of world.servers
	path        string
	connections int
	h2          bool
	header      []string
	body        int // bytes of a POST, 0: GET
}

// effort is how often the usual number of rounds a case needs: a second of
// slow pages tells little.
func (c *benchCase) effort() int {
	if c.group == loginGroup {
		return 3
	}
	return 1
}

var twentyHeaders = func() []string {
	list := []string{
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
		"Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br",
		"Cookie: session=" + strings.Repeat("0123456789abcdef", 8), "Referer: http://localhost/elsewhere",
	}
	for i := len(list); i < 19; i++ { // Host is the twentieth
		list = append(list, fmt.Sprintf("X-Header-%d: value %d", i, i))
	}
	return list
}()

// waysOfNGINX are the ways to say hello on one NGINX worker.
var waysOfNGINX = []struct{ name, server, path string }{
	{"return", nginxServer, "/return"},
	{"static", nginxServer, "/static/hello.txt"},
	{"http", nginxServer, "/hello"},
	{"gateway", nginxServer, "/gateway"},
	{"proxy", nginxServer, "/proxy/hello"},
	{"fastcgi", nginxServer, "/fastcgi/hello"},
	{"alone", aloneServer, "/hello"},
}

var waysOfApache = []struct{ name, path string }{
	{"c", "/c"},
	{"static", "/static/hello.txt"},
	{"http", "/hello"},
	{"gateway", "/gateway"},
	{"proxy", "/proxy/hello"},
	{"fastcgi", "/fastcgi/hello"},
}

// waysOfPython are the hosts of the same Python application.
var waysOfPython = []struct{ name, server, prefix string }{
	{"wsgi_nginx", pythonServer, ""},
	{"wsgi_nginx_uwsgi", pythonServer, "/uwsgi"},
	{"wsgi_nginx_gunicorn", pythonServer, "/gunicorn"},
	{"wsgi_apache", pythonEvent, ""},
	{"wsgi_apache_modwsgi", modWSGI, "/embedded"},
	{"wsgi_apache_modwsgi_daemon", modWSGI, "/daemon"},
}

const loginGroup = "python login"

// loginPage is that of Django's admin, which needs templates and no database.
const loginPage = "/admin/login/"

// allCases is the table of the benchmark.
func allCases() []*benchCase {
	var list []*benchCase
	add := func(c benchCase) {
		list = append(list, &c)
	}
	for _, n := range []int{1, 32, 256} {
		group := fmt.Sprintf("nginx hello c%d", n)
		for _, way := range waysOfNGINX {
			add(benchCase{name: fmt.Sprintf("nginx_%s_c%d", way.name, n), group: group,
				server: way.server, path: way.path, connections: n})
		}
	}
	for _, way := range waysOfNGINX[:4] {
		add(benchCase{name: "nginx_" + way.name + "_h2", group: "nginx hello h2",
			server: nginxServer, path: way.path, connections: 32, h2: true})
	}
	for _, what := range []benchCase{
		{name: "headers", path: "/hello", header: twentyHeaders},
		{name: "json", path: "/json"},
		{name: "post", path: "/post", body: 16 << 10},
		{name: "mebibyte", path: "/mebibyte"},
	} {
		for _, way := range []struct{ name, server, prefix string }{
			{"http", nginxServer, ""}, {"proxy", nginxServer, "/proxy"}, {"alone", aloneServer, ""},
		} {
			c := what
			c.name = "nginx_" + way.name + "_" + what.name
			c.group = "nginx " + what.name
			c.server, c.path, c.connections = way.server, way.prefix+what.path, 32
			add(c)
		}
	}
	for _, way := range waysOfApache {
		add(benchCase{name: "apache_" + way.name, group: "apache hello",
			server: eventServer, path: way.path, connections: 32})
	}
	for _, way := range waysOfPython {
		add(benchCase{name: way.name, group: "python hello", server: way.server, path: way.prefix + "/", connections: 32})
	}
	for _, way := range waysOfPython {
		add(benchCase{name: way.name + "_login", group: loginGroup, server: way.server, path: way.prefix + loginPage, connections: 32})
	}
	for _, way := range []int{0, 2, 3} {
		add(benchCase{name: "prefork_" + waysOfApache[way].name, group: "prefork hello",
			server: preforkServer, path: waysOfApache[way].path, connections: 16})
	}
	return list
}
