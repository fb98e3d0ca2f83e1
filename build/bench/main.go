package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	pattern = flag.String("run", "", "only cases and figures whose names match")
	seconds = flag.Int("seconds", 3, "length of a round")
	rounds  = flag.Int("rounds", 5, "rounds of each case")
	outDir  = flag.String("out", "build/out", "where the modules are and the results go")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	out, err := filepath.Abs(*outDir)
	if err != nil {
		return err
	}
	w, err := newWorld(root, out)
	if err != nil {
		return err
	}
	defer w.stop()
	stopOnSignal(w)
	if err := w.start(); err != nil {
		return err
	}
	r := &report{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Seconds: *seconds, Rounds: *rounds,
		Ratios: map[string]float64{}, results: map[string][]result{}}
	if err := errors.Join(r.measureCases(w, wanted), r.measureRest(w, wanted)); err != nil {
		return err
	}
	if len(r.Cases)+len(r.Ratios) == 0 {
		return fmt.Errorf("no case and no figure matches %q", *pattern)
	}
	r.compare()
	r.print(os.Stdout)
	return errors.Join(r.write(filepath.Join(out, "bench.json")), r.plot(filepath.Join(out, "bench.svg")))
}

// stopOnSignal leaves nothing running behind.
func stopOnSignal(w *world) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		w.stop()
		os.Exit(1)
	}()
}

// measureCases runs the groups one after the other, the cases of a group in
// turns, to and fro.
func (r *report) measureCases(w *world, wanted *regexp.Regexp) error {
	var cases []*benchCase
	for _, c := range allCases() {
		if !wanted.MatchString(c.name) && !wanted.MatchString(c.group) {
			continue
		}
		cases = append(cases, c)
		if err := w.check(c.server, c.path); err != nil && c.body == 0 {
			return err
		}
	}
	for begin := 0; begin < len(cases); {
		end := begin
		for end < len(cases) && cases[end].group == cases[begin].group {
			end++
		}
		group := slices.Clone(cases[begin:end])
		for i := range *rounds * group[0].effort() {
			if group[0].group == loginGroup && i%group[0].effort() == 0 {
				if err := w.renewLogin(group); err != nil {
					return err
				}
			}
			for _, c := range group {
				x, err := c.load(w, *seconds)
				if err != nil {
					return err
				}
				r.results[c.name] = append(r.results[c.name], x)
			}
			slices.Reverse(group)
		}
		for _, c := range cases[begin:end] {
			x := c.row(r.results[c.name])
			r.Cases = append(r.Cases, x)
			fmt.Printf("%-24s %9.0f requests/s  p50 %6.2f  p99 %6.2f  p99.9 %6.2f ms  %5.1f us of CPU\n",
				x.Case, x.Median, x.P50, x.P99, x.P999, x.CPU*1e6)
		}
		begin = end
	}
	return nil
}

// renewLogin has the pages made by new processes, and warms these: how one
// happens to lie in memory makes its pages a twentieth slower or faster.
func (w *world) renewLogin(group []*benchCase) error {
	if err := w.restartPython(); err != nil {
		return err
	}
	for _, c := range group {
		if err := w.check(c.server, c.path); err != nil {
			return err
		}
		if _, err := c.load(w, 1); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) measureRest(w *world, wanted *regexp.Regexp) error {
	for _, m := range allMeasures() {
		if !wanted.MatchString(m.name) {
			continue
		}
		err := errors.Join(w.check(bareServer, "/return"), w.check(nginxServer, "/hello"), w.check(streamsServer, "/hello"))
		if err != nil {
			return err
		}
		value, err := m.take(w, *seconds)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.Ratios[m.name] = value
		fmt.Printf("%-24s %9.2f %s\n", m.name, value, m.unit)
	}
	return nil
}

// machine is the model of the processor and how many of them there are.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	model := "unknown"
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%s, %d cores", model, strings.Count(string(text), "processor\t"))
}
