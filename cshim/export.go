package cshim

// #include "gsgi.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module"
)

// The functions of cshim/gsgi.h, section 1. Each begins with a barrier: a
// panic in Go must not unwind into the server.

//export gsgi_start
func gsgi_start(conf *C.gsgi_start_conf_t, out **C.gsgi_gateway_t) (rc C.int) {
	defer barrier("gsgi_start", conf, &rc)
	if err := fits(conf); err != nil {
		return fail(conf, C.GSGI_MISMATCH, err)
	}
	g, err := start(conf)
	if err != nil {
		return fail(conf, C.GSGI_ERROR, err)
	}
	*out = (*C.gsgi_gateway_t)(saveGateway(g))
	return C.GSGI_OK
}

//export gsgi_drain
func gsgi_drain(gw *C.gsgi_gateway_t) (rc C.int) {
	defer barrier("gsgi_drain", nil, &rc)
	g := gateway(unsafe.Pointer(gw))
	if g == nil {
		return C.GSGI_INVALID
	}
	g.Drain()
	return C.GSGI_OK
}

//export gsgi_stop
func gsgi_stop(gw *C.gsgi_gateway_t, timeout C.uint32_t) (rc C.int) {
	defer barrier("gsgi_stop", nil, &rc)
	g := gateway(unsafe.Pointer(gw))
	if g == nil {
		return C.GSGI_INVALID
	}
	dropGateway(unsafe.Pointer(gw))
	if !g.Stop(time.Duration(timeout) * time.Millisecond) {
		return C.GSGI_AGAIN
	}
	return C.GSGI_OK
}

//export gsgi_probe
func gsgi_probe(conf *C.gsgi_start_conf_t) (rc C.int) {
	defer barrier("gsgi_probe", conf, &rc)
	if err := fits(conf); err != nil {
		return fail(conf, C.GSGI_MISMATCH, err)
	}
	if err := probe(conf); err != nil {
		return fail(conf, C.GSGI_ERROR, err)
	}
	return C.GSGI_OK
}

// barrier turns a panic into an error of the function called name.
func barrier(name string, conf *C.gsgi_start_conf_t, rc *C.int) {
	if cause := recover(); cause != nil {
		err := fmt.Errorf("%s has panicked: %v", name, cause)
		fmt.Fprintln(os.Stderr, err)
		*rc = fail(conf, C.GSGI_ERROR, err)
	}
}

// fail leaves the error's text with the caller.
func fail(conf *C.gsgi_start_conf_t, rc C.int, err error) C.int {
	if conf == nil || conf.err == nil || conf.errlen == 0 {
		return rc
	}
	room := unsafe.Slice((*byte)(unsafe.Pointer(conf.err)), int(conf.errlen))
	n := copy(room[:len(room)-1], err.Error())
	room[n] = 0
	return rc
}

// fits checks that the host speaks this library's ABI.
func fits(conf *C.gsgi_start_conf_t) error {
	switch {
	case conf == nil:
		return errors.New("no configuration")
	case conf.abi_major != bridge.ABIMajor || conf.abi_minor > bridge.ABIMinor:
		return fmt.Errorf("the server module speaks ABI %d.%d, the library %d.%d",
			conf.abi_major, conf.abi_minor, bridge.ABIMajor, bridge.ABIMinor)
	case uintptr(conf.size) < unsafe.Offsetof(conf.starting):
		return fmt.Errorf("a configuration of %d bytes, not %d", conf.size, C.sizeof_gsgi_start_conf_t)
	}
	return nil
}

func starting(conf *C.gsgi_start_conf_t) bool {
	return uintptr(conf.size) > unsafe.Offsetof(conf.starting) && conf.starting != 0
}

func str(s C.gsgi_str_t) string {
	return C.GoStringN(s.data, C.int(s.len))
}

func config(conf *C.gsgi_start_conf_t) module.Config {
	c := module.Config{
		Worker:       int(conf.worker),
		Workers:      int(conf.workers),
		StartTimeout: time.Duration(conf.start_timeout) * time.Millisecond,
		Software:     str(conf.software),
		Name:         str(conf.name),
		StateDir:     str(conf.state_dir),
		Starting:     starting(conf),
	}
	for _, e := range unsafe.Slice(conf.entries, int(conf.nentries)) {
		c.Entries = append(c.Entries, str(e))
	}
	return c
}
