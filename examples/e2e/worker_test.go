package e2e

import (
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A lateFailure comes only in a worker: the check has passed, or is off.
type lateFailure struct {
	name, args string
	env        string // with gsgi_probe off
	says       string
}

var lateFailures = []lateFailure{
	{"os.Exit before it serves", "-entries=8080 -fail=exit -code=3", "", "exiting on demand"},
	{"an init that panics", "-entries=8080", "E2E_INIT_PANIC=too-early", "panic: too-early"},
}

// pause is how each server says how long it waits before it loads.
const pause = `(loading it in|waits) %s ms`

func TestWorkersThatDieOfTheirApplication(t *testing.T) {
	for _, kind := range []string{nginx, event} {
		for _, f := range lateFailures {
			t.Run(kind+": "+f.name+": ever longer pauses, and all else is served", func(t *testing.T) {
				t.Parallel()
				conf := setup{app: f.args, server: standardRoot(kind)}
				if f.env != "" {
					conf.main = environment(kind, f.env) + global(kind, "gsgi_probe off;", "GSGIProbe off")
				}
				s := launchUnclean(t, kind, conf)
				var seen []time.Time
				for _, ms := range []string{"1000", "2000", "4000"} {
					s.log.want(t, 0, strings.Replace(pause, "%s", ms, 1))
					seen = append(seen, time.Now())
				}
				s.log.want(t, 0, f.says)
				assert.GreaterOrEqual(t, seen[1].Sub(seen[0]), 900*time.Millisecond)
				assert.GreaterOrEqual(t, seen[2].Sub(seen[1]), 1900*time.Millisecond)
				// Four seconds are left to look at the worker that waits.
				x := &target{s, h1}
				pid := s.workers()[0]
				wantBusy(t, <-x.fetch(t, "/hello"))
				assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
				assert.False(t, hasLibrary(t, pid))
				assert.Equal(t, pid, s.workers()[0])
			})
		}
	}
}

func TestWrongArgumentInAWorker(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		t.Run("fails the application, not the worker", func(t *testing.T) {
			s := launchUnclean(t, kind, setup{app: "-entries=8080 -fail=flag", server: standardRoot(kind)})
			x := &target{s, h1}
			before := s.workers()
			s.log.want(t, 0, `flag provided but not defined: -no-such-flag`)
			s.log.want(t, 0, s.level("emerg"))
			wantBusy(t, <-x.fetch(t, "/hello"))
			assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
			assert.Len(t, before, 1)
			assert.Equal(t, before, s.workers())
		})
	})
}

// NGINX takes exit code 2 for a worker that cannot be helped, as its
// documentation and ours say.
func TestExitCode2(t *testing.T) {
	s := twoWorkers(t, nginx)
	before := s.workers()
	held := s.elsewhere(t, "/exit?code=2")
	assert.Empty(t, held.raw)
	held.visitor.release()
	assert.Equal(t, "waited\n", held.wire.answer("GET").body)
	held.wire.Close()
	s.log.want(t, 0, `exited with fatal code 2 and cannot be respawned`)
	for range 20 {
		code, _, err := s.get("/hello")
		assert.NoError(t, err)
		assert.Equal(t, http.StatusOK, code)
	}
	left := s.workers()
	assert.Len(t, left, 1)
	assert.Subset(t, before, left)
	s.signal(t, syscall.SIGHUP)
	for end := time.Now().Add(20 * time.Second); len(s.workers()) != 2 || slices.Contains(s.workers(), left[0]); {
		time.Sleep(20 * time.Millisecond)
		if time.Now().After(end) {
			t.Fatalf("workers after a reload: %v", s.workers())
		}
	}
	s.untilAnswers(t)
}

// A fatal error of the runtime is a crash like others, not exit code 2.
func TestFatalErrorOfTheRuntime(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := twoWorkers(t, kind)
		s.crashOne(t, "/fatal", `fatal error: sync: unlock of unlocked mutex`)
		s.log.never(t, 0, `cannot be respawned`)
	})
}

