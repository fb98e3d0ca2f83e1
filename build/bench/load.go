package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// A result is one round of a case.
type result struct {
	rate           float64 // requests per second
	p50, p99, p999 float64 // ms
	cpu            float64 // seconds of all server processes per request
	rss            float64 // MiB of all server processes at the end
}

// onLoadCore runs a program on the core of the load generator.
func onLoadCore(name string, args ...string) *exec.Cmd {
	return exec.Command("taskset", append([]string{"-c", loadCore, name}, args...)...)
}

// load runs one round of a case.
func (c *benchCase) load(w *world, seconds int) (result, error) {
	w.settle()
	pids := w.pids(c.server)
	before := cpuSeconds(pids)
	generator := wrk
	if c.h2 {
		generator = h2load
	}
	r, requests, err := generator(w, c, seconds)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.name, err)
	}
	r.cpu = (cpuSeconds(pids) - before) / requests
	r.rss = memory("VmRSS", pids...)
	return r, nil
}

// wrk also returns the number of requests.
func wrk(w *world, c *benchCase, seconds int) (result, float64, error) {
	args := []string{"-t1", fmt.Sprintf("-c%d", c.connections), fmt.Sprintf("-d%ds", seconds), "-s", w.script}
	for _, h := range c.header {
		args = append(args, "-H", h)
	}
	out, err := onLoadCore("wrk", append(args, w.url(c), "--", strconv.Itoa(c.body))...).CombinedOutput()
	if err != nil {
		return result{}, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	var requests, micros, p50, p99, p999, errors float64
	at := bytes.LastIndex(out, []byte("bench "))
	if _, err := fmt.Sscanf(string(out[max(at, 0):]), "bench %f %f %f %f %f %f",
		&requests, &micros, &p50, &p99, &p999, &errors); err != nil || requests == 0 {
		return result{}, 0, fmt.Errorf("wrk: no result in %q", out)
	}
	if errors > 0 {
		return result{}, 0, fmt.Errorf("wrk: %.0f of %.0f requests failed", errors, requests)
	}
	return result{rate: requests / micros * 1e6, p50: p50 / 1e3, p99: p99 / 1e3, p999: p999 / 1e3}, requests, nil
}

var h2result = regexp.MustCompile(`(?s)finished in [^,]*, ([0-9.]+) req/s.* (\d+) succeeded, (\d+) failed`)

// h2load knows no percentiles.
func h2load(w *world, c *benchCase, seconds int) (result, float64, error) {
	out, err := onLoadCore("h2load", "-t1", fmt.Sprintf("-c%d", c.connections), "-m10",
		fmt.Sprintf("-D%d", seconds), w.url(c)).CombinedOutput()
	if err != nil {
		return result{}, 0, fmt.Errorf("h2load: %w: %s", err, out)
	}
	m := h2result.FindSubmatch(out)
	if m == nil || string(m[3]) != "0" {
		return result{}, 0, fmt.Errorf("h2load: no result, or failed requests: %s", out)
	}
	rate, _ := strconv.ParseFloat(string(m[1]), 64)
	requests, _ := strconv.ParseFloat(string(m[2]), 64)
	return result{rate: rate}, requests, nil
}
