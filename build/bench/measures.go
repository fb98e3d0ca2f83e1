package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A measure is a figure that is no rate of requests.
type measure struct {
	name string
	unit string
	take func(w *world, seconds int) (float64, error)
}

func allMeasures() []measure {
	return []measure{
		{"worker_memory_mib", "MiB", workerMemory},
		{"download_vs_static", "", downloadVsStatic},
		{"body_memory_mib", "MiB", bodyMemory},
		{"static_stall_ms", "ms", staticStall},
		{"static_stall_of_a_program_ms", "ms", staticStallOfAProgram},
		{"idle_stream_kib", "KiB", idleStreams},
		{"allocs_http", "", allocsHTTP},
		{"allocs_gateway", "", allocsGateway},
		{"wsgi_first_vs_modwsgi", "", firstVsModWSGI},
	}
}

// firstVsModWSGI compares how long it takes from the start of Apache to the
// first page of a Django site, here and under mod_wsgi embedded. The start of
// a process spreads more than anything else: there are more rounds.
func firstVsModWSGI(w *world, _ int) (float64, error) {
	var times [2][]float64
	for range 15 {
		for i, server := range []string{pythonEvent + siteSuffix, modWSGI + siteSuffix} {
			seconds, err := w.first(server, loginPage)
			if err != nil {
				return 0, err
			}
			times[i] = append(times[i], seconds)
		}
	}
	return medianRatio(times[0], times[1]), nil
}

// first is how many seconds an Apache takes from its start to an answer.
func (w *world) first(server, path string) (float64, error) {
	conf, err := w.configure(server, "wsgi-apache.conf")
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := w.run(server, "apache2", "-d", w.Dir, "-f", conf, "-DFOREGROUND"); err != nil {
		return 0, err
	}
	cmd := w.servers[server]
	delete(w.servers, server)
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	for time.Since(begin) < time.Minute {
		res, err := http.Get(w.at(server, path))
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("%s: %s\n%s", server, res.Status, w.logs())
		}
		return time.Since(begin).Seconds(), nil
	}
	return 0, fmt.Errorf("%s does not answer\n%s", server, w.logs())
}

// workerMemory is what hello adds to the resident memory of an NGINX worker,
// both after the same load, and no other.
func workerMemory(w *world, seconds int) (float64, error) {
	var rss [2]float64
	for i, c := range []benchCase{
		{server: bareServer, path: "/return", connections: 32},
		{server: nginxServer, path: "/hello", connections: 32},
	} {
		if err := w.renew(c.server, c.path); err != nil {
			return 0, err
		}
		if _, _, err := wrk(w, &c, seconds); err != nil {
			return 0, err
		}
		rss[i] = memory("VmRSS", w.worker(c.server))
	}
	return rss[1] - rss[0], nil
}

// downloadVsStatic compares 1 GiB by io.Copy from a file with the same file
// sent by NGINX itself.
func downloadVsStatic(w *world, _ int) (float64, error) {
	var times [2][]float64
	for range 5 {
		for i, path := range []string{"/static/big", "/file"} {
			out, err := onLoadCore("curl", "-sSf", "-o", "/dev/null", "-w", "%{time_total}", w.at(nginxServer, path)).Output()
			if err != nil {
				return 0, fmt.Errorf("curl %s: %w", path, err)
			}
			seconds, err := strconv.ParseFloat(string(out), 64)
			if err != nil {
				return 0, err
			}
			times[i] = append(times[i], seconds)
		}
	}
	return medianRatio(times[0], times[1]), nil
}

// bodyMemory is how far the resident memory of the worker grows at most in an
// upload and in a generated download of 1 GiB.
func bodyMemory(w *world, _ int) (float64, error) {
	pid := w.worker(nginxServer)
	before := memory("VmRSS", pid)
	if err := resetPeak(pid); err != nil {
		return 0, err
	}
	for _, args := range [][]string{
		{"-T", w.Dir + "/big", w.at(nginxServer, "/upload")},
		{"-o", "/dev/null", w.at(nginxServer, "/generate")},
	} {
		if out, err := onLoadCore("curl", append([]string{"-sSf"}, args...)...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("curl: %w: %s", err, out)
		}
	}
	return memory("VmHWM", pid) - before, nil
}

