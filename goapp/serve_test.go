package goapp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// children are programs that TestMain runs instead of the tests, on the main
// goroutine of a process of their own.
var children = map[string]func(addr string){
	"serve": func(addr string) {
		defer fmt.Println("deferred")
		fmt.Println("error:", ListenAndServe(addr, http.HandlerFunc(slow)))
		os.Exit(1)
	},
	"two": func(addr string) {
		defer fmt.Println("deferred")
		go ListenAndServe("127.0.0.1:0", http.NotFoundHandler())
		fmt.Println("error:", Serve(&http.Server{Addr: addr, Handler: http.HandlerFunc(slow)}))
		os.Exit(1)
	},
	"goroutine": func(addr string) {
		go ListenAndServe(addr, http.HandlerFunc(slow))
		<-Context().Done()
		fmt.Println("main goes on")
		time.Sleep(300 * time.Millisecond)
		fmt.Println("main returns")
	},
	"shutdown": func(addr string) {
		srv := &http.Server{Addr: addr}
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { go srv.Shutdown(context.Background()) })
		fmt.Println("closed:", errors.Is(Serve(srv), http.ErrServerClosed))
	},
	"context": func(addr string) {
		ctx := Context()
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("done")
		select {}
	},
	"exclusive": func(addr string) {
		err := Exclusive(context.Background(), addr, func(ctx context.Context) error {
			fmt.Println("begin")
			<-ctx.Done()
			fmt.Println("end")
			return nil
		})
		fmt.Println("error:", err)
	},
}

// slow answers at once, or, for /slow, after a moment.
func slow(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/slow" {
		io.WriteString(w, "begin,")
		http.NewResponseController(w).Flush()
		<-Context().Done()
		time.Sleep(200 * time.Millisecond)
		io.WriteString(w, fmt.Sprintf("end,%v", r.Context().Err()))
	}
}

func TestMain(m *testing.M) {
	if child := children[os.Getenv("GSGI_TEST_CHILD")]; child != nil {
		child(os.Getenv("GSGI_TEST_ADDR"))
		return
	}
	os.Exit(m.Run())
}

// child runs one of children.
type child struct {
	*exec.Cmd
	addr string
	out  *logBuffer
	exit chan error
}

func start(t *testing.T, name, addr string) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &child{Cmd: exec.Command(exe, "-test.run=^$"), addr: addr, out: &logBuffer{}, exit: make(chan error, 1)}
	c.Env = append(os.Environ(), "GSGI_TEST_CHILD="+name, "GSGI_TEST_ADDR="+addr)
	c.Stdout, c.Stderr = c.out, c.out
	require.NoError(t, c.Start())
	go func() { c.exit <- c.Wait() }()
	t.Cleanup(func() { c.Process.Kill() })
	return c
}

func (c *child) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(c.out.String(), text) }, 10*time.Second,
		5*time.Millisecond, "%q: %s", text, c.out)
}

func (c *child) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.exit:
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("the process does not end: %s", c.out)
		return nil
	}
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func awaitServer(t *testing.T, addr string) {
	t.Helper()
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + addr + "/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

func TestStandaloneDrains(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		for _, name := range []string{"serve", "two", "goroutine"} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				c := start(t, name, freeAddr(t))
				awaitServer(t, c.addr)
				resp, err := http.Get("http://" + c.addr + "/slow")
				require.NoError(t, err)
				defer resp.Body.Close()
				require.NoError(t, c.Process.Signal(sig))
				b, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, "begin,end,<nil>", string(b), "the request is finished, its context untouched")
				assert.NoError(t, c.end(t), c.out)
				want := "deferred\n"
				if name == "goroutine" {
					want = "main goes on\nmain returns\n"
				}
				assert.Equal(t, want, c.out.String())
			})
		}
	}
}

func TestStandaloneSecondSignalEnds(t *testing.T) {
	c := start(t, "context", "")
	c.await(t, "ready")
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	c.await(t, "done")
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, c.end(t), &exit)
	assert.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal())
}

func TestServeReturnsWhatIsWrongBeforeServing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	assert.ErrorIs(t, ListenAndServe(l.Addr().String(), nil), syscall.EADDRINUSE)
	assert.Error(t, ListenAndServe("no such address", nil))
}

