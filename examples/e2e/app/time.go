package app

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gsgi/gsgi/goapp"
)

// wait goes through the gate before it answers.
func wait(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.Method != http.MethodGet {
		query.Set("token", r.Method+" "+query.Get("token"))
	}
	gated(r.Context(), query)
	fmt.Fprintln(w, "waited")
}

func sleep(w http.ResponseWriter, r *http.Request) {
	time.Sleep(millis(r.URL.Query(), "ms", 1000))
	fmt.Fprintln(w, "slept")
}

// burn keeps n goroutines computing, this one among them.
func burn(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	end := time.Now().Add(millis(query, "ms", 1000))
	var wg sync.WaitGroup
	for range number(query, "n", 1) - 1 {
		wg.Go(func() { compute(end) })
	}
	compute(end)
	wg.Wait()
	fmt.Fprintln(w, "burned")
}

func compute(end time.Time) {
	x := uint64(1)
	for time.Now().Before(end) {
		for range 100_000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
	}
	if x == 0 {
		panic("not reached")
	}
}

// spin collects garbage while a loop runs that can only be stopped by a
// signal, and tells whether the collection came to its end before the loop.
func spin(w http.ResponseWriter, r *http.Request) {
	var collected, looped atomic.Bool
	started := make(chan struct{})
	go func() {
		close(started)
		for n := 0; n < 20_000_000_000 && !collected.Load(); n++ {
		}
		looped.Store(true)
	}()
	<-started
	runtime.GC()
	if looped.Load() {
		fmt.Fprintln(w, "stuck")
	} else {
		fmt.Fprintln(w, "collected")
	}
	collected.Store(true)
}

// crowds are the meetings of crowd, by token.
var crowds sync.Map

type meeting struct {
	here  atomic.Int64
	ready chan struct{}
}

// crowd answers when n requests with its token are here.
func crowd(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	fresh := &meeting{ready: make(chan struct{})}
	any, _ := crowds.LoadOrStore(query.Get("token"), fresh)
	m := any.(*meeting)
	if m.here.Add(1) == number(query, "n", 2) {
		crowds.Delete(query.Get("token"))
		close(m.ready)
	}
	select {
	case <-m.ready:
		fmt.Fprintln(w, "all here")
	case <-r.Context().Done():
		http.Error(w, "alone", http.StatusInternalServerError)
	}
}

// stacks tells what every goroutine does.
func stacks(w http.ResponseWriter, r *http.Request) {
	pprof.Lookup("goroutine").WriteTo(w, 1)
}

// collect runs the garbage collector, and with it what it keeps running.
func collect(w http.ResponseWriter, r *http.Request) {
	for range 2 {
		runtime.AddCleanup(new([16]byte), func(int) {}, 0)
		debug.FreeOSMemory()
	}
}

// Worker is what the application knows of the process that it is in.
type Worker struct {
	PID, UID, GID int
	Index, Count  int
	Mode          string
	Args, Environ []string
	Directory     string
	Early         string // of a package-level variable
}

var early = os.Getenv("E2E_EARLY")

func worker(w http.ResponseWriter, r *http.Request) {
	dir, _ := os.Getwd()
	index, count := goapp.Worker()
	writeJSON(w, Worker{
		PID:       os.Getpid(),
		UID:       os.Getuid(),
		GID:       os.Getgid(),
		Index:     index,
		Count:     count,
		Mode:      fmt.Sprint(goapp.Mode()),
		Args:      os.Args,
		Environ:   os.Environ(),
		Directory: dir,
		Early:     early,
	})
}