// staticStall is by how much the p99 of a static file grows on a worker whose
// handlers burn all the processor time that they get.
func staticStall(w *world, seconds int) (float64, error) {
	return stall(w, nginxServer, seconds, 4, func(ctx context.Context) {
		req, _ := http.NewRequestWithContext(ctx, "GET", w.at(nginxServer, "/burn"), nil)
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	})
}

// staticStallOfAProgram is the same without GSGI, beside a program that burns
// the time: what the system makes of two that share a processor.
func staticStallOfAProgram(w *world, seconds int) (float64, error) {
	return stall(w, bareServer, seconds, 1, func(ctx context.Context) {
		_ = exec.CommandContext(ctx, "taskset", "-c", serverCore, "sh", "-c", "while :; do :; done").Run()
	})
}

const stallRounds = 3

// stall is what burning adds to the p99 of a static file: medians of rounds
// that take turns.
func stall(w *world, server string, seconds, burners int, burn func(context.Context)) (float64, error) {
	c := benchCase{server: server, path: "/static/hello.txt", connections: 1}
	var quiet, busy []float64
	for range stallRounds {
		q, _, err := wrk(w, &c, seconds)
		if err != nil {
			return 0, err
		}
		b, err := stallBeside(w, &c, seconds, burners, burn)
		if err != nil {
			return 0, err
		}
		quiet, busy = append(quiet, q.p99), append(busy, b.p99)
	}
	return median(busy) - median(quiet), nil
}

func stallBeside(w *world, c *benchCase, seconds, burners int, burn func(context.Context)) (result, error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range burners {
		wg.Go(func() { burn(ctx) })
	}
	time.Sleep(500 * time.Millisecond)
	s, _, err := wrk(w, c, seconds)
	cancel()
	wg.Wait()
	return s, err
}

const streams = 10_000

// idleStreams is what an event stream on which nothing happens takes of the
// worker's resident memory.
func idleStreams(w *world, _ int) (float64, error) {
	pid := w.worker(streamsServer)
	before := memory("VmRSS", pid)
	conns := make([]net.Conn, 0, streams)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	addr := strings.TrimPrefix(w.at(streamsServer, ""), "http://")
	for range streams {
		c, err := openStream(addr)
		if err != nil {
			return 0, fmt.Errorf("stream %d: %w", len(conns), err)
		}
		conns = append(conns, c)
	}
	return (memory("VmRSS", pid) - before) * 1024 / streams, nil
}

func openStream(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(c, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	in := bufio.NewReaderSize(c, 512)
	for line := ""; err == nil && !strings.HasPrefix(line, "data:"); {
		line, err = in.ReadString('\n')
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// allocsHTTP and allocsGateway count what the application's heap is asked for
// during many requests, by the runtime's own figures.
func allocsHTTP(w *world, seconds int) (float64, error)    { return allocs(w, "/hello", seconds) }
func allocsGateway(w *world, seconds int) (float64, error) { return allocs(w, "/gateway", seconds) }

func allocs(w *world, path string, seconds int) (float64, error) {
	before, err := mallocs(w)
	if err != nil {
		return 0, err
	}
	_, requests, err := wrk(w, &benchCase{server: nginxServer, path: path, connections: 32}, seconds)
	if err != nil {
		return 0, err
	}
	after, err := mallocs(w)
	return (after - before) / requests, err
}

func mallocs(w *world) (float64, error) {
	res, err := http.Get(w.at(nginxServer, "/mallocs"))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n := 0.0
	_, err = fmt.Fscan(res.Body, &n)
	return n, err
}
