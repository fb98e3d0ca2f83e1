package app

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Version is what a test overwrites in the library's file, with a text of the
// same length, to make another version of it.
var Version = "e2e version 00000000"

// version reads the body, sleeps, and answers with n bytes of the pattern.
// The header says what was read and which version of the library it was.
func version(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	s := SumOf(r.Body)
	time.Sleep(millis(query, "ms", 0))
	w.Header().Set("X-Version", Version)
	w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
	w.Header().Set("X-Body", fmt.Sprint(s))
	generate(w, r)
}
