package cshim

import (
	"unsafe"

	pointer "github.com/mattn/go-pointer"

	"github.com/gsgi/gsgi/module"
)

// A handle is what C holds of a started gateway. Handles are for long-lived
// things: making one takes a malloc and a lock.

func saveGateway(g *module.Gateway) unsafe.Pointer {
	g.CountHandle(1)
	return pointer.Save(g)
}

// gateway returns the gateway behind a handle; nil when it is not one.
func gateway(handle unsafe.Pointer) *module.Gateway {
	g, _ := pointer.Restore(handle).(*module.Gateway)
	return g
}

func dropGateway(handle unsafe.Pointer) {
	if g := gateway(handle); g != nil {
		g.CountHandle(-1)
		pointer.Unref(handle)
	}
}
