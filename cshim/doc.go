// Package cshim is where C and Go meet: the entry points of an application
// library, which a web server finds by dlsym, as cshim/gsgi.h describes them.
//
// It is imported for its side effect by package goapp, on Linux with cgo. A
// program that is run by itself contains the entry points too; nobody calls
// them there.
package cshim
