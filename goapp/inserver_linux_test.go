package goapp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module"
	"github.com/gsgi/gsgi/module/fakehost"
)

func init() {
	children["worker"] = worker
	children["checking"] = checking
}

// must ends the process of a child.
func must[T any](v T, err error) T {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return v
}

func answerEntry(name string) http.Handler {
	return Handler(func(_ *Environ, start StartResponse) Body {
		start(200, nil)
		return String(name)
	})
}

// worker lives through a worker's life with three entries.
func worker(string) {
	early := earlyContext()
	host := must(fakehost.New(fakehost.Config{}))
	conf := module.Config{Entries: []string{"8080", "9090", "blog"}, Worker: 1, Workers: 3, Name: "site"}
	g := must(module.Start(conf, host.Base()))
	fmt.Println(Mode() == InServer)
	fmt.Println(Worker())

	main := make(chan struct{})
	go func() {
		defer close(main)
		defer fmt.Println("deferred")
		go ListenAndServe("127.0.0.1:9090", answerEntry("metrics"))
		Handle("blog", answerEntry("blog"))
		fmt.Println("taken:", ListenAndServe("blog", nil))
		func() {
			defer func() { fmt.Println("panic:", recover()) }()
			Handle("blog", nil)
		}()
		srv := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(slow)}
		var once sync.Once
		srv.RegisterOnShutdown(func() { once.Do(func() { fmt.Println("on shutdown") }) })
		fmt.Println("returned:", Serve(srv))
	}()
	if err := host.AwaitState(bridge.AppReady); err != nil {
		fmt.Println(err)
	}
	for i := range conf.Entries {
		resp := must(host.Do(&fakehost.Request{Entry: uint32(i), Method: "GET", Target: "/"}))
		fmt.Printf("%d %s\n", resp.Status, resp.Body)
	}
	running := must(host.Submit(&fakehost.Request{Method: "GET", Target: "/slow"}))
	<-running.Head
	g.Drain()
	<-Context().Done()
	<-early.Done()
	resp := must(running.Wait())
	fmt.Printf("%s\n", resp.Body)
	<-main
	g.MainEnded("")
	fmt.Println("stopped:", host.AwaitState(bridge.AppStopped))
}

func TestInServer(t *testing.T) {
	c := start(t, "worker", "")
	assert.NoError(t, c.end(t), c.out)
	assert.Equal(t, `true
1 3
taken: gsgi: serving "blog": gsgi: the entry "blog" is served already
panic: gsgi: Handle "blog": gsgi: the entry "blog" is served already
200 
200 metrics
200 blog
on shutdown
begin,end,<nil>
deferred
stopped: <nil>
`, c.out.String())
}

// checking is what becomes of main while a configuration is checked.
func checking(string) {
	reported := make(chan struct{})
	must(module.Check(module.Config{Name: "site"}, func(entries []string, err error) {
		fmt.Println(entries, err)
		close(reported)
	}))
	fmt.Println(Mode() == Checking)
	fmt.Println(Exclusive(context.Background(), "x", func(context.Context) error { return errors.New("was run") }))
	Go(func() { panic("x") })
	go func() {
		defer fmt.Println("deferred")
		Handle("blog", http.NotFoundHandler())
		ListenAndServe(":8080", http.NotFoundHandler())
	}()
	<-reported
	time.Sleep(50 * time.Millisecond)
}

func TestChecking(t *testing.T) {
	c := start(t, "checking", "")
	assert.NoError(t, c.end(t), c.out)
	assert.Contains(t, c.out.String(), "true\n<nil>\n")
	assert.Contains(t, c.out.String(), "[blog 8080] <nil>\n")
	assert.Contains(t, c.out.String(), "panic in a goroutine: x")
	assert.NotContains(t, c.out.String(), "deferred")
}

func TestServeInServerGivesTheServerToHandlers(t *testing.T) {
	srv := &http.Server{}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(http.ServerContextKey) == srv)
		b, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		w.Write(b)
	})
	host, err := fakehost.New(fakehost.Config{})
	assert.NoError(t, err)
	g, err := module.New(module.Config{Entries: []string{""}}, host.Base())
	assert.NoError(t, err)
	assert.NoError(t, g.Attach("8080", attachable(srv.Handler, srv)))
	assert.Equal(t, "true", string(do(t, host, &fakehost.Request{}).Body))
}
