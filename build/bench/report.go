package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// A row is a case in bench.json.
type row struct {
	Server string  `json:"server"`
	Case   string  `json:"case"`
	Group  string  `json:"-"`
	Median float64 `json:"requests_per_second"`
	Min    float64 `json:"requests_per_second_min"`
	Max    float64 `json:"requests_per_second_max"`
	P50    float64 `json:"p50_ms,omitempty"`
	P99    float64 `json:"p99_ms,omitempty"`
	P999   float64 `json:"p99_9_ms,omitempty"`
	CPU    float64 `json:"cpu_seconds_per_request"`
	RSS    float64 `json:"resident_mib"`
	Noisy  bool    `json:"noisy,omitempty"`
}

// A report is bench.json.
type report struct {
	Date    string             `json:"date"`
	Machine string             `json:"machine"`
	Seconds int                `json:"seconds"`
	Rounds  int                `json:"rounds"`
	Cases   []row              `json:"cases"`
	Ratios  map[string]float64 `json:"ratios"`

	results map[string][]result // of a case, by round
}

// noise is how far the rounds of a case may lie apart, in parts of the median,
// before the run is too noisy to tell.
const noise = 0.35

func (c *benchCase) row(rounds []result) row {
	of := func(field func(result) float64) float64 { return median(fields(rounds, field)) }
	rate := func(r result) float64 { return r.rate }
	lowest := slices.MinFunc(rounds, func(a, b result) int { return compare(a.rate, b.rate) })
	highest := slices.MaxFunc(rounds, func(a, b result) int { return compare(a.rate, b.rate) })
	x := row{Server: c.server, Case: c.name, Group: c.group,
		Median: of(rate), Min: lowest.rate, Max: highest.rate,
		P50:  of(func(r result) float64 { return r.p50 }),
		P99:  of(func(r result) float64 { return r.p99 }),
		P999: of(func(r result) float64 { return r.p999 }),
		CPU:  of(func(r result) float64 { return r.cpu }),
		RSS:  of(func(r result) float64 { return r.rss }),
	}
	x.Noisy = x.Max-x.Min > noise*x.Median
	return x
}

func fields(rounds []result, field func(result) float64) []float64 {
	list := make([]float64, len(rounds))
	for i, r := range rounds {
		list[i] = field(r)
	}
	return list
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	if n == 0 {
		return 0
	}
	return (list[(n-1)/2] + list[n/2]) / 2
}

// A target is what a ratio must hold and what it should reach.
type target struct {
	name        string
	over, under string // cases; p99: their latencies
	p99         bool
	floor, goal float64
}

// field is what is compared.
func (t target) field(r result) float64 {
	if t.p99 {
		return r.p99
	}
	return r.rate
}

// atMost says that less is better.
func (t target) atMost() bool { return t.goal < t.floor }

