package app

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"unsafe"
)

// Settings is what the Go runtime was started with.
type Settings struct {
	Args, Environ []string // as a package-level variable has seen them
	Procs, GOGC   int
	MemoryLimit   int64
	PanicNil      string // what is recovered from panic(nil)
}

var firstArgs, firstEnviron = os.Args, os.Environ()

func settings(w http.ResponseWriter, r *http.Request) {
	s := Settings{
		Args:        firstArgs,
		Environ:     firstEnviron,
		Procs:       runtime.GOMAXPROCS(0),
		GOGC:        debug.SetGCPercent(100),
		MemoryLimit: debug.SetMemoryLimit(-1),
		PanicNil:    panicNil(),
	}
	debug.SetGCPercent(s.GOGC)
	if s.MemoryLimit == math.MaxInt64 {
		s.MemoryLimit = 0
	}
	writeJSON(w, s)
}

func panicNil() (text string) {
	defer func() { text = fmt.Sprintf("%T", recover()) }()
	panic(any(nil))
}

// Children tells of programs that were run.
type Children struct {
	Run   int
	Wrong []string // what was not as it has to be
}

// children runs n programs, four at a time, and checks what they inherit and
// how they end.
func children(w http.ResponseWriter, r *http.Request) {
	n := int(number(r.URL.Query(), "n", 1))
	var c Children
	var mu sync.Mutex
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < n; i += 4 {
				wrong := runChild(i % 8)
				mu.Lock()
				c.Run++
				if wrong != "" {
					c.Wrong = append(c.Wrong, wrong)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	writeJSON(w, c)
}

// lookAround tells the descriptors above 2 and the blocked signals of a shell,
// without starting another program.
const lookAround = `cd /proc/self/fd; for fd in *; do [ $fd -gt 2 ] && [ -e $fd ] && echo "fd $fd"; done
while read name value; do case $name in SigBlk:) echo $value;; esac; done < /proc/self/status
exit `

func runChild(code int) string {
	out, err := exec.Command("/bin/sh", "-c", lookAround+fmt.Sprint(code)).CombinedOutput()
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		return err.Error()
	}
	if text := strings.TrimSpace(string(out)); got != code || text != strings.Repeat("0", 16) {
		return fmt.Sprintf("exit code %d instead of %d, %q", got, code, text)
	}
	return ""
}

// notify takes the server's signals.
func notify(w http.ResponseWriter, r *http.Request) {
	TakeSignals()
	fmt.Fprintln(w, "taken")
}

// TakeSignals makes the signals of the server the application's.
func TakeSignals() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGHUP,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
}

// say writes to descriptors 1 and 2 in every way that a program has.
func say(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("token") + "\n"
	for range 100 {
		print(text)
		for _, f := range []*os.File{os.Stdout, os.Stderr} {
			io.WriteString(f, text)
		}
		for fd := 1; fd <= 2; fd++ {
			io.WriteString(descriptor[fd], text)
			syscall.Write(fd, []byte(text))
		}
	}
	fmt.Fprintln(w, "said")
}

// descriptor is never closed.
var descriptor = [...]*os.File{nil, os.NewFile(1, "1"), os.NewFile(2, "2")}

func nilDereference(w http.ResponseWriter, r *http.Request) {
	var nobody *http.Request
	fmt.Fprintln(w, nobody.Method)
}

// fatal makes the runtime give up, which no recover can prevent.
func fatal(w http.ResponseWriter, r *http.Request) {
	defer func() { recover() }()
	new(sync.Mutex).Unlock()
}

// taint leaves its goroutine and its thread in a state of their own, and ends
// as the query says.
func taint(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for range number(query, "lock", 0) {
		runtime.LockOSThread()
	}
	if query.Get("lock") != "" {
		rename("tainted")
	}
	pprof.SetGoroutineLabels(pprof.WithLabels(r.Context(), pprof.Labels("tainted", "yes")))
	debug.SetPanicOnFault(true)
	switch query.Get("end") {
	case "panic":
		panic("tainted on demand")
	case "goexit":
		runtime.Goexit()
	}
	fmt.Fprintln(w, "tainted")
}

// rename gives the thread a name.
func rename(name string) {
	const setName = 15 // PR_SET_NAME
	text := append([]byte(name), 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, setName, uintptr(unsafe.Pointer(&text[0])), 0)
}

// clean tells what is left of taint where this handler runs.
func clean(w http.ResponseWriter, r *http.Request) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name, _ := os.ReadFile("/proc/thread-self/comm")
	onFault := debug.SetPanicOnFault(false)
	var labels strings.Builder
	pprof.Lookup("goroutine").WriteTo(&labels, 1)
	fmt.Fprintln(w, strings.Contains(string(name), "tainted"), onFault, strings.Contains(labels.String(), "tainted"))
}
