package app

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

// TakeMaps makes mappings, n of them or until the system refuses more, and
// says how many. Neighbours differ in their protection, so that the kernel
// cannot join them.
func TakeMaps(n int) (int, error) {
	const each = 10_000
	page := os.Getpagesize()
	made := 0
	for made < n {
		block, err := syscall.Mmap(-1, 0, 2*each*page, syscall.PROT_NONE,
			syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
		for i := 0; err == nil && i < each && made < n; i++ {
			err = syscall.Mprotect(block[2*i*page:(2*i+1)*page], syscall.PROT_READ)
			made += 2
		}
		if errors.Is(err, syscall.ENOMEM) {
			return made, nil
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

// blocks keeps what exhaust has allocated.
var blocks [][]byte

// Exhaust takes all mappings, and then memory, which the runtime does not get.
func Exhaust() {
	TakeMaps(1 << 30)
	for range 1000 {
		blocks = append(blocks, make([]byte, 64<<20))
	}
}

// maps takes mappings, "n" of them, all of them, or all with what follows.
func maps(w http.ResponseWriter, r *http.Request) {
	switch text := r.URL.Query().Get("n"); text {
	case "exhaust":
		Exhaust()
	default:
		n, err := strconv.Atoi(text)
		if err == nil {
			n, err = TakeMaps(n)
		}
		fmt.Fprintln(w, n, err)
	}
}
