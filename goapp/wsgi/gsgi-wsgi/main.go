// Gsgi-wsgi is a library that hosts a Python application, with no Go written:
//
//	gsgi_app site /usr/lib/gsgi/gsgi-wsgi.so mysite.wsgi:application --chdir /srv/site;
//
// Run by itself it is a web server for the application.
package main

import (
	"log"
	"os"

	"github.com/gsgi/gsgi/goapp"
	"github.com/gsgi/gsgi/goapp/wsgi"
	"github.com/gsgi/gsgi/module"
)

func main() {
	o, err := wsgi.ParseArgs(os.Args[1:])
	if err != nil {
		log.Print("gsgi-wsgi: ", err)
		return
	}
	app, err := wsgi.New(o)
	if err != nil {
		log.Print("gsgi-wsgi: ", err)
		return
	}
	defer app.Close()
	if g := module.Current(); g != nil {
		g.Only()
	}
	log.Print(goapp.ListenAndServe(o.Bind, app))
}