// probing is a configuration whose check does something.
func probing(t *testing.T, kind, args, dir string) *server {
	t.Helper()
	s, err := prepareServer(kind, setup{
		noApp: true,
		main: global(kind, "gsgi_start_timeout 1s; gsgi_directory "+dir+"; gsgi_app site @LIB@ "+args+";",
			"GSGIStartTimeout 1s\nGSGIDirectory "+dir+"\nGSGIApp site @LIB@ "+args),
		server: standardRoot(kind),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	return s
}

// processesOf are the processes with a word in their command line, apart from
// this one.
func processesOf(word string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, file := range files {
		line, _ := os.ReadFile(file)
		if strings.Contains(string(line), word) && filepath.Base(filepath.Dir(file)) != strconv.Itoa(os.Getpid()) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// strays are files where temporary ones may lie, apart from those of tests
// and builds that run at the same time.
func strays(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "gsgi-") && !strings.HasPrefix(e.Name(), "go-") {
				names = append(names, filepath.Join(dir, e.Name()))
			}
		}
	}
	return names
}

func TestCheckOfTheApplication(t *testing.T) {
	for _, kind := range []string{nginx, event} {
		for _, c := range []struct {
			name, args string
			fails      bool
		}{
			{"one that serves", "-entries=8080", false},
			{"one that hangs", "-entries=8080 -when=probe -fail=hang", true},
			{"one that exits", "-entries=8080 -when=probe -fail=exit", true},
		} {
			t.Run(kind+": "+c.name+" runs as the worker in its directory, and leaves nothing behind", func(t *testing.T) {
				dir := t.TempDir()
				chownToWorker(t, dir)
				seconds := strconv.Itoa(100_000 + os.Getpid()) // a word that no other process has
				s := probing(t, kind, c.args+" -touch=made -child="+seconds, dir)
				before := strays(t)
				out, err := s.check()
				assert.Equal(t, c.fails, err != nil, out)
				checkOwner(t, filepath.Join(dir, "made"))
				assert.Empty(t, processesOf(s.dir))
				assert.Empty(t, processesOf("sleep\x00"+seconds))
				for try := 0; ; try++ {
					left := slices.DeleteFunc(strays(t), func(name string) bool { return slices.Contains(before, name) })
					if len(left) == 0 {
						break
					}
					// Somebody else's file comes once, a file of the check each time.
					if try == 3 {
						t.Fatalf("left behind: %v", left)
					}
					before = strays(t)
					s.check()
				}
			})
		}
	}
}

// workerUser is who the workers run as.
func workerUser(t *testing.T) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup("www-data")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}

// chownToWorker gives a directory to the workers, who can get to it.
func chownToWorker(t *testing.T, dir string) {
	t.Helper()
	uid, gid := workerUser(t)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	for ; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func checkOwner(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := workerUser(t)
	stat := info.Sys().(*syscall.Stat_t)
	assert.Equal(t, uid, int(stat.Uid))
	assert.Equal(t, gid, int(stat.Gid))
}

func TestReloadsLeaveNothingInTheMaster(t *testing.T) {
	good := func(kind string) setup {
		return setup{app: "-entries=8080", server: standardRoot(kind), mpm: twoGenerationsOf[kind]}
	}
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launchUnclean(t, kind, good(kind))
		s.untilAnswers(t)
		reload := func() {
			mark := s.log.mark()
			assert.NoError(t, s.reload())
			s.log.want(t, mark, global(kind, `(signal 29|\[emerg\])`, `AH00489`))
		}
		reload()
		files, maps := openTotal(s.master()), sharedMappings(t, s.master())
		for i := range 6 {
			conf := good(kind)
			conf.app += " -code=" + strconv.Itoa(i) // for Apache to take it for another
			if i%2 == 0 {
				conf.app += " -when=probe -fail=return"
			}
			s.rewrite(t, conf)
			reload()
		}
		s.untilAnswers(t)
		assert.Equal(t, files, openTotal(s.master()), "descriptors: %v", openFiles(s.master()))
		assert.Equal(t, maps, sharedMappings(t, s.master()), "shared mappings")
		assert.Len(t, threads(t, s.master()), 1)
	})
}

// openTotal counts the descriptors of a process.
func openTotal(pid int) int {
	files, events := descriptors(openFiles(pid))
	return files + events
}

// sharedMappings counts the shared memory of a process.
func sharedMappings(t *testing.T, pid int) int {
	t.Helper()
	return strings.Count(string(procFile(t, pid, "maps")), "/dev/zero")
}