func TestServeReturnsWhenTheApplicationShutsDown(t *testing.T) {
	c := start(t, "shutdown", freeAddr(t))
	awaitServer(t, c.addr)
	assert.NoError(t, c.end(t))
	assert.Equal(t, "closed: true\n", c.out.String())
}

func TestEntryOf(t *testing.T) {
	for addr, want := range map[string]string{
		":9090": "9090", "127.0.0.1:9090": "9090", "[::1]:80": "80", "localhost:http": "http", "": "http",
		"blog": "blog", ":0": "0",
	} {
		assert.Equal(t, want, entryOf(addr), addr)
	}
}

func TestMainHasNotEnded(t *testing.T) {
	assert.False(t, mainHasEnded(), "the main goroutine runs the tests")
}

func TestExclusive(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	background := context.Background()

	t.Run("returns what run returns", func(t *testing.T) {
		want := errors.New("x")
		assert.Equal(t, want, Exclusive(background, "a", func(context.Context) error { return want }))
		assert.NoError(t, Exclusive(background, "a", func(context.Context) error { return nil }))
		assert.Error(t, Exclusive(background, "", func(context.Context) error { return nil }))
	})
	t.Run("one at a time", func(t *testing.T) {
		running, most, done := make(chan int, 1), 0, make(chan error, 4)
		running <- 0
		for range cap(done) {
			go func() {
				done <- Exclusive(background, "b/../b", func(context.Context) error {
					n := <-running + 1
					most = max(most, n)
					running <- n
					time.Sleep(20 * time.Millisecond)
					running <- <-running - 1
					return nil
				})
			}()
		}
		for range cap(done) {
			assert.NoError(t, <-done)
		}
		assert.Equal(t, 1, most)
	})
	t.Run("names do not meet", func(t *testing.T) {
		err := Exclusive(background, "c", func(ctx context.Context) error {
			return Exclusive(ctx, "d", func(context.Context) error { return nil })
		})
		assert.NoError(t, err)
	})
	t.Run("waiting can be given up", func(t *testing.T) {
		err := Exclusive(background, "e", func(context.Context) error {
			ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
			defer cancel()
			return Exclusive(ctx, "e", func(context.Context) error { panic("not its turn") })
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("a panic lets go", func(t *testing.T) {
		assert.Panics(t, func() { Exclusive(background, "f", func(context.Context) error { panic("x") }) })
		assert.NoError(t, Exclusive(background, "f", func(context.Context) error { return nil }))
	})
	t.Run("the context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(background)
		err := Exclusive(ctx, "g", func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("a directory of somebody else is refused", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		require.NoError(t, os.Mkdir(fmt.Sprintf("%s/gsgi-%d", dir, os.Getuid()), 0o777))
		require.NoError(t, os.Chmod(fmt.Sprintf("%s/gsgi-%d", dir, os.Getuid()), 0o777))
		assert.ErrorContains(t, Exclusive(background, "h", nil), "not a private directory")
	})
}

func TestExclusiveAcrossProcesses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	first := start(t, "exclusive", "job")
	first.await(t, "begin")
	second := start(t, "exclusive", "job")
	third := start(t, "exclusive", "job")
	time.Sleep(300 * time.Millisecond)
	assert.NotContains(t, second.out.String()+third.out.String(), "begin")

	require.NoError(t, first.Process.Kill())
	assert.Error(t, first.end(t))
	require.Eventually(t, func() bool {
		return strings.Contains(second.out.String()+third.out.String(), "begin")
	}, 10*time.Second, 5*time.Millisecond, "the kernel lets go of the lock of a killed process")
	if strings.Contains(third.out.String(), "begin") {
		second, third = third, second
	}

	require.NoError(t, second.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, second.end(t))
	assert.Contains(t, second.out.String(), "end\nerror: <nil>\n", "run sees the drain")
	third.await(t, "begin")
	require.NoError(t, third.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, third.end(t))
}

func TestLibraryFlagIsReadFromTheBuild(t *testing.T) {
	assert.False(t, isLibrary())
	assert.False(t, bytes.Contains([]byte(programName()), []byte("/tmp/")))
}
