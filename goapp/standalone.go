package goapp

import (
	"bytes"
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// shutdownLimit is how long a standalone server waits for its requests, and
// then main for its deferred calls.
const shutdownLimit = 30 * time.Second

// signalContext is done on SIGINT and SIGTERM. From then on these have their
// default effect again.
var signalContext = sync.OnceValue(func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-c
		signal.Stop(c)
		cancel()
	}()
	return ctx
})

// serving counts the standalone servers.
var serving sync.WaitGroup

func serveStandalone(srv *http.Server) error {
	serving.Add(1)
	defer serving.Done()
	drained := make(chan struct{})
	stop := context.AfterFunc(signalContext(), func() {
		drain(srv)
		close(drained)
	})
	var err error
	if hasCertificates(srv) {
		err = srv.ListenAndServeTLS("", "")
	} else {
		err = srv.ListenAndServe()
	}
	if stop() {
		return err
	}
	<-drained
	exitAfterMain()
	runtime.Goexit()
	return nil
}

func hasCertificates(srv *http.Server) bool {
	c := srv.TLSConfig
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

func drain(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Printf("gsgi: %s: requests are cut after %v: %v", srv.Addr, shutdownLimit, err)
		srv.Close()
	}
}

// exitAfterMain ends the process once the main goroutine has ended and the
// servers have drained. Left alone the runtime would call it a deadlock that
// main has ended by Goexit.
var exitAfterMain = sync.OnceFunc(func() {
	go func() {
		pause, end := time.Millisecond, time.Now().Add(shutdownLimit)
		for !mainHasEnded() {
			if time.Now().After(end) {
				log.Printf("gsgi: main has not ended %v after its requests", shutdownLimit)
				os.Exit(1)
			}
			time.Sleep(pause)
			pause = min(2*pause, 50*time.Millisecond)
		}
		serving.Wait()
		os.Exit(0)
	}()
})

// mainHasEnded looks for goroutine 1 in the list of all goroutines. It is the
// oldest, and so is among the first of the list.
func mainHasEnded() bool {
	buf := make([]byte, 64<<10)
	buf = buf[:runtime.Stack(buf, true)]
	return !bytes.HasPrefix(buf, []byte("goroutine 1 ")) && !bytes.Contains(buf, []byte("\ngoroutine 1 "))
}
