package app

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/gsgi/gsgi/goapp"
)

// logs says the text of the query in every way that a program has.
func logs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	text := query.Get("text")
	switch query.Get("by") {
	case "log":
		log.Print(text)
	case "stdout":
		fmt.Fprintln(os.Stdout, text)
	case "stderr":
		fmt.Fprintln(os.Stderr, text)
	case "errors":
		fmt.Fprintln(goapp.EnvironOf(r).Errors(), text)
	case "slog":
		var level slog.Level
		if err := level.UnmarshalText([]byte(query.Get("level"))); err != nil {
			panic(err)
		}
		slog.Log(r.Context(), level, text, "key", "value")
	}
	fmt.Fprintln(w, "logged")
}