var targets = []target{
	{name: "nginx_http_vs_return", over: "nginx_http_c32", under: "nginx_return_c32", floor: 0.70, goal: 0.90},
	{name: "nginx_gateway_vs_return", over: "nginx_gateway_c32", under: "nginx_return_c32", floor: 0.78, goal: 0.95},
	{name: "nginx_http_vs_proxy", over: "nginx_http_c32", under: "nginx_proxy_c32", floor: 2.5, goal: 4},
	{name: "nginx_http_vs_alone", over: "nginx_http_c32", under: "nginx_alone_c32", floor: 1.0, goal: 1.3},
	{name: "nginx_c1_vs_proxy", over: "nginx_http_c1", under: "nginx_proxy_c1", floor: 1.25, goal: 1.6},
	{name: "apache_http_vs_c", over: "apache_http", under: "apache_c", floor: 0.65, goal: 0.90},
	{name: "apache_http_vs_proxy", over: "apache_http", under: "apache_proxy", floor: 1.8, goal: 3},
	{name: "wsgi_nginx_vs_uwsgi", over: "wsgi_nginx", under: "wsgi_nginx_uwsgi", floor: 1.5, goal: 3},
	{name: "wsgi_nginx_vs_gunicorn", over: "wsgi_nginx", under: "wsgi_nginx_gunicorn", floor: 4, goal: 8},
	{name: "wsgi_apache_vs_modwsgi", over: "wsgi_apache", under: "wsgi_apache_modwsgi", floor: 1.3, goal: 2},
	{name: "wsgi_apache_vs_modwsgi_daemon", over: "wsgi_apache", under: "wsgi_apache_modwsgi_daemon", floor: 3, goal: 5},
	{name: "wsgi_login_vs_uwsgi", over: "wsgi_nginx_login", under: "wsgi_nginx_uwsgi_login", floor: 1, goal: 1.2},
	{name: "wsgi_login_vs_gunicorn", over: "wsgi_nginx_login", under: "wsgi_nginx_gunicorn_login", floor: 1, goal: 1.5},
	{name: "wsgi_login_vs_modwsgi", over: "wsgi_apache_login", under: "wsgi_apache_modwsgi_login", floor: 1, goal: 1.1},
	{name: "wsgi_login_vs_modwsgi_daemon", over: "wsgi_apache_login", under: "wsgi_apache_modwsgi_daemon_login", floor: 1, goal: 1.2},
	{name: "wsgi_login_p99_vs_uwsgi", over: "wsgi_nginx_login", under: "wsgi_nginx_uwsgi_login", p99: true, floor: 1, goal: 0.8},
	{name: "wsgi_login_p99_vs_gunicorn", over: "wsgi_nginx_login", under: "wsgi_nginx_gunicorn_login", p99: true, floor: 1, goal: 0.8},
	{name: "wsgi_login_p99_vs_modwsgi", over: "wsgi_apache_login", under: "wsgi_apache_modwsgi_login", p99: true, floor: 1, goal: 0.8},
	{name: "nginx_p99_vs_return", over: "nginx_http_c32", under: "nginx_return_c32", p99: true, floor: 3, goal: 1.3},
	{name: "apache_p99_vs_c", over: "apache_http", under: "apache_c", p99: true, floor: 3.5, goal: 1.3},
	{name: "wsgi_first_vs_modwsgi", floor: 1, goal: 0.8},
	{name: "static_stall_ms", floor: 2, goal: 0.5},
	{name: "download_vs_static", floor: 0.95, goal: 1},
	{name: "body_memory_mib", floor: 16, goal: 4},
	{name: "idle_stream_kib", floor: 32, goal: 16},
	{name: "worker_memory_mib", floor: 16, goal: 10},
	{name: "allocs_http", floor: 14, goal: 8},
	{name: "allocs_gateway", floor: 3, goal: 1},
}

// compare adds the ratios whose two cases have been measured.
func (r *report) compare() {
	for _, t := range targets {
		over, under := r.results[t.over], r.results[t.under]
		if len(over) > 0 && len(under) > 0 {
			r.Ratios[t.name] = medianRatio(fields(over, t.field), fields(under, t.field))
		}
	}
}

// medianRatio is the median of the ratios of the rounds: the two sides of a
// round were measured next to each other, on a machine in the same mood.
func medianRatio(over, under []float64) float64 {
	ratios := make([]float64, len(over))
	for i := range over {
		ratios[i] = over[i] / under[i]
	}
	return median(ratios)
}

// print is the summary for a person.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%-28s %10s %10s %8s\n", "", "measured", "floor", "goal")
	for _, t := range targets {
		value, ok := r.Ratios[t.name]
		if !ok {
			continue
		}
		verdict := ""
		if t.atMost() && value > t.floor || !t.atMost() && value < t.floor {
			verdict = "  below the floor"
			if t.atMost() {
				verdict = "  above the limit"
			}
		}
		fmt.Fprintf(out, "%-28s %10.2f %10.2f %8.2f%s\n", t.name, value, t.floor, t.goal, verdict)
	}
	for _, x := range r.Cases {
		if x.Noisy {
			fmt.Fprintf(out, "too noisy to tell: %s, from %.0f to %.0f requests/s\n", x.Case, x.Min, x.Max)
		}
	}
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
